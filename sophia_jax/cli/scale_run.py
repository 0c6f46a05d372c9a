"""`sophia-jax scale` of real answers: of a run's policy, or of an evaluation's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.options import AnyPath, checked_options, leave_page
from sophia_jax.cli.tables import seconds_line

if TYPE_CHECKING:
    from rich.table import Table

    from sophia_jax.cli.progress import Display
    from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig

__all__ = ["RealOptions", "is_real", "scale_real"]


@dataclass(frozen=True)
class RealOptions:
    """Real answers, in place of the regression."""

    run_folder: Annotated[AnyPath | None, tyro.conf.arg(name="run")] = None
    """Folder of a quickstart that has ended: its policy answers, a judge learns from
    its training questions, and three judges choose."""
    fit: AnyPath | None = None
    """Folder that evaluate left, with a judge: foretell what it would do with more
    answers."""
    held_out: int | None = None
    """With --run: held-out questions, at least 8; None for all, at most 600."""
    answers: int | None = None
    """With --run: answers to each of these; None for 32."""
    train_answers: int | None = None
    """With --run: answers to each training question, for the judge to learn from; None
    for 16."""
    answer_temperature: float | None = None
    """With --run: >= 0, at which the policy answers; None for 1.4, where a policy that
    is mostly right at 1 leaves more to choose from, and to learn from."""
    score_temperatures: tuple[float, ...] | None = None
    """Each T of the choice, >= 0, in units of the judge's scores, which are nats with
    --run; 0 is best-of-k. None for 0 and 1."""
    fit_samples: int | None = None
    """Answers to a question that the forecast looks at; None for 8."""


RUN_ALONE = ("held_out", "answers", "train_answers", "answer_temperature")


def is_real(options: RealOptions, changed: Sequence[str]) -> bool:
    """Whether real answers are asked for.

    Args:
      options: of the command.
      changed: options of the regression that were given.

    Raises:
      InputError: options are given that do not go together.
    """
    from sophia_jax.types import InputError

    given = [name for name, value in asdict(options).items() if value is not None]
    if options.run_folder is not None and options.fit is not None:
        raise InputError("--run, --fit: expected one of them, got both")
    if options.run_folder is None and options.fit is None:
        if given:
            raise InputError(f"{_flag(given[0])}: expected with --run or --fit alone")
        return False
    wrong = list(changed)
    if options.fit is not None:
        wrong += [name for name in given if name in RUN_ALONE]
    if wrong:
        way = "--run" if options.fit is None else "--fit"
        raise InputError(f"{_flag(wrong[0])}: expected none with {way}, got one")
    return True


def scale_real(
    options: RealOptions,
    out: Path,
    display: Display,
    *,
    seed: int,
    quick: bool,
    resume: bool,
    force: bool,
) -> None:
    """Accuracy against k of real answers.

    Args:
      options: of the command; either `run_folder` or `fit` is given.
      out: folder of the result.
      display: shows progress and prints.
      seed, quick, resume, force: of the command.
    """
    from sophia_jax.types import InputError

    if options.fit is None:
        _run(options, out, display, seed, quick, resume=resume, force=force)
    elif quick:
        raise InputError("--quick: expected none with --fit, got one")
    else:
        _fit(options, out, display, seed, resume=resume, force=force)
    leave_page(out, display)


def _run(
    options: RealOptions,
    out: Path,
    display: Display,
    seed: int,
    quick: bool,
    **folder: bool,
) -> None:
    """A quickstart's policy under three judges."""
    from sophia_jax.recipes.more_answers.answers import find_run
    from sophia_jax.recipes.more_answers.run import run_more_answers
    from sophia_jax.recipes.run_folder import open_run_folder

    config, given = _sizes(options, seed, quick)
    found = find_run(options.run_folder)
    config = config.no_more_than(len(found.train), len(found.held_out), given)
    settings = asdict(config) | {"run": str(options.run_folder)}
    open_run_folder(out, settings, **folder)
    summary = run_more_answers(
        out, options.run_folder, config, track=display.track, say=display.say
    )
    for name, judge in summary["judges"].items():
        display.say(forecast_table(judge, name))
    display.say(seconds_line(summary["seconds"]))


def _sizes(
    options: RealOptions, seed: int, quick: bool
) -> tuple[MoreAnswersConfig, Collection[str]]:
    """All sizes, and the names of those that were given."""
    from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig, quick_size

    config = MoreAnswersConfig(seed=seed)
    sizes = {
        "questions": options.held_out,
        "num_answers": options.answers,
        "train_answers": options.train_answers,
        "temperatures": options.score_temperatures,
        "fit_samples": options.fit_samples,
    }
    given = {name: value for name, value in sizes.items() if value is not None}
    if options.answer_temperature is not None:
        with checked_options():
            given["sampling"] = replace(
                config.sampling, temperature=options.answer_temperature
            )
    return replace(quick_size(config) if quick else config, **given), given


def _fit(
    options: RealOptions, out: Path, display: Display, seed: int, **folder: bool
) -> None:
    """What an evaluation's judge would do among many answers."""
    from sophia_jax.recipes.judge_forecast import forecast_run, write_fit
    from sophia_jax.recipes.run_folder import check_run_folder, open_run_folder

    asked = {
        "temperatures": options.score_temperatures,
        "fit_samples": options.fit_samples,
        "seed": seed,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    settings = asked | {"fit": str(options.fit)}
    check_run_folder(out, settings, **folder)
    found = forecast_run(options.fit, **asked)
    open_run_folder(out, settings, **folder)
    write_fit(out, options.fit, found)
    display.say(forecast_table(found, "judge"))
    display.say(best_temperature_line(found["best_temperature"]))


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


def _flag(name: str) -> str:
    name = "run" if name == "run_folder" else name
    return f"--{name.replace('_', '-')}"
