"""Pictures that came inside a data file, unpacked into files of their own."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from sophia_jax.data.fields import bad_field

__all__ = ["PictureStore", "default_folder", "picture_suffix"]

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
)


def default_folder() -> Path:
    """Where pictures are unpacked to, beside the programs that are kept."""
    return Path.home() / ".cache" / "sophia_jax" / "pictures"


def picture_suffix(content: bytes) -> str | None:
    """The ending of a picture file's name by its first bytes; None for no picture."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((end for magic, end in _MAGIC if content.startswith(magic)), None)


class PictureStore:
    """Writes each picture once, under the SHA-256 of its bytes.

    A file appears whole or not at all, so that several processes may share the folder.

    Args:
      folder: where to; `default_folder()` by default.

    Attributes:
      sizes: bytes of each picture that was asked for, by its path.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder or default_folder()
        self.sizes: dict[str, int] = {}

    def path_of(self, field: str, content: bytes) -> str:
        """The path of a picture's file, which is written if it is not there.

        Args:
          field: that held the picture, for messages.
          content: an encoded picture, as a file holds it.

        Returns:
          The absolute path.

        Raises:
          InputError: it is no picture.
        """
        suffix = picture_suffix(content)
        if suffix is None:
            raise bad_field(field, "a PNG, JPEG, WebP, GIF, BMP or TIFF file", content)
        name = hashlib.sha256(content).hexdigest()
        path = self.folder / name[:2] / f"{name}{suffix}"
        self.sizes[str(path)] = len(content)
        # A file of another length was damaged after it had been written.
        if not path.is_file() or path.stat().st_size != len(content):
            _write(path, content)
        return str(path)

    def line(self) -> str:
        """How many pictures there are, where, and of what size together."""
        size = sum(self.sizes.values()) / 2**20
        return f"pictures   {len(self.sizes)} unpacked to {self.folder}, {size:.1f} MiB"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
