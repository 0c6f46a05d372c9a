"""Two evaluations of the same questions, from their folders."""

from __future__ import annotations

import json
from pathlib import Path

from sophia_jax.evaluation.predictions import read_predictions
from sophia_jax.evaluation.versus import VERSUS_COLUMNS, versus
from sophia_jax.paths import resolved
from sophia_jax.recipes.run_folder import (
    SETTINGS,
    check_run_folder,
    open_run_folder,
    write_json,
)

__all__ = ["compare_evaluations"]

PROTOCOL = ("answer", "system", "rule")  # settings that change what a model scores


def compare_evaluations(
    first: Path,
    second: Path,
    *,
    out: Path | None = None,
    force: bool = False,
    common: bool = False,
    seed: int = 0,
) -> dict:
    """Compare pass@1 of two evaluations, as of `versus`.

    Args:
      first: folder that `evaluate` or the quickstart left.
      second: another one.
      out: folder for the result, `summary.json`; None to leave nothing.
      force: delete what an earlier comparison left in the folder.
      common: compare the questions that both have, where one has more.
      seed: of the resamples.

    Returns:
      What `versus` says, and in `protocols_differ`, by name, the settings of sampling
      and judging that are not the same, where both folders keep theirs.

    Raises:
      InputError: a folder holds no evaluation, or as `versus`.
    """
    settings = {
        "first": str(resolved(first)),
        "second": str(resolved(second)),
        "common": common,
        "seed": seed,
    }
    if out is not None:
        check_run_folder(out, settings, resume=False, force=force)
    rows = [
        read_predictions(folder / "predictions.parquet", VERSUS_COLUMNS)
        for folder in (first, second)
    ]
    compared = versus(*rows, names=(first, second), common=common, seed=seed)
    summary = compared | {"protocols_differ": _differing_protocols(first, second)}
    if out is not None:
        open_run_folder(out, settings, resume=False, force=force)
        write_json(out / "summary.json", summary)
    return summary


def _differing_protocols(first: Path, second: Path) -> dict[str, list]:
    one, other = (_settings(folder) for folder in (first, second))
    return {
        name: [one[name], other[name]]
        for name in PROTOCOL
        if name in one and name in other and one[name] != other[name]
    }


def _settings(folder: Path) -> dict:
    """Of an evaluation; none where it keeps none, as in a quickstart's folder."""
    try:
        settings = json.loads((folder / SETTINGS).read_text())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
