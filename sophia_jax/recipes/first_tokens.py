"""What a model on these devices would begin its answers with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from sophia_jax.data.packing import Example, bucket_size
from sophia_jax.generation.images import ImageEncoder
from sophia_jax.models.model import Model
from sophia_jax.recipes.fitting import unsaid
from sophia_jax.recipes.questions import encode_question
from sophia_jax.training.next_tokens import next_token_log_probs
from sophia_jax.types import Completion, Request

__all__ = ["FirstTokens", "tokens_that_read"]

PROMPTS_AT_ONCE = 32
ROW_STEP = 256  # tokens by which rows grow, so that few programs arise


class FirstTokens:
    """A `GenerateFn` of completions that are their first token, of some alone.

    Args:
      model: that is asked.
      token_ids: of which `first_token` tells how likely they are; the likeliest of them
        is the text.
      fits: whether there is room for a prompt; the others are "too_long".

    Raises:
      ValueError: there are no tokens.
    """

    def __init__(
        self, model: Model, token_ids: Sequence[int], fits: Callable[[Request], bool]
    ):
        if not len(token_ids):
            raise ValueError("token_ids: expected at least one, got none")
        self._model, self._fits = model, fits
        self._token_ids = np.asarray(token_ids, np.int32)
        self._encode = None if model.tiles is None else ImageEncoder(model)
        self._texts = [model.tokenizer.decode([token]) for token in token_ids]

    def __call__(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """One completion for each request, in their order."""
        requests = iter(requests)
        while some := list(itertools.islice(requests, PROMPTS_AT_ONCE)):
            fitting = [request for request in some if self._fits(request)]
            found = dict(
                zip((each.group for each in fitting), self._ask(fitting), strict=True)
            )
            for request in some:
                yield found.get(request.group) or unsaid(request)

    def _ask(self, requests: Sequence[Request]) -> list[Completion]:
        if not requests:
            return []
        pictures = [each.images for each in requests]
        features = [[] for _ in requests]
        if self._encode is not None:
            features = self._encode(pictures)
        examples = [
            self._example(*each) for each in zip(requests, features, strict=True)
        ]
        log_probs = next_token_log_probs(
            self._model,
            examples,
            self._token_ids,
            row_length=bucket_size(max(e.length for e in examples), ROW_STEP),
            batch_size=PROMPTS_AT_ONCE,
        )
        return [
            self._completion(request, values)
            for request, values in zip(requests, log_probs, strict=True)
        ]

    def _example(self, request: Request, shown: Sequence[np.ndarray]) -> Example:
        prompt = encode_question(
            self._model, request.text, request.images, system=request.system
        )
        images = np.concatenate(shown) if shown else None
        return Example(prompt, np.zeros(1, np.int32), images=images)

    def _completion(self, request: Request, log_probs: np.ndarray) -> Completion:
        best = int(np.argmax(log_probs))
        return Completion(
            group=request.group,
            sample=0,
            text=self._texts[best],
            token_ids=self._token_ids[[best]],
            behavior_log_probs=None,
            policy_log_probs=log_probs[[best]],
            finish_reason="length",
            first_token=tuple(zip(self._texts, log_probs.tolist(), strict=True)),
        )


def tokens_that_read(model: Model, words: Sequence[str]) -> list[int]:
    """All tokens that read as one of some words, but for case and blanks around.

    Args:
      model: whose tokens are gone through, those that spell out marks left out.
      words: in lower case.
    """
    tokenizer = model.tokenizer
    ids = range(min(len(tokenizer), model.config.text.vocab_size))
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[token] for token in ids])
    return [
        token
        for token, text in zip(ids, texts, strict=True)
        if token not in special and text.strip().casefold() in words
    ]
