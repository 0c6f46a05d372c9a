"""MATH-Vision: 3,040 competition questions about pictures, in 16 subjects."""

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

__all__ = ["MathVision"]


class MathVision(tfds.core.GeneratorBasedBuilder):
    """Splits `test` and `testmini`; an answer is a letter where there are choices.

    Reference: https://arxiv.org/abs/2402.14804
    """

    name = "mathvision"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "A copy of https://github.com/mathllm/MATH-V: data/test.jsonl, "
        "data/testmini.jsonl and images/."
    )
    SPLITS: ClassVar = ("test", "testmini")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://mathllm.github.io/mathvision",
            license="MIT",
            features=question_features("solution"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        folder = Path(dl_manager.manual_dir)
        files = {split: folder / "data" / f"{split}.jsonl" for split in self.SPLITS}
        return {
            split: self._generate_examples(folder, file)
            for split, file in check_splits(folder, files).items()
        }

    def _generate_examples(self, folder: Path, file: Path) -> Iterator:
        for where, row in json_rows(file):
            row |= {"choices": row.get("options")}
            picture = folder / str(row.get("image"))
            encoded = encoded_row(where, row, picture, "solution")
            yield encoded["id"], encoded
