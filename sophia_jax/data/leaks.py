"""Whether a training row stands in a benchmark: the same picture, or the same words."""

from __future__ import annotations

import functools
import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from sophia_jax.data.images import load_image
from sophia_jax.types import Item, Track, untracked

__all__ = ["find_leaks", "picture_hash", "thumbnail", "words"]

# By scripts/measure_leaks.py, on 887 pictures of MATH-Vision, DynaMath and TabMWP, each
# recompressed (JPEG of quality 50, 20), resized (half, double, 300 wide, square), and
# made grey: 99.4 % of the changed pictures are found (of half the size, 98.4 %), and 53
# of 392,803 pairs of different ones (1 of 7,400) are taken for the same, all within one
# set: its tables and diagrams of one template, with other numbers or colours. By the
# hash alone it is 496 pairs (99.8 % found), and 118 with the threshold 4 (98.6 %).
MAX_DISTANCE = 10  # bits of 64
MIN_CORRELATION = 0.98
THUMBNAIL = 64  # pixels a side
NGRAM = 13  # words
MOST_ROWS = 10  # of a benchmark; what stands in more is its manner of asking
SIDE, KEPT = 32, 8  # pixels, and frequencies, of each axis
FLAT = 1.0  # standard deviation in grey levels, below which nothing is to be seen
ROWS_AT_ONCE = 1024
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts without blanks
_WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W\d_])+")


def find_leaks(
    items: Sequence[Item],
    benchmarks: Mapping[str, Sequence[Item]],
    *,
    track: Track = untracked,
) -> dict[str, dict[str, str]]:
    """Which rows share a picture or the words of their question with a benchmark.

    A picture is the same when the hashes of `picture_hash` differ in at most
    MAX_DISTANCE bits, and the grey levels of 64 x 64 pixels correlate by at least
    MIN_CORRELATION. A question is the same when all of its `words` are, or NGRAM in a
    row, unless these stand in more than MOST_ROWS rows of the benchmark; one of fewer
    words than NGRAM, as "What is shown?", is the same only where a picture is too, or
    the row has none. A question without words is like no other.

    Args:
      items: the rows to be checked.
      benchmarks: by name, the rows that must not be learnt.
      track: shows how many pictures were read.

    Returns:
      For each benchmark, by the ids of the rows that leak: what is the same, and in
      which of its rows.
    """
    hashed = _hashes(items, track)
    found = {}
    for name, benchmark in benchmarks.items():
        pictures = _same_pictures(hashed, _hashes(benchmark, track))
        questions = _same_questions(items, benchmark, pictures)
        found[name] = {
            item.id: "; ".join(
                each[item.id] for each in (pictures, questions) if item.id in each
            )
            for item in items
            if item.id in pictures or item.id in questions
        }
    return found


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


def thumbnail(image: Image.Image) -> np.ndarray:
    """Grey levels of 64 x 64 pixels, less their mean, as a vector of length 1.

    The product of two of them is the correlation of their pictures.

    Args:
      image: of any size, and not of one colour.

    Returns:
      Float32 numbers, row by row.
    """
    small = image.convert("L").resize((THUMBNAIL,) * 2, Image.Resampling.BILINEAR)
    grey = np.asarray(small, np.float32).ravel()
    grey = grey - grey.mean()
    return grey / np.linalg.norm(grey)


Hashed = tuple[list[tuple[str, str]], np.ndarray]  # (id, path), and the hash of each


def _same_pictures(items: Hashed, benchmark: Hashed) -> dict[str, str]:
    (ours, our_hashes), (theirs, their_hashes) = items, benchmark
    small = functools.cache(lambda path: thumbnail(load_image(path)))
    found: dict[str, str] = {}
    for start in range(0, len(ours) if len(theirs) else 0, ROWS_AT_ONCE):
        block = our_hashes[start : start + ROWS_AT_ONCE, None] ^ their_hashes[None]
        distances = np.bitwise_count(block)
        for offset, other in np.argwhere(distances <= MAX_DISTANCE):
            (name, path), (row, their_path) = ours[start + offset], theirs[other]
            if name in found:
                continue
            likeness = float(np.vdot(small(path), small(their_path)))
            if likeness >= MIN_CORRELATION:
                found[name] = (
                    "picture: expected none of a benchmark's, got that of row "
                    f"{row} (correlation {likeness:.3f})"
                )
    return found


def _hashes(items: Sequence[Item], track: Track) -> Hashed:
    """All pictures that have a hash; each file is read once."""
    paths = list(dict.fromkeys(path for item in items for path in item.images))

    def read(path: str) -> np.uint64 | None:
        return picture_hash(load_image(path))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = track(pool.map(read, paths), "comparing", len(paths))
        by_path = dict(zip(paths, hashes, strict=True))
    hashed = [
        (item.id, path)
        for item in items
        for path in item.images
        if by_path[path] is not None
    ]
    return hashed, np.array([by_path[path] for _, path in hashed], np.uint64)


def _same_questions(
    items: Sequence[Item], benchmark: Sequence[Item], pictures: Mapping[str, str]
) -> dict[str, str]:
    """By id, where the words of a row stand; `pictures` are those that leak."""
    whole: dict[str, set[str]] = defaultdict(set)
    parts: dict[str, set[str]] = defaultdict(set)
    for item in benchmark:
        said = words(item.question)
        whole[" ".join(said)].add(item.id)
        for ngram in _ngrams(said):
            parts[ngram].add(item.id)

    found, fault = {}, "question: expected none of a benchmark's, got"
    for item in items:
        said = words(item.question)
        text, ngrams = " ".join(said), _ngrams(said)
        shared = next((ngram for ngram in ngrams if _is_rare(parts.get(ngram))), None)
        tells = ngrams or not item.images or item.id in pictures
        if said and tells and _is_rare(whole.get(text)):
            found[item.id] = f"{fault} that of row {min(whole[text])}"
        elif shared is not None:
            found[item.id] = (
                f"{fault} {NGRAM} words of row {min(parts[shared])} ({shared!r})"
            )
    return found


def _is_rare(rows: Collection[str] | None) -> bool:
    """Whether words stand in rows of a benchmark, and few enough to be a question."""
    return rows is not None and len(rows) <= MOST_ROWS


def _ngrams(said: Sequence[str]) -> list[str]:
    ends = range(NGRAM, len(said) + 1)
    return [" ".join(said[end - NGRAM : end]) for end in ends]
