"""The HTML page of a run folder: one file, read without a network or a script."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sophia_jax.paths import as_path, resolved, write_whole
from sophia_jax.training.metrics import read_metrics
from sophia_jax.types import InputError
from sophia_jax.viz.alignment import Alignment, read_alignment
from sophia_jax.viz.answers import AnswerCard, make_answer_cards
from sophia_jax.viz.questions import read_questions
from sophia_jax.viz.rollout_cards import RolloutCard, choose_questions, make_cards
from sophia_jax.viz.rollouts import (
    RolloutShards,
    count_rollouts,
    read_lengths,
    read_selection,
)
from sophia_jax.viz.summary import RolloutCounts, Summary, read_summary
from sophia_jax.viz.templates import load_template

__all__ = ["figures_of", "write_report"]

NUM_EXAMPLES = 12
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
    "reward": "mean reward of the step's answers",
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
      alignment: the pairs, where preferences were learnt.
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
    rollout_cards: tuple[RolloutCard, ...]
    answer_cards: tuple[AnswerCard, ...]
    alignment: Alignment | None


def write_report(run_folder: str | Path) -> Path:
    """Write `report.html` into a run folder, from whatever the run has left there.

    The same run gives the same bytes; a page that was there is replaced at once.

    Args:
      run_folder: as `sophia-jax quickstart` and `train` leave it, whole or not.

    Returns:
      The path of the page.

    Raises:
      InputError: there is no such folder, a file in it is damaged or cannot be written,
        or the extra `viz` is not installed.
    """
    run_folder = as_path(run_folder)
    if not run_folder.is_dir():
        raise InputError(f"{run_folder}: expected a run folder, got none")
    report = _gather(run_folder)
    name = "report" if report.alignment is None else "align"
    page = load_template(f"{name}.html.jinja").render(report=report) + "\n"
    path = run_folder / "report.html"
    try:
        write_whole(path, page)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: expected to write it, got {reason}") from error
    return path


def _gather(run_folder: Path) -> Report:
    curves = figures_of("curves")
    summary = read_summary(run_folder)
    shards = RolloutShards.find(run_folder)
    selection = read_selection(shards)
    items = read_questions(run_folder, summary.settings.get("data"))
    threshold = _threshold(summary.settings)
    least, most = (
        np.array(
            [reward for row in selection for reward in row[f"{name}_caption_rewards"]]
        )
        for name in ("least", "most")
    )
    rewards = least[least == most]
    counts = summary.rollouts or count_rollouts(shards, selection)
    num_reasonings = round((counts.reasonings or 0) / (counts.captions or 1))
    chosen = choose_questions(selection, items, NUM_EXAMPLES)
    return Report(
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
        rollout_cards=tuple(make_cards(shards, chosen, items, threshold)),
        answer_cards=tuple(make_answer_cards(run_folder, NUM_EXAMPLES)),
        alignment=read_alignment(run_folder, NUM_EXAMPLES),
    )


def figures_of(module: str) -> Any:
    """A module of figures, which needs matplotlib.

    Args:
      module: its name in this package.

    Raises:
      InputError: matplotlib is not installed.
    """
    try:
        return importlib.import_module(f"sophia_jax.viz.{module}")
    except ImportError as error:
        raise InputError(
            f"report: expected matplotlib, got no {error.name}; "
            "pip install sophia-jax[viz]"
        ) from error


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
