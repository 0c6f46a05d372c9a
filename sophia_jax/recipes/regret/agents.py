"""The agents that are compared, each with the confidence scale that it has.

Factors of tuned scales are of a grid whose steps are about three, and were chosen in a
shorter river, a longer one, and another mixture, none of which is a bed here. The rule
(`scripts/tune_regret.py`) was settled after one without its condition on how regret
grows had been seen to fail in the beds that are reported.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sophia_jax import average_reward as ar
from sophia_jax.recipes.regret.beds import Bed

__all__ = ["AGENTS", "THEORY", "TUNED", "Entry"]

Scale = Literal["theory", "tuned", "none"]
Pace = Literal["fast", "slow"]
Maker = Callable[[Bed, int, float], ar.Agent]
THEORY, TUNED = "theory", "tuned"


@dataclass(frozen=True)
class Entry:
    """One agent of the table.

    Attributes:
      make: (bed, T, factor) -> the agent; the factor is of its squared confidence
        width, or of its bonus.
      scale: whether the width is that of the theory, for a chance of failure of 1/20,
        or tuned; "none" where there is none.
      factor: 1 for the theory.
      family: "LOOP", "baseline", or "end" of the scale.
      pace: slow agents plan so often that they are given fewer steps.
      only: "mixture" where the bed has to be a linear mixture.
      why: of its scale, or what it is, in words.
    """

    make: Maker
    scale: Scale = "none"
    factor: float = 1.0
    family: str = "LOOP"
    pace: Pace = "fast"
    only: str = ""
    why: str = ""

    def fits(self, bed: Bed) -> bool:
        """Whether it can act in a bed."""
        return self.only != "mixture" or bed.mdp.mixture_features is not None


def models(bed: Bed, steps: int, factor: float) -> ar.Agent:
    beta = covering(bed, steps, math.log(len(bed.models.gain)), factor)
    return ar.loop_models(bed.models, beta=beta, span_bound=bed.span)


def values(bed: Bed, steps: int, factor: float) -> ar.Agent:
    both = len(bed.values.gain) + len(bed.values.auxiliary)
    beta = covering(bed, steps, math.log(both), factor)
    return ar.loop_values(bed.values, beta=beta, span_bound=bed.span)


def likelihood(bed: Bed, steps: int, factor: float) -> ar.Agent:
    beta = factor * ar.likelihood_radius(len(bed.models.gain))
    return ar.loop_likelihood(bed.models, beta=beta, span_bound=bed.span)


def rows(bed: Bed, steps: int, factor: float) -> ar.Agent:
    size = bed.mdp.num_states, bed.mdp.num_actions
    beta = factor * ar.row_radius(steps, *size)
    return ar.loop_likelihood_tabular(beta=beta, span_bound=bed.span)


def tabular(bed: Bed, steps: int, factor: float) -> ar.Agent:
    states, actions = bed.mdp.num_states, bed.mdp.num_actions
    beta = ar.ellipsoid_radius(
        steps,
        dim=states**2 * actions,
        span=bed.span,
        row_norm=bed.span / 2 * math.sqrt(states),
        weight_norm=math.sqrt(states * actions),
        scale=factor,
    )
    return ar.loop_tabular(states, actions, beta=beta, span_bound=bed.span)


def mixture(bed: Bed, steps: int, factor: float) -> ar.Agent:
    features = bed.mdp.mixture_features
    beta = ar.ellipsoid_radius(
        steps,
        dim=features.shape[-1],
        span=bed.span,
        row_norm=bed.span / 2 * norm(np.abs(features).sum(2)),
        weight_norm=norm(bed.mdp.mixture_weights),
        scale=factor,
    )
    return ar.loop_mixture(features, beta=beta, span_bound=bed.span)


def linear(bed: Bed, steps: int, factor: float) -> ar.Agent:
    beta = of_features(bed, steps, factor)
    return ar.loop_linear(bed.features, beta=beta, span_bound=bed.span)


def fopo(bed: Bed, steps: int, factor: float) -> ar.Agent:
    beta = of_features(bed, steps, factor)
    return ar.fopo(bed.features, beta=beta, span_bound=bed.span)


def lscvi(bed: Bed, steps: int, factor: float) -> ar.Agent:
    beta = of_features(bed, steps, factor)
    return ar.gamma_lscvi_ucb(bed.features, steps, beta=beta, span_bound=bed.span)


def olsvi(bed: Bed, steps: int, factor: float) -> ar.Agent:
    beta = of_features(bed, steps, factor)
    return ar.olsvi_fh(bed.features, steps, beta=beta, span_bound=bed.span)


def exp2(bed: Bed, steps: int, factor: float) -> ar.Agent:
    return ar.mdp_exp2(bed.features)


def q_learning(bed: Bed, steps: int, factor: float) -> ar.Agent:
    return ar.optimistic_q_learning(steps, span_bound=bed.span, bonus_scale=factor)


def covering(bed: Bed, steps: int, log_covering: float, factor: float) -> float:
    return ar.confidence_radius(
        steps, log_covering=log_covering, span=bed.span, scale=factor
    )


def of_features(bed: Bed, steps: int, factor: float) -> float:
    """beta where Q is linear: log N = d log T."""
    dim = bed.features.shape[-1]
    return covering(bed, steps, dim * math.log(max(steps, 2)), factor)


def norm(rows: np.ndarray) -> float:
    """The largest, of the last axis."""
    return float(np.linalg.norm(rows, axis=-1).max())


def both(name: str, make: Maker, factor: float, **more: str) -> dict[str, Entry]:
    """An agent at the theory's scale, and at one that was tuned."""
    tuned = Entry(make, TUNED, factor, **more)
    return {name: tuned, f"{name}-theory": Entry(make, THEORY, **more)}


def baseline(make: Maker, **more: object) -> Entry:
    return Entry(make, **{"family": "baseline", **more})


based = functools.partial(both, family="baseline")
NO_SET = "has no confidence set: "
AGENTS: dict[str, Entry] = {
    **both("loop-models", models, 0.003),
    **both("loop-values", values, 0.03),
    "loop-likelihood-theory": Entry(likelihood, THEORY),
    **both("loop-rows", rows, 0.03),
    **both("loop-tabular", tabular, 0.003),
    **both("loop-mixture", mixture, 0.01, only="mixture"),
    **both("loop-linear", linear, 0.0003),
    **based("ucrl2", lambda bed, steps, factor: ar.ucrl2(scale=factor), 0.003),
    "psrl": baseline(lambda *_: ar.psrl(), why=NO_SET + "it draws from a posterior"),
    **based("q-learning", q_learning, 0.001),
    **based("gamma-lscvi-ucb", lscvi, 0.001),
    "fopo": baseline(fopo, scale=TUNED, factor=0.001, pace="slow"),
    "olsvi-fh": baseline(olsvi, scale=TUNED, factor=0.03, pace="slow"),
    "mdp-exp2": baseline(exp2, why=NO_SET + "it explores by a softmax"),
    "epsilon-greedy": baseline(
        lambda *_: ar.epsilon_greedy(), why=NO_SET + "one action in 20 is random"
    ),
    "uniform": Entry(
        lambda *_: ar.uniform_policy(), family="end", why=NO_SET + "learns nothing"
    ),
    "optimal": Entry(
        lambda bed, *_: ar.optimal_policy(bed.mdp),
        family="end",
        why=NO_SET + "it was told everything",
    ),
}
