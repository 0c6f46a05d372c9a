"""What lossless early stopping saves, on the models of a finished quickstart.

    python scripts/bench_early_stopping.py runs/quickstart

Samples the reasonings of the run's training questions twice from its captions, with
early stopping and without, and checks that both select the same trajectories.
"""

from __future__ import annotations

import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

from sophia_jax.cli.surroundings import prepare  # noqa: E402
from sophia_jax.config import SophiaConfig  # noqa: E402
from sophia_jax.data.items import read_items  # noqa: E402
from sophia_jax.data.prompts import DIGITS  # noqa: E402
from sophia_jax.generation.engine import Engine  # noqa: E402
from sophia_jax.models.folder import load_model  # noqa: E402
from sophia_jax.recipes.sizes import full_size  # noqa: E402
from sophia_jax.rewards import AnswerVerifier  # noqa: E402
from sophia_jax.rollouts.tables import RolloutTables  # noqa: E402
from sophia_jax.sophia import reason_from_captions, select_and_store  # noqa: E402


@dataclass(frozen=True)
class Benchmark:
    """Sample the reasonings of a quickstart with early stopping and without."""

    run: tyro.conf.Positional[Path]
    """Folder of a finished quickstart."""
    seed: int = 0
    """Of that quickstart."""


def collect(
    folder: Path, options: Benchmark, config: SophiaConfig, engine: Engine
) -> tuple[RolloutTables, float]:
    """The tables of a second collection from the run's captions, and its seconds."""
    items = read_items(options.run / "data" / "train").items
    tables = RolloutTables(folder, items)
    folder.mkdir(parents=True)
    (folder / "captions").symlink_to((options.run / "rollouts" / "captions").resolve())
    start = time.perf_counter()
    with AnswerVerifier() as verifier:
        reason_from_captions(
            engine, verifier.verify, tables, DIGITS, config, counts_tokens=True
        )
    seconds = time.perf_counter() - start
    select_and_store(None, tables, config)
    return tables, seconds


def num_tokens(tables: RolloutTables) -> int:
    """Tokens of all reasonings, finished or not."""
    return sum(
        len(row["token_ids"])
        for shard in range(tables.num_shards)
        for row in tables.reasonings.read(shard)
    )


def kept(tables: RolloutTables) -> dict[str, tuple]:
    """What was selected of each question."""
    return {
        row["question_id"]: (row["caption"], row["reasoning"], row["text"])
        for row in tables.selection.read_all()
    }


def main() -> None:
    options = tyro.cli(Benchmark)
    prepare()
    sizes = full_size(options.seed)
    reasoner = load_model(options.run / "reasoner")
    engine = Engine(reasoner, sizes.reasonings, slots=sizes.slots)
    found = {}
    with TemporaryDirectory() as folder:
        for stopping in (True, False):
            config = dataclasses.replace(sizes.sophia, early_stopping=stopping)
            tables, seconds = collect(
                Path(folder) / str(stopping), options, config, engine
            )
            found[stopping] = num_tokens(tables), seconds, kept(tables)
            num_kept = sum(text is not None for *_, text in kept(tables).values())
            print(
                f"early stopping {'on' if stopping else 'off':4s}"
                f"{found[stopping][0]:9d} tokens {seconds:7.1f} s, {num_kept} kept"
            )
    same = sum(found[True][2][name] == found[False][2][name] for name in found[True][2])
    print(
        f"{1 - found[True][0] / found[False][0]:.1%} fewer tokens; the same selection "
        f"for {same} of {len(found[True][2])} questions"
    )


if __name__ == "__main__":
    main()
