"""What an alignment depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sophia_jax.losses import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    Divergence,
    alpha_divergence,
)
from sophia_jax.recipes.phases import UpdateConfig

__all__ = ["AlignConfig", "DivergenceName", "MinedFrom", "divergence_of"]

DivergenceName = Literal["reverse-kl", "forward-kl", "js", "alpha"]
NAMED = {"reverse-kl": REVERSE_KL, "forward-kl": FORWARD_KL, "js": JENSEN_SHANNON}


@dataclass(frozen=True)
class MinedFrom:
    """Stored rollouts that preferences are mined from.

    Attributes:
      run: folder of a collection, or of the quickstart.
      pairs_per_question, threshold, cut_off: as of `mined_pairs`.
    """

    run: str
    pairs_per_question: int = 1
    threshold: float | None = None
    cut_off: bool = False

    def __post_init__(self) -> None:
        if self.pairs_per_question < 1:
            raise ValueError(
                f"pairs_per_question: expected >= 1, got {self.pairs_per_question}"
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(
                f"threshold: expected between 0 and 1, got {self.threshold}"
            )


@dataclass(frozen=True)
class AlignConfig:
    """Everything that an alignment depends on.

    Attributes:
      policy: folder or repository of the model that learns.
      preferences: a source, as of `read_pairs`; or where they are mined.
      phase: of the updates, whose batches count pairs; nothing is mixed in.
      divergence: D_f, by its name.
      alpha: of the alpha divergence, in (0, 1); None for the others.
      beta: β > 0, the price of that divergence.
      reference: folder or repository of π_ref; None for the policy at its start.
      held_out: share of the questions that are never learnt from, in [0, 1).
      evaluate_every: updates between looks at these; None for ten looks.
      own_answers: of the policy, about as many at each look, to questions of held-out
        pairs; 0 for none.
      limit: the most rows of a source; None for all.
      exclude: benchmarks, whose rows a source is cleared of.
    """

    policy: str
    preferences: str | MinedFrom
    phase: UpdateConfig
    divergence: DivergenceName = "reverse-kl"
    alpha: float | None = None
    beta: float = 0.1
    reference: str | None = None
    held_out: float = 0.1
    evaluate_every: int | None = None
    own_answers: int = 64
    limit: int | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        divergence_of(self.divergence, self.alpha)
        if not self.beta > 0:
            raise ValueError(f"beta: expected > 0, got {self.beta}")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out: expected in [0, 1), got {self.held_out}")
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise ValueError(
                f"evaluate_every: expected >= 1, got {self.evaluate_every}"
            )
        if self.own_answers < 0:
            raise ValueError(f"own_answers: expected >= 0, got {self.own_answers}")
        if self.phase.mix:
            raise ValueError("mix: expected nothing beside preferences, got a source")


def divergence_of(name: DivergenceName, alpha: float | None) -> Divergence:
    """The divergence that a name means.

    Raises:
      ValueError: alpha is missing, out of its range, or of another divergence.
    """
    if name == "alpha":
        if alpha is None:
            raise ValueError("alpha: expected a number in (0, 1), got none")
        return alpha_divergence(alpha)
    if alpha is not None:
        raise ValueError(f"alpha: expected none for {name}, got {alpha}")
    if name not in NAMED:
        names = ", ".join((*NAMED, "alpha"))
        raise ValueError(f"divergence: expected one of {names}, got {name}")
    return NAMED[name]
