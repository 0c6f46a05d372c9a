"""Prompts that a model has no room for: their answers say so, and the others come."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from sophia_jax.config import SamplingConfig
from sophia_jax.generation.engine import Engine
from sophia_jax.models.model import Model
from sophia_jax.recipes.questions import encode_question
from sophia_jax.types import Completion, InputError, Request

__all__ = ["FittingRun", "fits_in", "unsaid"]


def fits_in(model: Model, sampling: SamplingConfig) -> Callable[[Request], bool]:
    """Whether a prompt leaves room for the longest answer.

    Args:
      model: that is asked; its weights are not needed.
      sampling: of the answers.
    """

    def fits(request: Request) -> bool:
        try:
            encode_question(
                model,
                request.text,
                request.images,
                system=request.system,
                max_new_tokens=sampling.max_new_tokens,
            )
        except InputError:
            return False
        return True

    return fits


class FittingRun:
    """The completions of an engine, after those that are too long for it.

    Args:
      engine: that samples the others.
      requests: what is asked.
      fits: whether there is room for one.
    """

    def __init__(
        self,
        engine: Engine,
        requests: Iterable[Request],
        fits: Callable[[Request], bool],
    ):
        requests = list(requests)
        asked = {request.group: fits(request) for request in requests}
        self._run = engine(each for each in requests if asked[each.group])
        self._completions = itertools.chain(
            (
                unsaid(request, number)
                for request in requests
                if not asked[request.group]
                for number in range(request.num_samples)
            ),
            self._run,
        )
        self.cancel = self._run.cancel
        self.close = self._run.close

    def __iter__(self) -> Iterator[Completion]:
        return self

    def __next__(self) -> Completion:
        return next(self._completions)


def unsaid(request: Request, number: int = 0) -> Completion:
    """What comes of a sample whose prompt is too long."""
    nothing = np.zeros(0, np.float32)
    return Completion(
        group=request.group,
        sample=number,
        text="",
        token_ids=np.zeros(0, np.int32),
        behavior_log_probs=nothing,
        policy_log_probs=nothing,
        finish_reason="too_long",
    )
