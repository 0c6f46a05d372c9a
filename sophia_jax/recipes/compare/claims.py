"""What the paper's ablations claim, and whether ours say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sophia_jax.evaluation.seeds import Estimate

__all__ = ["CLAIMS", "Claim", "verdict"]

AGREES, DISAGREES, UNDECIDED = "agrees", "disagrees", "not decided"


@dataclass(frozen=True)
class Claim:
    """One arm against another in the paper's own figures.

    Attributes:
      first, second: arms; the paper's difference is second minus first.
      measure: of `MEASURES`.
      paper: its figures for the two, in per cent.
      source: table and benchmarks.
    """

    first: str
    second: str
    paper: tuple[float, float]
    source: str
    measure: str = "pass@1"


FOUR = "mean of 4 benchmarks, InternVL2.5-38B, RL data alone"
EIGHT = "mean of 8 benchmarks, InternVL2.5-38B"
WITH_GRPO = "mean of 8 benchmarks, InternVL3.0-38B"
CLAIMS: tuple[Claim, ...] = (
    Claim("base", "sophia", (46.28, 55.13), f"table 5, {FOUR}"),
    Claim("sft-random", "sophia", (51.53, 55.13), f"table 5, {FOUR}"),
    Claim("no-caption-reward", "sophia", (53.54, 55.13), f"table 5, {FOUR}"),
    Claim("no-shortest", "sophia", (54.74, 55.13), f"table 5, {FOUR}"),
    Claim("no-caption-reward", "no-shortest", (53.54, 54.74), f"table 5, {FOUR}"),
    Claim("sophia", "keep-2", (50.74, 50.63), f"table A4, {EIGHT}, RL data alone"),
    Claim("sophia", "keep-8", (50.74, 51.45), f"table A4, {EIGHT}, RL data alone"),
    Claim("no-warm-up", "sophia", (51.88, 54.03), f"table 6, {EIGHT}"),
    Claim("base", "grpo", (47.01, 50.98), f"table 1, {WITH_GRPO}"),
    Claim("grpo", "sophia", (50.98, 55.51), f"table 1, {WITH_GRPO}"),
    Claim("sophia", "sophia-grpo", (55.51, 57.28), f"table 1, {WITH_GRPO}"),
    Claim(
        "base",
        "sophia",
        (38.0, 16.0),
        "table 9, 50 answers to MMMU-Pro judged by hand, InternVL3.0-38B",
        measure="hallucination",
    ),
)


def verdict(claim: Claim, difference: Estimate, names: Mapping[str, float]) -> str:
    """Whether our difference has the paper's sign; computed, never judged.

    The paper gives its figures without intervals, so that a small difference of its own
    may be chance as well.

    Args:
      claim: of the paper.
      difference: ours, second minus first, with its interval.
      names: share of answers of each arm that name a number at all; where an arm's name
        none, nothing can be hallucinated, and nothing compared.

    Returns:
      "agrees" or "disagrees" where the interval does not contain 0; "not decided" where
      it does; "cannot be compared".
    """
    if claim.measure == "hallucination" and not all(
        names[name] for name in (claim.first, claim.second)
    ):
        return "cannot be compared"
    if not difference.sign:
        return UNDECIDED
    paper = claim.paper[1] - claim.paper[0]
    return AGREES if difference.sign * paper > 0 else DISAGREES
