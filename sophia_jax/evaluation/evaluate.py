"""pass@1 on a set of questions, and how well the pictures were read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sophia_jax.completions import judge_completions, sample_in_order
from sophia_jax.evaluation.metrics import wilson_interval
from sophia_jax.rewards import extract_answer
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

PREDICTIONS = pa.schema(
    {
        "question_id": pa.string(),
        "kind": pa.string(),
        "question": pa.string(),
        "answer": pa.string(),
        "image": pa.string(),
        "response": pa.string(),
        "extracted": pa.string(),
        "verdict": pa.string(),
        "caption": pa.string(),
        "caption_right": pa.bool_(),
        "num_tokens": pa.int32(),
        "finish_reason": pa.string(),
    }
)


def answer_questions(
    generate: GenerateFn,
    verify: RewardFn,
    items: Sequence[Item],
    *,
    seed: int,
    system: str | None = None,
) -> list[dict]:
    """One sampled answer to each question, judged.

    An answer that was cut off counts as wrong and as none, whatever it says.

    Args:
      generate: samples from the model, with the picture and the plain question.
      verify: judges (response, answer) pairs.
      items: the questions, each with an id of its own.
      seed: of the samples.
      system: the system prompt, or None.

    Returns:
      Rows of `PREDICTIONS`, in the order of the items.

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
            seed=group_seed(seed, 0, "evaluation", item.id),
        )
        for item in items
    ]
    completions = sample_in_order(generate, asked)
    verdicts = judge_completions(verify, completions, [item.answer for item in items])
    return [
        _prediction(item, completion, verdict)
        for item, completion, verdict in zip(items, completions, verdicts, strict=True)
    ]


def _prediction(item: Item, completion: Completion, verdict: str) -> dict:
    whole = completion.finish_reason == "stop"
    return {
        "question_id": item.id,
        "kind": item.kind,
        "question": item.question,
        "answer": item.answer,
        "image": item.images[0] if item.images else None,
        "response": completion.text,
        "extracted": extract_answer(completion.text) if whole else None,
        "verdict": verdict,
        "caption": None,
        "caption_right": None,
        "num_tokens": len(completion.token_ids),
        "finish_reason": completion.finish_reason,
    }


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
      The rows in their order, `caption` and `caption_right` filled in.

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
        if name not in true:
            return row
        right = said[name].split() == true[name].split()
        return {**row, "caption": said[name], "caption_right": right}

    return [with_caption(row) for row in rows]


def summarize(rows: Sequence[dict]) -> dict:
    """pass@1 with its 95 % interval, over all questions and for each kind.

    Args:
      rows: of `answer_questions` or `read_captions`.

    Returns:
      Shares in [0, 1] (`pass@1`, `parsed`, and `caption_accuracy`, None where no true
      caption is known), `mean_tokens` of an answer, and counts.

    Raises:
      InputError: there is no row.
    """
    if not rows:
        raise InputError("rows: expected at least one answered question, got none")

    def counted(rows: Sequence[dict]) -> dict:
        right = sum(row["verdict"] == "right" for row in rows)
        return {
            "pass@1": right / len(rows),
            "num_questions": len(rows),
            "interval": list(wilson_interval(right, len(rows))),
        }

    kinds = sorted({row["kind"] for row in rows})
    captions = [
        row["caption_right"] for row in rows if row["caption_right"] is not None
    ]
    return {
        **counted(rows),
        "parsed": sum(row["extracted"] is not None for row in rows) / len(rows),
        "caption_accuracy": sum(captions) / len(captions) if captions else None,
        "mean_tokens": sum(row["num_tokens"] for row in rows) / len(rows),
        "cut_off": sum(row["finish_reason"] == "length" for row in rows),
        "undecided": sum(row["verdict"] == "undecided" for row in rows),
        "by_kind": {
            kind: counted([row for row in rows if row["kind"] == kind])
            for kind in kinds
        },
    }


def save_evaluation(folder: Path, rows: Sequence[dict], summary: dict) -> None:
    """Leave `predictions.parquet` and, last, `summary.json` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), PREDICTIONS)
    with _whole(folder / "predictions.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
    with _whole(folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n")


def read_evaluation(folder: Path) -> list[dict] | None:
    """The rows that `save_evaluation` left; None where it has not ended."""
    if not (folder / "summary.json").exists():
        return None
    return pq.read_table(folder / "predictions.parquet").to_pylist()


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file to write to; it becomes `path` when it is whole, or goes."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
