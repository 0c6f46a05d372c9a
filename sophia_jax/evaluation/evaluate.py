"""Answers to a set of questions, judged, and how well the pictures were read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sophia_jax.completions import judge_completions, sample_in_order
from sophia_jax.evaluation.predictions import (
    PREDICTIONS,
    read_predictions,
    write_predictions,
)
from sophia_jax.evaluation.summary import summarize
from sophia_jax.paths import make_folder, write_whole
from sophia_jax.rewards import extract_answer
from sophia_jax.rewards.answers import after_thinking
from sophia_jax.seeds import group_seed
from sophia_jax.types import Completion, GenerateFn, InputError, Item, Request, RewardFn

__all__ = [
    "PREDICTIONS",
    "answer_questions",
    "read_captions",
    "read_evaluation",
    "save_evaluation",
    "summarize",
]

_MOST_WORDS_CHARS = 100


def answer_questions(
    generate: GenerateFn,
    verify: RewardFn,
    items: Sequence[Item],
    *,
    seed: int,
    system: str | None = None,
    num_samples: int = 1,
) -> list[dict]:
    """Sampled answers to each question, judged.

    An answer that was cut off counts as wrong and as none, whatever it says. One short
    line of words alone, "None of these", is an answer as a whole. A sample
    depends on the seed, the question's id and its own number alone: the first is the
    same however many are drawn.

    Args:
      generate: samples from the model, with the picture and the plain question.
      verify: judges (response, answer) pairs.
      items: the questions, each with an id of its own.
      seed: of the samples.
      system: the system prompt, or None.
      num_samples: answers to each question, at least 1.

    Returns:
      Rows of `PREDICTIONS`, in the order of the items and of each one's samples.

    Raises:
      InputError: there is no question.
      RuntimeError: the model loses a completion.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, section 5.1: pass@1.
    """
    if not items:
        raise InputError("items: expected at least one question, got none")
    asked = [
        Request(
            group=item.id,
            text=item.question,
            system=system,
            images=item.images,
            num_samples=num_samples,
            seed=group_seed(seed, 0, "evaluation", item.id),
        )
        for item in items
    ]
    completions = sample_in_order(generate, asked)
    answered = [item for item in items for _ in range(num_samples)]
    verdicts = judge_completions(
        verify, completions, [each.answer for each in answered]
    )
    return [
        _prediction(*each) for each in zip(answered, completions, verdicts, strict=True)
    ]


def _prediction(item: Item, completion: Completion, verdict: str) -> dict:
    whole = completion.finish_reason == "stop"
    return {
        "question_id": item.id,
        "sample": completion.sample,
        "kind": item.kind,
        "level": item.level,
        "question": item.question,
        "answer": item.answer,
        "image": item.images[0] if item.images else None,
        "response": completion.text,
        "extracted": _extracted(completion.text) if whole else None,
        "verdict": verdict,
        "caption": None,
        "caption_right": None,
        "num_tokens": len(completion.token_ids),
        "finish_reason": completion.finish_reason,
        "score": None,
    }


def _extracted(response: str) -> str | None:
    """The answer of a response; short words alone are one, as they may be right."""
    extracted = extract_answer(response)
    if extracted is not None:
        return extracted
    said = after_thinking(response).strip()
    is_words = (
        0 < len(said) <= _MOST_WORDS_CHARS
        and len(said.splitlines()) == 1
        and not any(map(str.isdigit, said))
    )
    return said if is_words else None


def read_captions(
    generate: GenerateFn,
    items: Sequence[Item],
    rows: Sequence[dict],
    *,
    prompt: str,
    seed: int,
) -> list[dict]:
    """The rows with one sampled caption each, where the true one is known.

    A caption is right when it says exactly what the true one says, spacing aside.

    Args:
      generate: samples from the model, with the picture alone.
      items: the questions; those without a true caption are passed over.
      rows: of `answer_questions`.
      prompt: asks for a caption.
      seed: of the samples.

    Returns:
      The rows in their order, `caption` and `caption_right` filled in where they are
      of the first sample.

    Raises:
      RuntimeError: the model loses a completion.
    """
    true = {item.id: item.caption for item in items if item.caption is not None}
    asked = [
        Request(
            group=item.id,
            text=prompt,
            images=item.images,
            seed=group_seed(seed, 0, "evaluation caption", item.id),
        )
        for item in items
        if item.id in true
    ]
    said = {c.group: c.text for c in sample_in_order(generate, asked)}

    def with_caption(row: dict) -> dict:
        name = row["question_id"]
        if name not in true or row["sample"]:
            return row
        right = said[name].split() == true[name].split()
        return {**row, "caption": said[name], "caption_right": right}

    return [with_caption(row) for row in rows]


def save_evaluation(folder: Path, rows: Sequence[dict], summary: dict) -> None:
    """Leave `predictions.parquet` and, last, `summary.json` in a folder."""
    make_folder(folder)
    write_predictions(folder / "predictions.parquet", [rows])
    write_whole(folder / "summary.json", json.dumps(summary, indent=2) + "\n")


def read_evaluation(folder: Path) -> list[dict] | None:
    """The rows that `save_evaluation` left; None where it has not ended."""
    if not (folder / "summary.json").exists():
        return None
    return read_predictions(folder / "predictions.parquet")
