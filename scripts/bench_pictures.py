"""How fast pictures are read and cut, by the number of threads that do it.

    python scripts/bench_pictures.py --pictures 24 --threads 1 2 4

Photographs of noise and gradients, 1600 x 1200 JPEG, in 12 tiles of 448 and a
thumbnail, as InternVL cuts them. Nothing is encoded.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from sophia_jax.generation import images
from sophia_jax.tiles import TileGeometry

SIZE = (1600, 1200)
TILES = TileGeometry(448, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def write_pictures(folder: Path, number: int) -> list[Path]:
    """JPEG files whose contents compress about as photographs do."""
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 200, SIZE[0])[None, :, None]
    paths = []
    for index in range(number):
        coarse = random.integers(0, 56, (SIZE[1] // 4, SIZE[0] // 4, 3))
        noise = coarse.repeat(4, axis=0).repeat(4, axis=1)
        paths.append(folder / f"{index}.jpg")
        Image.fromarray((ramp + noise).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def seconds_with(threads: int, paths: list[Path]) -> float:
    """Time until the tiles of all pictures have come, each thrown away at once."""
    with mock.patch.object(images, "READERS", threads):
        began = time.perf_counter()
        for tiles in images._cut_ahead([(path, TILES) for path in paths]):
            del tiles
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3, help="the best counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder), options.pictures)
        seconds_with(1, paths[:2])  # what is done once
        for threads in options.threads:
            best = min(seconds_with(threads, paths) for _ in range(options.repeats))
            print(f"{threads} threads: {options.pictures / best:.1f} pictures/s")


if __name__ == "__main__":
    main()
