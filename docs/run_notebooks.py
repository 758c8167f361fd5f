"""Execute the notebooks against the demo data; fail on an error, and on outputs that were not stripped.

Run in an environment with ``pip install -e ".[docs,ase]"``, from anywhere::

    python docs/run_notebooks.py

Each notebook runs in a kernel and a folder of its own, with an empty cache and no login. The files
in ``notebooks/`` stay as they are: without outputs, so that a change shows what was changed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
TIMEOUT_S = 120


def unstripped(notebook: nbformat.NotebookNode) -> list[int]:
    """Return the positions of code cells that carry outputs or a number of execution."""
    cells = enumerate(notebook.cells)
    return [i for i, cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]


def fault_of(path: Path, folder: str) -> str | None:
    """Return what is wrong with a notebook, None if it runs; ``folder`` is its working folder."""
    notebook = nbformat.read(path, as_version=4)
    if positions := unstripped(notebook):
        return f"cells {positions} carry outputs; strip them (in Jupyter: Clear All Outputs) and save"
    client = NotebookClient(notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": folder}})
    try:
        client.execute()
    except CellExecutionError as error:
        return str(error)
    return None


def main() -> int:
    """Run all notebooks; return how many failed."""
    for name in [name for name in os.environ if name.startswith(("NOMAD_", "NOMADQUERY_"))]:
        del os.environ[name]  # a login of whoever runs this is not theirs to use
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else the kernel warns about frozen modules
    n_failed = 0
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        started_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NOMADQUERY_CACHE_DIR"] = str(Path(folder) / "cache")
            fault = fault_of(path, folder)
        n_failed += fault is not None
        sys.stdout.write(f"{path.name}: {fault or 'ok'} ({time.monotonic() - started_s:.0f} s)\n")
    return n_failed


if __name__ == "__main__":
    sys.exit(main())
