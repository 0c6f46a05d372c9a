"""Reasonings are judged as they come, and hopeless captions are stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sophia_jax.completions import judge_completions
from sophia_jax.config import SophiaConfig
from sophia_jax.rewards.early_stopping import NEVER, stop_points
from sophia_jax.types import Completion, Item, RewardFn

__all__ = ["EarlyStopping", "hopeful_order"]

QUESTIONS_AT_ONCE = 64  # that take turns with their captions


class EarlyStopping:
    """A `Watch` over the reasonings of some questions; the selection stays the same.

    What was learnt of a question's reasonings decides which of its captions can still
    hold the trajectory that is kept (`stop_points`); the others are stopped.

    Args:
      verify: judges (response, answer) pairs.
      items: the questions.
      places: (question id, caption) of each group of reasonings.
      config: K, N and α.
      counts_tokens: whether the tokens sampled so far are those of the selection.

    Attributes:
      verdicts: of (group, sample), of all that came so far.
    """

    def __init__(
        self,
        verify: RewardFn,
        items: Sequence[Item],
        places: Mapping[str, tuple[str, int]],
        config: SophiaConfig,
        *,
        counts_tokens: bool,
    ):
        self.verdicts: dict[tuple[str, int], str] = {}
        self._verify = verify
        self._answers = {item.id: item.answer for item in items}
        self._places = places
        self._groups = {place: group for group, place in places.items()}
        self._config = config
        self._counts_tokens = counts_tokens
        shape = (config.num_captions, config.num_reasonings)
        self._right = {item.id: np.zeros(shape, bool) for item in items}
        self._wrong = {item.id: np.zeros(shape, bool) for item in items}
        self._lengths = {item.id: np.zeros(shape, np.int64) for item in items}
        self._points = {item.id: np.full(config.num_captions, NEVER) for item in items}

    def __call__(
        self, completion: Completion, cancel: Callable[[str, int], None]
    ) -> None:
        """Judge one more reasoning, and stop what it makes hopeless."""
        question_id, caption = self._places[completion.group]
        answer = self._answers[question_id]
        verdict = judge_completions(self._verify, [completion], [answer])[0]
        self.verdicts[completion.group, completion.sample] = verdict
        if verdict == "unfinished":
            return
        place = caption, completion.sample
        self._right[question_id][place] = verdict == "right"
        self._wrong[question_id][place] = verdict != "right"
        self._lengths[question_id][place] = len(completion.token_ids)
        self._stop_hopeless(question_id, verdict == "right", cancel)

    def _stop_hopeless(
        self,
        question_id: str,
        was_right: bool,
        cancel: Callable[[str, int], None],
    ) -> None:
        right = self._right[question_id]
        needed = self._config.threshold * right.shape[1]
        if was_right and not np.any(right.sum(axis=1) > needed):
            return  # no caption has passed, and none is nearer to failing
        points = stop_points(
            right,
            self._wrong[question_id],
            self._lengths[question_id] if self._counts_tokens else None,
            threshold=self._config.threshold,
        )
        # A point may also be taken back: what ended together comes one by one.
        for caption in np.flatnonzero(points != self._points[question_id]).tolist():
            cancel(self._groups[question_id, caption], int(points[caption]))
        self._points[question_id] = points


def hopeful_order(captions: Sequence[dict], num_captions: int) -> list[int]:
    """An order of captions in which hopeless ones are found out early.

    Some questions take turns, caption by caption, so that the later captions of each
    meet what its earlier ones have shown; and each begins with the captions that its
    policy was surest of.

    Args:
      captions: rows of the captions table, by question and caption.
      num_captions: of each question.

    Returns:
      Their indices.
    """

    def doubt(index: int) -> float:
        log_probs = captions[index]["policy_log_probs"]
        return -float(np.mean(log_probs)) if log_probs else 0.0

    order = []
    for first in range(0, len(captions), QUESTIONS_AT_ONCE * num_captions):
        window = range(
            first, min(first + QUESTIONS_AT_ONCE * num_captions, len(captions))
        )
        by_question = [
            sorted(window[start : start + num_captions], key=doubt)
            for start in range(0, len(window), num_captions)
        ]
        order += [index for turn in zip(*by_question, strict=True) for index in turn]
    return order
