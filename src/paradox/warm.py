"""A warm start: one process per run imports the libraries once and forks for each job.

Importing PyTorch and Transformers takes longer than many a job computes. The workflow starts this
file as a script: it holds no module of this package, so what a job runs is always as on disk.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from typing import Any, NoReturn

VARIABLE = "PARADOX_WARM"  # names the socket; jobs inherit it from Snakemake
# What jobs that compute import, most of it when they load a model.
LIBRARIES = ["torch", "pandas", "pyarrow.parquet", "pyarrow.pandas_compat", "scipy.stats", "peft"]
LIBRARIES += [f"transformers.models.auto.{name}_auto" for name in ("modeling", "tokenization")]
LIBRARIES += ["transformers.models.llama.modeling_llama", "transformers.convert_slow_tokenizer"]
# Variables that are read when a process starts: a fork cannot have others.
AT_START = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_")
# What a shell sets by itself.
OF_SHELLS = {"_", "SHLVL", "PWD", "OLDPWD"}


_started: list[subprocess.Popen[bytes]] = []


def start() -> None:
    """Start the process and name its socket to jobs; it ends when its standard input closes."""
    folder = tempfile.mkdtemp(prefix="paradox-")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/warm")
        # From here on jobs can ask; they wait until the libraries are there.
        listener.listen(128)
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, folder, str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C reaches jobs through what asked for them
        )
    _started.append(process)
    os.environ[VARIABLE] = f"{folder}/warm"


def stop() -> None:
    """End what was started."""
    os.environ.pop(VARIABLE, None)
    while _started:
        _started.pop().communicate()


def run() -> int:
    """Let a fork of the warm process run this command; return its exit code.

    Where that is not to be had, this process starts again and runs the command itself.
    """
    status = _ask(os.environ.pop(VARIABLE))
    if status is None:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return status if status >= 0 else 128 - status


def _ask(path: str) -> int | None:
    """Return how the fork ended (negative: by a signal), None when there was none or it is lost."""
    request = {"argv": sys.argv, "cwd": os.getcwd(), "environment": dict(os.environ)}
    request |= {"path": sys.path, "python": sys.executable, "prefix": sys.prefix}
    answer, caught = b"", []
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(path)

        def stop(number: int, _: Any) -> None:
            # The fork is killed and only then is there an answer: nothing writes any more.
            caught.append(number)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, stop)
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = connection.recv(16)
    if caught:
        signal.signal(caught[0], signal.SIG_DFL)
        os.kill(os.getpid(), caught[0])
    return int(answer) if answer else None


def serve(listener: socket.socket) -> None:
    """Fork for each request until standard input closes; a refused one's connection closes."""
    path, started = list(sys.path), dict(os.environ)
    imported: dict[str, str] | None = None
    while select.select([0, listener], [], [])[0] == [listener]:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        given: list[int] = []
        with listener.accept()[0] as connection, suppress(OSError, ValueError):
            connection.settimeout(10)
            given = socket.recv_fds(connection, 1, 3)[1]
            with connection.makefile("rb") as file:
                request = json.loads(file.readline())
            wanted = {k: v for k, v in request["environment"].items() if k not in OF_SHELLS}
            # The first entry of a job's path is its working directory.
            if request["prefix"] == sys.prefix and request["path"][1:] == path:
                if imported is None and at_start(wanted) == at_start(started):
                    _import(wanted)
                    imported = wanted
                # A fork would lack any thread that a library has started.
                if wanted == imported and len(os.listdir("/proc/self/task")) == 1:
                    if not os.fork():
                        listener.close()
                        _watch(request, given, connection)
        for descriptor in given:
            os.close(descriptor)


def at_start(environment: dict[str, str]) -> dict[str, str]:
    """Return the variables that are read when a process starts."""
    return {key: value for key, value in environment.items() if key.startswith(AT_START)}


def _import(environment: dict[str, str]) -> None:
    """Import the libraries under a job's environment."""
    os.environ.clear()
    # An allocator that Arrow does not use would start a thread.
    os.environ.update(environment | {"JE_ARROW_MALLOC_CONF": "background_thread:false"})
    gc.disable()
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # collections in forks would copy the memory that they share


def _watch(request: dict[str, Any], given: list[int], connection: socket.socket) -> NoReturn:
    """Fork a job; kill it when the connection closes, else say how it ended."""
    try:
        job = os.fork()
        if not job:
            connection.close()
            _become(request, given)
        for descriptor in given:
            os.close(descriptor)
        ended = os.pidfd_open(job)
        if select.select([ended, connection], [], [])[0] == [connection]:
            with suppress(ProcessLookupError):
                os.killpg(job, signal.SIGKILL)
            os.kill(job, signal.SIGKILL)  # it may not lead its group yet
        status = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
        with suppress(OSError):
            connection.sendall(str(status).encode())
    finally:
        os._exit(0)


def _become(request: dict[str, Any], given: list[int]) -> NoReturn:
    """Run a job in this fork as a process of its own would."""
    code = 1
    try:
        os.setsid()
        # PR_SET_PDEATHSIG: what asked starts again when the process that watches is lost.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        for number, descriptor in enumerate(given):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv, sys.path[:] = request["argv"], request["path"]
        sys.executable = request["python"]  # one interpreter has several names
        importlib.invalidate_caches()
        gc.enable()
        from paradox.__main__ import main

        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # As forks of multiprocessing end: to take all modules down takes most of a second.
        os._exit(code)


if __name__ == "__main__":
    try:
        serve(socket.socket(fileno=int(sys.argv[2])))
    finally:
        shutil.rmtree(sys.argv[1], ignore_errors=True)
