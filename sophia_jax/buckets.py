"""The file system of buckets, and what is said where it cannot be used."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sophia_jax.types import InputError

__all__ = [
    "PREFIX",
    "bucket_files",
    "check_buckets",
    "copy_objects",
    "forget_listings",
    "refusal",
    "send",
]

PREFIX = "gs://"
INSTALL = "pip install 'sophia-jax[gcs]'"


def check_buckets(paths: Iterable[str]) -> None:
    """Ask for something at each path into a bucket, before anything else is done.

    Args:
      paths: as they were given; others than `gs://` are passed over.

    Raises:
      InputError: what it takes is not installed, there is no such bucket, or it may
        not be read.
    """
    for path in paths:
        if not path.startswith(PREFIX):
            continue
        bucket = path.removeprefix(PREFIX).partition("/")[0]
        try:
            if not bucket:
                raise ValueError("no name of a bucket")
            bucket_files().ls(path, max_results=1)
        except FileNotFoundError:
            _check_bucket(bucket)
        # The errors of its libraries have no base in common.
        except Exception as error:
            raise refusal(path, error) from error


def _check_bucket(bucket: str) -> None:
    """Whether a bucket is there, in which nothing was found."""
    try:
        bucket_files().ls(bucket, max_results=1)
    except FileNotFoundError:
        error = FileNotFoundError("no bucket of this name")
        raise refusal(f"{PREFIX}{bucket}", error) from None
    except Exception as error:
        raise refusal(f"{PREFIX}{bucket}", error) from error


def refusal(path: str, error: Exception) -> InputError:
    """What a user is told, in a line, of an error of a bucket's libraries."""
    from sophia_jax.types import InputError  # loads JAX, for which --help does not wait

    if isinstance(error, InputError):
        return error
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path}: expected an open bucket, got: {reason[:300]}")


def bucket_files() -> Any:
    """The file system of buckets.

    Raises:
      InputError: it is not installed.
    """
    try:
        import fsspec

        forget_listings()
        return fsspec.filesystem("gcs")
    except ImportError as error:
        from sophia_jax.types import InputError

        raise InputError(f"{PREFIX}: expected gcsfs, got none; {INSTALL}") from error


@functools.cache
def forget_listings() -> None:
    """What a folder holds is asked for each time: another host may have written there,
    and a listing that is kept is never looked up again."""
    with contextlib.suppress(ImportError):
        import fsspec

        fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def send(file: Path, path: Path) -> None:
    """Copy a file into a bucket, where it appears when all of it has arrived.

    Raises:
      InputError: it was not taken.
    """
    try:
        bucket_files().put_file(str(file), str(path))
    except Exception as error:
        raise refusal(str(path), error) from error


def copy_objects(source: Path, target: Path) -> None:
    """Copy all that is in a folder of a bucket, each object whole or not at all.

    Raises:
      InputError: one was not copied.
    """
    files, folder = bucket_files(), str(source)
    try:
        for name in files.find(folder):
            place = name.removeprefix(folder.removeprefix(PREFIX)).lstrip("/")
            files.cp_file(f"{PREFIX}{name}", f"{target}/{place}")
    except Exception as error:
        raise refusal(folder, error) from error
