"""The HTML page of a run that trains: one file, read without a network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sophia_jax.paths import as_path, resolved
from sophia_jax.training.metrics import read_metrics
from sophia_jax.types import InputError
from sophia_jax.viz.answer_entries import answer_entries
from sophia_jax.viz.embedding import MAX_MIB, Embedded, embed
from sophia_jax.viz.entries import EntrySet
from sophia_jax.viz.figures import figures_of
from sophia_jax.viz.pair_entries import Pairs, read_pairs
from sophia_jax.viz.questions import read_questions
from sophia_jax.viz.rollout_entries import rollout_entries
from sophia_jax.viz.rollouts import (
    RolloutShards,
    count_rollouts,
    read_lengths,
    read_selection,
)
from sophia_jax.viz.summary import MODELS, RolloutCounts, Summary, read_summary
from sophia_jax.viz.templates import write_page_file

__all__ = ["write_report"]

PHASES = {
    "warm_up": "Warm-up: imitates texts before the collection",
    "base": "Base model: learns to see and to answer briefly",
    "reasoner": "Reasoner: learns to think, from text alone",
    "grpo": "GRPO: learns from its own answers, with each step's weights",
    "sophia": "SOPHIA: learns from the trajectories that were kept",
    "f_dpo": "f-DPO: learns to prefer chosen answers to rejected ones",
    "f_dpo/held_out": "f-DPO on held-out pairs, which are never learnt from",
}
METRICS = {
    "reward": "mean reward of answers",
    "answer_tokens": "mean answer, tokens",
    "dropped": "questions dropped, share",
    "entropy": "entropy, nats per token",
    "loss": "loss, nats per sequence",
    "mean_log_prob": "log-prob, nats per token",
    "reward_margin": "reward margin",
    "reward_accuracy": "chosen rewarded more, share",
    "chosen_log_ratio": "log-ratio of chosen, nats",
    "rejected_log_ratio": "log-ratio of rejected, nats",
    "preference_calibration_error": "calibration error",
    "divergence_reverse_kl": "reverse KL, nats",
    "divergence_js": "Jensen-Shannon divergence, nats",
    "divergence_alpha_half": "alpha divergence, alpha 0.5",
    "divergence_forward_kl": "forward KL, nats",
    "token_entropy": "entropy of own answers, nats per token",
    "distinct_2": "distinct pairs of tokens, share",
}


@dataclass(frozen=True)
class Phase:
    """Training of one model; figures are SVG elements."""

    name: str
    title: str
    num_steps: int
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What the template shows; figures are SVG elements, empty where there are none.

    Attributes:
      name: of the run folder.
      threshold: α, where the run's settings or configuration say it.
      reward_mean: the least and the most that the captions' mean can be.
      stopped_captions: whose rewards are known between bounds alone.
      length_share: of which part of the reasonings the lengths are, unless of all.
      incomplete: one line for each table that lacks shards.
      pairs: where preferences were learnt.
    """

    name: str
    summary: Summary
    counts: RolloutCounts
    threshold: float | None
    reward_mean: tuple[float, float] | None
    stopped_captions: int
    accuracy_figure: str
    reward_figure: str
    length_figure: str
    length_share: str
    incomplete: tuple[str, ...]
    phases: tuple[Phase, ...]
    pairs: Pairs | None

    @property
    def template(self) -> str:
        """The name of what shows it."""
        if self.pairs is not None:
            return "align"
        on_policy = self.summary.steps or [p.name for p in self.phases] == ["grpo"]
        return "grpo" if on_policy else "report"


def write_report(run_folder: str | Path, *, max_mib: float = MAX_MIB) -> Path:
    """Write `report.html` into a run folder, from whatever the run has left there.

    The same run gives the same bytes; a page that was there is replaced at once.

    Args:
      run_folder: as `sophia-jax quickstart`, `train`, `align` or `grpo` leaves it,
        whole or not.
      max_mib: the most that texts and pictures may take, in MiB.

    Returns:
      The path of the page.

    Raises:
      InputError: a file is damaged, the page cannot be written, or the extra `viz` is
        not installed.
    """
    run_folder = as_path(run_folder)
    report, browser = _gather(run_folder, max_mib)
    shown = {"report": report, "browser": browser}
    return write_page_file(run_folder, f"{report.template}.html.jinja", shown)


def _gather(run_folder: Path, max_mib: float) -> tuple[Report, Embedded]:
    curves = figures_of("curves")
    summary = read_summary(run_folder)
    shards = RolloutShards.find(run_folder)
    selection = read_selection(shards)
    threshold = _threshold(summary.settings)
    least, most = _reward_bounds(selection)
    rewards = least[least == most]
    counts = summary.rollouts or count_rollouts(shards, selection)
    num_reasonings = round((counts.reasonings or 0) / (counts.captions or 1))
    pairs = read_pairs(run_folder)
    report = Report(
        name=resolved(run_folder).name,
        summary=summary,
        counts=counts,
        threshold=threshold,
        reward_mean=(float(least.mean()), float(most.mean())) if len(least) else None,
        stopped_captions=len(least) - len(rewards),
        accuracy_figure=curves.accuracy_bars(summary.held_out),
        reward_figure=curves.reward_histogram(rewards, num_reasonings, threshold),
        length_figure=curves.length_histogram(*read_lengths(shards, selection)),
        length_share=shards.length_share,
        incomplete=shards.incomplete,
        phases=tuple(_phases(run_folder)),
        pairs=pairs,
    )
    sets = [*_rollouts(run_folder, report, shards, selection), *_answers(run_folder)]
    return report, embed([*sets, *(pairs.sets if pairs else ())], max_mib)


def _reward_bounds(selection: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the most that each caption's reward can be."""
    least, most = (
        [reward for row in selection for reward in row[f"{bound}_caption_rewards"]]
        for bound in ("least", "most")
    )
    return np.array(least), np.array(most)


def _rollouts(
    run_folder: Path, report: Report, shards: RolloutShards, selection: Sequence[dict]
) -> Iterator[EntrySet]:
    if selection:
        items = read_questions(run_folder, report.summary.settings.get("data"))
        total = len(selection)
        yield rollout_entries(run_folder, shards, total, items, report.threshold)


def _answers(run_folder: Path) -> Iterator[EntrySet]:
    files = {
        title: run_folder / "evaluations" / model / "predictions.parquet"
        for model, title in MODELS.items()
    }
    files = {model: path for model, path in files.items() if path.is_file()}
    if files:
        items = read_questions(run_folder, None, "held_out")
        yield answer_entries("held-out questions", run_folder, files, items)


def _threshold(settings: Mapping[str, str]) -> float | None:
    """α from the settings, by the last part of its name."""
    for name, value in settings.items():
        if name.split(".")[-1] == "threshold":
            with contextlib.suppress(ValueError):
                return float(value)
    return None


def _phases(run_folder: Path) -> list[Phase]:
    curves = figures_of("curves")
    phases = []
    for name, title in PHASES.items():
        path = run_folder / "training" / name / "metrics.jsonl"
        try:
            rows = read_metrics(path)
            figures = tuple(
                curves.metric_curve(rows, metric, label=label, phase=name)
                for metric, label in METRICS.items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            rule = "expected one JSON object with its step per line"
            raise InputError(f"{path}: {rule}, got {error!r}") from error
        if rows:
            # A look at held-out data has the number of updates that came before it.
            num_steps = int(rows[-1]["step"]) + (not name.endswith("held_out"))
            phases.append(Phase(name, title, num_steps, figures))
    return phases
