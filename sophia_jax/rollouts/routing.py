"""Easy questions go to one reasoner and hard ones to another, by the policy's answers.

The paper has two reasoners, for easy and for hard questions, and does not say which is
which; here the policy's own solve rate does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from sophia_jax.completions import judge_completions, sample_in_order
from sophia_jax.config import RoutingConfig, SophiaConfig
from sophia_jax.rewards.propagate import COUNT_SLACK
from sophia_jax.rollouts.reasoning import question_of
from sophia_jax.seeds import group_seed
from sophia_jax.types import Completion, GenerateFn, Item, Request, RewardFn

__all__ = ["EASY", "HARD", "choose_route", "routed", "write_routes"]

EASY, HARD = "easy", "hard"


def choose_route(num_right: int, num_samples: int, *, easy_above: float) -> str:
    """Whether a question is easy.

        easy:  1/n Σ R(y) > easy_above,   y(1..n) ~ π_θ(· | x_q, v)

    Args:
      num_right: of the policy's answers.
      num_samples: how many it gave.
      easy_above: share of right ones that an easy question exceeds.

    Returns:
      `EASY` or `HARD`.
    """
    # Counts are compared, as in the selection: 0.3 * 10 is more than 3.
    return EASY if num_right > easy_above * num_samples + COUNT_SLACK else HARD


def write_routes(
    policy: GenerateFn,
    verify: RewardFn,
    items: Sequence[Item],
    config: SophiaConfig,
    routing: RoutingConfig,
) -> list[dict]:
    """Let the policy answer each question, to see how hard it is.

    Args:
      policy: samples from the model being trained; it sees picture and question.
      verify: judges (response, answer) pairs.
      items: the questions.
      config: the seeds.
      routing: how many answers, and what is easy.

    Returns:
      Rows of the routes table, one for each item.

    Raises:
      ValueError: two items have the same id.
      RuntimeError: the policy loses, repeats or makes up a completion.
    """
    requests = [
        Request(
            group=item.id,
            text=item.question,
            images=item.images,
            num_samples=routing.num_samples,
            seed=group_seed(config.seed, config.round, "routing", item.id),
        )
        for item in items
    ]
    completions = sample_in_order(policy, requests)
    answers = [item.answer for item in items for _ in range(routing.num_samples)]
    judged = iter(judge_completions(verify, completions, answers))

    def row(item: Item, request: Request) -> dict:
        verdicts = [next(judged) for _ in range(routing.num_samples)]
        num_right = verdicts.count("right")
        return {
            "question_id": item.id,
            "verdicts": verdicts,
            "solve_rate": num_right / routing.num_samples,
            "route": choose_route(
                num_right, routing.num_samples, easy_above=routing.easy_above
            ),
            "seed": request.seed,
        }

    return [row(*pair) for pair in zip(items, requests, strict=True)]


def routed(
    reasoners: Mapping[str, GenerateFn], routes: Mapping[str, str]
) -> GenerateFn:
    """Several reasoners as one: each request goes where its question belongs.

    Args:
      reasoners: by route.
      routes: by question id.

    Returns:
      Samples from all of them at once; groups can be stopped where their own reasoner
      can do that.
    """

    def generate(requests: Iterable[Request]) -> _RoutedRun:
        return _RoutedRun(reasoners, routes, requests)

    return generate


class _RoutedRun:
    """Completions of several reasoners, each asked for its next one when the last one
    is dealt with, so that each meets what it would meet alone."""

    def __init__(
        self,
        reasoners: Mapping[str, GenerateFn],
        routes: Mapping[str, str],
        requests: Iterable[Request],
    ):
        requests = list(requests)
        self._route_of = {each.group: routes[question_of(each)] for each in requests}
        self._runs = {
            route: reasoner(
                iter([each for each in requests if self._route_of[each.group] == route])
            )
            for route, reasoner in reasoners.items()
        }
        self._completions = self._merge()

    def __iter__(self) -> Iterator[Completion]:
        return self

    def __next__(self) -> Completion:
        return next(self._completions)

    def cancel(self, group: str, after: int = 0) -> None:
        """Stop a group, where its reasoner can do that."""
        run = self._runs[self._route_of[group]]
        if hasattr(run, "cancel"):
            run.cancel(group, after)

    def close(self) -> None:
        """Stop everything; no more completions come."""
        self._completions.close()

    def _merge(self) -> Iterator[Completion]:
        runs = list(self._runs.values())
        with ThreadPoolExecutor(len(runs)) as threads:
            try:
                waiting = {threads.submit(next, run, None): run for run in runs}
                while waiting:
                    yield from self._first(waiting, threads)
            finally:
                for run in runs:
                    if hasattr(run, "close"):
                        # A generator at work ends its step, and is left there.
                        with contextlib.suppress(ValueError):
                            run.close()

    def _first(
        self, waiting: dict[Future, Any], threads: ThreadPoolExecutor
    ) -> Iterator[Completion]:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            run = waiting.pop(future)
            completion = future.result()
            if completion is not None:
                yield completion
                waiting[threads.submit(next, run, None)] = run
