"""`sophia-jax scale`: inference with a judge, theory against simulation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.options import AnyPath, checked_options, leave_page
from sophia_jax.cli.scale_run import RealOptions, is_real, scale_real
from sophia_jax.cli.tables import seconds_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rich.table import Table

    from sophia_jax.cli.progress import Display

__all__ = ["Scale"]

OF_BOTH = ("seed", "quick", "resume", "force")


@dataclass(frozen=True)
class Scale:
    """Best-of-k and reward-weighted sampling: what more answers bring, beside theory.

    In Bayesian regression, whose theory is exact; or with --run of a real policy, under
    a trained judge and two that are worse; or with --fit of an evaluation's judge.
    """

    out: AnyPath = Path("runs/scale")
    """Folder of the run; must not exist, or see --resume and --force."""
    draws: int = 500
    """Data sets, each with questions of its own."""
    questions: int = 24
    """Questions asked of each data set's model."""
    dim: int = 60
    """d, numbers in a question."""
    num_data: int = 300
    """n, answers that are learnt from."""
    noise_std: float = 0.15
    """σ > 0, standard deviation of an answer's noise, in units of answers."""
    prior_std: float = 0.5
    """γ > 0, standard deviation of a weight under the prior."""
    exponent: float = 0.0
    """a, of the spectrum j^-a of questions, whose mean is 1; 0 is isotropic."""
    eigenvalues: tuple[float, ...] = ()
    """The spectrum itself, as many numbers >= 0 as --dim; none for --exponent."""
    judge_errors: tuple[float, ...] = (0.0, 0.05, 0.15, 0.3)
    """Of each judge: root mean square of what it takes for right, less what is right,
    in units of answers; 0 is a judge who knows."""
    difficulties: tuple[float, ...] = (1.0, 3.0, 6.0)
    """Of each teacher: root mean square of its weights, in units of --prior-std."""
    num_samples: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    """Each k, answers to choose from, ascending."""
    temperatures: tuple[float, ...] = (0.0, 0.1, 1.0, 10.0)
    """Each t = T / 2s², ascending: temperature in units of twice the variance of an
    answer; 0 is best-of-k."""
    seed: int = 0
    """Of teacher, judges, data and answers; of all that is drawn with --run and --fit.
    """
    quick: bool = False
    """At most 40 draws, and half of the judges, temperatures and numbers of answers;
    with --run 40 questions, 8 answers to each and a tenth of the judge's lessons."""
    resume: bool = False
    """Go on with a run of the same settings."""
    force: bool = False
    """Delete what an earlier run left in the folder."""

    real: Annotated[RealOptions, tyro.conf.OmitArgPrefixes] = RealOptions()
    """In place of the regression."""

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from dataclasses import asdict

        from sophia_jax.recipes.run_folder import open_run_folder
        from sophia_jax.recipes.scale.run import run_scale
        from sophia_jax.recipes.scale.sizes import ScaleConfig, quick_size

        names = {field.name for field in fields(ScaleConfig)} & asdict(self).keys()
        if is_real(self.real, self._given(names - {"seed"})):
            options = {name: getattr(self, name) for name in OF_BOTH}
            return scale_real(self.real, self.out, display, **options)
        with checked_options():
            config = ScaleConfig(**{name: getattr(self, name) for name in names})
            config = quick_size(config) if self.quick else config
        open_run_folder(self.out, asdict(config), resume=self.resume, force=self.force)
        summary = run_scale(self.out, config, track=display.track, say=display.say)
        display.say(best_table(summary))
        for line in agreement_lines(summary):
            display.say(line)
        display.say(seconds_line(summary["seconds"]))
        leave_page(self.out, display)

    def _given(self, names: Collection[str]) -> list[str]:
        """Which of these options differ from their defaults."""
        return [
            field.name
            for field in fields(self)
            if field.name in names and getattr(self, field.name) != field.default
        ]


def best_table(summary: Mapping) -> Table:
    """How many answers are best, by theory and by simulation.

    Args:
      summary: of `run_scale`.
    """
    from rich.table import Table

    table = Table(
        title="best k: theory / simulation",
        title_justify="left",
        caption="Of the k tried; where errors are flat, the simulation's k is chance.",
        caption_justify="left",
    )
    most = summary["settings"]["num_samples"][-1]

    def cell(k: int) -> str:
        return f"≥ {k}" if k == most else str(k)

    table.add_column("difficulty")
    table.add_column("judge's error")
    for t in summary["settings"]["temperatures"]:
        table.add_column(f"t = {t:g}", justify="right")
    for each in summary["best"]:
        table.add_row(
            f"{each['difficulty']:g}",
            f"{each['judge_error']:g}",
            *(
                f"{cell(best['theory'])} / {cell(best['simulated'])}"
                for best in each["best_k"]
            ),
        )
    return table


def agreement_lines(summary: Mapping) -> list[str]:
    """Where theory lies within the simulation's intervals, and where furthest off."""
    points = summary["points"]
    inside = sum(point["verdict"] == "inside" for point in points)
    worst = max(points, key=lambda p: abs(p["theory"] / p["simulated"] - 1))
    low, high = worst["interval"]
    return [
        f"theory     within the 95 % interval at {inside} of {len(points)} points "
        "(which share their draws: they are off together)",
        f"furthest   theory {worst['theory']:.4g}, simulation {worst['simulated']:.4g} "
        f"[{low:.4g}, {high:.4g}]: difficulty {worst['difficulty']:g}, judge's error "
        f"{worst['judge_error']:g}, t = {worst['t']:g}, k = {worst['k']}",
    ]
