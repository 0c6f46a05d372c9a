"""The same held-out questions answered by the base model and by SOPHIA's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sophia_jax.viz.columns import read_columns, rows_about
from sophia_jax.viz.in_turn import in_turn
from sophia_jax.viz.pictures import Picture
from sophia_jax.viz.questions import find_picture
from sophia_jax.viz.summary import MODELS

__all__ = ["AnswerCard", "Response", "make_answer_cards"]

_KIND = pa.schema([("question_id", pa.string()), ("kind", pa.string())])
_PREDICTION = pa.schema(
    [
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("image", pa.string()),
        ("response", pa.string()),
        ("extracted", pa.string()),
        ("verdict", pa.string()),
        ("caption", pa.string()),
        ("caption_right", pa.bool_()),
        ("num_tokens", pa.int64()),
        ("finish_reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Response:
    """What a model made of a question.

    Attributes:
      text: as it was written.
      extracted: the answer that was found in it, where one was.
      verdict: right, wrong or undecided.
      caption: the model's own description of the picture, where one was asked for.
      caption_right: whether that names what is in the picture.
      num_tokens: of the text.
      cut_off: whether it stopped at the limit and not at its end.
    """

    text: str
    extracted: str | None
    verdict: str
    caption: str | None
    caption_right: bool | None
    num_tokens: int | None
    cut_off: bool


@dataclass(frozen=True)
class AnswerCard:
    """A held-out question; responses by model, `base` and `sophia`."""

    question_id: str
    kind: str
    question: str
    answer: str
    picture: Picture | None
    responses: dict[str, Response]


def make_answer_cards(run_folder: Path, num_questions: int) -> list[AnswerCard]:
    """The first questions by id, the kinds in turn, whatever was answered.

    Args:
      run_folder: with `evaluations/<model>/predictions.parquet`.
      num_questions: how many to show.

    Returns:
      One card for each; none where no model was evaluated.

    Raises:
      InputError: a predictions file is damaged.
    """
    paths = {
        model: run_folder / "evaluations" / model / "predictions.parquet"
        for model in MODELS
    }
    paths = {model: path for model, path in paths.items() if path.is_file()}
    kinds: dict[str, str] = {}
    for path in paths.values():
        for row in read_columns(path, _KIND).to_pylist():
            kinds[row["question_id"]] = row["kind"] or ""
    chosen = in_turn(sorted(kinds), kinds.__getitem__)[:num_questions]
    tables = {
        model: {
            row["question_id"]: row for row in rows_about([path], _PREDICTION, chosen)
        }
        for model, path in paths.items()
    }
    return [_card(run_folder, name, kinds[name], tables) for name in chosen]


def _card(
    run_folder: Path, question_id: str, kind: str, tables: dict[str, dict[str, dict]]
) -> AnswerCard:
    rows = {model: t[question_id] for model, t in tables.items() if question_id in t}
    first = next(iter(rows.values()))
    return AnswerCard(
        question_id=question_id,
        kind=kind,
        question=first["question"],
        answer=first["answer"],
        picture=find_picture(run_folder, first["image"]) if first["image"] else None,
        responses={model: _response(row) for model, row in rows.items()},
    )


def _response(row: dict) -> Response:
    return Response(
        text=row["response"],
        extracted=row["extracted"],
        verdict=row["verdict"],
        caption=row["caption"],
        caption_right=row["caption_right"],
        num_tokens=row["num_tokens"],
        cut_off=row["finish_reason"] == "length",
    )
