"""Image features: each picture is read, cut and encoded once while it is in use."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Sequence

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
    model: Model, images: Sequence[Image.Image | str]
) -> list[np.ndarray]:
    """What the decoder reads in place of each picture.

    Args:
      model: with a vision tower.
      images: pictures, or paths of picture files.

    Returns:
      For each picture Float[tile image_token embed], on the host.

    Raises:
      ValueError: the model has no vision tower.
      InputError: a file is missing, damaged or no picture.
    """
    if model.tiles is None:
        raise ValueError("model: expected a vision tower, got a text-only model")
    tiles = [
        tile_image(load_image(i) if isinstance(i, str) else i, model.tiles)
        for i in images
    ]
    flat = np.concatenate(tiles)
    features = []
    for start in range(0, len(flat), TILES_PER_CALL):
        chunk = flat[start : start + TILES_PER_CALL]
        padding = [(0, TILES_PER_CALL - len(chunk))] + [(0, 0)] * 3
        encoded = _encode(model.graphdef, model.params, np.pad(chunk, padding))
        features.append(np.asarray(encoded)[: len(chunk)])
    ends = np.cumsum([len(t) for t in tiles])
    return np.split(np.concatenate(features), ends[:-1])


class ImageEncoder:
    """`encode_images` for paths, with the latest pictures' features kept in memory.

    Args:
      model: with a vision tower.
      max_pictures: how many pictures' features are held at once.
    """

    def __init__(self, model: Model, *, max_pictures: int = 2048):
        self._model = model
        self._max_pictures = max_pictures
        self._features: OrderedDict[str, np.ndarray] = OrderedDict()

    def __call__(self, paths: Sequence[str]) -> list[np.ndarray]:
        """Float[tile image_token embed] for each path."""
        known = self._features
        missing = [path for path in dict.fromkeys(paths) if path not in known]
        if missing:
            known.update(
                zip(missing, encode_images(self._model, missing), strict=True)
            )
        features = [known[path] for path in paths]
        for path in dict.fromkeys(paths):
            known.move_to_end(path)
        while len(known) > self._max_pictures:
            known.popitem(last=False)
        return features


@functools.partial(jax.jit, static_argnums=0)
def _encode(graphdef: nnx.GraphDef, params: dict, tiles: Array) -> Array:
    return nnx.merge(graphdef, params).encode_images(tiles)
