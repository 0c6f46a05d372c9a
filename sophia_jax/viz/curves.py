"""Figures as SVG text that takes its colours and its font from the page around it."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sophia_jax.viz.printable import printable
from sophia_jax.viz.summary import MODELS, Score

__all__ = [
    "BASE",
    "INK",
    "MAX_KINDS",
    "SOFT",
    "SOPHIA",
    "STYLE",
    "accuracy_bars",
    "as_svg",
    "length_histogram",
    "metric_curve",
    "new_axes",
    "reward_histogram",
]

MAX_KINDS = 24
LONGEST = 24  # characters of a kind beside its bars
WIDTH = 4.8  # inches, of 72 points: readable when it fills a phone
FEW = 20  # reasonings per caption up to which each possible reward has its bar

# Stand-ins that become the page's colours, which differ between light and dark.
INK, SOFT, BASE, SOPHIA = "#010101", "#020202", "#030303", "#040404"
PAGE_COLORS = {
    INK: "var(--ink)",
    SOFT: "var(--line)",
    BASE: "var(--base)",
    SOPHIA: "var(--sophia)",
}
STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": SOFT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def metric_curve(
    rows: Sequence[Mapping[str, object]], metric: str, *, label: str, phase: str
) -> str:
    """One metric over the steps of a phase.

    Args:
      rows: one mapping per step, with `step` and the metric; a missing or infinite
        value leaves a gap.
      metric: its name in the rows; between those of the names METRIC_low and
        METRIC_high, an interval, a band is drawn.
      label: what it is called, with its unit.
      phase: what was trained.

    Returns:
      The SVG element; empty where no row has a finite value.
    """
    steps = np.array([float(row["step"]) for row in rows])
    values, low, high = (
        np.array([_finite(row.get(name)) for row in rows])
        for name in (metric, f"{metric}_low", f"{metric}_high")
    )
    if np.isnan(values).all():
        return ""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(2.6)
        axes.grid(axis="y")
        marker = "o" if len(rows) == 1 else ""
        axes.plot(steps, values, color=SOPHIA, linewidth=1.6, marker=marker)
        axes.fill_between(steps, low, high, color=SOPHIA, alpha=0.18, linewidth=0)
        axes.set(xlabel="step", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        last = values[~np.isnan(values)][-1]
        return as_svg(figure, f"{phase}, {label}: {last:.3g} after {len(rows)} steps")


def accuracy_bars(scores: Mapping[str, Score]) -> str:
    """pass@1 of each model with 95 % intervals, over all questions and by kind.

    Args:
      scores: `base`, `sophia` or both.

    Returns:
      The SVG element, with MAX_KINDS kinds at most; empty without a score.
    """
    models = [
        (name, scores[name])
        for name in MODELS
        if name in scores and scores[name].pass_at_1 is not None
    ]
    if not models:
        return ""
    kinds = sorted({kind for _, score in models for kind in score.by_kind})[:MAX_KINDS]
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(0.9 + 0.5 * (1 + len(kinds)))
        for index, (name, score) in enumerate(models):
            offset = (index - (len(models) - 1) / 2) * 0.38
            rows = [score, *(score.by_kind.get(kind) for kind in kinds)]
            _bars(axes, rows, offset, SOPHIA if name == "sophia" else BASE)
        labels = ["all questions", *map(_short, kinds)]
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, 100), xlabel="answered right, %")
        shares = [f"{n} {100 * s.pass_at_1:.1f} %" for n, s in models]
        return as_svg(figure, f"Held-out questions answered right: {', '.join(shares)}")


def _bars(axes: Axes, rows: Sequence[Score | None], offset: float, color: str) -> None:
    for place, score in enumerate(rows):
        if score is None or score.pass_at_1 is None:
            continue
        axes.barh(place + offset, 100 * score.pass_at_1, 0.34, color=color)
        if score.interval is not None:
            ends = [100 * end for end in score.interval]
            axes.plot(ends, [place + offset] * 2, color=INK, linewidth=1.2)


def reward_histogram(
    rewards: np.ndarray, num_reasonings: int, threshold: float | None
) -> str:
    """How many captions earned which reward.

    Args:
      rewards: Float[caption], in [0, 1].
      num_reasonings: N, so that rewards are multiples of 1/N.
      threshold: α, drawn as a line; None where it is not known.

    Returns:
      The SVG element; empty without rewards.
    """
    if not len(rewards):
        return ""
    num_bars = min(max(num_reasonings, 1), FEW)
    captions = np.bincount(
        np.rint(rewards * num_bars).astype(int), minlength=num_bars + 1
    )
    places = np.arange(num_bars + 1) / num_bars
    passing = places > (0 if threshold is None else threshold + 1e-9)
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(2.6)
        axes.grid(axis="y")
        colors = [SOPHIA if passes else BASE for passes in passing]
        axes.bar(places, captions, 0.8 / num_bars, color=colors)
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.set_title(f"threshold {threshold:g}", fontsize=10, loc="right")
        axes.set(xlabel="reward: share of right reasonings", ylabel="captions")
        axes.yaxis.get_major_locator().set_params(integer=True)
        return as_svg(
            figure, f"Rewards of {len(rewards)} captions, mean {rewards.mean():.2f}"
        )


def length_histogram(right_lengths: np.ndarray, kept_lengths: np.ndarray) -> str:
    """Lengths of all right reasonings and of those kept, as shares of each.

    Args:
      right_lengths: Int[right], tokens.
      kept_lengths: Int[kept], tokens.

    Returns:
      The SVG element; empty without a right reasoning.
    """
    if not len(right_lengths):
        return ""
    longest = int(np.ceil(np.quantile(right_lengths, 0.995)))
    edges = np.linspace(right_lengths.min(), max(longest, right_lengths.min() + 1), 31)
    sets = [("all right", right_lengths, BASE), ("kept", kept_lengths, SOPHIA)]
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(2.6)
        axes.grid(axis="y")
        for label, lengths, color in sets:
            shares = np.histogram(np.clip(lengths, None, edges[-1]), edges)[0]
            shares = 100 * shares / max(len(lengths), 1)
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.35)
            axes.stairs(shares, edges, color=color, linewidth=1.6, label=label)
        axes.legend()
        axes.set(xlabel="length, tokens", ylabel="share, %", ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        means = [f"{n} {v.mean():.0f} tokens" for n, v, _ in sets if len(v)]
        return as_svg(figure, f"Lengths of reasonings; means: {', '.join(means)}")


def _short(kind: str) -> str:
    return printable(kind if len(kind) <= LONGEST else f"{kind[: LONGEST - 1]}…")


def _finite(value: object) -> float:
    number = float(value) if isinstance(value, int | float) else math.nan
    return number if math.isfinite(number) else math.nan


def new_axes(height: float) -> tuple[Figure, Axes]:
    """An empty figure of the usual width, so many inches high."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def as_svg(figure: Figure, description: str) -> str:
    """The figure as an element without date, ids of its groups, or fixed colours."""
    content = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():
        # The page's font draws the text; here it is only measured.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Ids hang on the salt: the same for the same figure, others for another.
        with matplotlib.rc_context({"svg.hashsalt": description}):
            figure.savefig(content, format="svg", transparent=True, metadata=nothing)
    svg = content.getvalue()
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"(?s)<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1)
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)
    for color, variable in PAGE_COLORS.items():
        svg = svg.replace(color, variable)
    label = html.escape(printable(description))
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
