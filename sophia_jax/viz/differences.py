"""What a caption says against what the picture holds, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

__all__ = ["HELD", "SAID", "SAME", "agrees", "word_differences"]

SAME, SAID, HELD = "same", "said", "held"
MOST_WORDS = 1_000  # of either text: the comparison takes the square of that

_WORD = re.compile(r"(?:\w+|[^\w\s])\s*")


def word_differences(said: str, held: str) -> tuple[tuple[str, str], ...] | None:
    """The words of both texts, those that differ marked.

    Args:
      said: by the caption.
      held: by the picture, in words.

    Returns:
      Pieces in order, each SAME, SAID by the caption alone, or HELD by the picture
      alone, with its text; None where a text is too long to be compared.
    """
    ours, theirs = _WORD.findall(said), _WORD.findall(held)
    if max(len(ours), len(theirs)) > MOST_WORDS:
        return None
    words = [word.strip() for word in ours], [word.strip() for word in theirs]
    pieces = []
    for _, start, end, low, high in SequenceMatcher(
        None, *words, autojunk=False
    ).get_opcodes():
        if words[0][start:end] == words[1][low:high]:
            pieces.append((SAME, "".join(ours[start:end])))
            continue
        pieces.append((SAID, "".join(ours[start:end])))
        pieces.append((HELD, "".join(theirs[low:high])))
    return tuple((kind, text) for kind, text in pieces if text)


def agrees(differences: tuple[tuple[str, str], ...]) -> bool:
    """Whether nothing differs."""
    return all(kind == SAME for kind, _ in differences)
