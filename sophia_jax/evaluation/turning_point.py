"""Where more answers turn from help into harm, as it is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sophia_jax.types import Float, typed

__all__ = ["turning_point"]


@typed
def turning_point(
    accuracy: Float[np.ndarray, "question k"],
    draws: Float[np.ndarray, "resample question"],
    ks: Sequence[int],
    predicted: int | None,
) -> dict[str, Any]:
    """The best k, and what is lost from there to the largest one.

    The k from which the loss counts is one that was foretold on other questions: at
    that which is best on these, by luck in part, it would be too large.

    Args:
      accuracy: of each question at each k.
      draws: how often each question is drawn, when as many are drawn with return.
      ks: each k, ascending.
      predicted: the k that was foretold to be the best; None for none.

    Returns:
      `measured`, the best k, and its `measured_interval` (95 %), where None is the
      largest k or one beyond; `at`, the k of those given that is nearest to what was
      predicted, and the `loss` from there to the largest k with its `loss_interval`:
      all three None where no smaller k was predicted.
    """
    most, means = ks[-1], draws @ accuracy / draws.sum(axis=1, keepdims=True)
    low, high = _tails(np.array(ks)[np.argmax(means, axis=1)], "inverted_cdf")
    best = ks[int(np.argmax(accuracy.mean(axis=0)))]
    found = {
        "measured": _below(best, most),
        "measured_interval": [_below(low, most), _below(high, most)],
        **dict.fromkeys(("at", "loss", "loss_interval")),
    }
    if predicted is None:
        return found
    place = int(np.argmin([abs(math.log(k / predicted)) for k in ks]))
    if place == len(ks) - 1:
        return found
    losses = accuracy[:, place] - accuracy[:, -1]
    return found | {
        "at": ks[place],
        "loss": float(losses.mean()),
        "loss_interval": _tails(means[:, place] - means[:, -1], "linear"),
    }


def _tails(values: np.ndarray, method: str) -> list[float]:
    return np.quantile(values, (0.025, 0.975), method=method).tolist()


def _below(k: float, most: int) -> int | None:
    return int(k) if k < most else None
