"""Pictures of random colours, as files."""

import numpy as np
import pytest
from PIL import Image

SIZES = {"one": (30, 30), "another": (28, 28), "wide": (64, 30)}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Paths by name; the wide one makes two tiles and a thumbnail."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = {}
    for name, (width, height) in SIZES.items():
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        paths[name] = str(folder / f"{name}.png")
        Image.fromarray(pixels).save(paths[name])
    return paths
