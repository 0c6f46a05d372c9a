"""Text from models and files, made fit to be looked at; escaping is the template's."""

from __future__ import annotations

__all__ = ["MAX_CHARACTERS", "count", "duration", "percent", "printable"]

MAX_CHARACTERS = 4_000
NO_BREAK = "\u00a0"  # keeps a number and its unit on one line

# Control characters become their pictures; what turns the direction of the text around
# it, ends a line unseen, has no width, half a character, or no character at all becomes
# the replacement character. What joins or parts letters (U+200C, U+200D) stays: scripts
# and emoji need it.
_SHOWN = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_SHOWN[0x7F] = 0x2421
_REPLACED = [
    *range(0x80, 0xA0),
    0x061C,
    0x200B,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
    0xFEFF,
    0xFFFE,
    0xFFFF,
]
_SHOWN |= dict.fromkeys(_REPLACED, 0xFFFD)


def printable(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """The text without characters that hide or damage what stands around it.

    Args:
      text: anything.
      max_characters: what goes beyond is cut off, and the text says how much.

    Returns:
      The text; tabs and line ends stay.
    """
    text = text.replace("\r\n", "\n")
    shown = text[:max_characters].translate(_SHOWN)
    cut = len(text) - max_characters
    return f"{shown} … [{cut:,} more characters not shown]" if cut > 0 else shown


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    return f"{100 * share:.1f}{NO_BREAK}%"


def count(number: int) -> str:
    """A number with its thousands marked."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units of h, min and s."""
    if seconds < 60:
        return f"{seconds:.1f}{NO_BREAK}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NO_BREAK}min {rest}{NO_BREAK}s"
    return f"{minutes // 60:,}{NO_BREAK}h {minutes % 60}{NO_BREAK}min"
