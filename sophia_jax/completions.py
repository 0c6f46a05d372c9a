"""From requests to completions, all of them and in order, and to what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sophia_jax.preemption import stop_if_preempted
from sophia_jax.types import Completion, GenerateFn, Request, RewardFn

__all__ = ["Watch", "judge_completions", "sample_in_order"]

# (completion, cancel): sees each completion as it comes; `cancel(group, after)` as in
# `Completions`.
Watch = Callable[[Completion, Callable[[str, int], None]], None]


def sample_in_order(
    generate: GenerateFn, requests: Sequence[Request], watch: Watch | None = None
) -> list[Completion]:
    """Sample every request, and wait for all of its completions.

    Args:
      generate: yields completions in any order.
      requests: each with a group name of its own.
      watch: is shown each completion as it comes, and may stop groups, where the model
        can do that.

    Returns:
      The completions in the order of the requests, and of the samples of each.

    Raises:
      ValueError: two requests have the same group.
      RuntimeError: a completion is lost, comes twice, or was not asked for.
      Preempted: the run was told to stop.
    """
    drawn: dict[tuple[str, int], Completion | None] = {}
    for request in requests:
        if (request.group, 0) in drawn:
            raise ValueError(
                f"requests: expected unique groups, got {request.group!r} twice"
            )
        drawn |= {(request.group, n): None for n in range(request.num_samples)}
    completions = generate(iter(requests))
    cancel = getattr(completions, "cancel", _cannot_cancel)
    try:
        for completion in completions:
            stop_if_preempted()
            place = (completion.group, completion.sample)
            if drawn.get(place, completion) is not None:
                rule = "each sample once" if place in drawn else "what was asked for"
                raise RuntimeError(f"completions: expected {rule}, got {_name(*place)}")
            drawn[place] = completion
            if watch is not None:
                watch(completion, cancel)
    finally:  # whatever ends the loop ends the sampling
        if hasattr(completions, "close"):
            completions.close()
    lost = [place for place, completion in drawn.items() if completion is None]
    if lost:
        raise RuntimeError(
            f"completions: expected {len(drawn)}, got {len(drawn) - len(lost)}; the "
            f"first one missing is {_name(*lost[0])}"
        )
    return list(drawn.values())


def judge_completions(
    verify: RewardFn, completions: Sequence[Completion], answers: Sequence[str]
) -> list[str]:
    """Whether each completion is right; one that was cut off is wrong in any case.

    Nothing is known of one that was stopped before it ended.

    Args:
      verify: judges (response, answer) pairs; sees only what was not cut off.
      completions: responses.
      answers: the right answer to each.

    Returns:
      "right", "wrong", "undecided", or "unfinished" for what was stopped.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, the outcome reward of eq. (4).
    """
    whole = [
        index
        for index, completion in enumerate(completions)
        if completion.finish_reason == "stop"
    ]
    verdicts = verify([(completions[index].text, answers[index]) for index in whole])
    names = [
        "unfinished" if completion.finish_reason == "cancelled" else "wrong"
        for completion in completions
    ]
    for index, verdict in zip(whole, verdicts, strict=True):
        names[index] = verdict.value
    return names


def _name(group: str, sample: int) -> str:
    return f"sample {sample} of group {group!r}"


def _cannot_cancel(group: str, after: int) -> None:
    """Of a plain iterator: everything comes."""
