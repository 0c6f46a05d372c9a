"""Image features: each picture is read, cut and encoded once while it is in use."""

from __future__ import annotations

import functools
import itertools
import os
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from PIL import Image

from sophia_jax.data.images import load_image, tile_image
from sophia_jax.models.model import Model
from sophia_jax.models.moving import local_model, tower_only
from sophia_jax.sharding.order import in_order
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import Array

__all__ = ["ImageEncoder", "encode_images"]

TILES_PER_CALL = 32  # one compiled program for every number of pictures
READERS = min(8, os.cpu_count() or 1)  # threads; each holds one picture's tiles

Picture = tuple[Image.Image | str | Path, TileGeometry]


def encode_images(
    model: Model, images: Sequence[Image.Image | str | Path]
) -> list[np.ndarray]:
    """What the decoder reads in place of each picture, where it is shown alone.

    Args:
      model: with a vision tower.
      images: pictures, or paths of picture files.

    Returns:
      For each picture Float[tile image_token embed], on the host.

    Raises:
      ValueError: the model has no vision tower.
      InputError: a file is missing, damaged or no picture.
    """
    tiles = _tiles(model)
    tower = tower_only(local_model(model))
    return _encode(tower, [(image, tiles) for image in images])


class ImageEncoder:
    """Features of whole samples, with the latest pictures' kept in memory.

    Args:
      model: with a vision tower.
      max_bytes: how much is kept between calls.

    Raises:
      ValueError: the model has no vision tower.
    """

    def __init__(self, model: Model, *, max_bytes: int = 2**30):
        self._tiles = _tiles(model)
        self._tower = tower_only(local_model(model))
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._features: OrderedDict[Picture, np.ndarray] = OrderedDict()

    def __call__(self, samples: Sequence[Sequence[str]]) -> list[list[np.ndarray]]:
        """What the decoder reads in place of the pictures of each sample.

        Args:
          samples: the paths of each sample's pictures, which share its tiles.

        Returns:
          For each sample and picture Float[tile image_token embed], on the host.

        Raises:
          InputError: a file is missing, damaged or no picture.
        """
        kept = self._features
        asked = [
            [(path, self._tiles.shared_by(len(paths))) for path in paths]
            for paths in samples
        ]
        distinct = dict.fromkeys(itertools.chain(*asked))
        missing = [picture for picture in distinct if picture not in kept]
        for picture, features in zip(
            missing, _encode(self._tower, missing), strict=True
        ):
            kept[picture] = features
            self._num_bytes += features.nbytes
        for picture in distinct:
            kept.move_to_end(picture)
        result = [[kept[picture] for picture in pictures] for pictures in asked]
        while self._num_bytes > self._max_bytes:
            _, features = kept.popitem(last=False)
            self._num_bytes -= features.nbytes
        return result


def _tiles(model: Model) -> TileGeometry:
    if model.tiles is None:
        raise ValueError("model: expected a vision tower, got a text-only model")
    return model.tiles


def _encode(model: Model, pictures: Sequence[Picture]) -> list[np.ndarray]:
    """Features of each picture; while the device encodes, the next ones are read."""
    tiles_per_picture = []

    def single_tiles() -> Iterator[np.ndarray]:
        for tiles in _cut_ahead(pictures):
            tiles_per_picture.append(len(tiles))
            yield from tiles

    tiles, features = single_tiles(), []
    running: deque[tuple[Array, int]] = deque()  # calls, with their numbers of tiles
    while chunk := list(itertools.islice(tiles, TILES_PER_CALL)):
        with in_order(model.partition):
            encoded = _run_tower(model.graphdef, model.params, _padded(chunk))
        running.append((encoded, len(chunk)))
        if len(running) > 1:
            features += _fetched(*running.popleft())
    for call in running:
        features += _fetched(*call)
    remaining = iter(features)
    return [
        np.stack(list(itertools.islice(remaining, count)))
        for count in tiles_per_picture
    ]


def _padded(tiles: Sequence[np.ndarray]) -> np.ndarray:
    padded = np.zeros((TILES_PER_CALL, *tiles[0].shape), np.float32)
    padded[: len(tiles)] = tiles
    return padded


def _fetched(encoded: Array, count: int) -> list[np.ndarray]:
    """Each tile's features, on the host."""
    return list(np.asarray(encoded)[:count])


def _cut_ahead(pictures: Iterable[Picture]) -> Iterator[np.ndarray]:
    """The tiles of each picture, in order; a few are read and cut in advance.

    Threads do, since Pillow lets others run while it decodes and resizes.
    """
    ahead: deque[Future[np.ndarray]] = deque()
    with ThreadPoolExecutor(READERS) as readers:
        for picture in pictures:
            ahead.append(readers.submit(_cut, *picture))
            if len(ahead) > READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _cut(image: Image.Image | str | Path, tiles: TileGeometry) -> np.ndarray:
    is_path = not isinstance(image, Image.Image)
    return tile_image(load_image(image) if is_path else image, tiles)


@functools.partial(jax.jit, static_argnums=0)
def _run_tower(graphdef: nnx.GraphDef, params: dict, tiles: Array) -> Array:
    return nnx.merge(graphdef, params).encode_images(tiles)
