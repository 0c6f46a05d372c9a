"""The page of what more answers bring: under three judges, or under an evaluation's."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from sophia_jax.viz.judge_panels import judge_section
from sophia_jax.viz.summary_page import SummaryPage

__all__ = ["PAGE"]

KIND, FIT = "more_answers", "judge_fit"
LEAD = (
    "A policy answers each question k times, and a judge chooses one of the answers. "
    "With a judge who knows, more answers are better; with one who can be misled, the "
    "more there are, the likelier is one among them that misleads."
)
ABOUT = {
    "good": "The trained judge, as it is.",
    "noisy": "The same, with Gaussian noise on each score, {noise:g} times as wide as "
    "its scores of answers to one question are.",
    "misleading": "The same, but it likes short answers: each token less is worth "
    "{liking:g} nats to it. The shortest of many answers have left something out.",
}


def _show(summary: Mapping[str, Any], figures: ModuleType) -> dict[str, Any]:
    """What the template shows of three judges, or of a fit."""
    return (_of_run if summary["kind"] == KIND else _of_fit)(summary, figures)


def _of_run(summary: Mapping[str, Any], figures: Any) -> dict[str, Any]:
    """What the template shows of three judges."""
    settings, references = summary["settings"], summary["references"]
    judges = summary["judges"]
    curves = [curve for found in judges.values() for curve in found["curves"]]
    limits = figures.accuracy_limits(curves, references)
    concordance = judges["good"]["measures"]["concordance"]
    return _common(judges["good"], summary) | {
        "title": "What more answers bring",
        "eyebrow": f"{settings['questions']} held-out questions, "
        f"{settings['num_answers']} answers to each",
        "lead": LEAD,
        "learnt": summary["judge"],
        "texts": {n: f"{v:.1f}" for n, v in summary["different_texts"].items()},
        "concordance": "–" if concordance is None else f"{100 * concordance:.1f} %",
        "single": f"{100 * references['pass'][0]:.1f} %",
        "small": settings["questions"] < 100,
        "seconds": summary["seconds"],
        "panels": [
            judge_section(
                name.capitalize(),
                found,
                figures,
                limits=limits,
                references=references,
                about=ABOUT[name].format(**settings),
            )
            for name, found in judges.items()
        ],
    }


def _of_fit(summary: Mapping[str, Any], figures: Any) -> dict[str, Any]:
    """What the template shows of one evaluation's judge."""
    found = summary["forecast"]
    limits = figures.accuracy_limits(found["curves"])
    return _common(found, summary) | {
        "title": "What more answers would bring",
        "eyebrow": f"{sum(found['num_questions'])} questions of "
        f"{summary['evaluation']}",
        "lead": "From the scores that a judge gave to a few answers, and whether these "
        "were right, follows how often it would choose a right one among many: on one "
        "half of the questions it is foretold, on the other it is measured.",
        "learnt": None,
        "seconds": None,
        "panels": [judge_section("The judge", found, figures, limits=limits)],
    }


def _common(found: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fit_samples": found["fit_samples"],
        "halves": found["num_questions"],
        "most": found["curves"][0]["k"][-1],
        "versions": summary["versions"],
    }


PAGE = SummaryPage(
    "more_answers.html.jinja", _show, figures="judge_curves", what="`sophia-jax scale`"
)
