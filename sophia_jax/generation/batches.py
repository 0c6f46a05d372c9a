"""Prompts of one bucket, as the arrays that are sampled from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.data.prompts import index_image_tokens
from sophia_jax.generation.decode import PromptBatch
from sophia_jax.types import Request

__all__ = ["Prompt", "stack_prompts"]


@dataclass(frozen=True)
class Prompt:
    """A request in token ids, with its pictures' features.

    Attributes:
      request: what was asked.
      token_ids: Int32[token], with a placeholder for each image token.
      features: Float[tile image_token embed] of all its pictures, or None.
    """

    request: Request
    token_ids: np.ndarray
    features: np.ndarray | None


def stack_prompts(
    prompts: Sequence[Prompt], config: ModelConfig, *, num_groups: int, width: int
) -> PromptBatch:
    """A batch whose shapes depend on the bucket alone.

    Args:
      prompts: at most `num_groups`, of at most `width` tokens; all with pictures, or
        none.
      config: of the model that will read them.
      num_groups: filled up with groups of length 0.
      width: tokens; each group has room for as many tiles as could stand there.
    """
    token_ids = np.zeros((num_groups, width), np.int32)
    image_index = np.full((num_groups, width), -1, np.int32)
    length = np.zeros(num_groups, np.int32)
    seeds = np.zeros((num_groups, 2), np.uint32)
    features, tiles_per_group = None, 0
    if prompts[0].features is not None:
        tiles_per_group = width // config.tokens_per_tile
        features = _stack_features(prompts, num_groups, tiles_per_group)
    for row, prompt in enumerate(prompts):
        length[row] = len(prompt.token_ids)
        token_ids[row, : length[row]] = prompt.token_ids
        image_index[row, : length[row]] = index_image_tokens(
            prompt.token_ids, config, first_tile=row * tiles_per_group
        )
        seeds[row] = divmod(prompt.request.seed, 2**32)
    return PromptBatch(
        token_ids=token_ids,
        length=length,
        image_index=image_index,
        features=features,
        seeds=seeds,
    )


def _stack_features(
    prompts: Sequence[Prompt], num_groups: int, tiles_per_group: int
) -> np.ndarray:
    example = prompts[0].features
    shape = (num_groups, tiles_per_group, *example.shape[1:])
    features = np.zeros(shape, example.dtype)
    for row, prompt in enumerate(prompts):
        features[row, : len(prompt.features)] = prompt.features
    return features.reshape(-1, *example.shape[1:])
