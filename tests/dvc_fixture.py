"""DVC in temporary repositories, and an SSH server on this machine for its remote."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
from conftest import ROOT

DVC_FILES = (".dvcignore", ".gitignore", "dvc.yaml", ".dvc/config", ".dvc/.gitignore")


class Repository:
    """A git repository at `root`, with nothing of the user's settings, agents or caches.

    What git and DVC would keep in the home folder goes to a folder of its own below `home`.
    """

    def __init__(self, root: Path, home: Path, **variables: str) -> None:
        self.root = root
        kept = {key: value for key, value in os.environ.items() if key != "SSH_AUTH_SOCK"}
        self.environment = kept | {
            "HOME": str(home),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "DVC_GLOBAL_CONFIG_DIR": str(home / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(home / "system"),
            # Holds hashes of files already seen; two repositories must not share them.
            "DVC_SITE_CACHE_DIR": str(home / "site" / root.name),
            "PYTHONPATH": str(root / "src"),
            **variables,
        }

    def take_dvc_files(self) -> None:
        for name in DVC_FILES:
            (self.root / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)

    def try_(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def run(self, *command: str) -> str:
        done = self.try_(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def try_dvc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.try_(sys.executable, "-m", "dvc", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def commit(self) -> None:
        self.run("git", "add", "--all")
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        self.run("git", *who, "commit", "--quiet", "--message", "test")

    def clone(self, root: Path, home: Path) -> Repository:
        """Return a clone at `root` that knows the same remote."""
        self.run("git", "clone", "--quiet", str(self.root), str(root))
        if (local := self.root / ".dvc/config.local").exists():
            shutil.copy(local, root / ".dvc/config.local")
        return Repository(root, home)

    def results(self, scale: str) -> dict[str, bytes]:
        """Return what DVC is to carry: the results, without what .dvcignore excludes."""
        folder = self.root / "results" / scale
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != ".snakemake_timestamp" and ".work" not in path.parts
        }


@dataclass(frozen=True)
class Server:
    """An SSH server that serves `folder` to the holder of the private key `key`."""

    folder: Path
    port: int
    key: Path

    def use(self, repository: Repository, key: Path | None = None) -> None:
        """Make this server the repository's remote, as docs/dvc.md says."""
        for option, value in {
            "url": "ssh://someone@127.0.0.1/objects",
            "port": str(self.port),
            "keyfile": str(key or self.key),
        }.items():
            repository.dvc("remote", "modify", "--local", "store", option, value)

    def objects(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@contextmanager
def ssh_server(folder: Path) -> Iterator[Server]:
    """Run an SSH server on a free port; its keys, made for the occasion, go to `folder`."""
    (folder / "served").mkdir(parents=True)
    client = new_key(folder / "client_key")
    key = asyncssh.read_private_key(client).export_public_key().decode()
    root = str(folder / "served").encode()

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: asyncssh.SSHServerChannel) -> None:
            super().__init__(channel, chroot=root)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[new_key(folder / "host_key")],
            authorized_client_keys=asyncssh.import_authorized_keys(key),
            sftp_factory=Files,
        )

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(timeout=60)
    try:
        yield Server(folder / "served", server.get_port(), client)
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(timeout=60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=60)
        loop.close()


def new_key(path: Path) -> Path:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(path)
    return path
