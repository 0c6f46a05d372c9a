"""What a server has answered, on the disk before anything else is done with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from sophia_jax.generation.replies import Reply
from sophia_jax.line_files import line_file
from sophia_jax.types import InputError

__all__ = ["Journal"]


class Journal:
    """A JSONL file that grows by one line for each try; a kill loses none of them.

    In a bucket it loses those of the last second, which are then asked for again.

    Each line counts something, and may hold an answer. Answers are kept until a run
    asks for others, when those before them are stored elsewhere; counts are kept.

    Args:
      path: of the file, which is not looked at before it is needed; None keeps the
        counts of this process alone. In a bucket it is a folder of numbered objects.
      find_earlier: finds, when answers are first asked for, other journals that may
        hold some; their counts are not taken.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        find_earlier: Callable[[], Iterable[Path]] = tuple,
    ):
        self.path = path
        self._find_earlier = find_earlier
        self._earlier: dict[str, Reply] | None = None
        self._lines = None if path is None else line_file(path)
        self._counts: Counter[str] | None = None

    def recall(self, keys: Collection[str]) -> dict[str, Reply]:
        """The answers that are known of some requests; all others are forgotten.

        Args:
          keys: of the requests.

        Returns:
          Answers by key.

        Raises:
          InputError: the file is damaged, but for a last line that was cut off.
        """
        known, others = self._read(keys)
        if others:
            self._forget_others(known)
        return self._recall_earlier(keys) | known

    def write(
        self,
        counts: Mapping[str, float],
        *,
        key: str | None = None,
        reply: Reply | None = None,
    ) -> None:
        """Add a line.

        Args:
          counts: what is to be counted.
          key: of the request that was answered.
          reply: the answer.
        """
        self.counts().update(counts)
        if self._lines is not None:
            self._lines.append(_line(counts, key, reply))

    def flush(self) -> None:
        """Return when all lines are where nothing takes them away."""
        if self._lines is not None:
            self._lines.flush()

    def counts(self) -> Counter[str]:
        """What was counted, summed over all lines.

        Raises:
          InputError: as `recall`.
        """
        if self._counts is None:
            self._read(())
        return self._counts

    def _recall_earlier(self, keys: Collection[str]) -> dict[str, Reply]:
        if self._earlier is None:
            self._earlier = {}
            for path in self._find_earlier():
                self._earlier |= Journal(path)._read(None)[0]
        return {key: self._earlier[key] for key in keys if key in self._earlier}

    def _read(self, keys: Collection[str] | None) -> tuple[dict[str, Reply], int]:
        """The answers to `keys`, or all, and how many others there are; counts are
        summed."""
        if self._lines is None:
            self._counts = self._counts or Counter()
            return {}, 0
        known: dict[str, Reply] = {}
        counts: Counter[str] = Counter()
        number = others = 0
        for number, line in enumerate(self._lines.lines(), start=1):
            key, reply = self._parse(line, number, counts)
            if key is not None and (keys is None or key in keys):
                known[key] = reply
            elif key is not None:
                others += 1
        # Without a file they may be those of a folder that has been deleted since.
        self._counts = counts if number else self._counts or counts
        return known, others

    def _parse(
        self, line: bytes, number: int, counts: Counter[str]
    ) -> tuple[str | None, Reply | None]:
        try:
            row: dict[str, Any] = json.loads(line)
            counts.update(row["counts"])
            if row.get("key") is None:
                return None, None
            log_probs, first = row["log_probs"], row.get("first_token")
            return row["key"], Reply(
                row["text"],
                row["finish_reason"],
                None if log_probs is None else tuple(log_probs),
                row["counts"],
                None if first is None else tuple((t, float(p)) for t, p in first),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{self.path}:{number}: expected a line of a journal, got "
                f"{line[:80]!r} ({type(error).__name__})"
            ) from None

    def _forget_others(self, known: Mapping[str, Reply]) -> None:
        spent = Counter(self._counts)
        for reply in known.values():
            spent.subtract(reply.counts)
        lines = [_line(spent, None, None)]
        lines += [_line(reply.counts, key, reply) for key, reply in known.items()]
        self._lines.replace(lines)


def _line(counts: Mapping[str, float], key: str | None, reply: Reply | None) -> str:
    row: dict[str, Any] = {"counts": dict(counts)}
    if reply is not None:
        row |= {
            "key": key,
            "text": reply.text,
            "finish_reason": reply.finish_reason,
            "log_probs": reply.log_probs,
        }
        if reply.first_token is not None:
            row["first_token"] = reply.first_token
    return json.dumps(row) + "\n"
