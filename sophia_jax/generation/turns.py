"""Weights that are sampled with and learnt in turn, and are never in two places."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sophia_jax.generation.engine import Engine
from sophia_jax.models.model import Model
from sophia_jax.models.moving import move_model

__all__ = ["WeightsInTurn"]


class WeightsInTurn:
    """The parts that learn, now with who samples, now with who learns.

    On the same devices in the same layout they are the same arrays. Else they are moved
    forth and back: there is one copy of them, and beside it what `move_model` has under
    way. What is frozen stays in both places.

    Args:
      engine: that samples.
      learner: a model as it lies while it learns.
      parts: of its weights, that learn.
    """

    def __init__(self, engine: Engine, learner: Model, parts: Sequence[str]):
        self._engine, self._learner = engine, learner
        self._parts = tuple(parts)
        self._moves = engine.model.partition != learner.partition
        if self._moves and None in (engine.model.partition, learner.partition):
            raise ValueError(
                "engine: expected a mesh where the learner has one, and none where it "
                "has none"
            )

    def lend(self, params: dict) -> None:
        """Let the engine sample with these; the learner's cannot be used meanwhile."""
        lent = {part: params[part] for part in self._parts}
        if self._moves:
            lent = _moved(lent, self._learner, self._engine.model)
        self._engine.renew(lent)

    def take_back(self) -> dict:
        """The parts again; the engine has none of them until they are lent."""
        taken = self._engine.release(self._parts)
        if self._moves:
            taken = _moved(taken, self._engine.model, self._learner)
        return taken


def _moved(params: dict, source: Model, target: Model) -> dict:
    """Bit for bit the same, where the target's lie; given up where they were."""
    there = dataclasses.replace(source, params=params)
    return move_model(there, target.partition, donate=tuple(params)).params
