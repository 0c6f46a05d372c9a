"""Sizes of the quickstart: the real one, and one for a look at the machinery."""

from __future__ import annotations

import dataclasses

from sophia_jax.data.datasets.handwriting import HandwritingConfig
from sophia_jax.recipes.mixture import MixtureConfig
from sophia_jax.recipes.quickstart import QuickstartConfig
from sophia_jax.training.loop import TrainingConfig

__all__ = ["full_size", "tiny_size"]


def full_size(seed: int) -> QuickstartConfig:
    """The quickstart with everything drawn from one seed."""
    default = QuickstartConfig()
    return dataclasses.replace(
        default,
        seed=seed,
        data=dataclasses.replace(default.data, seed=seed),
        sophia=dataclasses.replace(default.sophia, seed=seed),
    )


def tiny_size(seed: int) -> QuickstartConfig:
    """A run of a minute or two: models that learn little, where a lucky guess will do.

    With a threshold of zero a caption needs a single right reasoning, so that something
    is kept and every stage runs; what is learnt from luck is worth nothing.
    """
    full = full_size(seed)
    return dataclasses.replace(
        full,
        data=HandwritingConfig(
            name="tiny", perception=100, train=12, held_out=20, seed=seed
        ),
        sophia=dataclasses.replace(full.sophia, threshold=0.0),
        base=_shorter(full.base, 20),
        reasoner=_shorter(full.reasoner, 100),
        update=_shorter(full.update, 5),
        mixture=MixtureConfig(num_questions=20),
    )


def _shorter(training: TrainingConfig, num_steps: int) -> TrainingConfig:
    optimizer = dataclasses.replace(
        training.optimizer, num_steps=num_steps, warmup_steps=num_steps // 10
    )
    return dataclasses.replace(training, optimizer=optimizer, batch_size=16)
