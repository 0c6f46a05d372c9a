"""DynaMath: 501 questions that are programs, with ten generated variants of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from sophia_jax.data.datasets.official import (
    check_splits,
    encoded_row,
    json_rows,
    question_features,
)

__all__ = ["DynaMath"]

VARIANTS = 10


class DynaMath(tfds.core.GeneratorBasedBuilder):
    """Splits `variant1` to `variant10`; options stand in the question.

    Rows of one `seed_question` differ in numbers, picture and answer.

    Reference: https://arxiv.org/abs/2411.00836
    """

    name = "dynamath"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "A copy of https://github.com/DynaMath/DynaMath: the folders trial1 to trial10 "
        "of 'samples and result/10trials', each with dataset.json and image/."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://dynamath.github.io",
            license="MIT",
            features=question_features("seed_question", "answer_type"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        folder = Path(dl_manager.manual_dir)
        trials = folder / "samples and result" / "10trials"
        files = {
            f"variant{number}": trials / f"trial{number}" / "dataset.json"
            for number in range(1, VARIANTS + 1)
        }
        return {
            split: self._generate_examples(file, split.removeprefix("variant"))
            for split, file in check_splits(folder, files).items()
        }

    def _generate_examples(self, file: Path, variant: str) -> Iterator:
        for where, row in json_rows(file):
            key = f"{row['key']}_v{variant}"
            row |= {"id": key, "seed_question": row["key"]}
            picture = file.parent / str(row.get("image"))
            yield (
                key,
                encoded_row(where, row, picture, "seed_question", "answer_type"),
            )
