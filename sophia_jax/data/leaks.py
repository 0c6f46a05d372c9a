"""Whether a training row stands in a benchmark: the same picture, or the same words."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from sophia_jax.data.images import load_image
from sophia_jax.types import Item, Track, untracked

__all__ = ["find_leaks", "picture_hash", "words"]

MAX_DISTANCE = 4  # bits of 64
NGRAM = 13  # words
MOST_ROWS = 10  # of a benchmark; what stands in more is its manner of asking
SIDE, KEPT = 32, 8  # pixels, and frequencies, of each axis
FLAT = 1.0  # standard deviation in grey levels, below which nothing is to be seen
ROWS_AT_ONCE = 1024
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts without blanks
_WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W\d_])+")


def find_leaks(
    items: Sequence[Item], benchmark: Sequence[Item], *, track: Track = untracked
) -> dict[str, str]:
    """Which rows share a picture or the words of their question with a benchmark.

    A picture is the same when the hashes of `picture_hash` differ in at most
    MAX_DISTANCE bits. A question is the same when all of its `words` are, or NGRAM in a
    row, unless these stand in more than MOST_ROWS rows of the benchmark.

    Args:
      items: the rows to be checked.
      benchmark: the rows that must not be learnt.
      track: shows how many pictures were read.

    Returns:
      What is the same and in which row of the benchmark, by the ids of the rows that
      leak.
    """
    pictures = _same_pictures(items, benchmark, track)
    questions = _same_questions(items, benchmark)
    reasons = {}
    for item in items:
        found = [each[item.id] for each in (pictures, questions) if item.id in each]
        if found:
            reasons[item.id] = "; ".join(found)
    return reasons


def words(text: str) -> list[str]:
    """Words and numbers in lower case, without signs between them."""
    return _WORD.findall(text.casefold())


def picture_hash(image: Image.Image) -> np.uint64 | None:
    """64 bits that stay when a picture is resized, compressed or made grey.

    Bit (i, j) tells whether coefficient (i, j) of the two-dimensional cosine transform
    of the picture, in grey and 32 pixels a side, is above the median of the lowest 64.

    Args:
      image: of any size.

    Returns:
      The bits; None where the picture is of one colour, so that all such are alike.
    """
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    grey = np.asarray(small, np.float64)
    if grey.std() < FLAT:
        return None
    lowest = _COSINES @ grey @ _COSINES.T
    bits = (lowest > np.median(lowest)).ravel()
    return np.packbits(bits).view(">u8")[0].astype(np.uint64)


_COSINES = np.cos(
    np.pi * np.outer(np.arange(KEPT), 2 * np.arange(SIDE) + 1) / (2 * SIDE)
)


def _same_pictures(
    items: Sequence[Item], benchmark: Sequence[Item], track: Track
) -> dict[str, str]:
    ours, our_hashes = _hashes(items, track)
    theirs, their_hashes = _hashes(benchmark, track)
    found: dict[str, str] = {}
    if not len(theirs):
        return found
    for start in range(0, len(ours), ROWS_AT_ONCE):
        block = our_hashes[start : start + ROWS_AT_ONCE, None] ^ their_hashes[None]
        distances = np.bitwise_count(block)
        for offset in np.flatnonzero(distances.min(axis=1) <= MAX_DISTANCE):
            nearest = int(distances[offset].argmin())
            found.setdefault(
                ours[start + offset],
                "picture: expected one of its own, got that of row "
                f"{theirs[nearest]} ({distances[offset, nearest]} of 64 bits differ)",
            )
    return found


def _hashes(items: Sequence[Item], track: Track) -> tuple[list[str], np.ndarray]:
    """Ids and hashes of all pictures that have one; each picture is read once."""
    paths = list(dict.fromkeys(path for item in items for path in item.images))

    def read(path: str) -> np.uint64 | None:
        return picture_hash(load_image(path))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = track(pool.map(read, paths), "comparing", len(paths))
        by_path = dict(zip(paths, hashes, strict=True))
    pairs = [
        (item.id, by_path[path])
        for item in items
        for path in item.images
        if by_path[path] is not None
    ]
    return [name for name, _ in pairs], np.array([h for _, h in pairs], np.uint64)


def _same_questions(items: Sequence[Item], benchmark: Sequence[Item]) -> dict[str, str]:
    whole: dict[str, str] = {}
    rows_of: dict[str, set[str]] = defaultdict(set)
    for item in benchmark:
        said = words(item.question)
        whole.setdefault(" ".join(said), item.id)
        for ngram in _ngrams(said):
            rows_of[ngram].add(item.id)
    found = {}
    for item in items:
        said = words(item.question)
        text = " ".join(said)
        shared = next(
            (
                ngram
                for ngram in _ngrams(said)
                if 0 < len(rows_of.get(ngram, ())) <= MOST_ROWS
            ),
            None,
        )
        if text in whole:
            row = whole[text]
            found[item.id] = f"question: expected one of its own, got that of row {row}"
        elif shared is not None:
            found[item.id] = (
                f"question: expected one of its own, got {NGRAM} words of row "
                f"{min(rows_of[shared])} ({shared!r})"
            )
    return found


def _ngrams(said: Sequence[str]) -> list[str]:
    ends = range(NGRAM, len(said) + 1)
    return [" ".join(said[end - NGRAM : end]) for end in ends]
