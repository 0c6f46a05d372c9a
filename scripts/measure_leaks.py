"""How many changed pictures the rules of `sophia_jax.data.leaks` find, and what else.

    SOPHIA_SHARED=FOLDER python scripts/measure_leaks.py  # the sets in FOLDER/data
    python scripts/measure_leaks.py FOLDER

Each folder in FOLDER that holds an `items.jsonl` is a set. Every picture is compared
with changed versions of itself, which are to be found, and with all others, which are
not; byte-identical files and the variants of one question (ids that end in _v1, _v2)
are no such pair. Last come the rows of each set whose question is found in another.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from bench_measure import cpu_model
from PIL import Image

from sophia_jax.data import leaks
from sophia_jax.data.images import load_image
from sophia_jax.data.items import FILE_NAME
from sophia_jax.data.sources import read_source
from sophia_jax.recipes.machine import versions
from sophia_jax.types import Item


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The picture as it comes back from a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """The picture with both sides so many times as long."""
    return image.resize([max(1, round(factor * side)) for side in image.size])


CHANGES = {
    "JPEG 50": lambda image: jpeg(image, 50),
    "JPEG 20": lambda image: jpeg(image, 20),
    "half": lambda image: scaled(image, 1 / 2),
    "double": lambda image: scaled(image, 2),
    "300 wide": lambda image: scaled(image, 300 / image.width),
    "square": lambda image: image.resize((448, 448)),
    "grey": lambda image: image.convert("L"),
}
RULES = (  # the most bits that differ, and the least correlation; the last is built
    (4, -np.inf),
    (leaks.MAX_DISTANCE, -np.inf),
    (leaks.MAX_DISTANCE, leaks.MIN_CORRELATION),
)


@dataclass(frozen=True)
class Picture:
    """What the rules see of a picture and of its changed versions."""

    set: str
    question: str  # the set, and the id without its variant
    file: str  # digest of its bytes
    hash: np.uint64
    thumbnail: np.ndarray
    changed: list[tuple[float, float]]  # for each of CHANGES: bits, correlation


def look_at(name: str, item: Item, path: str) -> Picture | None:
    """A picture of the set of that name; None where it is of one colour."""
    image = load_image(path)
    ours = leaks.picture_hash(image)
    if ours is None:
        return None
    small, changed = leaks.thumbnail(image), []
    for other in (change(image) for change in CHANGES.values()):
        theirs = leaks.picture_hash(other)
        if theirs is None:
            changed.append((np.inf, -np.inf))  # no rule finds it
        else:
            likeness = float(small @ leaks.thumbnail(other))
            changed.append((float(np.bitwise_count(ours ^ theirs)), likeness))
    question = name + "/" + re.sub(r"_v\d+$", "", item.id)
    file = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Picture(name, question, file, ours, small, changed)


def print_pictures(pictures: Sequence[Picture]) -> None:
    """For each rule, the share found after each change, and the false pairs."""
    bits, likeness = np.moveaxis(np.array([p.changed for p in pictures]), -1, 0)
    hashes = np.array([p.hash for p in pictures])
    small = np.stack([p.thumbnail for p in pictures])
    pair_bits = np.bitwise_count(hashes[:, None] ^ hashes[None])
    pair_likeness = small @ small.T
    files, questions = np.array([(p.file, p.question) for p in pictures]).T
    same = (files[:, None] == files[None]) | (questions[:, None] == questions[None])
    different = np.triu(~same)  # each pair once
    columns = "".join(f"{name:>9}" for name in (*CHANGES, "all"))
    print(f"bits  corr.{columns}  false of {different.sum():,} pairs")
    for most, least in RULES:
        found = ((bits <= most) & (likeness >= least)).mean(axis=0)
        shares = "".join(f"{share:>9.1%}" for share in (*found, found.mean()))
        alike = (pair_bits <= most) & (pair_likeness >= least)
        false = [{pictures[i].set for i in p} for p in np.argwhere(different & alike)]
        where = dict(Counter(" and ".join(sorted(names)) for names in false))
        bound = "any" if least == -np.inf else least
        print(f"{most:>4}{bound:>7}{shares}  {len(false)} {where}")


def print_questions(sets: dict[str, Sequence[Item]]) -> None:
    """How many rows of each set are found in each other by their words."""
    for name, items in sets.items():
        bare = [replace(item, images=()) for item in items]
        others = {other: sets[other] for other in sets if other != name}
        for other, found in leaks.find_leaks(bare, others).items():
            print(f"questions of {name} in {other}: {len(found)} of {len(items)}")


def main() -> None:
    shared = os.environ.get("SOPHIA_SHARED")
    default = Path(shared, "data") if shared else None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    folder = parser.parse_args().folder
    files = sorted(folder.glob(f"*/{FILE_NAME}")) if folder else []
    if not files:
        got = folder or "none (SOPHIA_SHARED is not set)"
        raise SystemExit(f"folder: expected one with sets (*/{FILE_NAME}), got {got}")
    sets = {
        file.parent.name: read_source(file, use="compare", check_pictures=False).items
        for file in files
    }
    looked = [
        look_at(name, item, path)
        for name, items in sets.items()
        for item in items
        for path in item.images
    ]
    pictures = [picture for picture in looked if picture is not None]
    counted = dict(Counter(picture.set for picture in pictures))
    print(f"pictures: {counted}, and {len(looked) - len(pictures)} of one colour")
    if pictures:
        print_pictures(pictures)
    print_questions(sets)
    print(f"{cpu_model()}; {versions() | {'pillow': version('pillow')}}")


if __name__ == "__main__":
    main()
