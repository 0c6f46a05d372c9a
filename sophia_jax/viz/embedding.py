"""Questions as blocks of JSON in a page, no more than a page of a given size holds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sophia_jax.viz.entries import Branch, Entry, EntrySet, Leaf
from sophia_jax.viz.pictures import Picture, embed_picture
from sophia_jax.viz.printable import MAX_CHARACTERS, printable

__all__ = ["MAX_MIB", "Embedded", "as_script", "embed"]

MAX_MIB = 64.0  # of a page's texts and pictures, unless another bound is given
SHARE_OF_TEXTS = 0.6  # of that, where there are pictures too
REFERENCE = 8  # bytes at most of a picture's number and what stands around it
FEWEST_CHARACTERS = 400  # of a text that was not kept, however many there are
PER_BLOCK = 50  # entries, and pictures, that are parsed together
TITLE = 120  # characters of a question in the list
MAX_WORDS = 300  # characters of what is said in a word or two

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True)
class Embedded:
    """What the browser of a page is made of.

    Attributes:
      index: what the list and its filters need, as JSON for a script element.
      blocks: the rest by id, likewise, each parsed when it is needed.
      shown: questions.
      total: questions that there are.
      without_picture: questions whose pictures had no room.
      max_mib: how much room there was, in MiB.
    """

    index: str
    blocks: dict[str, str]
    shown: int
    total: int
    without_picture: int
    max_mib: float


@dataclass
class _Numbered:
    """Texts by number, equal ones once."""

    texts: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> int:
        """The number of a text."""
        return self.texts.setdefault(text, len(self.texts))


@dataclass
class _Room:
    """How much texts and the index may take: less where there are pictures."""

    whole: int
    used: int = 0
    pictured: bool = False

    @property
    def left(self) -> int:
        """Bytes; negative where pictures came after much without any."""
        share = SHARE_OF_TEXTS if self.pictured else 1.0
        return int(share * self.whole) - self.used


@dataclass
class _Pictures:
    """Pictures by number, equal ones once, until the room is full."""

    room: int
    blocks: list[Picture] = field(default_factory=list)
    by_uri: dict[str, int] = field(default_factory=dict)
    by_path: dict[Path, int | None] = field(default_factory=dict)
    full: bool = False
    without_room: int = 0

    def add_all(self, paths: Sequence[Path]) -> list[int]:
        """The numbers of one question's pictures that are in the page."""
        numbers = [number for path in paths if (number := self.add(path)) is not None]
        self.without_room += self.full and len(numbers) < len(paths)
        return numbers

    def add(self, path: Path) -> int | None:
        """The number of a picture; None where it cannot be read, or has no room."""
        if path not in self.by_path and not self.full:
            self.by_path[path] = self._embed(path)
        return self.by_path.get(path)

    def _embed(self, path: Path) -> int | None:
        picture = embed_picture(path)
        if picture is None:
            return None
        if picture.uri not in self.by_uri:
            size = _size(as_script(_fields(picture))) + 1
            if size > self.room:
                self.full = True
                return None
            self.room -= size
            self.by_uri[picture.uri] = len(self.blocks)
            self.blocks.append(picture)
        return self.by_uri[picture.uri]


def as_script(content: Any) -> str:
    """JSON that can stand in a script element: nothing in it opens or ends a tag.

    A number that JSON does not know, NaN or an infinite one, is null.
    """
    try:
        text = _JSON.encode(content)
    except ValueError:
        text = _JSON.encode(_finite(content))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _finite(content: Any) -> Any:
    """The same with None for numbers that JSON does not know."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    unknown = isinstance(content, float) and not math.isfinite(content)
    return None if unknown else content


def embed(sets: Sequence[EntrySet], max_mib: float = MAX_MIB) -> Embedded:
    """Texts first, then pictures, each in order, as far as there is room.

    Args:
      sets: of questions; each has an equal share of the room for texts, and what it
        leaves goes to those after it.
      max_mib: the room for all of it, in MiB.

    Returns:
      The blocks; the same questions and pictures give the same text.
    """
    room = _Room(int(max_mib * 2**20))
    details: list[str] = []
    chosen: list[tuple[str, Entry]] = []
    for place, each in enumerate(sets):
        for entry, text in _fitting(each, room, len(sets) - place):
            chosen.append((each.name, entry))
            details.append(text)
    pictures = _Pictures(room.whole - room.used)
    index = as_script(_index(chosen, pictures))
    blocks = _blocks("questions", details)
    blocks |= _blocks("pictures", [as_script(_fields(p)) for p in pictures.blocks])
    total = sum(each.total for each in sets)
    return Embedded(index, blocks, len(chosen), total, pictures.without_room, max_mib)


def _fitting(
    entries: EntrySet, room: _Room, num_sets: int
) -> Iterator[tuple[Entry, str]]:
    """The first entries, as far as one of so many sets has room, and their texts."""
    before = room.used
    for entry in entries.entries:
        room.pictured |= bool(entry.pictures)
        used = room.used - before
        share = (room.left + used) // num_sets
        text = as_script(_details(entry, share // max(entries.total, 1)))
        size = _size(text) + 1 + _row_size(entries.name, entry)
        if size > share - used:
            return
        room.used += size
        yield _without_texts(entry), text


def _row_size(part: str, entry: Entry) -> int:
    """At most so many bytes of the index are an entry's."""
    row = _size(as_script(_row(part, entry)))
    return row + 1 + REFERENCE * len(entry.pictures)


