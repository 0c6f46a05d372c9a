"""Figures for notebooks: their style, and what came of one question of a rollout."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sophia_jax.data.images import load_image
from sophia_jax.types import Item
from sophia_jax.viz.printable import printable
from sophia_jax.viz.rollout_entries import is_above

__all__ = ["PALETTE", "question_figure", "set_style"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that those who are colour-blind can tell apart.

Reference: Okabe and Ito, 2008, "Color Universal Design".
"""
RIGHT, KEPT, QUIET = PALETTE[0], PALETTE[1], "#8A8A8A"
WIDTH = 9.0  # inches
ROW = 0.3  # inches, of one caption
LONGEST = 44  # characters of a caption beside its reasonings
LINE = 104  # characters of the text below
MOST_CHARACTERS = 600  # of a reasoning


def set_style() -> None:
    """Make figures legible in a notebook: colours, a grid, sizes of text and lines."""
    matplotlib.rcParams.update(
        {
            "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.7,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.linewidth": 1.8,
        }
    )


def question_figure(
    item: Item,
    captions: Sequence[Mapping],
    reasonings: Sequence[Mapping],
    selected: Mapping,
    *,
    threshold: float,
) -> Figure:
    """One question with its captions, whose reasonings were right, and what was kept.

    Args:
      item: the question, with one picture or more; the first is shown.
      captions: its rows of the table of captions.
      reasonings: its rows of the table of reasonings.
      selected: its row of the selection.
      threshold: α, above which a caption's reward has to be.

    Returns:
      The figure: a row of dots for each caption, full where a reasoning was right, with
      its reward (at least that, where some were stopped); the one kept is ringed.

    Raises:
      InputError: the picture cannot be read.
    """
    rows = len(captions)
    words = _words(item, selected)
    height = max(ROW * rows + 0.5, 1.9) + 0.18 * (words.count("\n") + 2)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 3.4))
    left.imshow(load_image(item.images[0]))
    left.set_axis_off()
    _dots(right, captions, reasonings, selected, threshold)
    figure.supxlabel(words, x=0.01, ha="left", fontsize=9, parse_math=False)
    return figure


def _dots(
    axes: Axes,
    captions: Sequence[Mapping],
    reasonings: Sequence[Mapping],
    selected: Mapping,
    threshold: float,
) -> None:
    """A row for each caption: its text, its reasonings, its reward."""
    for row in reasonings:
        _mark(axes, row["reasoning"], row["caption"], row["verdict"])
    if selected["kept"]:
        place = selected["reasoning"], selected["caption"]
        axes.scatter(*place, s=170, facecolors="none", edgecolors=KEPT, linewidths=2.2)
    end = 1 + max((row["reasoning"] for row in reasonings), default=0)
    for number, reward in enumerate(selected["least_caption_rewards"]):
        passes = is_above(reward, threshold)
        look = {"color": KEPT, "weight": "bold"} if passes else {"color": "black"}
        axes.text(end, number, f"{reward:.2f}", va="center", **look)
    labels = [_caption(row["text"]) for row in captions]
    axes.set_yticks(np.arange(len(labels)), labels, parse_math=False)
    axes.set_xticks([])
    axes.set(xlim=(-0.7, end + 1), ylim=(len(labels) - 0.4, -0.6))
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title(f"captions, their reasonings, and R(c); bold: above {threshold:g}")


def _mark(axes: Axes, across: int, down: int, verdict: str) -> None:
    """A full dot for right, an empty one for not, a cross for what was stopped."""
    if verdict == "unfinished":
        axes.scatter(across, down, s=42, marker="x", color=QUIET)
    elif verdict == "right":
        axes.scatter(across, down, s=42, color=RIGHT)
    else:
        axes.scatter(across, down, s=42, facecolors="none", edgecolors=QUIET)


def _caption(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _words(item: Item, selected: Mapping) -> str:
    """Question, answer, and the reasoning that was kept or why there is none."""
    lines = textwrap.wrap(f"{item.question}  ({item.answer})", LINE)
    if selected["kept"]:
        text = printable(selected["text"], MOST_CHARACTERS)
        lines.append(f"kept, {selected['num_tokens']} tokens:")
        for each in text.splitlines():
            lines += textwrap.wrap(each, LINE, initial_indent="    ") or [""]
    else:
        lines.append(f"nothing kept: {selected['reason']}")
    return printable("\n".join(lines))
