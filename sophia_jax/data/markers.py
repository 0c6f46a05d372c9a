"""Markers like <image1>, which say where in a text a picture belongs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sophia_jax.data.fields import bad_field

__all__ = ["resolve_markers"]

_LINE = re.compile(r"^(?:[ \t]*<image[ _]?\d*>)+[ \t]*\n", re.MULTILINE)
_MARKER = re.compile(r"[ \t]*<image[ _]?(\d*)>")


def resolve_markers(texts: Sequence[str], num_images: int) -> list[str]:
    """Texts without markers: pictures are shown before the text, in their own order.

    With several pictures a marker among words becomes "(picture 2)", since it tells
    them apart; a marker without a number means the next picture.

    Args:
      texts: of one question, in the order in which they are read.
      num_images: how many pictures are shown.

    Returns:
      The texts, without blanks around them.

    Raises:
      InputError: of several pictures, a marker names one that is not there.
    """
    if num_images < 2:
        return [_MARKER.sub("", _LINE.sub("", text)).strip() for text in texts]
    unnumbered = 0

    def number(found: re.Match) -> str:
        nonlocal unnumbered
        unnumbered += not found[1]
        picture = int(found[1] or unnumbered)
        if not 0 < picture <= num_images:
            rule = f"markers of {num_images} pictures"
            raise bad_field("question", rule, found[0].strip())
        blank = found[0][: found[0].index("<")]
        return f"{blank}<image{picture}>"

    numbered = [_MARKER.sub(number, text) for text in texts]
    return [
        _MARKER.sub(r" (picture \1)", _LINE.sub("", text)).strip() for text in numbered
    ]
