"""Scripted models: they say what a script says, in a shuffled order."""

import random

import numpy as np
import pytest

from sophia_jax.types import Completion, Item


class ScriptedModel:
    """A `GenerateFn`; `requests` are those of the last call.

    `say(request, sample)` is a text, or (text, "length") for one that is cut off.
    """

    def __init__(self, say, order=0):
        self.say = say
        self.order = order
        self.requests = []

    def __call__(self, requests):
        self.requests = list(requests)
        completions = [
            self._complete(request, sample)
            for request in self.requests
            for sample in range(request.num_samples)
        ]
        random.Random(self.order).shuffle(completions)
        yield from completions

    def _complete(self, request, sample):
        said = self.say(request, sample)
        text, finish_reason = said if isinstance(said, tuple) else (said, "stop")
        return Completion(
            group=request.group,
            sample=sample,
            text=text,
            token_ids=np.arange(len(text.split()) + 1, dtype=np.int32),
            behavior_log_probs=np.full(len(text.split()) + 1, -0.5, np.float32),
            policy_log_probs=None,
            finish_reason=finish_reason,
        )


@pytest.fixture
def scripted():
    return ScriptedModel


@pytest.fixture
def items():
    return tuple(
        Item(id=name, question=f"{name}?", answer="4", images=(f"{name}.png",))
        for name in ("b", "a", "1/c")
    )
