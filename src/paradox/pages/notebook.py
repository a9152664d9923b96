"""Steps ``report``, ``mechanism_page``, ``arm_page``, ``index_page``: a notebook as one HTML file.

Papermill executes it in this process: a kernel for each of some fifty pages would take longer than
what they compute, and the runner sees here which modules a notebook loads.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from IPython.utils.capture import capture_output
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from paradox.errors import DataError, ParadoxError
from paradox.files import write_text
from paradox.pages import page
from paradox.progress import Progress

ENGINE = "this_process"


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Run the notebook and export it as HTML that loads nothing from elsewhere.

    Equal inputs give equal bytes. A cell that fails is a `ParadoxError`.

    Parameters
    ----------
    spec
        ``title`` of the page; ``parameters`` of the notebook; and ``kept``: where a notebook that
        fails is kept as far as it came.
    inputs
        ``notebook`` (jupytext, percent format). Every other role is given to the notebook as a
        parameter of that name: a path or a list of paths.
    """
    kept, source = Path(spec["kept"]), inputs["notebook"]
    parameters = dict(spec["parameters"])
    for role, value in inputs.items():
        if role != "notebook":
            parameters[role] = [*map(str, value)] if isinstance(value, list) else str(value)
    notebook = _read(source)
    progress.say(f"running {len(notebook.cells)} cells")
    executed = execute(notebook, parameters, kept, source)
    content = page.with_contents(body(executed))
    write_text(outputs["html"], page.document(spec["title"], content))
    kept.unlink()


def _read(path: Path) -> NotebookNode:
    try:
        notebook = jupytext.read(path)
    except Exception as error:  # jupytext raises many kinds
        raise DataError(f"{path}: cannot be read as a notebook ({error}).") from None
    if not any("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells):
        raise DataError(f"{path}: no cell has the tag 'parameters'.")
    return notebook


def execute(
    notebook: NotebookNode, parameters: dict[str, Any], kept: Path, source: Path
) -> NotebookNode:
    """Run a notebook with parameters; the file `kept` holds it as far as it came."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / "notebook.ipynb"
        nbformat.write(notebook, written)
        try:
            return papermill.execute_notebook(
                str(written),
                str(kept),
                parameters=parameters,
                engine_name=ENGINE,
                kernel_name="python3",
                language="python",
                progress_bar=False,
            )
        except PapermillExecutionError as error:
            raise ParadoxError(
                f"{source}: cell {error.cell_index} failed with {error.ename}: {error.evalue}. "
                f"The notebook as far as it came: {kept}"
            ) from error


class InThisProcess(Engine):
    """Executes the cells of a notebook in a fresh shell of this process."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **kwargs: Any
    ) -> None:
        """Run the cells in order, up to the first that fails."""
        with _shell() as shell:
            for index, cell in enumerate(nb_man.nb.cells):
                if cell.cell_type != "code":
                    continue
                nb_man.cell_start(cell, index)
                cell.execution_count = index
                cell.outputs, worked = _run(shell, cell.source)
                if not worked:
                    nb_man.cell_exception(cell, index)
                nb_man.cell_complete(cell, index)
                if not worked:
                    return


papermill_engines.register(ENGINE, InThisProcess)


class _Hook(DisplayHook):
    """Shows a cell's last value as `display` does."""

    def __call__(self, result: Any = None) -> None:
        if result is not None:
            display(result)


class _Shell(InteractiveShell):
    """Keeps the lines of a traceback instead of printing them."""

    displayhook_class = _Hook
    lines: list[str]

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        self.lines = list(stb)


@contextmanager
def _shell() -> Iterator[_Shell]:
    """Yield a shell with an empty namespace that keeps no files in the user's home."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    before = os.environ.get("IPYTHONDIR")
    main, hook = sys.modules["__main__"], sys.excepthook
    # What `display` shows goes to the shell that IPython knows as its only one.
    InteractiveShell.clear_instance()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["IPYTHONDIR"] = scratch
        try:
            yield _Shell.instance(config=config, ipython_dir=scratch)
        finally:
            _Shell.clear_instance()
            sys.modules["__main__"], sys.excepthook = main, hook
            if before is None:
                del os.environ["IPYTHONDIR"]
            else:
                os.environ["IPYTHONDIR"] = before


def _run(shell: _Shell, source: str) -> tuple[list[NotebookNode], bool]:
    """Run one cell; return its outputs as a notebook holds them, and whether it worked."""
    shell.lines = []
    with capture_output() as captured:
        result = shell.run_cell(source, store_history=False)
    outputs = []
    for name, text in (("stdout", captured.stdout), ("stderr", captured.stderr)):
        if text:
            outputs.append(nbformat.v4.new_output("stream", name=name, text=text))
    for shown in captured.outputs:
        data, metadata = shown.data, shown.metadata or {}
        outputs.append(nbformat.v4.new_output("display_data", data=data, metadata=metadata))
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        about = {"ename": type(error).__name__, "evalue": str(error), "traceback": shell.lines}
        outputs.append(nbformat.v4.new_output("error", **about))
    return outputs, error is None


def body(notebook: NotebookNode) -> str:
    """Return the words and outputs of an executed notebook as HTML.

    What differs between machines (standard error, timings, the working directory) is left out.
    """
    clean = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            fresh = nbformat.v4.new_markdown_cell(cell.source)
        else:
            outputs = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
            fresh = nbformat.v4.new_code_cell("", outputs=outputs)
        fresh["id"] = f"cell-{number}"
        clean.cells.append(fresh)
    # The basic template is a bare body; the full ones load scripts from elsewhere.
    exporter = HTMLExporter(template_name="basic")
    exporter.exclude_input = exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    text, _ = exporter.from_notebook_node(clean)
    return text.replace(f"{Path.cwd()}/", "")
