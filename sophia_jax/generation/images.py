"""Image features: each picture is read, cut and encoded once while it is in use."""

from __future__ import annotations

import functools
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from PIL import Image

from sophia_jax.data.images import load_image, tile_image
from sophia_jax.models.model import Model
from sophia_jax.types import Array

__all__ = ["ImageEncoder", "encode_images"]

TILES_PER_CALL = 32  # one compiled program for every number of pictures


def encode_images(
    model: Model, images: Sequence[Image.Image | str | Path]
) -> list[np.ndarray]:
    """What the decoder reads in place of each picture.

    Args:
      model: with a vision tower.
      images: pictures, or paths of picture files; no more than a call's tiles are held
        at once.

    Returns:
      For each picture Float[tile image_token embed], on the host.

    Raises:
      ValueError: the model has no vision tower.
      InputError: a file is missing, damaged or no picture.
    """
    if model.tiles is None:
        raise ValueError("model: expected a vision tower, got a text-only model")
    tiles_per_image = []

    def cut() -> Iterator[np.ndarray]:
        for image in images:
            is_path = isinstance(image, str | Path)
            tiles = tile_image(load_image(image) if is_path else image, model.tiles)
            tiles_per_image.append(len(tiles))
            yield from tiles

    tiles, features = cut(), []
    while chunk := list(itertools.islice(tiles, TILES_PER_CALL)):
        padded = np.zeros((TILES_PER_CALL, *chunk[0].shape), np.float32)
        padded[: len(chunk)] = chunk
        encoded = _encode(model.graphdef, model.params, padded)
        features.extend(np.asarray(encoded)[: len(chunk)])
    features = iter(features)
    return [
        np.stack(list(itertools.islice(features, count))) for count in tiles_per_image
    ]


class ImageEncoder:
    """`encode_images` for paths, with the latest pictures' features kept in memory.

    Args:
      model: with a vision tower.
      max_bytes: how much is kept between calls.
    """

    def __init__(self, model: Model, *, max_bytes: int = 2**30):
        self._model = model
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._features: OrderedDict[str, np.ndarray] = OrderedDict()

    def __call__(self, paths: Sequence[str]) -> list[np.ndarray]:
        """Float[tile image_token embed] for each path."""
        kept = self._features
        missing = [path for path in dict.fromkeys(paths) if path not in kept]
        encoded = encode_images(self._model, missing) if missing else []
        for path, features in zip(missing, encoded, strict=True):
            kept[path] = features
            self._num_bytes += features.nbytes
        for path in paths:
            kept.move_to_end(path)
        result = [kept[path] for path in paths]
        while self._num_bytes > self._max_bytes:
            _, features = kept.popitem(last=False)
            self._num_bytes -= features.nbytes
        return result


@functools.partial(jax.jit, static_argnums=0)
def _encode(graphdef: nnx.GraphDef, params: dict, tiles: Array) -> Array:
    return nnx.merge(graphdef, params).encode_images(tiles)
