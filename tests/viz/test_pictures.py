"""Pictures get into a page at a fair size, and nothing else does."""

import base64
import io

import pytest
from PIL import Image

from sophia_jax.viz.pictures import LARGEST, SMALL, embed_picture


def decoded(picture):
    content = base64.b64decode(picture.uri.split(",", 1)[1])
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB")


@pytest.mark.parametrize(
    ("size", "shown", "pixelated"),
    [
        ((84, 84), (84, 84), True),
        ((SMALL, 3), (SMALL, 3), True),
        ((SMALL + 1, 3), (SMALL + 1, 3), False),
        ((4 * LARGEST, 2 * LARGEST), (LARGEST, LARGEST // 2), False),
    ],
)
def test_pictures_are_embedded_at_a_fair_size(tmp_path, size, shown, pixelated):
    Image.new("RGB", size, "red").save(tmp_path / "x.png")
    picture = embed_picture(tmp_path / "x.png")
    assert ((picture.width, picture.height), picture.pixelated) == (shown, pixelated)
    assert decoded(picture).size == shown


def test_small_pictures_keep_every_pixel(tmp_path):
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    image.save(tmp_path / "x.png")
    assert decoded(embed_picture(tmp_path / "x.png")).tobytes() == image.tobytes()


def test_the_smaller_encoding_is_taken(tmp_path):
    Image.effect_noise((600, 600), 90).convert("RGB").save(tmp_path / "noise.png")
    Image.new("1", (500, 3)).save(tmp_path / "flat.png")
    uris = [embed_picture(tmp_path / f"{name}.png").uri for name in ("noise", "flat")]
    assert uris[0].startswith("data:image/webp;base64,")
    assert all(len(uri) < 90_000 for uri in uris)  # the noise: 280 kB as it was


def test_what_is_no_picture_is_not_embedded(tmp_path):
    (tmp_path / "secret.png").write_text("secret")
    assert embed_picture(tmp_path / "secret.png") is None
    assert embed_picture(tmp_path / "nothing.png") is None
