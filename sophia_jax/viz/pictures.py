"""Pictures as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sophia_jax.data.images import load_image
from sophia_jax.types import InputError

__all__ = ["Picture", "embed_picture"]

SMALL = 160  # pixels a side up to which a picture is enlarged without smoothing
LARGEST = 640  # pixels a side above which it is made smaller


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    Attributes:
      uri: `data:image/...;base64,...`.
      width: of the embedded picture in pixels.
      height: of the embedded picture in pixels.
      pixelated: whether its pixels are to be seen when it is enlarged.
    """

    uri: str
    width: int
    height: int
    pixelated: bool


def embed_picture(path: str | Path) -> Picture | None:
    """The picture of a file, decoded and encoded again.

    So nothing but a picture can get into the page, whatever the file is.

    Args:
      path: of the file.

    Returns:
      The picture, at most LARGEST pixels a side; None where it cannot be read.
    """
    try:
        image = load_image(path)
    except InputError:
        return None
    pixelated = max(image.size) <= SMALL
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    content, encoding = io.BytesIO(), "png" if pixelated else "jpeg"
    image.save(content, encoding)
    uri = (
        f"data:image/{encoding};base64,{base64.b64encode(content.getvalue()).decode()}"
    )
    return Picture(uri, *image.size, pixelated)
