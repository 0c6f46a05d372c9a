"""`summary.json` and `config.json`: each value is checked, and each may lack."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sophia_jax.evaluation.metrics import wilson_interval
from sophia_jax.types import InputError

__all__ = ["MODELS", "Look", "RolloutCounts", "Score", "Summary", "read_summary"]

MODELS = {"base": "Base model", "sophia": "After SOPHIA"}  # what they are called


@dataclass(frozen=True)
class Score:
    """How a model did on the held-out questions; shares are in [0, 1].

    Attributes:
      pass_at_1: share of questions answered right.
      num_questions: how many were asked.
      interval: 95 % interval of pass_at_1.
      caption_accuracy: share of pictures that the model describes rightly.
      parsed: share of responses in which an answer was found.
      by_kind: the same for each kind of question.
    """

    pass_at_1: float | None
    num_questions: int | None
    interval: tuple[float, float] | None
    caption_accuracy: float | None
    parsed: float | None
    by_kind: dict[str, Score]

    def share_of(self, reader: Score | None) -> float | None:
        """pass@1 as a share of the pictures that `reader` describes rightly."""
        if self.pass_at_1 is None or reader is None or not reader.caption_accuracy:
            return None
        return self.pass_at_1 / reader.caption_accuracy


@dataclass(frozen=True)
class RolloutCounts:
    """What the rollouts came to; lengths are means in tokens.

    Attributes:
      dropped: how many questions were not kept, by reason.
    """

    num_questions: int | None = None
    captions: int | None = None
    reasonings: int | None = None
    right: int | None = None
    kept: int | None = None
    dropped: dict[str, int] | None = None
    mean_kept_tokens: float | None = None
    mean_right_tokens: float | None = None


@dataclass(frozen=True)
class Look:
    """A number about held-out pairs, before and after an alignment.

    Attributes:
      name: of the number.
      before: None where it is not known, as of the others.
      after: likewise.
      interval: 95 % interval of `after`.
    """

    name: str
    before: float | None
    after: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Summary:
    """What `summary.json` says; empty or None where it says nothing.

    Attributes:
      held_out: `base` and `sophia`, as far as they were evaluated.
      constant_answer: for each kind, the commonest answer and its share.
      reasoner_accuracy: share right of the reasoner, given true captions.
      rollouts: the counts.
      seconds: by stage.
      versions: by package.
      machine: by property.
      settings: by dotted name, those of `config.json` too.
      looks: of an alignment.
      steps: of on-policy learning, means over the `first` and the `last` of them.
    """

    held_out: dict[str, Score]
    constant_answer: dict[str, tuple[str, float | None]]
    reasoner_accuracy: float | None
    rollouts: RolloutCounts | None
    seconds: dict[str, float]
    versions: dict[str, str]
    machine: dict[str, str]
    settings: dict[str, str]
    looks: tuple[Look, ...] = ()
    steps: dict[str, dict[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Value:
    """A value of the file and where it stands, for the message when it is wrong."""

    path: str
    value: Any

    def _error(self, rule: str) -> InputError:
        return InputError(f"{self.path}: expected {rule}, got {self.value!r:.80}")

    def __getitem__(self, name: str) -> _Value:
        return self.members().get(name, _Value(f"{self.path}.{name}", None))

    def members(self) -> dict[str, _Value]:
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self._error("an object")
        return {k: _Value(f"{self.path}.{k}", v) for k, v in self.value.items()}

    def number(self, largest: float = math.inf) -> float | None:
        """None for nan too: the mean of nothing."""
        value = self.value
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error("a number")
        if math.isnan(value):
            return None
        if not 0 <= value <= largest or math.isinf(value):
            raise self._error(f"a number from 0 to {largest:g}")
        return value

    def real(self) -> float | None:
        """Of any sign; None for nan and infinity too."""
        value = self.value
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error("a number")
        return value if math.isfinite(value) else None

    def whole(self) -> int | None:
        value = self.number()
        if value is not None and value != int(value):
            raise self._error("a whole number")
        return None if value is None else int(value)

    def texts(self) -> dict[str, str]:
        return {name: str(member.value) for name, member in self.members().items()}

    def leaves(self, prefix: str = "") -> dict[str, str]:
        """The values at the ends of nested objects, by dotted name."""
        found: dict[str, str] = {}
        for name, member in self.members().items():
            nested = isinstance(member.value, dict)
            dotted = f"{prefix}{name}"
            found |= (
                member.leaves(f"{dotted}.") if nested else {dotted: str(member.value)}
            )
        return found


def _read_json(path: Path) -> _Value:
    """What the file holds; None where there is no file."""
    try:
        return _Value(str(path), json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return _Value(str(path), None)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a JSON file, got {error}") from error


def read_summary(run_folder: Path) -> Summary:
    """Read `summary.json`, and the settings in `config.json`.

    Args:
      run_folder: in which either file may lack.

    Returns:
      What they say, all of it empty where there is no file.

    Raises:
      InputError: a file is no JSON, or a value of it is of the wrong kind.
    """
    root = _read_json(run_folder / "summary.json")
    config = _read_json(run_folder / "config.json")
    constant = root["constant_answer"].members().items()
    seconds = {name: v.number() for name, v in root["seconds"].members().items()}
    return Summary(
        held_out={
            name: _score(value)
            for name, value in root["held_out"].members().items()
            if name in MODELS
        },
        constant_answer={
            k: (str(v["answer"].value), v["share"].number(1)) for k, v in constant
        },
        reasoner_accuracy=root["reasoner"]["accuracy_on_true_captions"].number(1),
        rollouts=_counts(root["rollouts"]) if root["rollouts"].members() else None,
        seconds={name: v for name, v in seconds.items() if v is not None},
        versions=root["versions"].texts(),
        machine=root["machine"].texts(),
        settings=config.leaves()
        | root["settings"].leaves()
        | root["mixture"].leaves("mixture."),
        looks=_looks(root["held_out_pairs"]),
        steps=_steps(root["grpo"]),
    )


def _steps(node: _Value) -> dict[str, dict[str, float | None]]:
    return {
        name: {n: v.real() for n, v in node[f"{name}_steps"].members().items()}
        for name in ("first", "last")
        if node.members()
    }


def _looks(node: _Value) -> tuple[Look, ...]:
    before, after, intervals = (
        node[name] for name in ("before", "after", "intervals_after")
    )
    names = [name for name in after.members() if name != "step"]
    return tuple(
        Look(name, before[name].real(), after[name].real(), _ends(intervals[name]))
        for name in names
    )


def _ends(node: _Value) -> tuple[float, float] | None:
    """An interval of numbers of any sign."""
    if node.value is None:
        return None
    if not isinstance(node.value, list) or len(node.value) != 2:
        raise node._error("two numbers")
    low, high = (_Value(node.path, end).real() for end in node.value)
    return None if low is None or high is None else (low, high)


def _score(node: _Value) -> Score:
    pass_at_1 = node["pass@1"].number(1)
    num_questions = node["num_questions"].whole()
    return Score(
        pass_at_1=pass_at_1,
        num_questions=num_questions,
        interval=_interval(node["interval"], pass_at_1, num_questions),
        caption_accuracy=node["caption_accuracy"].number(1),
        parsed=node["parsed"].number(1),
        by_kind={k: _score(v) for k, v in node["by_kind"].members().items()},
    )


def _interval(
    node: _Value, pass_at_1: float | None, num_questions: int | None
) -> tuple[float, float] | None:
    """As given; else from the counts, where they are known."""
    if node.value is not None:
        if not isinstance(node.value, list) or len(node.value) != 2:
            raise node._error("two numbers")
        low, high = (_Value(node.path, end).number(1) for end in node.value)
        return None if low is None or high is None else (low, high)
    if pass_at_1 is None or not num_questions:
        return None
    return wilson_interval(round(pass_at_1 * num_questions), num_questions)


def _counts(node: _Value) -> RolloutCounts:
    dropped = {name: v.whole() or 0 for name, v in node["dropped"].members().items()}
    names = ("num_questions", "captions", "reasonings", "right", "kept")
    return RolloutCounts(
        **{name: node[name].whole() for name in names},
        dropped=dropped,
        mean_kept_tokens=node["mean_kept_tokens"].number(),
        mean_right_tokens=node["mean_right_tokens"].number(),
    )
