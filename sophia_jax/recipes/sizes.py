"""Sizes of the quickstart: the real one, and one for a look at the machinery."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from sophia_jax.config import OptimizerConfig, SamplingConfig, SophiaConfig
from sophia_jax.data.datasets.handwriting import HandwritingConfig
from sophia_jax.recipes.mixture import MixtureConfig
from sophia_jax.training.loop import TrainingConfig

__all__ = ["QuickstartConfig", "full_size", "tiny_size", "with_steps"]

ALL_PARTS = ("decoder", "vision", "projector")


def from_nothing(num_steps: int) -> OptimizerConfig:
    """Muon, and a rate that ends near zero: for weights that are random at first."""
    return OptimizerConfig(
        num_steps,
        algorithm="muon",
        learning_rate=3e-3,
        final_fraction=0.02,
        warmup_steps=50,
    )


@dataclass(frozen=True)
class QuickstartConfig:
    """Sizes of the quickstart; the paper's own where it gives any.

    Attributes:
      seed: of data, weights, samples and order.
      data: rows of each split.
      sophia: K, N, alpha.
      base: updates of the policy on captions and easy questions.
      reasoner: updates of the reasoner on worked solutions.
      update: the policy-gradient phase. The paper's rate, 2e-5, and batch, 512, suit
        billions of weights and 80K questions.
      mixture: what the update learns from beside the trajectories.
      captions: how the policy is sampled in rollouts.
      reasonings: how the reasoner is sampled. The paper gives no temperature; 0.6 is
        what the authors of DeepSeek-R1 advise.
      slots: sequences that are sampled together; few, for a CPU's cache to hold.
    """

    seed: int = 0
    data: HandwritingConfig = field(
        default_factory=lambda: HandwritingConfig(name="quickstart")
    )
    sophia: SophiaConfig = SophiaConfig()
    base: TrainingConfig = TrainingConfig(
        optimizer=from_nothing(num_steps=450),
        batch_size=72,
        row_length=144,
        trainable=ALL_PARTS,
    )
    reasoner: TrainingConfig = TrainingConfig(
        optimizer=from_nothing(num_steps=700),
        batch_size=44,
        row_length=152,
    )
    update: TrainingConfig = TrainingConfig(
        optimizer=OptimizerConfig(num_steps=950, learning_rate=2e-3, warmup_steps=50),
        batch_size=31,
        row_length=208,
    )
    mixture: MixtureConfig = MixtureConfig()
    captions: SamplingConfig = SamplingConfig(16)
    reasonings: SamplingConfig = SamplingConfig(112, temperature=0.6)
    slots: int = 64


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
        base=with_steps(full.base, 20, batch_size=16),
        reasoner=with_steps(full.reasoner, 100, batch_size=16),
        update=with_steps(full.update, 5, batch_size=16),
        mixture=MixtureConfig(num_questions=20),
    )


def with_steps(
    training: TrainingConfig, num_steps: int, *, batch_size: int | None = None
) -> TrainingConfig:
    """The same phase with another number of updates.

    Args:
      training: of the phase.
      num_steps: a tenth of them warm up, or as many as before if that is less.
      batch_size: examples in an update; None for as many as before.
    """
    warmup = min(training.optimizer.warmup_steps, num_steps // 10)
    optimizer = dataclasses.replace(
        training.optimizer, num_steps=num_steps, warmup_steps=warmup
    )
    size = training.batch_size if batch_size is None else batch_size
    return dataclasses.replace(training, optimizer=optimizer, batch_size=size)
