"""Whether an answer names numbers that do not stand in the picture."""

from __future__ import annotations

import re

__all__ = ["is_hallucinated", "numbers_named"]

_THOUGHT = re.compile(r"<think>(.*?)(</think>|\Z)", re.DOTALL)
_ALONE = re.compile(r"(\d+)")
_TOGETHER = re.compile(r"(\d+)[+,](\d+)")
# What stands before these may have been calculated: a sum, or two digits of a number.
_SECOND = re.compile(r"\d+[-*](\d+)")


def numbers_named(response: str) -> list[int]:
    """The numbers that an answer's think part claims to read from the picture.

    The reasonings of the handwriting task copy numbers before they calculate: a line
    that is a number, two numbers with "+" or "," between them, or what is subtracted or
    multiplied by ("101-31" of a question in two steps: 31 is read, 101 is a sum).
    Lines with "=" or "?" are steps between digits, and their results are not read.
    From the line that begins with "check" on nothing is.

    Args:
      response: of the policy; without "<think>" nothing is named.

    Returns:
      The numbers in the order in which they are named, leading zeros dropped.
    """
    thought = _THOUGHT.search(response)
    named = []
    for line in thought[1].split("\n") if thought else ():
        if line.startswith("check"):
            break
        for pattern in (_ALONE, _TOGETHER, _SECOND):
            if found := pattern.fullmatch(line.strip()):
                named += map(int, found.groups())
    return named


def is_hallucinated(response: str, true_caption: str) -> bool:
    """Whether one of the numbers that an answer names is not in the picture.

    A number in the wrong row, or one that is left out, is no hallucination.

    Args:
      response: of the policy.
      true_caption: the picture's numbers, with white space between them.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, table 9: there by hand, of 50
      answers.
    """
    return not set(numbers_named(response)) <= set(map(int, true_caption.split()))