def _without_texts(entry: Entry) -> Entry:
    """What is still needed of an entry whose texts are written."""
    return dataclasses.replace(entry, branches=(), truth=None)


def _details(entry: Entry, room: int) -> dict[str, Any]:
    """Everything that a card shows, pictures apart."""
    leaves = sum(len(branch.leaves) for branch in entry.branches)
    most = min(max(room // max(leaves, 1), FEWEST_CHARACTERS), MAX_CHARACTERS)
    texts, notes = _Numbered(), _Numbered()
    return {
        "question": printable(entry.question),
        "answer": _maybe(entry.answer),
        "words": _words(entry.words),
        "truth": _maybe(entry.truth),
        "pictures": len(entry.pictures) + entry.lost,
        "branches": [_branch(each, most, texts, notes) for each in entry.branches],
        "texts": list(texts.texts),
        "notes": list(notes.texts),
    }


def _branch(
    branch: Branch, most: int, texts: _Numbered, notes: _Numbered
) -> dict[str, Any]:
    pieces = branch.differences
    return {
        "title": printable(branch.title),
        "text": _maybe(branch.text),
        "note": notes.add(_words(branch.note)),
        "reward": branch.reward and [round(bound, 4) for bound in branch.reward],
        "passes": branch.passes,
        "differences": pieces and [[kind, printable(text)] for kind, text in pieces],
        "leaves": [_leaf(each, most, texts, notes) for each in branch.leaves],
    }


def _leaf(leaf: Leaf, most: int, texts: _Numbered, notes: _Numbered) -> list[Any]:
    text = texts.add(printable(leaf.text, MAX_CHARACTERS if leaf.kept else most))
    mark, note = (notes.add(_words(each)) for each in (leaf.mark, leaf.note))
    return [mark, leaf.num_tokens, note, text, int(leaf.kept)]


def _maybe(text: str | None) -> str | None:
    return None if text is None else printable(text)


def _words(text: str) -> str:
    return printable(text, MAX_WORDS)


def _row(part: str, entry: Entry) -> dict[str, Any]:
    """What the list needs of an entry, its pictures apart, in words."""
    return {
        "key": _words(entry.name),
        "title": printable(entry.question[:TITLE]),
        "pictures": [],
        "good": entry.good,
        "status": _words(entry.status),
        "labels": {
            _words(name): _words(label)
            for name, label in {"questions": part, **entry.labels}.items()
        },
    }


def _index(chosen: Sequence[tuple[str, Entry]], pictures: _Pictures) -> dict[str, Any]:
    """What the list and its filters need."""
    rows = [_row(part, entry) for part, entry in chosen]
    filters = list(dict.fromkeys(name for row in rows for name in row["labels"]))
    keys: set[str] = set()
    words = _Numbered()
    for row, (_, entry) in zip(rows, chosen, strict=True):
        labels = row["labels"]
        row |= {
            "key": _key(row["key"], keys),
            "pictures": pictures.add_all(entry.pictures),
            "status": words.add(row["status"]),
            "labels": [
                words.add(labels[name]) if name in labels else -1 for name in filters
            ],
        }
    sizes = {"perBlock": PER_BLOCK, "words": list(words.texts)}
    return {"filters": filters, "rows": rows, **sizes}


def _key(name: str, keys: set[str]) -> str:
    """The name, or where it is taken the name and a number, for addresses."""
    key, number = name, 2
    while key in keys:
        key, number = f"{name} ({number})", number + 1
    keys.add(key)
    return key


def _fields(picture: Picture) -> list[Any]:
    return [picture.uri, picture.width, picture.height, +picture.pixelated]


def _blocks(name: str, parts: Sequence[str]) -> dict[str, str]:
    starts = range(0, len(parts), PER_BLOCK)
    joined = (",".join(parts[start : start + PER_BLOCK]) for start in starts)
    return {f"{name}-{place}": f"[{block}]" for place, block in enumerate(joined)}


def _size(text: str) -> int:
    return len(text.encode())
