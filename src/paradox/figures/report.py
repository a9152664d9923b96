"""Step ``report``: run the report notebook on this run's tables; write one HTML file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

import paradox
from paradox.errors import DataError, ParadoxError
from paradox.figures import page
from paradox.figures.words import Numbers
from paradox.files import write_text
from paradox.progress import Progress

PARAMETERS = ["summary", "did", "base", "figures", "samples", "readings", "verdicts"]
# The native kernel is the interpreter that runs this process.
KERNEL = "python3"


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Run the notebook and export it. Equal inputs give equal bytes.

    Parameters
    ----------
    spec
        ``scale``, ``excluded`` (cells of the design that were not run, with reasons) and
        ``log_folder``, where a notebook that fails is kept as far as it came.
    inputs
        ``notebook`` (jupytext, percent format), ``summary``, ``did``, ``base``, the lists
        ``figures`` (svg), ``samples`` (parquet), ``readings`` (json) and ``verdicts`` (csv); the
        last three may be left out.
    outputs
        ``html``: one file that loads nothing from elsewhere.

    Raises
    ------
    ParadoxError
        When a cell fails; the message names the cell, the error and the kept notebook.
    """
    Numbers.read(inputs["summary"])  # a broken summary is reported before a kernel starts
    kept = Path(spec["log_folder"]) / "report.ipynb"
    parameters: dict[str, Any] = {"scale": spec["scale"], "excluded": spec["excluded"]}
    for name in PARAMETERS:
        value = inputs.get(name, [])
        parameters[name] = [*map(str, value)] if isinstance(value, list) else str(value)
    notebook = _read(inputs["notebook"])
    progress.say(f"running {len(notebook.cells)} cells")
    executed = execute(notebook, parameters, kept)
    title = f"Spurious rewards and remembered answers: scale {spec['scale']}"
    write_text(outputs["html"], page.document(title, body(executed)))
    kept.unlink()


def _read(path: Path) -> NotebookNode:
    try:
        notebook = jupytext.read(path)
    except Exception as error:  # jupytext raises many kinds
        raise DataError(f"{path}: cannot be read as a notebook ({error}).") from None
    if not any("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells):
        raise DataError(f"{path}: no cell has the tag 'parameters'.")
    return notebook


def execute(notebook: NotebookNode, parameters: dict[str, Any], kept: Path) -> NotebookNode:
    """Run a notebook with parameters; the file `kept` holds it as far as it came.

    Raises
    ------
    ParadoxError
        When a cell fails or the kernel does not start.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, _kernel_environment(scratch):
        source = Path(scratch) / "notebook.ipynb"
        nbformat.write(notebook, source)
        try:
            return papermill.execute_notebook(
                str(source),
                str(kept),
                parameters=parameters,
                kernel_name=KERNEL,
                language="python",
                progress_bar=False,
                start_timeout=300,
            )
        except PapermillExecutionError as error:
            raise ParadoxError(
                f"the report's cell {error.cell_index} failed with {error.ename}: "
                f"{error.evalue}. The notebook as far as it came: {kept}"
            ) from error
        except Exception as error:  # the kernel's own troubles have many kinds
            raise ParadoxError(
                f"the report's notebook could not be run ({type(error).__name__}: {error}). "
                f"The notebook as far as it came: {kept}"
            ) from error


@contextmanager
def _kernel_environment(scratch: str) -> Iterator[None]:
    """Let the kernel import this package, and keep its files out of the user's home."""
    package = str(Path(paradox.__file__).parents[1])
    changed = {
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
        "IPYTHONDIR": scratch,
        "JUPYTER_RUNTIME_DIR": scratch,
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def body(notebook: NotebookNode) -> str:
    """Return the words and outputs of an executed notebook as HTML.

    Code, messages on standard error, timings and the working directory are left out: they
    differ between machines.
    """
    clean = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            fresh = nbformat.v4.new_markdown_cell(cell.source)
        else:
            outputs = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
            for output in outputs:
                if output.output_type == "execute_result":
                    output.execution_count = None
            fresh = nbformat.v4.new_code_cell("", outputs=outputs)
        fresh["id"] = f"cell-{number}"
        clean.cells.append(fresh)
    # The basic template is a bare body; the full ones load scripts from elsewhere.
    exporter = HTMLExporter(template_name="basic")
    exporter.exclude_input = exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    text, _ = exporter.from_notebook_node(clean)
    return text.replace(f"{Path.cwd()}/", "")
