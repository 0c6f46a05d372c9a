"""How pictures are cut into the square tiles that a vision tower reads."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import KW_ONLY, dataclass

__all__ = ["TileGeometry"]

TILES_PER_SAMPLE = 64  # of all pictures of a sample, their thumbnails not counted


@dataclass(frozen=True)
class TileGeometry:
    """Size, number and normalisation of the tiles of one picture.

    Attributes:
      tile_size: height and width of a tile in pixels.
      min_tiles: fewest tiles of a grid, the thumbnail not counted.
      max_tiles: most tiles of a grid, the thumbnail not counted.
      use_thumbnail: whether the whole picture follows a grid of more than one tile.
      mean: of each colour channel, on the scale [0, 1].
      std: of each colour channel, on the scale [0, 1].

    Raises:
      ValueError: a field is out of range.

    Reference: https://arxiv.org/abs/2404.16821, section 3.3 (dynamic resolution).
    """

    tile_size: int
    _: KW_ONLY
    min_tiles: int = 1
    max_tiles: int = 12
    use_thumbnail: bool = True
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.tile_size < 1:
            raise ValueError(f"tile_size: expected >= 1, got {self.tile_size}")
        if self.min_tiles < 1:
            raise ValueError(f"min_tiles: expected >= 1, got {self.min_tiles}")
        if self.max_tiles < self.min_tiles:
            raise ValueError(
                f"max_tiles: expected >= min_tiles = {self.min_tiles}, "
                f"got {self.max_tiles}"
            )
        if len(self.mean) != 3 or not all(map(math.isfinite, self.mean)):
            raise ValueError(f"mean: expected 3 finite numbers, got {self.mean}")
        if len(self.std) != 3 or not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"std: expected 3 numbers > 0, got {self.std}")

    def shared_by(self, num_images: int) -> TileGeometry:
        """What is left for each of a sample's pictures.

            max(1, min(max_tiles, 64 // num_images)) tiles

        By this rule of VLMEvalKit's wrapper of InternVL, scores compare. It also sets
        the most tiles by benchmark: 6 as a rule, 12 for MMMU, ChartQA and OCRVQA, 18
        for DocVQA and SlideVQA, 24 for InfoVQA, OCRBench and HRBench.

        Args:
          num_images: pictures of the sample, > 0.

        Raises:
          ValueError: there is no picture.

        Reference: https://github.com/open-compass/VLMEvalKit,
          `vlmeval/vlm/internvl/internvl_chat.py`.
        """
        if num_images < 1:
            raise ValueError(f"num_images: expected >= 1, got {num_images}")
        most = max(1, min(self.max_tiles, TILES_PER_SAMPLE // num_images))
        return dataclasses.replace(
            self, min_tiles=min(self.min_tiles, most), max_tiles=most
        )
