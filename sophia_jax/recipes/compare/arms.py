"""The table of arms, to be read from the top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sophia_jax.config import SophiaConfig
from sophia_jax.losses import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    alpha_divergence,
)
from sophia_jax.models.model import Model
from sophia_jax.recipes.compare.further import BETA, by_f_dpo, by_grpo
from sophia_jax.recipes.compare.laboratory import BASE, PRETRAINED, TRUE, Laboratory
from sophia_jax.recipes.compare.rules import Rule, at_random, of_first, shortest
from sophia_jax.types import Track

__all__ = ["ARMS", "FULL", "Arm", "sweeps"]

ALPHA = SophiaConfig.threshold
K, N = SophiaConfig.num_captions, SophiaConfig.num_reasonings
ANY = 0.0  # a threshold that every caption of a right reasoning exceeds
FULL = "sophia"
DIVERGENCES = {
    "reverse-kl": REVERSE_KL,
    "js": JENSEN_SHANNON,
    "alpha-0.5": alpha_divergence(0.5),
    "forward-kl": FORWARD_KL,
}

Then = Callable[[Laboratory, Model, Path, Track], Model]
"""(laboratory, policy, folder of checkpoints, track) -> policy, after the update."""


@dataclass(frozen=True)
class Arm:
    """One way from a seed's material to a policy.

    Attributes:
      name: in files and tables.
      sentence: what it is.
      rule: of what is kept; None for an arm that learns no trajectory.
      captions: whose captions the reasonings are from.
      start: the model, or the arm, that the update begins with.
      then: what comes after the update, or in its stead.
      matched: whether its trajectories are as many as those of the others; else it has
        more, or others, and the summary says so.
    """

    name: str
    sentence: str
    rule: Rule | None = None
    captions: str = BASE
    start: str = BASE
    then: Then | None = None
    matched: bool = True

    @property
    def after(self) -> str | None:
        """The arm that must have been made before; None where a model is the start."""
        return None if self.start in (BASE, PRETRAINED) else self.start


ARMS: tuple[Arm, ...] = (
    Arm("base", "The policy before any update."),
    Arm(
        "sft-random",
        "Imitates a random right reasoning of each question, under any caption.",
        at_random(ANY),
    ),
    Arm(
        "no-caption-reward",
        "SOPHIA without the captions' reward: the shortest right reasoning under any "
        "caption.",
        shortest(ANY),
    ),
    Arm(
        "no-shortest",
        "SOPHIA without the shortest rule: a random right reasoning under captions "
        "that pass.",
        at_random(ALPHA),
    ),
    Arm(
        FULL,
        "SOPHIA: the shortest right reasoning under captions that pass.",
        shortest(ALPHA),
    ),
    Arm(
        "keep-2",
        "The 2 shortest right reasonings of each question.",
        shortest(ALPHA, most=2),
        matched=False,
    ),
    Arm(
        "keep-8",
        "The 8 shortest right reasonings of each question.",
        shortest(ALPHA, most=8),
        matched=False,
    ),
    Arm(
        "no-warm-up",
        "SOPHIA from a policy that has learnt captions and no question: its own "
        "captions, and its own start.",
        shortest(ALPHA),
        captions=PRETRAINED,
        start=PRETRAINED,
        matched=False,
    ),
    Arm(
        "true-captions",
        "The shortest right reasoning from the true caption: the perception is not "
        "the policy's own.",
        shortest(ANY),
        captions=TRUE,
    ),
    Arm("grpo", "On-policy GRPO from the base.", then=by_grpo, matched=False),
    Arm(
        "sophia-grpo",
        "On-policy GRPO from what SOPHIA has made.",
        start=FULL,
        then=by_grpo,
        matched=False,
    ),
    *(
        Arm(
            f"{FULL}-f-dpo-{name}",
            f"f-DPO ({name}, beta {BETA}) from what SOPHIA has made, on right against "
            "wrong reasonings under captions that pass.",
            start=FULL,
            then=by_f_dpo(divergence),
            matched=False,
        )
        for name, divergence in DIVERGENCES.items()
    ),
    *(
        Arm(
            f"captions-{captions}",
            f"SOPHIA with K = {captions} captions of each picture.",
            of_first(shortest(ALPHA), captions=captions, reasonings=N),
        )
        for captions in (1, 2, 4)
    ),
    *(
        Arm(
            f"reasonings-{reasonings}",
            f"SOPHIA with N = {reasonings} reasonings from each caption.",
            of_first(shortest(ALPHA), captions=K, reasonings=reasonings),
        )
        for reasonings in (2, 4)
    ),
    *(
        Arm(
            f"threshold-{threshold}",
            f"SOPHIA with the threshold α = {threshold}.",
            shortest(threshold),
        )
        for threshold in (0.5, 0.9)
    ),
)


def sweeps() -> Mapping[str, tuple[tuple[float, str], ...]]:
    """The arms along each axis, the full one among them.

    With α = 0 each caption of a right reasoning passes, so that this end of the axis is
    the arm without a caption reward.
    """
    return {
        "captions K": (
            *((float(k), f"captions-{k}") for k in (1, 2, 4)),
            (float(K), FULL),
        ),
        "reasonings N": (
            *((float(n), f"reasonings-{n}") for n in (2, 4)),
            (float(N), FULL),
        ),
        "threshold α": (
            (ANY, "no-caption-reward"),
            (0.5, "threshold-0.5"),
            (ALPHA, FULL),
            (0.9, "threshold-0.9"),
        ),
    }
