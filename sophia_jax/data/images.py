"""Pictures: read from files as RGB, and cut into the tiles of a vision tower."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sophia_jax.paths import as_path, open_for_library
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import Float, InputError, typed

__all__ = ["count_tiles", "load_image", "tile_grid", "tile_image"]


def load_image(path: str | Path) -> Image.Image:
    """Read a picture as RGB, upright, on white where it is transparent.

    Of an animation it is the first frame; 16-bit greys keep their upper 8 bits. The
    published examples of InternVL turn nothing upright, and show what colour lies
    beneath transparent pixels, often black: a drawing in black would not be seen.

    Args:
      path: the file, also `gs://BUCKET/...`.

    Returns:
      The decoded picture, mode "RGB", its EXIF orientation applied.

    Raises:
      InputError: the file is missing, corrupt, no picture, of more pixels than
        Pillow's `Image.MAX_IMAGE_PIXELS`, or of a mode without a known range.
    """
    try:
        with (
            open_for_library(as_path(path)) as readable,
            Image.open(readable) as opened,
        ):
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and opened.width * opened.height > limit:
                raise ValueError(f"more than {limit} pixels")
            return _to_rgb(ImageOps.exif_transpose(opened))
    # Pillow's decoders meet damaged files with errors of nearly any type.
    except Exception as error:
        raise InputError(
            f"image: expected a readable picture, got {str(path)!r} ({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture file"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS} pixels"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.split())


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which turns most of these white.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"8 or 16 bits a channel wanted, not mode {image.mode}")
    if image.has_transparency_data:
        foreground = image.convert("RGBA")
        white = Image.new("RGBA", foreground.size, "white")
        return Image.alpha_composite(white, foreground).convert("RGB")
    return image.convert("RGB")


@functools.lru_cache
def _grids(min_tiles: int, max_tiles: int) -> tuple[tuple[int, int], ...]:
    """All (columns, rows) with so many tiles, the smaller first."""
    sides = range(1, max_tiles + 1)
    grids = [(i, j) for i in sides for j in sides if min_tiles <= i * j <= max_tiles]
    return tuple(sorted(grids, key=lambda grid: grid[0] * grid[1]))


def tile_grid(width: int, height: int, geometry: TileGeometry) -> tuple[int, int]:
    """The grid of tiles whose aspect ratio is closest to the picture's.

    argmin_(i, j) |width / height - i / j| over min_tiles <= i j <= max_tiles. Among
    grids that are equally close it is the largest with i j tile_size^2 <
    2 width height, and the smallest where there is none.

    Args:
      width: of the picture in pixels.
      height: of the picture in pixels.
      geometry: the tiles' size and number.

    Returns:
      (columns, rows).

    Raises:
      ValueError: width or height is not positive.

    Reference: https://arxiv.org/abs/2404.16821, section 3.3 (dynamic resolution).
    """
    if width < 1 or height < 1:
        raise ValueError(f"width, height: expected >= 1, got {width}, {height}")
    best, best_distance = (1, 1), float("inf")
    for columns, rows in _grids(geometry.min_tiles, geometry.max_tiles):
        distance = abs(width / height - columns / rows)
        grid_area = geometry.tile_size**2 * columns * rows
        if distance < best_distance or (
            distance == best_distance and width * height > 0.5 * grid_area
        ):
            best, best_distance = (columns, rows), distance
    return best


@typed
def tile_image(
    image: Image.Image, geometry: TileGeometry
) -> Float[np.ndarray, "tile height width channel"]:
    """Cut a picture into normalised tiles, the whole picture in small at the end.

    (pixel / 255 - mean) / std of the picture resized to the grid of `tile_grid`.

    Args:
      image: the picture, mode "RGB".
      geometry: the tiles' size, number and normalisation.

    Returns:
      Float32 tiles, left to right and top to bottom, then the thumbnail where there
      is one.

    Raises:
      ValueError: the picture's mode is not "RGB".

    Reference: https://arxiv.org/abs/2404.16821, section 3.3 (dynamic resolution).
    """
    if image.mode != "RGB":
        raise ValueError(f'image: expected mode "RGB", got "{image.mode}"')
    size = geometry.tile_size
    columns, rows = tile_grid(image.width, image.height, geometry)
    canvas = image.resize((columns * size, rows * size), Image.Resampling.BICUBIC)
    blocks = np.asarray(canvas).reshape(rows, size, columns, size, 3)
    tiles = blocks.transpose(0, 2, 1, 3, 4).reshape(columns * rows, size, size, 3)
    if geometry.use_thumbnail and len(tiles) > 1:
        thumbnail = image.resize((size, size), Image.Resampling.BICUBIC)
        tiles = np.concatenate([tiles, np.asarray(thumbnail)[None]])
    return _normalised(tiles, geometry)


def _normalised(pixels: np.ndarray, geometry: TileGeometry) -> np.ndarray:
    """(pixel / 255 - mean) / std, as one product and one sum in float32."""
    std, size = np.asarray(geometry.std), geometry.tile_size
    scale = (1 / (255 * std)).astype(np.float32)
    shift = (-np.asarray(geometry.mean) / std).astype(np.float32)
    # Whole pixel rows at once: NumPy is three times slower over an axis of 3.
    values = pixels.reshape(-1, 3 * size) * np.tile(scale, size)[None, :]
    values += np.tile(shift, size)[None, :]
    return values.reshape(pixels.shape)


def count_tiles(geometry: TileGeometry | None, images: Sequence[str]) -> list[int]:
    """Tiles of each picture of a sample, thumbnails counted, as of `tile_image`.

    Args:
      geometry: of the model; None for a text-only one.
      images: paths of the pictures, which share its tiles.

    Raises:
      InputError: a file is missing, damaged or no picture.
    """
    if not images:
        return []
    shared = geometry.shared_by(len(images))
    return [_count_tiles(path, shared) for path in images]


@functools.cache
def _count_tiles(path: str, geometry: TileGeometry) -> int:
    image = load_image(path)
    columns, rows = tile_grid(image.width, image.height, geometry)
    return columns * rows + (geometry.use_thumbnail and columns * rows > 1)
