"""TabMWP: 38,431 school questions about tables, which are shown as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds

from sophia_jax.data.datasets.official import (
    check_splits,
    encoded_row,
    json_rows,
    question_features,
)

__all__ = ["TabMWP"]


class TabMWP(tfds.core.GeneratorBasedBuilder):
    """Splits `train`, `dev`, `test`, `dev1k` and `test1k`; answers are texts.

    The unit of an answer is told with the question, as "(Unit: $)": answers come
    without it. The table as text stands in `table`.

    Reference: https://arxiv.org/abs/2209.14610
    """

    name = "tabmwp"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "A copy of https://github.com/lupantech/PromptPG: "
        "data/tabmwp/problems_SPLIT.json and data/tabmwp/tables/."
    )
    SPLITS: ClassVar = ("train", "dev", "test", "dev1k", "test1k")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://promptpg.github.io",
            license="CC BY-NC-SA 4.0",
            features=question_features("table", "solution"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        folder = Path(dl_manager.manual_dir)
        tables = folder / "data" / "tabmwp"
        files = {split: tables / f"problems_{split}.json" for split in self.SPLITS}
        return {
            split: self._generate_examples(file)
            for split, file in check_splits(folder, files).items()
        }

    def _generate_examples(self, file: Path) -> Iterator:
        for where, row in json_rows(file):
            row |= {
                "id": row["key"],
                "subject": row.get("ques_type"),
                "level": row.get("grade"),
            }
            if row.get("unit"):
                row["question"] = f"{row.get('question')} (Unit: {row['unit']})"
            picture = file.parent / "tables" / f"{row['key']}.png"
            yield row["key"], encoded_row(where, row, picture, "table", "solution")
