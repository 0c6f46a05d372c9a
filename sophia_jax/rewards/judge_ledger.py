"""What a judge has replied, kept as it comes, and what that cost."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_jax.line_files import line_file
from sophia_jax.types import InputError

__all__ = ["JudgeLedger", "Tries"]


@dataclass(frozen=True)
class Tries:
    """How often something was asked, and what came of it.

    Attributes:
      number: of replies.
      value: that was read; None where none could be.
      hopeless: whether the same would come again, as where a prompt is too long.
    """

    number: int = 0
    value: float | None = None
    hopeless: bool = False

    def is_open(self, most: int) -> bool:
        """Whether it is worth asking, if it may be asked so often."""
        return self.value is None and not self.hopeless and self.number < most


class JudgeLedger:
    """Replies of one judge; with a file, those of killed runs are not asked for again.

    Args:
      path: of a JSONL file that grows by a line for each reply; None keeps them in
        memory alone.
      earlier: other such files, of replies that are known; none is written to.

    Raises:
      InputError: a file is damaged, but for a last line that was cut off.
    """

    def __init__(self, path: Path | None = None, *, earlier: Iterable[Path] = ()):
        self._tries: dict[str, Tries] = {}
        self._counts: Counter[str] = Counter()
        self._lines = None if path is None else line_file(path)
        for each in earlier:
            self._read(each, line_file(each).lines())
        if self._lines is not None:
            self._read(path, self._lines.lines())

    def tries(self, key: str) -> Tries:
        """What is known of something that may have been asked."""
        return self._tries.get(key, Tries())

    def read_values(self) -> Mapping[str, float]:
        """All values that could be read, by key."""
        return {
            key: tries.value
            for key, tries in self._tries.items()
            if tries.value is not None
        }

    def write(
        self,
        key: str,
        value: float | None,
        *,
        outcome: str,
        tokens: tuple[int, int] = (0, 0),
        hopeless: bool = False,
    ) -> None:
        """Add a reply.

        Args:
          key: of what was asked.
          value: that was read, or None.
          outcome: "read", or why there is no value.
          tokens: of the prompt and of the reply, as far as they are known here: what
            a server says of them, it says of its requests.
          hopeless: whether asking again is of no use.
        """
        row = {"key": key, "value": value, "outcome": outcome, "tokens": list(tokens)}
        row |= {"hopeless": True} if hopeless else {}
        self._take(row)
        if self._lines is not None:
            self._lines.append(json.dumps(row) + "\n")

    def flush(self) -> None:
        """Return when all lines are where nothing takes them away."""
        if self._lines is not None:
            self._lines.flush()

    def counts(self) -> dict[str, Any]:
        """What was asked so far, also by killed runs.

        Returns:
          `asked`, different prompts; `missing`, those of them without a value;
          `calls`, replies; `retries`, those after a prompt's first; `unread`, replies
          without a value by reason; `prompt_tokens` and `completion_tokens`.
        """
        calls = self._counts["calls"]
        reasons = sorted(name for name in self._counts if name.startswith("unread/"))
        return {
            "asked": len(self._tries),
            "missing": sum(each.value is None for each in self._tries.values()),
            "calls": calls,
            "retries": calls - len(self._tries),
            "unread": {
                name.removeprefix("unread/"): self._counts[name] for name in reasons
            },
            "prompt_tokens": self._counts["prompt_tokens"],
            "completion_tokens": self._counts["completion_tokens"],
        }

    def _take(self, row: Mapping[str, Any]) -> None:
        key, value = row["key"], row["value"]
        if value is None:
            self._counts[f"unread/{row['outcome']}"] += 1
        before = self.tries(key)
        self._tries[key] = Tries(
            before.number + 1,
            before.value if value is None else value,
            before.hopeless or row.get("hopeless", False),
        )
        prompt, reply = row["tokens"]
        self._counts.update(calls=1, prompt_tokens=prompt, completion_tokens=reply)

    def _read(self, path: Path, lines: Iterable[bytes]) -> None:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                value = row["value"]
                if not isinstance(row["key"], str) or not (
                    value is None or math.isfinite(value)
                ):
                    raise ValueError("no key with its value")
                self._take(row)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(
                    f"{path}:{number}: expected a line of a judge's replies, got "
                    f"{line[:80]!r} ({type(error).__name__})"
                ) from None
