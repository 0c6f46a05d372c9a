"""What is learnt from: a prompt and its answer, with or without pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.types import InputError

__all__ = ["Example", "Group", "check_example", "members"]


@dataclass(frozen=True)
class Example:
    """One prompt and the answer to learn.

    Attributes:
      prompt_ids: Int32[token], with a placeholder for each image token.
      target_ids: Int32[token], the end token included.
      images: Float32[tile ...]: the tiles of all its pictures in turn, as pixels (tile
        height width channel) or as features (tile image_token embed); None without.
      reward: weight of the answer; 1 for plain imitation.
      behavior_log_prob: log μ of the whole answer, in nats, when it was sampled; nan
        where nobody knows. The ratio of the policy to it is logged.
      signals: what else an objective reads, by name: Float32[token], one number for
        each target token, or a number for the whole answer.
    """

    prompt_ids: np.ndarray
    target_ids: np.ndarray
    images: np.ndarray | None = None
    reward: float = 1.0
    behavior_log_prob: float = math.nan
    signals: Mapping[str, np.ndarray | float] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Tokens that the decoder reads: all but the last, which is only predicted."""
        return len(self.prompt_ids) + len(self.target_ids) - 1

    @property
    def num_tiles(self) -> int:
        return 0 if self.images is None else len(self.images)


Group = Example | Sequence[Example]
"""An example, or several that stand next to each other in a batch: a chosen and a
rejected answer, say."""


def members(group: Group) -> Sequence[Example]:
    """The examples of a group."""
    return (group,) if isinstance(group, Example) else group


def check_example(
    number: int, example: Example, config: ModelConfig, row_length: int
) -> None:
    """Refuse what cannot be packed; `number` names it.

    Raises:
      InputError: as of `pack_examples`.
    """
    if not len(example.prompt_ids) or not len(example.target_ids):
        raise InputError(
            f"example {number}: expected tokens in prompt and target, got "
            f"{len(example.prompt_ids)} and {len(example.target_ids)}"
        )
    if example.num_tiles and config.vision is None:
        raise InputError(
            f"example {number}: expected no pictures for a text-only model, got "
            f"{example.num_tiles} tiles"
        )
    image_tokens = example.num_tiles * config.tokens_per_tile
    placeholders = np.sum(example.prompt_ids == config.image_token_id)
    if placeholders != image_tokens:
        raise InputError(
            f"example {number}: expected {image_tokens} image placeholders for "
            f"{example.num_tiles} tiles, got {placeholders}"
        )
    if np.any(example.target_ids == config.image_token_id):
        raise InputError(f"example {number}: expected no image placeholder to learn")
    for name, value in example.signals.items():
        if np.ndim(value) and np.shape(value) != np.shape(example.target_ids):
            raise InputError(
                f"example {number}: expected one {name} for each of "
                f"{len(example.target_ids)} target tokens, got {np.shape(value)}"
            )
    if example.length > row_length:
        raise InputError(
            f"example {number}: expected at most row_length={row_length} tokens, got "
            f"{example.length}"
        )
