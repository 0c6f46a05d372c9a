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

SMALL = 160  # pixels a side up to which a picture is kept exactly, and enlarged so
LARGEST = 288  # pixels a side above which it is made smaller; it is shown at 224
QUALITY = 75  # of a lossy encoding


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
    """The picture of a file, decoded and encoded again, in the smaller of two ways.

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
    encodings = {
        "png": _encoded(image, "png", optimize=True),
        "webp": _encoded(image, "webp", lossless=pixelated, quality=QUALITY),
    }
    name, content = min(encodings.items(), key=lambda each: len(each[1]))
    uri = f"data:image/{name};base64,{base64.b64encode(content).decode()}"
    return Picture(uri, *image.size, pixelated)


def _encoded(image: Image.Image, encoding: str, **options: object) -> bytes:
    """Grey where it is grey, which a third of the numbers says."""
    if encoding == "png" and _is_grey(image):
        image = image.convert("L")
    content = io.BytesIO()
    image.save(content, encoding, **options)
    return content.getvalue()


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = (channel.tobytes() for channel in image.split())
    return red == green == blue
