"""Predictions as a table that VLMEvalKit scores."""

from __future__ import annotations

import csv
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sophia_jax.evaluation.answers import answer_type
from sophia_jax.paths import whole_file

__all__ = ["VLMEVALKIT_COLUMNS", "split_options", "vlmevalkit_row", "write_vlmevalkit"]

VLMEVALKIT_COLUMNS = (
    *("index", "question", *string.ascii_uppercase, "choices", "answer"),
    *("category", "level", "prediction", "thinking"),
)
_OPTION = re.compile(r"([A-Z])\.(?: (.*))?")
_NUL_PICTURE = "\N{SYMBOL FOR NULL}"  # pandas ends a text at the character itself


def write_vlmevalkit(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the first answer to each question as VLMEvalKit's result table.

    VLMEvalKit keeps a model's answers to a benchmark as `MODEL_BENCHMARK.xlsx`, or
    `.tsv` where the environment has PRED_FORMAT=tsv: the benchmark's rows without their
    pictures, and the column `prediction`. Its scorers read the file with
    `pandas.read_csv(path, sep="\\t")` and look for rows by `index`. This file is made
    alike: UTF-8, tabs, every field in quotes, the columns of `vlmevalkit_row`; options
    that no question has are left out. Copied to such a name, or given by its path to
    `build_dataset("BENCHMARK").evaluate(path)`, it is scored, if the questions' ids are
    the benchmark's `index`. Some benchmarks are also grouped by columns of their own
    (MathVista's `task` and `skills`), which are to be joined by `index`.

    Args:
      path: of the file, which appears whole or not at all.
      rows: of `PREDICTIONS`; samples after the first are passed over.

    Reference:
      https://github.com/open-compass/VLMEvalKit: `load`, `dump`, `get_pred_file_path`
      in vlmeval/smp/file.py; `infer_data_job` in vlmeval/inference.py; `evaluate` in
      vlmeval/dataset/image_mcq.py and image_vqa.py, with utils/mathv.py.
    """
    written = [vlmevalkit_row(row) for row in rows if not row["sample"]]
    unused = {
        letter
        for letter in string.ascii_uppercase
        if not any(row[letter] for row in written)
    }
    columns = [name for name in VLMEVALKIT_COLUMNS if name not in unused]
    with (
        whole_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(
            file,
            columns,
            extrasaction="ignore",
            delimiter="\t",
            quoting=csv.QUOTE_ALL,
            lineterminator="\n",
        )
        writer.writeheader()
        writer.writerows(written)


def vlmevalkit_row(row: Mapping[str, Any]) -> dict[str, str]:
    """A prediction in VLMEvalKit's columns.

    Args:
      row: of `PREDICTIONS`.

    Returns:
      `index`, the question's id; `question`, without the options at its end; these in
      `A`, `B`, ... for multiple-choice benchmarks, and as a Python list in `choices`
      for those like MathVision; `answer`, of a choice its letter alone; `category`, the
      subject; `level`; `prediction`, what follows the thinking; and `thinking`, as
      VLMEvalKit parts them where its environment has SPLIT_THINK. What follows nothing
      but thinking is all of the response.
    """
    question, options = split_options(row["question"])
    thinking, _, said = row["response"].rpartition("</think>")
    if not said.strip():
        thinking, said = "", row["response"]
    values = {
        "index": row["question_id"],
        "question": question,
        **dict.fromkeys(string.ascii_uppercase, ""),
        **options,
        "choices": repr(list(options.values())),
        "answer": _letter_alone(row["answer"]),
        "category": row["kind"],
        "level": row["level"],
        "prediction": said.strip(),
        "thinking": thinking.partition("<think>")[2].strip() or thinking.strip(),
    }
    return {name: value.replace("\0", _NUL_PICTURE) for name, value in values.items()}


def split_options(question: str) -> tuple[str, dict[str, str]]:
    """A question's text, and the options that it ends with as lines "A. ...".

    Args:
      question: as the model reads it.

    Returns:
      The text before them, and the options by letter, at least two or none.
    """
    lines = question.split("\n")
    first = next(
        (place for place in reversed(range(len(lines))) if _starts(lines[place], "A")),
        None,
    )
    if first is None:
        return question, {}
    options: list[str] = []
    for line in lines[first:]:
        if len(options) < 26 and _starts(line, string.ascii_uppercase[len(options)]):
            options.append(_OPTION.fullmatch(line)[2] or "")
        else:
            options[-1] += f"\n{line}"
    if len(options) < 2:
        return question, {}
    named = dict(zip(string.ascii_uppercase, options, strict=False))
    return "\n".join(lines[:first]), named


def _starts(line: str, letter: str) -> bool:
    """Whether a line is an option's first."""
    match = _OPTION.fullmatch(line)
    return match is not None and match[1] == letter


def _letter_alone(answer: str) -> str:
    """Of "(B) 12 cm" the letter; any other answer as it is."""
    if answer_type(answer) != "choice":
        return answer
    return next(letter for letter in answer if letter in string.ascii_uppercase)
