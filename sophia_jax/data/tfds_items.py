"""Questions in TFDS data sets, read without TensorFlow."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sophia_jax.data.fields import bad_field
from sophia_jax.data.good_rows import Row
from sophia_jax.data.item_rows import IMAGES, Use, image_paths, make_item
from sophia_jax.data.picture_store import PictureStore
from sophia_jax.data.table_items import check_columns
from sophia_jax.paths import is_remote
from sophia_jax.types import InputError, Item

__all__ = ["BUILDERS", "PREFIX", "open_tfds", "read_tfds"]

PREFIX = "tfds:"
BUILDERS = {
    "mathvision": "MathVision",
    "dynamath": "DynaMath",
    "tabmwp": "TabMWP",
    "handwriting": "Handwriting",
}
_NAME = re.compile(r"tfds:([a-z]\w*(?:/\w+)*?)/([\w\[\]:%+-]+)")


def open_tfds(source: str, data_dir: str | Path | None = None) -> Sequence[dict]:
    """A split of a TFDS data set; one of our own is built when it is first asked for.

    The official files of a benchmark are looked for in
    DATA_DIR/downloads/manual/NAME, where TFDS has them; nothing is downloaded.

    Args:
      source: "tfds:NAME/SPLIT", one of `BUILDERS` or what was built as array_record.
      data_dir: of TFDS; by default $TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Returns:
      The rows, as they are stored; an image as its encoded bytes.

    Raises:
      InputError: there is no such data set or split, or its official files are missing
        or bad.
    """
    import tensorflow_datasets as tfds

    found = _NAME.fullmatch(source)
    if found is None:
        raise InputError(f"data: expected tfds:NAME/SPLIT, got {source!r}")
    name, split = found.groups()
    data_dir = data_dir or tfds.core.constants.get_default_data_dir()
    if is_remote(data_dir):
        raise InputError(
            f"{source}: expected $TFDS_DATA_DIR on the disk, since array_record is "
            f"read from there alone, got {data_dir}"
        )
    folder = Path(data_dir).expanduser()
    builder = _built(name, folder) if name in BUILDERS else _found(name, folder)
    if split.partition("[")[0] not in builder.info.splits:
        there = ", ".join(builder.info.splits)
        raise InputError(f"{source}: expected one of the splits {there}, got {split!r}")
    images = {
        column: tfds.decode.SkipDecoding()
        for column, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    try:
        return builder.as_data_source(split, decoders=images)
    except (ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source}: expected array_record, got: {reason}") from error


def read_tfds(
    source: str,
    rows: Sequence[dict],
    store: PictureStore,
    *,
    use: Use = "ask",
) -> Iterator[Row]:
    """Every row of a TFDS split, as it is or with what is wrong with it.

    Args:
      source: as of `open_tfds`, for messages.
      rows: that it opened.
      store: unpacks the pictures.
      use: as of `make_item`.

    Yields:
      The rows, in the order in which TFDS stored them.

    Raises:
      InputError: a column is missing.
    """

    def make(index: int) -> Item:
        row = {
            name: value if name in IMAGES else _plain(value)
            for name, value in rows[index].items()
        }
        if row.get("images") is not None:
            row["images"] = list(row["images"])
        images = image_paths(row, locate, required=use == "ask")
        return make_item(row, images, row_name=str(index), use=use)

    def locate(field: str, value: Any) -> str:
        return store.path_of(field, _encoded(field, value))

    if len(rows):
        check_columns(source, list(rows[0]), use=use)
    for index in range(len(rows)):
        name = f"row {index}"
        yield Row.of(f"{source}: {name}", name, make, index)


def _built(name: str, data_dir: Path) -> Any:
    """One of our own builders, its data set built."""
    import tensorflow_datasets as tfds

    module = importlib.import_module(f"sophia_jax.data.datasets.{name}")
    builder = getattr(module, BUILDERS[name])(
        data_dir=data_dir, file_format="array_record"
    )
    if Path(builder.data_dir).exists():
        return builder
    manual = data_dir / "downloads" / "manual" / name
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if instructions and not manual.is_dir():
        raise InputError(
            f"tfds:{name}: expected its official files in {manual}, got no such "
            f"folder; it is to hold: {instructions}"
        )
    config = tfds.download.DownloadConfig(manual_dir=manual if instructions else None)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # a banner about a download
        builder.download_and_prepare(download_config=config)
    return builder


def _found(name: str, data_dir: Path) -> Any:
    """Another data set, built before; no code is loaded for it."""
    import tensorflow_datasets as tfds

    try:
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise InputError(
            f"tfds:{name}: expected one of {', '.join(BUILDERS)}, or a data set that "
            f"was built in {data_dir}, got neither"
        ) from error


def _plain(value: Any) -> Any:
    """Text, numbers and lists of them in place of bytes and arrays."""
    if isinstance(value, np.ndarray | list):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return value


def _encoded(field: str, picture: Any) -> bytes:
    """The bytes of a picture file: as stored, or a PNG file of what was decoded."""
    if isinstance(picture, bytes):
        return picture
    try:
        file = io.BytesIO()
        Image.fromarray(np.asarray(picture).squeeze()).save(file, "PNG")
    except (TypeError, ValueError, OSError) as error:
        raise bad_field(field, "a picture", picture, str(error)) from error
    return file.getvalue()
