"""Minutes and peak host memory of the notebooks in `colab/`, at their defaults.

    python scripts/measure_notebooks.py --only loop_on_river_swim f_dpo_as_functions

Each runs in a kernel and an empty folder of its own; nothing is compiled before. What
needs a model from the Hub (`internvl_on_a_tpu`) can be pointed elsewhere with
`--parameters '{"model_name": "FOLDER"}'`. Needs the extra `colab`.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import psutil
import tyro

from sophia_jax.recipes.machine import machine, versions

FOLDER = Path(__file__).parents[1] / "colab"
SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Measurement:
    """Run notebooks, and print a line of a table for each."""

    only: tuple[str, ...] = ()
    """Names without their ending; all if none is given."""
    parameters: str = "{}"
    """Values that take the place of defaults, as a JSON object."""
    limit_seconds: int = 3600
    """Of a cell."""


@dataclass(frozen=True)
class Executed:
    """A notebook that was run.

    Attributes:
      notebook: with its outputs.
      seconds: from the start of the kernel to its end.
      core_seconds: that kernel and children computed, on all cores together.
      peak_bytes: the most that kernel and its children held at a time, pages that they
        share counted once for each.
    """

    notebook: nbformat.NotebookNode
    seconds: float
    core_seconds: float
    peak_bytes: int


def with_parameters(
    notebook: nbformat.NotebookNode, parameters: Mapping[str, Any]
) -> nbformat.NotebookNode:
    """The notebook with a cell of values behind the one of their defaults.

    Raises:
      ValueError: a name is none of the defaults'.
    """
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    place = tags.index(["parameters"])
    defaults = f"\n{notebook.cells[place].source}"
    unknown = [name for name in parameters if f"\n{name} = " not in defaults]
    if unknown:
        raise ValueError(f"parameters: expected ones of the notebook, got {unknown}")
    source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))
    return notebook


def execute(
    notebook: nbformat.NotebookNode,
    folder: Path,
    *,
    limit_seconds: int = 3600,
    environment: Mapping[str, str] | None = None,
) -> Executed:
    """Run all cells in a folder.

    Args:
      notebook: which gets the outputs.
      folder: where the kernel runs.
      limit_seconds: of a cell.
      environment: variables of the kernel, beside those of this process.

    Raises:
      CellExecutionError: a cell failed.
    """
    client = nbclient.NotebookClient(
        notebook,
        timeout=limit_seconds,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    done, seen = threading.Event(), _Seen()
    watcher = threading.Thread(target=_watch, args=(done, seen))
    watcher.start()
    start = time.perf_counter()
    try:
        client.execute(env=os.environ | dict(environment or {}))
    finally:
        done.set()
        watcher.join()
    seconds = time.perf_counter() - start
    return Executed(notebook, seconds, sum(seen.computed.values()), seen.peak_bytes)


@dataclass
class _Seen:
    """What was seen of this process's children: seconds of each, and their memory."""

    peak_bytes: int = 0
    computed: dict[int, float] = field(default_factory=dict)


def _watch(done: threading.Event, seen: _Seen) -> None:
    """Look at the children again and again."""
    while not done.wait(SECONDS_BETWEEN_LOOKS):
        held = 0
        for child in psutil.Process().children(recursive=True):
            try:
                held += child.memory_info().rss
                seen.computed[child.pid] = sum(child.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        seen.peak_bytes = max(seen.peak_bytes, held)


def main(options: Measurement) -> None:
    names = options.only or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    print("| notebook | minutes | minutes of a core | peak memory, GiB |")
    print("|---|---|---|---|")
    for name in names:
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        notebook = with_parameters(notebook, json.loads(options.parameters))
        with tempfile.TemporaryDirectory() as folder:
            found = execute(
                notebook,
                Path(folder),
                limit_seconds=options.limit_seconds,
                environment={"JAX_ENABLE_COMPILATION_CACHE": "false"},
            )
        minutes = [f"{s / 60:.1f}" for s in (found.seconds, found.core_seconds)]
        gib = found.peak_bytes / 2**30
        print(f"| {name} | {' | '.join(minutes)} | {gib:.1f} |", flush=True)
    # At the end: a process that has looked keeps a TPU for itself.
    print(f"\n{versions()}\n{machine()}")


if __name__ == "__main__":
    main(tyro.cli(Measurement, description=__doc__))
