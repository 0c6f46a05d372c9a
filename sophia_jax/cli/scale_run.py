"""`sophia-jax scale` of real answers: of a run's policy, or of an evaluation's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_jax.cli.options import checked_options, leave_page
from sophia_jax.cli.tables import seconds_line

if TYPE_CHECKING:
    from rich.table import Table

    from sophia_jax.cli.progress import Display

__all__ = ["fit_evaluation", "scale_run"]


def scale_run(
    out: Path,
    run: Path,
    display: Display,
    *,
    quick: bool,
    resume: bool,
    force: bool,
    **sizes: Any,
) -> None:
    """Accuracy against k of a quickstart's policy, under three judges.

    Args:
      out: folder of this run.
      run: folder of the quickstart.
      display: shows progress and prints.
      quick, resume, force: as of `Scale`.
      sizes: of `MoreAnswersConfig`; None leaves one as it is.
    """
    from sophia_jax.recipes.more_answers.answers import find_run
    from sophia_jax.recipes.more_answers.run import run_more_answers
    from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig, quick_size
    from sophia_jax.recipes.run_folder import open_run_folder

    with checked_options():
        config = MoreAnswersConfig()
        config = quick_size(config) if quick else config
        given = {name: value for name, value in sizes.items() if value is not None}
        config = dataclasses.replace(config, **given)
    found = find_run(run)
    config = config.no_more_than(len(found.train), len(found.held_out), given)
    settings = dataclasses.asdict(config) | {"run": str(run)}
    open_run_folder(out, settings, resume=resume, force=force)
    summary = run_more_answers(out, run, config, track=display.track, say=display.say)
    for name, judge in summary["judges"].items():
        display.say(forecast_table(judge, name))
    display.say(seconds_line(summary["seconds"]))
    leave_page(out, display)


def fit_evaluation(
    out: Path,
    evaluation: Path,
    display: Display,
    *,
    temperatures: tuple[float, ...] | None,
    seed: int,
    resume: bool,
    force: bool,
) -> None:
    """What an evaluation's judge would do among many answers.

    Args:
      out: folder for the result.
      evaluation: folder that `evaluate` left, with a judge.
      display: prints.
      temperatures: each T of the choice; None for 0 and 1.
      seed: of the halves and of the draws.
      resume, force: as of `Scale`.
    """
    from sophia_jax.recipes.judge_forecast import forecast_run, write_fit
    from sophia_jax.recipes.run_folder import check_run_folder, open_run_folder

    options = {"temperatures": temperatures or (0.0, 1.0), "seed": seed}
    settings = options | {"fit": str(evaluation)}
    check_run_folder(out, settings, resume=resume, force=force)
    found = forecast_run(evaluation, **options)
    open_run_folder(out, settings, resume=resume, force=force)
    write_fit(out, evaluation, found)
    display.say(forecast_table(found, "judge"))
    display.say(best_temperature_line(found["best_temperature"]))
    leave_page(out, display)


def forecast_table(found: Mapping, name: str) -> Table:
    """Accuracy at each k, measured and foretold, and the best k.

    Args:
      found: of `forecast`.
      name: of the judge.
    """
    from rich.table import Table

    table = Table(
        title=f"{name}: right, measured / foretold, %",
        title_justify="left",
    )
    table.add_column("k", justify="right")
    for curve in found["curves"]:
        table.add_column(f"T = {curve['temperature']:g}", justify="right")
    for place, k in enumerate(found["curves"][0]["k"]):
        cells = (_cell(curve, place) for curve in found["curves"])
        table.add_row(str(k), *cells)
    table.add_section()
    table.add_row("best", *(_best(each) for each in found["best_num_samples"]))
    return table


def best_temperature_line(best: Mapping) -> str:
    """The temperature of the choice at the largest k."""
    low, high = best["interval"]
    return (
        f"best T     at k = {best['k']}: foretold {best['predicted']:.3g} "
        f"[{low:.3g}, {high:.3g}], of those measured {best['measured']:g}"
    )


def _cell(curve: Mapping, place: int) -> str:
    measured, told = curve["measured"][place], curve["predicted"][place]
    missed = " !" if curve["k"][place] in curve["missed"] else ""
    return f"{100 * measured:.1f} / {100 * told:.1f}{missed}"


def _best(best: Mapping) -> str:
    measured, told = (
        "none" if best[name] is None else str(best[name])
        for name in ("measured", "predicted")
    )
    return f"{measured} / {told}"
