"""Questions from wherever they stand: the form of a source is told by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from sophia_jax.data.good_rows import ItemFile, Row, keep_good_rows
from sophia_jax.data.item_rows import Use
from sophia_jax.data.items import FILE_NAME, read_lines
from sophia_jax.data.picture_store import PictureStore
from sophia_jax.paths import as_path, resolved
from sophia_jax.types import InputError, Track, untracked

__all__ = ["read_source", "resolve_source"]

TFDS = "tfds:"
FORMS = (
    f"{FILE_NAME}, .parquet, .arrow or .tsv, a folder of one of the first three, or "
    "tfds:NAME/SPLIT"
)


def read_source(
    source: str | Path,
    *,
    skip_bad_rows: bool = False,
    use: Use = "ask",
    check_pictures: bool = True,
    store: PictureStore | None = None,
    track: Track = untracked,
    say: Callable[[str], None] = lambda line: None,
) -> ItemFile:
    """Read questions of any form, and check every row and every picture.

    The forms are `items.jsonl` with picture files; Parquet, a file or a folder of one
    split (or a pattern with `*`); a folder that `save_to_disk` of Hugging Face
    `datasets` wrote; a TSV file of VLMEvalKit; and "tfds:NAME/SPLIT". The same
    questions give the same items in all of them. No code is loaded from any.

    Args:
      source: path of a file or folder, also `gs://BUCKET/...`, or a name with its
        prefix.
      skip_bad_rows: leave bad rows out and list them, instead of refusing the source.
      use: what the rows are for, as of `make_item`.
      check_pictures: whether every picture is decoded once.
      store: unpacks pictures that the source contains.
      track: shows how many rows and pictures were read.
      say: prints how much was unpacked.

    Returns:
      The questions and the list of what was skipped.

    Raises:
      InputError: there is no such source, its form is unknown, it has a bad row, or it
        has no good one.
    """
    store = store or PictureStore()
    rows, total = _rows(str(source), store, use)
    read = keep_good_rows(
        source,
        track(rows, "rows", total),
        skip_bad_rows=skip_bad_rows,
        check_pictures=check_pictures,
        track=track,
    )
    if store.sizes:
        say(store.line())
    return read


def resolve_source(source: str | Path) -> str:
    """An absolute path, so that a run may go on from elsewhere; a name stays."""
    return str(source) if _is_name(str(source)) else str(resolved(source))


def _is_name(source: str) -> bool:
    return source.startswith(TFDS)


def _rows(source: str, store: PictureStore, use: Use) -> tuple[Iterator[Row], int]:
    """All rows, and their number where it is known before they are read; else 0."""
    if _is_name(source):
        from sophia_jax.data.tfds_items import open_tfds, read_tfds

        opened = open_tfds(source)
        return read_tfds(source, opened, store, use=use), len(opened)
    path = as_path(source)
    if path.suffix == ".tsv":
        from sophia_jax.data.tsv_items import read_tsv

        return read_tsv(path, store, use=use), 0
    if files := _tables(path):
        from sophia_jax.data.table_items import count_rows, read_tables

        rows = read_tables(files, store, use=use)
        return rows, count_rows(files)
    if path.is_dir() and not (path / FILE_NAME).is_file():
        there = ", ".join(sorted(each.name for each in path.iterdir())[:8]) or "nothing"
        raise InputError(f"{path}: expected a folder with {FORMS}, got {there}")
    if path.suffix not in (".jsonl", ".json", "") and not path.is_dir():
        raise InputError(f"{path}: expected {FORMS}, got another form")
    path = path / FILE_NAME if path.is_dir() else path
    return read_lines(path, use=use), 0


def _tables(path: Path) -> list[Path]:
    """Parquet or Arrow files, where the path is of some."""
    if path.is_dir() and (path / FILE_NAME).is_file():
        return []
    if "*" in path.name and not path.exists():
        files = sorted(path.parent.glob(path.name))
        if not files or {file.suffix for file in files} - {".parquet", ".arrow"}:
            rule = "a pattern of .parquet or .arrow files"
            names = [file.name for file in files[:8]]
            raise InputError(f"{path}: expected {rule}, got {names}")
        return files
    if path.suffix in (".parquet", ".arrow"):
        return [path]
    if not path.is_dir():
        return []
    from sophia_jax.data.table_items import find_arrow_files, find_parquet_files

    return find_parquet_files(path) or find_arrow_files(path)
