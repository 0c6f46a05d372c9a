"""Notebooks as a reader runs them: top to bottom, in a kernel of their own."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 300  # of a cell
CACHED = {
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
}


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs a notebook of `colab/` in an empty folder.

    It takes the values of some parameters, and expressions by name that are evaluated
    when all cells are done; it gives these, and the notebook with its outputs.
    """
    nbformat = pytest.importorskip("nbformat")
    path = ROOT / "scripts" / "measure_notebooks.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, script)  # where dataclasses look
    spec.loader.exec_module(script)

    def executed(name, parameters, **results):
        notebook = nbformat.read(ROOT / "colab" / f"{name}.ipynb", as_version=4)
        notebook = script.with_parameters(notebook, parameters)
        asked = ", ".join(f"{name!r}: {value}" for name, value in results.items())
        last = f"import json\nprint(json.dumps({{{asked}}}))"
        notebook.cells.append(nbformat.v4.new_code_cell(last))
        found = script.execute(
            notebook, tmp_path, limit_seconds=LIMIT_SECONDS, environment=CACHED
        )
        assert found.peak_bytes > 2**27 and found.core_seconds > 1
        *_, (output,) = (c.outputs for c in notebook.cells if "outputs" in c)
        return json.loads(output.text), notebook

    return executed


@pytest.fixture
def figures():
    """How many pictures a notebook shows."""

    def count(notebook):
        outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
        return sum("image/png" in output.get("data", {}) for output in outputs)

    return count
