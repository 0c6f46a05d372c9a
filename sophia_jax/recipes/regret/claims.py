"""What is asked of LOOP, whether it is met, and the reason where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sophia_jax.recipes.regret.agents import THEORY, TUNED
from sophia_jax.recipes.regret.beds import make_bed
from sophia_jax.recipes.regret.findings import BELOW

__all__ = ["MET", "MISSED", "NOT_TOLD", "check_claims"]

MET, MISSED, NOT_TOLD = "met", "missed", "not told"
MOST_SLOPE, LEAST_COVERAGE = 0.6, 0.95
ENOUGH_STEPS, ENOUGH_SEEDS = 100_000, 50


def check_claims(cells: Sequence[Mapping], comparisons: Sequence[Mapping]) -> list:
    """Every claim about every LOOP that ran, in words.

    Args:
      cells: of `summarize_cell`.
      comparisons: of `compare_to_ucrl2`.

    Returns:
      Of each the `claim`, the `agent` and `bed`, what was `found`, the `verdict`, and
      the `reason` where it is not met.
    """
    loops = [each for each in cells if each["family"] == "LOOP"]
    found = []
    for each in loops:
        if each["scale"] == TUNED:
            found.append(_slope(each))
        if each["scale"] == THEORY:
            found.append(_covers(each))
        found.append(_switches(each))
    by_place = {(each["bed"], each["agent"]): each for each in cells}
    told = [each for each in comparisons if each["structure"]]
    return found + [_below(each, by_place) for each in told]


def _claim(place: Mapping, claim: str, found: str, verdict: str, reason: str) -> dict:
    return {
        "claim": claim,
        "agent": place["agent"],
        "bed": place["bed"],
        "found": found,
        "verdict": verdict,
        "reason": "" if verdict == MET else reason,
    }


def _slope(cell: Mapping) -> dict:
    claim = f"log-log slope of regret at most {MOST_SLOPE:g}, tuned scale"
    if cell["slope"] is None:
        reason = "every choice was the best there is"
        return _claim(cell, claim, "no regret to fit", MET, reason)
    slope, interval = cell["slope"]
    verdict = MET if slope <= MOST_SLOPE else MISSED
    reason = why_regret(cell)
    if cell["num_steps"] < ENOUGH_STEPS:
        verdict = NOT_TOLD
        reason = f"{cell['num_steps']:,} steps, of {ENOUGH_STEPS:,} that are asked for"
    return _claim(cell, claim, with_interval(slope, interval, "z.2f"), verdict, reason)


def _covers(cell: Mapping) -> dict:
    claim = f"truth in the set at every switch, in {LEAST_COVERAGE:.0%} of runs"
    coverage = cell["coverage"]
    share, runs = coverage["share"], coverage["num_runs"]
    verdict = MET if share >= LEAST_COVERAGE else MISSED
    reason = f"the truth left the set in {runs - coverage['inside']} of {runs} runs"
    if runs < ENOUGH_SEEDS:
        verdict, reason = NOT_TOLD, f"{runs} runs, of {ENOUGH_SEEDS} that are asked for"
    found = with_interval(share, coverage["interval"], ".0%")
    return _claim(cell, claim, found, verdict, reason)


def _switches(cell: Mapping) -> dict:
    claim = "switches grow no faster than log T"
    growth = cell["growth_of_switches"]
    if growth is None or growth[1] is None:
        reason = "too few steps or seeds, or too many switches to note each"
        return _claim(cell, claim, "no fit", NOT_TOLD, reason)
    exponent, interval = growth
    verdict = MISSED if interval[0] > 0 else MET
    before, last = cell["switches_by_decade"]
    reason = (
        f"{before:.1f} switches a run from T/100 to T/10, and {last:.1f} after that: "
        f"{_why_switches(cell)}"
    )
    found = f"exponent {with_interval(exponent, interval, 'z.2f')}"
    return _claim(cell, claim, found, verdict, reason)


def _why_switches(cell: Mapping) -> str:
    coverage = cell["coverage"]
    if coverage is not None and coverage["inside"] < coverage["num_runs"]:
        return (
            f"the truth left its set in {coverage['num_runs'] - coverage['inside']} of "
            f"{coverage['num_runs']} runs, so that the best policy fails as well"
        )
    if cell["switches_by_decade"][0] < 1:
        return "its set was so wide that it gave up next to no policy before"
    return "its set is so wide that policies have only begun to fail"


def _below(each: Mapping, by_place: Mapping) -> dict:
    claim = f"regret below that of {each['rival']}, by knowing {each['structure']}"
    verdict = {BELOW: MET, "above": MISSED}.get(each["verdict"], NOT_TOLD)
    reason = "the interval of the difference holds 0, or there is a single seed"
    if verdict == MISSED:
        reason = why_regret(by_place[each["bed"], each["agent"]])
    found = with_interval(each["difference"], each["interval"], "+,.0f")
    return _claim(each, claim, found, verdict, reason)


def why_regret(cell: Mapping) -> str:
    """Where the regret of an optimistic agent is from, by what it believes at the end.

    Args:
      cell: of `summarize_cell`.
    """
    gain, believed = make_bed(cell["bed"]).gain, cell["believed"]
    coverage = cell["coverage"]
    if believed is not None and believed > gain + 0.01:
        return (
            f"after {cell['num_steps']:,} steps it still believes in a gain of "
            f"{believed:.2f}, where {gain:.2f} is the best there is: its set is too "
            "wide to have ruled out better models"
        )
    if coverage is not None and coverage["inside"] < coverage["num_runs"]:
        lost = coverage["num_runs"] - coverage["inside"]
        return (
            f"the truth left its set in {lost} of {coverage['num_runs']} runs, so that "
            "some of them keep a policy that is not the best"
        )
    return "what it spent on exploring until it knew the best policy"


def with_interval(value: float, interval: Sequence[float] | None, form: str) -> str:
    """A number with its 95 % interval in words."""
    if interval is None:
        return f"{value:{form}} (one seed)"
    return f"{value:{form}} [{interval[0]:{form}}, {interval[1]:{form}}]"
