"""Notebooks as a reader runs them: top to bottom, in a kernel of their own."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 300  # of a cell


@pytest.fixture
def execute(tmp_path):
    """Runs a notebook of `colab/` in an empty folder.

    It takes the values of some parameters, which come after the cell that has their
    defaults, and expressions by name, which are evaluated when all is done.
    """
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")

    def executed(name, parameters, **results):
        notebook = nbformat.read(ROOT / "colab" / f"{name}.ipynb", as_version=4)
        tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
        place = tags.index(["parameters"])
        defaults = notebook.cells[place].source
        assert all(f"\n{name} = " in f"\n{defaults}" for name in parameters)
        given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        asked = ", ".join(f"{name!r}: {value}" for name, value in results.items())
        last = f"import json\nprint(json.dumps({{{asked}}}))"
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(given))
        notebook.cells.append(nbformat.v4.new_code_cell(last))
        client = nbclient.NotebookClient(
            notebook,
            timeout=LIMIT_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
        )
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        }
        client.execute(env=os.environ | cache)
        *_, (output,) = (cell.outputs for cell in notebook.cells if "outputs" in cell)
        return json.loads(output.text), notebook

    return executed


@pytest.fixture
def figures():
    """How many pictures a notebook shows."""

    def count(notebook):
        outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
        return sum("image/png" in output.get("data", {}) for output in outputs)

    return count
