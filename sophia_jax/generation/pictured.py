"""Examples whose pictures are encoded when their turn comes."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np

from sophia_jax.data.packing import Example
from sophia_jax.generation.images import ImageEncoder
from sophia_jax.models.model import Model

__all__ = ["PicturedExamples"]

MOST_BYTES = 2**30  # of features, that are made at once and kept


class PicturedExamples(Sequence[Example]):
    """Examples with the features of their pictures.

    Features of a large data set are more than a host holds: they are made when an
    example is read, on any thread. Where they are few, all are made here, together.

    Args:
      model: whose tower encodes; it stays in use while features are still to be made.
      plain: the examples without their pictures, whose placeholders are in the prompts.
      images: the paths of each example's pictures.

    Attributes:
      encodes_later: whether features are still to be made.

    Raises:
      InputError: a picture cannot be read.
    """

    def __init__(
        self,
        model: Model,
        plain: Sequence[Example],
        images: Sequence[tuple[str, ...]],
    ):
        self._plain = plain
        self._images = images
        self._lock = threading.Lock()
        self._encode = ImageEncoder(model) if any(images) else None
        self.encodes_later = _feature_bytes(model, plain) > MOST_BYTES
        if self._encode is not None and not self.encodes_later:
            self._encode(images)

    def __len__(self) -> int:
        return len(self._plain)

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        plain, images = self._plain[index], self._images[index]
        if not images:
            return plain
        with self._lock:
            [features] = self._encode([images])
        return dataclasses.replace(plain, images=np.concatenate(features))

    @property
    def longest(self) -> int:
        """Tokens of the longest one."""
        return max(example.length for example in self._plain)


def _feature_bytes(model: Model, plain: Sequence[Example]) -> int:
    """Of all pictures, were none shown twice."""
    image = model.config.image_token_id
    placeholders = sum(int(np.sum(example.prompt_ids == image)) for example in plain)
    return placeholders * model.config.text.hidden_size * model.dtype.itemsize
