"""A model as a judge: a number for an answer, or how likely it calls it right."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sophia_jax.completions import sample_in_order
from sophia_jax.rewards.judge_ledger import JudgeLedger
from sophia_jax.rewards.judge_prompts import JUDGE_PROMPTS, JudgePrompts
from sophia_jax.rewards.judge_replies import read_score, yes_probability
from sophia_jax.seeds import group_seed
from sophia_jax.types import Completion, GenerateFn, Request

__all__ = ["Asked", "CountFn", "ModelJudge", "ask_all", "score_judge", "yes_judge"]

SCORE_FORM = "one number from 0 to 10"
YES_FORM = "Yes or No"
HOPELESS = ("too_long", "refused")  # replies that would come again

ReadFn = Callable[[Completion], float | None]
"""A reply -> its value, or None where it cannot be read."""

CountFn = Callable[[Request], int]
"""How many tokens a prompt has, its pictures' included."""


@dataclass(frozen=True)
class Asked:
    """One thing that a judge is asked.

    Attributes:
      text: the prompt.
      again: the prompt where a reply could not be read.
      images: paths of the pictures shown before it.
      order: which of several ways to ask the same this is.
      topic: equal for these; None for what is asked in one way.
    """

    text: str
    again: str
    images: tuple[str, ...] = ()
    order: int = 0
    topic: str | None = None

    @property
    def key(self) -> str:
        """Equal where the same is asked; of one topic, they begin alike."""
        name = self.text if self.topic is None else self.topic
        content = json.dumps([name, self.images]).encode()
        return f"{hashlib.sha256(content).hexdigest()[:32]}/{self.order}"


def ask_all(
    generate: GenerateFn,
    asked: Sequence[Asked],
    read: ReadFn,
    ledger: JudgeLedger,
    *,
    retries: int,
    seed: int,
    count_tokens: CountFn | None = None,
) -> list[float]:
    """Ask a judge until each reply is read, or has been asked for often enough.

    What is asked twice is asked once. Each reply is in the ledger before the next one
    is waited for.

    Args:
      generate: samples from the judge.
      asked: what is asked.
      read: a reply's value.
      ledger: of replies so far; what it knows is not asked again.
      retries: how often something is asked again, at most.
      seed: of the samples.
      count_tokens: of a prompt; None where that is not known here.

    Returns:
      A value for each; nan where none could be read.

    Raises:
      RuntimeError: the judge loses a completion.
    """
    distinct = {each.key: each for each in asked}
    for _ in range(retries + 1):
        open_ones = {
            key: each
            for key, each in distinct.items()
            if ledger.tries(key).is_open(retries + 1)
        }
        if not open_ones:
            break
        requests = [
            _request(each, ledger.tries(key).number, seed)
            for key, each in open_ones.items()
        ]
        _ask_once(generate, requests, read, ledger, count_tokens)
    ledger.flush()
    values = (ledger.tries(each.key).value for each in asked)
    return [math.nan if value is None else value for value in values]


def _ask_once(
    generate: GenerateFn,
    requests: Sequence[Request],
    read: ReadFn,
    ledger: JudgeLedger,
    count_tokens: CountFn | None,
) -> None:
    by_group = {request.group: request for request in requests}

    def note(completion: Completion, cancel: Any) -> None:
        value, outcome = _value_of(completion, read)
        prompt = 0
        if count_tokens is not None and outcome != "too_long":
            prompt = count_tokens(by_group[completion.group])
        ledger.write(
            completion.group.rpartition("#")[0],
            value,
            outcome=outcome,
            tokens=(prompt, len(completion.token_ids)),
            hopeless=outcome in HOPELESS,
        )

    sample_in_order(generate, requests, note)


def _request(asked: Asked, number: int, seed: int) -> Request:
    return Request(
        group=f"{asked.key}#{number}",
        text=asked.again if number else asked.text,
        images=asked.images,
        seed=group_seed(seed, number, "judge", asked.key),
    )


def _value_of(completion: Completion, read: ReadFn) -> tuple[float | None, str]:
    reason = completion.finish_reason
    # The first token is there however the reply goes on.
    if reason != "stop" and not (reason == "length" and completion.first_token):
        return None, "cut_off" if reason == "length" else reason
    value = read(completion)
    return value, "unreadable" if value is None else "read"


@dataclass(frozen=True)
class ModelJudge:
    """A `JudgeFn` that asks a model about each answer by itself.

    Scores can be compared between questions, as they mean the same for all.

    Attributes:
      generate: samples from the model; of `yes_judge` with `first_token`.
      template: of the prompt, one of `prompts`.
      form: of a reply, in words.
      read: a reply's value.
      prompts: around what is judged.
      retries: how often it is asked again where a reply cannot be read.
      seed: of the samples.
      ledger: of its replies.
      count_tokens: of a prompt, where the model is here.
    """

    generate: GenerateFn
    template: str
    form: str
    read: ReadFn
    prompts: JudgePrompts = JUDGE_PROMPTS
    retries: int = 2
    seed: int = 0
    ledger: JudgeLedger = field(default_factory=JudgeLedger)
    count_tokens: CountFn | None = None

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries: expected >= 0, got {self.retries}")

    def __call__(
        self,
        pairs: Sequence[tuple[str, str]],
        images: Sequence[tuple[str, ...]] | None = None,
    ) -> list[float]:
        """Scores of (question, response) pairs, nan where there is none.

        Args:
          pairs: what is judged.
          images: paths of each question's pictures, for a judge that sees.
        """
        shown = [()] * len(pairs) if images is None else images
        asked = [
            Asked(
                self.prompts.fill(self.template, *pair),
                self.prompts.fill(self.template, *pair, form=self.form),
                tuple(pictures),
            )
            for pair, pictures in zip(pairs, shown, strict=True)
        ]
        return ask_all(
            self.generate,
            asked,
            self.read,
            self.ledger,
            retries=self.retries,
            seed=self.seed,
            count_tokens=self.count_tokens,
        )

    def counts(self) -> Mapping[str, Any]:
        """What was asked and what came of it, as of `JudgeLedger.counts`."""
        return self.ledger.counts()


def score_judge(
    generate: GenerateFn, *, prompts: JudgePrompts = JUDGE_PROMPTS, **options: Any
) -> ModelJudge:
    """A judge that gives an answer a number from 0 to 10.

    Args:
      generate: samples from a model; greedily, or the score has noise of its own.
      prompts: of which `score` is asked.
      options: further fields of `ModelJudge`.
    """
    return ModelJudge(
        generate,
        prompts.score,
        SCORE_FORM,
        lambda completion: read_score(completion.text),
        prompts,
        **options,
    )


def yes_judge(
    generate: GenerateFn, *, prompts: JudgePrompts = JUDGE_PROMPTS, **options: Any
) -> ModelJudge:
    """A judge whose probability of "yes" is an answer's score, in [0, 1].

    Args:
      generate: gives completions with `first_token`, of the full distribution: a
        model's logits, or a server's `top_logprobs`.
      prompts: of which `yes` is asked.
      options: further fields of `ModelJudge`.
    """
    return ModelJudge(
        generate,
        prompts.yes,
        YES_FORM,
        lambda completion: yes_probability(completion.first_token or ()),
        prompts,
        **options,
    )
