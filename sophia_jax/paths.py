"""Paths on a disk or in a bucket, `gs://BUCKET/...`, and what differs between them.

A bucket holds whole objects by name. An object appears when its last byte has arrived,
or not at all; but nothing can be appended to one, none can be mapped into memory, and
there are no folders that could be renamed, only names that begin alike. So a file is
made here, on the disk, and is sent when it is whole; and a folder has a mark in it
until all of it has been sent.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sophia_jax.buckets import (
    PREFIX,
    bucket_files,
    copy_objects,
    forget_listings,
    refusal,
    send,
)

__all__ = [
    "as_path",
    "downloaded",
    "file_size",
    "is_remote",
    "is_whole",
    "make_folder",
    "on_disk",
    "open_for_library",
    "read_range",
    "remove_tree",
    "replace_tree",
    "resolved",
    "tree_size",
    "upload",
    "uploaded",
    "whole_file",
    "whole_folder",
    "write_durably",
    "write_whole",
]

UNFINISHED = ".unfinished"  # stands in a remote folder that is being written


def as_path(path: str | os.PathLike) -> Path:
    """A path to be used as `pathlib`'s, wherever it leads; `Path` itself would not do.

    Args:
      path: as it was given; it may be such a path already.

    Returns:
      A `pathlib.Path`, or for `gs://` the path of `etils.epath` that acts as one.
    """
    if not is_remote(path):
        return Path(path)
    from etils import epath

    forget_listings()
    return epath.Path(path)


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path leads into a bucket."""
    return os.fspath(path).startswith(PREFIX)


def resolved(path: str | os.PathLike) -> Path:
    """The absolute path; one into a bucket is that as it is."""
    path = as_path(path)
    return path if is_remote(path) else path.resolve()


def on_disk(path: Path, contents: str) -> Path:
    """A folder for what can be made again, and is read from a disk alone.

    Args:
      path: a path on the disk stands as it is; in the stead of one into a bucket there
        is a folder in the cache of the user.
      contents: says all about what is made; the same has the same folder.
    """
    if not is_remote(path):
        return path
    name = hashlib.sha256(contents.encode()).hexdigest()[:16]
    return Path.home() / ".cache" / "sophia_jax" / "made" / name


def is_whole(path: Path) -> bool:
    """Whether there is something at a path, all of it; as `whole_folder` leaves it."""
    return path.exists() and not (is_remote(path) and (path / UNFINISHED).exists())


def make_folder(path: Path) -> None:
    """Make a folder where there is none; a bucket needs none, and is never made."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder with all that is in it; none is no error.

    Raises:
      InputError: it is a whole bucket, which would go, too.
    """
    if is_remote(folder):
        if "/" not in str(folder).removeprefix(PREFIX).strip("/"):
            raise refusal(str(folder), ValueError("a whole bucket, to be deleted"))
        folder.rmtree(missing_ok=True)
    elif folder.exists():
        shutil.rmtree(folder)


def replace_tree(folder: Path, new: Path) -> None:
    """Put a whole folder beside another one in its stead.

    In a bucket its objects are copied, with a mark beside them until all are there;
    what a kill leaves is at least one of the two folders, whole.

    Args:
      folder: is deleted, once there is a whole one to replace it.
      new: has another name afterwards.
    """
    remove_tree(folder)
    if not is_remote(folder):
        new.rename(folder)
        return
    write_whole(folder / UNFINISHED, b"")
    copy_objects(new, folder)
    (folder / UNFINISHED).unlink()
    remove_tree(new)


def tree_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    if is_remote(folder):
        return bucket_files().du(str(folder))
    return sum(file.stat().st_size for file in folder.rglob("*"))


def file_size(path: Path) -> int:
    """Bytes of a file."""
    return bucket_files().du(str(path)) if is_remote(path) else path.stat().st_size


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that appears whole or not at all, in the stead of one before it."""
    with whole_file(path) as temporary:
        temporary.write_bytes(
            content.encode("utf-8") if isinstance(content, str) else content
        )


def write_durably(path: Path, content: Any) -> None:
    """Write bytes, or what acts as such; once a file has them, no crash takes them.

    Raises:
      OSError: it cannot be written.
    """
    if is_remote(path):
        return write_whole(path, bytes(content))
    partial = path.with_name(f".{path.name}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file on the disk to write to; it becomes `path` when it is whole, or goes."""
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            send(temporary, path)
        return
    # The dot keeps readers of a folder from taking a leftover for one of its files.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """A folder to write into; it becomes `path` when it is whole, or goes.

    In a bucket it is `path` from the start, with a mark in it; one that a killed
    process left there makes way. What others take for the sign of a whole folder is to
    be written last.

    Args:
      path: of a folder that is not there yet, by `is_whole`.
      alone: whether no other process may be writing it, so that on the disk, too, what
        a killed one left makes way.

    Raises:
      OSError: something cannot be written.
    """
    if is_remote(path):
        if is_whole(path):
            raise FileExistsError(f"{path} exists")
        remove_tree(path)
        write_whole(path / UNFINISHED, b"")
        try:
            yield path
        except BaseException:
            with contextlib.suppress(Exception):
                remove_tree(path)
            raise
        (path / UNFINISHED).unlink()
        return
    process = "" if alone else f".{os.getpid()}"
    temporary = path.with_name(f".{path.name}{process}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def uploaded(folder: Path) -> Iterator[Path]:
    """A folder on the disk for a library that knows no other; its files are then sent.

    One that is on the disk is given as it is.
    """
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        upload(Path(name), folder)


def upload(source: Path, target: Path) -> None:
    """Copy the files of a folder on the disk into a bucket, each of them whole."""
    for file in sorted(source.rglob("*")):
        if file.is_file():
            send(file, target / file.relative_to(source).as_posix())


@contextmanager
def downloaded(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """Some files of a folder, on the disk for as long as they are read.

    Args:
      folder: one that is on the disk is given as it is.
      patterns: of the names of what is needed of another one.
    """
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        for path in folder.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns):
                (Path(name) / path.name).write_bytes(path.read_bytes())
        yield Path(name)


@contextmanager
def open_for_library(path: Path) -> Iterator[Path | BinaryIO]:
    """What a library can read: a path on the disk as it is; another one opened.

    Of an opened one, only what is looked for is transferred.
    """
    if not is_remote(path):
        yield path
        return
    with path.open("rb") as file:
        yield file


def read_range(path: Path, start: int, end: int) -> bytes:
    """The bytes of a remote file from `start` to before `end`, in one request.

    Raises:
      FileNotFoundError: there is no such file.
    """
    return bucket_files().cat_file(str(path), start=start, end=end)
