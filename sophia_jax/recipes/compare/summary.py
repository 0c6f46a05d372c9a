"""The table of all arms over all seeds, and the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from sophia_jax.evaluation.seeds import Estimate, estimate_over_seeds
from sophia_jax.recipes.compare.arms import FULL, Arm, sweeps
from sophia_jax.recipes.compare.claims import CLAIMS, verdict
from sophia_jax.recipes.compare.scoring import MEASURES

__all__ = ["summarize_arms"]

Scores = Mapping[str, Sequence[Mapping[str, np.ndarray]]]
"""By arm, for each seed, Float[question] by measure."""


def summarize_arms(
    arms: Sequence[Arm], scores: Scores, learnt: Sequence[Mapping[str, dict]]
) -> dict:
    """Everything that is said of the arms; all of it computed from their answers.

    Args:
      arms: in the order of the table.
      scores: of each.
      learnt: for each seed, by arm, `kept` (questions that its rule keeps something
        of), `questions` and `trajectories` that it learnt from; arms without a rule
        are missing.

    Returns:
      `arms`, `sweeps` and `claims`, as `summary.json` has them.
    """
    return {
        "arms": {arm.name: _arm(arm, scores, learnt) for arm in arms},
        "sweeps": {
            axis: [
                {"value": value, "arm": name}
                for value, name in points
                if name in scores
            ]
            for axis, points in sweeps().items()
        },
        "claims": [
            _claim(claim, scores)
            for claim in CLAIMS
            if claim.first in scores and claim.second in scores
        ],
        "claims_without_arms": [
            f"{claim.first} against {claim.second} ({claim.source})"
            for claim in CLAIMS
            if claim.first not in scores or claim.second not in scores
        ],
    }


def _arm(arm: Arm, scores: Scores, learnt: Sequence[Mapping[str, dict]]) -> dict:
    return {
        "sentence": arm.sentence,
        "matched": arm.matched,
        **{
            name: asdict(estimate_over_seeds(_stack(scores, arm.name, name)))
            for name in MEASURES
        },
        "difference": asdict(_difference(scores, FULL, arm.name, "pass@1"))
        if FULL in scores
        else None,
        "learnt": [each[arm.name] for each in learnt if arm.name in each],
    }


def _claim(claim, scores: Scores) -> dict:
    difference = _difference(scores, claim.first, claim.second, claim.measure)
    names = {
        name: float(_stack(scores, name, "names_numbers").mean())
        for name in (claim.first, claim.second)
    }
    ours = [
        float(_stack(scores, name, claim.measure).mean())
        for name in (claim.first, claim.second)
    ]
    return {
        **asdict(claim),
        "ours": ours,
        "difference": asdict(difference),
        "verdict": verdict(claim, difference, names),
    }


def _difference(scores: Scores, first: str, second: str, measure: str) -> Estimate:
    """Second minus first, question by question."""
    return estimate_over_seeds(
        _stack(scores, second, measure) - _stack(scores, first, measure)
    )


def _stack(scores: Scores, name: str, measure: str) -> np.ndarray:
    return np.stack([seed[measure] for seed in scores[name]])
