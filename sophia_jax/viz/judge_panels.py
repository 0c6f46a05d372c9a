"""What pages say of a judge: its panels, its numbers, and what came out, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["judge_section"]


def judge_section(
    title: str,
    found: Mapping[str, Any],
    figures: Any,
    *,
    limits: tuple[float, float],
    references: Mapping[str, Sequence[float]] | None = None,
    about: str = "",
) -> dict[str, Any]:
    """What the template shows of one judge.

    Args:
      title: its name.
      found: of `sophia_jax.evaluation.judge_forecast.forecast`.
      figures: the module `judge_curves`.
      limits: of the accuracy, in per cent.
      references: as of `judge_panel`.
      about: who it is.
    """
    pairs = list(zip(found["curves"], found["best_num_samples"], strict=True))
    return {
        "title": title,
        "about": about,
        "figures": [
            (
                curve["temperature"],
                figures.judge_panel(
                    title, curve, best, limits=limits, references=references
                ),
            )
            for curve, best in pairs
        ],
        "words": [_words(curve, best) for curve, best in pairs],
        "rows": [_row(curve, best) for curve, best in pairs],
    }


def _row(curve: Mapping[str, Any], best: Mapping[str, Any]) -> dict[str, Any]:
    most = curve["k"][-1]
    return {
        "temperature": curve["temperature"],
        "first": _percent(curve["measured"][0]),
        "last": _percent(curve["measured"][-1]),
        "last_interval": _between(curve["measured_interval"][-1]),
        "told": _percent(curve["predicted"][-1]),
        "told_interval": _between(curve["predicted_interval"][-1]),
        "best": _k(best["measured"], f"≥ {most}"),
        "best_interval": _ks(best["measured_interval"], f"≥ {most}"),
        "best_told": _k(best["predicted"], "none"),
        "best_told_interval": _ks(best["interval"], "none"),
        "loss": "–" if best["loss"] is None else _points(best["loss"]),
        "loss_interval": ""
        if best["loss"] is None
        else " to ".join(map(_points, best["loss_interval"])),
        "missed": _missed(curve["missed"], len(curve["k"])),
    }


def _words(curve: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """What came out at one temperature, in two sentences or three."""
    way = "Best of k" if curve["temperature"] == 0 else f"T = {curve['temperature']:g}"
    told = {
        None: "The forecast was that more answers never harm.",
        1: "The forecast was that one answer is best, and more harm.",
    }.get(
        best["predicted"],
        f"The forecast was that {best['predicted']} answers are best, and more harm.",
    )
    found = (
        f"Up to {curve['k'][-1]} answers, more of them were better."
        if best["measured"] is None
        else f"Measured, the best number was {best['measured']}."
    )
    return f"{way}. {told} {found} {_harm(curve, best)} {_truth(curve)}"


def _harm(curve: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    if best["loss"] is None:
        return "No harm was foretold up to there."
    low, high = best["loss_interval"]
    size = f"{_points(abs(best['loss']))} points"
    path = f"From k = {best['at']} to {curve['k'][-1]}"
    if low > 0:
        return f"{path}, {size} are lost, which is more than chance."
    if high < 0:
        return f"{path}, {size} are won, more than by chance: the forecast is wrong."
    way = "lost" if best["loss"] > 0 else "won"
    return f"{path}, {size} are {way}, which may be chance."


def _truth(curve: Mapping[str, Any]) -> str:
    missed = curve["missed"]
    if not missed:
        return "The forecast is within chance of what was measured at every k."
    places = ", ".join(map(str, missed))
    signs = {
        curve["predicted"][place] > curve["measured"][place]
        for place, k in enumerate(curve["k"])
        if k in missed
    }
    way = {(True,): "hopes for too much", (False,): "fears too much"}
    words = way.get(tuple(signs), "is off to both sides")
    return f"The forecast {words} at k = {places}, by more than chance."


def _missed(missed: Sequence[int], number: int) -> str:
    return f"{len(missed)} of {number} k"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _between(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def _k(k: int | None, otherwise: str) -> str:
    return otherwise if k is None else str(k)


def _ks(ends: Sequence[int | None], otherwise: str) -> str:
    return " to ".join(_k(k, otherwise) for k in ends)
