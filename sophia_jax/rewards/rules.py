"""The rules by which answers are judged, by name.

"math" is this package's own; "mathvision" gives the verdicts that MATH-Vision's public
evaluation would, for figures that are comparable with others'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from sophia_jax.rewards.comparison import compare_fast
from sophia_jax.rewards.mathvision import compare_official

__all__ = ["RULES", "RuleName"]

RuleName = Literal["math", "mathvision"]

# What each decides without algebra; `verify_worker.JUDGES` has the rest of each.
RULES: dict[RuleName, Callable[[str, str], bool | None]] = {
    "math": compare_fast,
    "mathvision": compare_official,
}
