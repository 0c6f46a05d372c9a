"""The table of answers that an evaluation leaves, `predictions.parquet`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sophia_jax.paths import open_for_library, whole_file
from sophia_jax.types import InputError

__all__ = [
    "PREDICTIONS",
    "by_question",
    "read_predictions",
    "write_predictions",
]


def _required(name: str, column_type: pa.DataType) -> pa.Field:
    return pa.field(name, column_type, nullable=False)


PREDICTIONS = pa.schema(
    [
        _required("question_id", pa.string()),
        _required("sample", pa.int32()),
        _required("kind", pa.string()),
        _required("level", pa.string()),
        _required("question", pa.string()),
        _required("answer", pa.string()),
        pa.field("image", pa.string()),
        _required("response", pa.string()),
        pa.field("extracted", pa.string()),
        _required("verdict", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("caption_right", pa.bool_()),
        _required("num_tokens", pa.int32()),
        _required("finish_reason", pa.string()),
        pa.field("score", pa.float64()),
    ]
)
"""One row per answer, the samples of a question side by side; a caption stands in the
row of the first. `extracted` is null where no answer was found; `verdict` is right,
wrong or undecided; `finish_reason` is "length" for an answer that was cut off; `score`
is a judge's, null where there is none."""

ADDED = ("score",)  # which tables of earlier versions lack


def write_predictions(path: Path, parts: Iterable[Sequence[dict]]) -> None:
    """Write rows of `PREDICTIONS`, part after part; the file appears whole or not.

    Args:
      path: of the file.
      parts: rows; one part is held in memory at a time.
    """
    with (
        whole_file(path) as temporary,
        pq.ParquetWriter(temporary, PREDICTIONS, compression="zstd") as writer,
    ):
        for rows in parts:
            writer.write_table(pa.Table.from_pylist(list(rows), PREDICTIONS))


def read_predictions(
    path: Path, columns: Sequence[str] = tuple(PREDICTIONS.names)
) -> list[dict[str, Any]]:
    """Read answers back.

    Args:
      path: of a `predictions.parquet`.
      columns: that are wanted; the texts may be large.

    Returns:
      One dictionary per row, in the order in which they were written.

    Raises:
      InputError: there is no such file, it is damaged, or a column is missing or of
        another type.
    """
    try:
        # ParquetFile, since read_table takes folders named `seed=1` for columns.
        with open_for_library(path) as readable, pq.ParquetFile(readable) as file:
            _check_columns(path, file.schema_arrow, columns)
            known = [name for name in columns if name in file.schema_arrow.names]
            table = file.read(columns=known)
    except FileNotFoundError:
        raise InputError(
            f"{path}: expected the answers of an evaluation, got no file"
        ) from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: expected a whole table, got {reason}") from error
    for name in known:
        if table[name].null_count and not PREDICTIONS.field(name).nullable:
            row = table[name].is_null().to_pylist().index(True)
            raise InputError(f"{path}: {name}: expected no null, got one in row {row}")
    lacking = dict.fromkeys(columns)
    return [lacking | row for row in table.to_pylist()]


def _check_columns(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    for name in columns:
        wanted = PREDICTIONS.field(name).type
        place = schema.get_field_index(name)
        if place < 0 and name in ADDED:
            continue
        found = "no such column" if place < 0 else str(schema.field(place).type)
        if found != str(wanted):
            raise InputError(f"{path}: {name}: expected {wanted}, got {found}")


def by_question(
    rows: Sequence[dict[str, Any]], where: str | Path
) -> dict[str, list[dict[str, Any]]]:
    """The answers to each question, in the order of the samples.

    Args:
      rows: of `PREDICTIONS`, or those of its columns that are needed.
      where: they come from, for messages.

    Returns:
      Rows by the question's id, in the order of the first rows.

    Raises:
      InputError: there is no row; a sample comes twice or is missing; or questions
        have different numbers of samples.
    """
    if not rows:
        raise InputError(f"{where}: expected at least one answered question, got none")
    times = Counter((row["question_id"], row["sample"]) for row in rows)
    (name, sample), most = times.most_common(1)[0]
    if most > 1:
        raise InputError(
            f"{where}: expected each sample once, got sample {sample} of question "
            f"{name!r} {most} times"
        )
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["question_id"], []).append(row)
    num_samples = len(next(iter(grouped.values())))
    for name, group in grouped.items():
        group.sort(key=lambda row: row["sample"])
        if [row["sample"] for row in group] != list(range(num_samples)):
            raise InputError(
                f"{where}: expected samples 0 to {num_samples - 1} of each question, "
                f"got {[row['sample'] for row in group]} of {name!r}"
            )
    return grouped
