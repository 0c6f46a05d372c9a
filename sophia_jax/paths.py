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
import functools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from sophia_jax.types import InputError

__all__ = [
    "as_path",
    "check_buckets",
    "downloaded",
    "is_remote",
    "is_whole",
    "make_folder",
    "open_for_library",
    "read_range",
    "remove_tree",
    "resolved",
    "tree_size",
    "upload",
    "uploaded",
    "whole_file",
    "whole_folder",
    "write_whole",
]

PREFIX = "gs://"
UNFINISHED = ".unfinished"  # stands in a remote folder that is being written
INSTALL = "pip install 'sophia-jax[gcs]'"


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

    _forget_listings()
    return epath.Path(path)


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path leads into a bucket."""
    return os.fspath(path).startswith(PREFIX)


def resolved(path: str | os.PathLike) -> Path:
    """The absolute path; one into a bucket is that as it is."""
    path = as_path(path)
    return path if is_remote(path) else path.resolve()


def is_whole(path: Path) -> bool:
    """Whether there is something at a path, all of it; as `whole_folder` leaves it."""
    return path.exists() and not (is_remote(path) and (path / UNFINISHED).exists())


def make_folder(path: Path) -> None:
    """Make a folder where there is none; a bucket needs none, and is never made."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder with all that is in it; none is no error."""
    if is_remote(folder):
        folder.rmtree(missing_ok=True)
    elif folder.exists():
        shutil.rmtree(folder)


def tree_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    if is_remote(folder):
        return _bucket_files().du(str(folder))
    return sum(file.stat().st_size for file in folder.rglob("*"))


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that appears whole or not at all, in the stead of one before it."""
    with whole_file(path) as temporary:
        temporary.write_bytes(
            content.encode("utf-8") if isinstance(content, str) else content
        )


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file on the disk to write to; it becomes `path` when it is whole, or goes."""
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            _send(temporary, path)
        return
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
            _send(file, target / file.relative_to(source).as_posix())


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
    return _bucket_files().cat_file(str(path), start=start, end=end)


def check_buckets(paths: Iterable[str]) -> None:
    """Ask for something at each path into a bucket, before anything else is done.

    Args:
      paths: as they were given; others than `gs://` are passed over.

    Raises:
      InputError: what it takes is not installed, there is no such bucket, or it may
        not be read.
    """
    for path in filter(is_remote, paths):
        bucket = path.removeprefix(PREFIX).partition("/")[0]
        try:
            if not bucket:
                raise ValueError("no name of a bucket")
            _bucket_files().ls(path, max_results=1)
        except FileNotFoundError:
            _check_bucket(bucket)
        # The errors of its libraries have no base in common.
        except Exception as error:
            raise _refusal(path, error) from error


def _check_bucket(bucket: str) -> None:
    """Whether a bucket is there, in which nothing was found."""
    try:
        _bucket_files().ls(bucket, max_results=1)
    except FileNotFoundError:
        error = FileNotFoundError("no bucket of this name")
        raise _refusal(f"{PREFIX}{bucket}", error) from None
    except Exception as error:
        raise _refusal(f"{PREFIX}{bucket}", error) from error


def _refusal(path: str, error: Exception) -> InputError:
    from sophia_jax.types import InputError  # loads JAX, for which --help does not wait

    if isinstance(error, InputError):
        return error
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path}: expected an open bucket, got: {reason[:300]}")


def _bucket_files() -> Any:
    """The file system of buckets.

    Raises:
      InputError: it is not installed.
    """
    try:
        import fsspec

        _forget_listings()
        return fsspec.filesystem("gcs")
    except ImportError as error:
        from sophia_jax.types import InputError

        raise InputError(f"{PREFIX}: expected gcsfs, got none; {INSTALL}") from error


@functools.cache
def _forget_listings() -> None:
    """What a folder holds is asked for each time: another host may have written there,
    and a listing that is kept is never looked up again."""
    with contextlib.suppress(ImportError):
        import fsspec

        fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def _send(file: Path, path: Path) -> None:
    """Copy a file into a bucket, where it appears when all of it has arrived.

    Raises:
      InputError: it was not taken.
    """
    try:
        _bucket_files().put_file(str(file), str(path))
    except Exception as error:
        raise _refusal(str(path), error) from error
