"""Array aliases, the shape checker, and what crosses packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import beartype
import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Integer, jaxtyped

__all__ = [
    "Array",
    "Bool",
    "Completion",
    "Completions",
    "FinishReason",
    "Float",
    "GenerateFn",
    "InputError",
    "Int",
    "Integer",
    "Item",
    "JudgeFn",
    "Request",
    "RewardFn",
    "Scalar",
    "Track",
    "typed",
    "untracked",
]

Array = jax.Array | np.ndarray
Scalar = float | int | Float[Array, ""]

typed = jaxtyped(
    typechecker=beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
)
"""Check every annotated shape and dtype at each call; a mismatch is a TypeError."""


class InputError(ValueError):
    """What the user gave cannot be used; one line says where, rule and value."""


@dataclass(frozen=True)
class Item:
    """One question about one or more pictures.

    Attributes:
      id: unique within its data set; random keys and stored rows are derived from it.
      question: as the model will read it, without image markers.
      answer: what `verify_answer` compares with; of a multiple choice its letter, or
        letter and value as "(B) 12 cm", where either of them is right.
      images: paths of the picture files, in the order in which they are shown.
      kind: what is being asked for (subject, operation); results are grouped by it.
      caption: a true description, where the data set has one; used by evaluation only.
      level: how hard it is, in the data set's own words; results are grouped by it.
    """

    id: str
    question: str
    answer: str
    images: tuple[str, ...]
    kind: str = ""
    caption: str | None = None
    level: str = ""


@dataclass(frozen=True)
class Request:
    """One prompt that is sampled `num_samples` times: a group.

    Attributes:
      group: unique name; completions carry it.
      text: what the user says.
      system: the system prompt, or None for the model's default.
      images: paths of the pictures shown before the text.
      num_samples: how many completions are wanted.
      seed: the group's own random seed, in [0, 2**64).
    """

    group: str
    text: str
    system: str | None = None
    images: tuple[str, ...] = ()
    num_samples: int = 1
    seed: int = 0


FinishReason = Literal["stop", "length", "cancelled", "too_long", "refused"]


@dataclass(frozen=True)
class Completion:
    """One sample of a group.

    Attributes:
      group: the request's.
      sample: index within the group.
      text: the decoded tokens, without the end token, after what the chat template
        itself writes of the answer (an opening <think>).
      token_ids: Int[token], the end token included when it was sampled; empty where a
        server gives a text only.
      behavior_log_probs: Float[token] in nats, under the distribution that was sampled
        (temperature, top-p, top-k and bans applied); None where a server gives none.
      policy_log_probs: Float[token] in nats, under the model's full distribution; None
        where a server gives none.
      finish_reason: "stop" at the end token, "length" when cut off, "cancelled" when
        its group was stopped before it had ended, or had begun, "too_long" when the
        prompt left no room for an answer, "refused" when a server would not give one.
      first_token: what the answer could have begun with, as (text of the token, log-
        probability in nats); None where nobody asked, or a server gives none.
    """

    group: str
    sample: int
    text: str
    token_ids: np.ndarray
    behavior_log_probs: np.ndarray | None
    policy_log_probs: np.ndarray | None
    finish_reason: FinishReason
    first_token: tuple[tuple[str, float], ...] | None = None


class Completions(Protocol):
    """Completions as they finish, in any order; groups can be stopped meanwhile."""

    def __iter__(self) -> Iterator[Completion]: ...

    def __next__(self) -> Completion: ...

    def cancel(self, group: str, after: int = 0) -> None:
        """Stop a group once each of its unfinished samples has `after` tokens.

        The last word counts. It is acted upon when all that has finished has come, so
        that who asked knows of it. What the group has not finished comes as it is, with
        "cancelled" for a reason. A group that is not asked for yet is stopped when it
        is; one that has ended stays so.
        """


GenerateFn = Callable[[Iterable[Request]], Completions | Iterator[Completion]]
"""Samples every request. Where the result is a plain iterator, nothing is stopped."""

RewardFn = Callable[[Sequence[tuple[str, str]]], Sequence]
"""(response, answer) pairs -> verdicts in order; a verdict is truthy when right, and
its `value` names it ("right", "wrong", "undecided")."""

JudgeFn = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""(question, response) pairs -> scores, larger is better, in order; nan where there is
none, as of a judge whose replies cannot be read. Scores of one question's responses can
be compared; of different questions only where the judge says so."""


class Track(Protocol):
    """Shows how far a loop is, and yields what it goes through."""

    def __call__(
        self,
        iterable: Iterable,
        description: str,
        total: int,
        size_of: Callable[[Any], int] | None = None,
    ) -> Iterable:
        """The same things.

        Args:
          iterable: what is gone through.
          description: names the loop.
          total: how many things there are, or how many bytes.
          size_of: bytes of a thing; None counts things.
        """


def untracked(
    iterable: Iterable,
    description: str,
    total: int,
    size_of: Callable[[Any], int] | None = None,
) -> Iterable:
    """A `Track` that shows nothing."""
    return iterable
