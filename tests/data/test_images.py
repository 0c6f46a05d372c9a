"""Pictures are read faithfully and cut as InternVL cuts them."""

import dataclasses
import itertools
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from sophia_jax.data.images import load_image, tile_grid, tile_image
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile_size": 0}, "tile_size: expected >= 1, got 0"),
        ({"min_tiles": 0}, "min_tiles: expected >= 1, got 0"),
        ({"min_tiles": 5, "max_tiles": 4}, "max_tiles: expected >= min_tiles = 5"),
        ({"mean": (0.5, 0.5)}, "mean: expected 3 finite numbers"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean: expected 3 finite numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "std: expected 3 numbers > 0"),
        ({"std": (0.5, 0.5)}, "std: expected 3 numbers > 0"),
    ],
)
def test_geometry_out_of_range_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TileGeometry(**({"tile_size": 448} | IMAGENET | change))


@pytest.mark.parametrize(
    ("width", "height", "grid"),
    [
        # Aspect 2 is met by (2, 1) and (4, 2). The larger one is taken from
        # 2 h^2 > 0.5 * 448^2 * 8 = 802816 on: h > 633.6.
        (896, 448, (2, 1)),
        (1266, 633, (2, 1)),
        (1268, 634, (4, 2)),
        # Aspect 1: (2, 2) from w^2 > 401408 on, w > 633.6; (3, 3) from w > 950.4 on.
        (448, 448, (1, 1)),
        (634, 634, (2, 2)),
        (950, 950, (2, 2)),
        (951, 951, (3, 3)),
        # Aspect 1.3734 is closest to 4/3; 3/2 is further by 0.0866.
        (401, 292, (4, 3)),
        # Beyond the longest grid on either side.
        (10000, 10, (12, 1)),
        (10, 10000, (1, 12)),
    ],
)
def test_grid_has_the_closest_aspect_ratio(width, height, grid):
    assert tile_grid(width, height, TileGeometry(448, **IMAGENET)) == grid


def test_fewest_tiles_bind_the_grid():
    # |1 - 1/2| < |1 - 2/1|: of the two grids of two tiles the upright one is closer.
    geometry = TileGeometry(448, min_tiles=2, max_tiles=2, **IMAGENET)
    assert tile_grid(448, 448, geometry) == (1, 2)


def test_different_ratios_equally_close_follow_the_area_rule():
    # Aspect 3/4 lies in the middle of 1/2 and 1; (1, 2) from area > 4^2 on.
    geometry = TileGeometry(4, max_tiles=2, **PLAIN)
    assert tile_grid(3, 4, geometry) == (1, 1)
    assert tile_grid(6, 8, geometry) == (1, 2)


def test_empty_picture_has_no_grid():
    with pytest.raises(ValueError, match="width, height: expected >= 1, got 0, 5"):
        tile_grid(0, 5, TileGeometry(448, **IMAGENET))


def test_grid_agrees_with_transformers_over_many_sizes():
    from transformers.models.got_ocr2 import image_processing_pil_got_ocr2 as theirs

    sizes = np.random.default_rng(0).integers(1, 3000, (400, 2)).tolist()
    sizes += [[side * 100, other * 100] for side in range(1, 13) for other in (3, 4, 6)]
    for width, height in sizes:
        for fewest, most in ((1, 12), (1, 1), (3, 6)):
            geometry = TileGeometry(448, min_tiles=fewest, max_tiles=most, **IMAGENET)
            expected = theirs.get_optimal_tiled_canvas(
                (height, width), (448, 448), fewest, most
            )
            assert tile_grid(width, height, geometry) == expected


def published_grid(width, height, fewest, most, size):
    """As the published code writes it: a set in order of area, then a search."""
    ratios = {
        (columns, rows)
        for number in range(fewest, most + 1)
        for columns in range(1, number + 1)
        for rows in range(1, number + 1)
        if fewest <= columns * rows <= most
    }
    best, smallest = (1, 1), float("inf")
    for ratio in sorted(ratios, key=lambda ratio: ratio[0] * ratio[1]):
        difference = abs(width / height - ratio[0] / ratio[1])
        if difference < smallest:
            best, smallest = ratio, difference
        elif difference == smallest:
            enough = 0.5 * size * size * ratio[0] * ratio[1]
            best = ratio if width * height > enough else best
    return best


def test_grid_is_the_published_algorithm_s_for_thousands_of_sizes():
    # Any sizes, extreme ratios, ratios of grids and ratios in the middle of two grids.
    random = np.random.default_rng(1)
    sizes = random.integers(1, 4000, (1500, 2)).tolist()
    sizes += [(1, 1), (1, 4000), (4000, 1), (1, 89_000_000), (7, 65_535), (65_535, 3)]
    sizes += [(int(2**a), int(2**b)) for a, b in random.uniform(0, 13, (1000, 2))]
    grids = [(i, j) for i in range(1, 13) for j in range(1, 13) if i * j <= 12]
    sizes += [(i * scale, j * scale) for i, j in grids for scale in (1, 317, 634, 951)]
    for (i, j), (k, l) in itertools.combinations(grids, 2):  # noqa: E741
        sizes += [((i * l + k * j) * scale, 2 * j * l * scale) for scale in (1, 40)]
    assert len(sizes) > 3000
    for fewest, most in ((1, 12), (1, 6), (2, 24)):
        geometry = TileGeometry(448, min_tiles=fewest, max_tiles=most, **IMAGENET)
        for width, height in sizes:
            assert tile_grid(width, height, geometry) == published_grid(
                width, height, fewest, most, 448
            ), (width, height, fewest, most)


@pytest.mark.parametrize(
    ("width", "height"), [(37, 91), (1, 300), (300, 1), (29, 30), (64, 32), (7, 5)]
)
def test_pixels_are_the_published_algorithm_s(width, height):
    """Cropped box by box, after a resize of Pillow's default, which is bicubic."""
    image, size = noise(width, height, seed=width), 32
    columns, rows = published_grid(width, height, 1, 12, size)
    resized = image.resize((columns * size, rows * size))
    tiles = []
    for place in range(columns * rows):
        left, upper = place % columns * size, place // columns * size
        tiles.append(resized.crop((left, upper, left + size, upper + size)))
    if len(tiles) != 1:
        tiles.append(image.resize((size, size)))
    mean, std = np.array(IMAGENET["mean"]), np.array(IMAGENET["std"])
    expected = [(np.asarray(tile) / 255 - mean) / std for tile in tiles]
    ours = tile_image(image, TileGeometry(size, **IMAGENET))
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("num_images", "tiles"),
    # 64 // 5 = 12, 64 // 6 = 10, 64 // 10 = 6, 64 // 33 = 1, 64 // 100 = 0.
    [(1, 12), (5, 12), (6, 10), (10, 6), (33, 1), (64, 1), (100, 1)],
)
def test_pictures_of_a_sample_share_its_tiles(num_images, tiles):
    geometry = TileGeometry(448, **IMAGENET)
    shared = geometry.shared_by(num_images)
    assert shared == dataclasses.replace(geometry, max_tiles=tiles)


def test_fewest_tiles_give_way_to_the_share():
    geometry = TileGeometry(448, min_tiles=4, max_tiles=12, **IMAGENET)
    shared = geometry.shared_by(32)
    assert (shared.min_tiles, shared.max_tiles) == (2, 2)
    with pytest.raises(ValueError, match="num_images: expected >= 1, got 0"):
        geometry.shared_by(0)


@pytest.mark.parametrize(
    ("width", "height"),
    [(37, 91), (100, 100), (333, 77), (64, 64), (5, 200), (451, 449), (1, 1), (20, 31)],
)
def test_tiles_agree_with_transformers(width, height):
    from transformers import GotOcr2ImageProcessorPil

    image, tile_size = noise(width, height), 32
    processor = GotOcr2ImageProcessorPil(
        size={"height": tile_size, "width": tile_size},
        crop_to_patches=True,
        min_patches=1,
        max_patches=12,
        image_mean=IMAGENET["mean"],
        image_std=IMAGENET["std"],
    )
    theirs = processor(image, return_tensors="np")["pixel_values"]
    ours = tile_image(image, TileGeometry(tile_size, **IMAGENET))
    assert ours.dtype == np.float32
    assert ours.shape == theirs.transpose(0, 2, 3, 1).shape
    # One grey level is 1 / (255 * 0.229) = 0.017: the pixels before it are the same.
    np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), atol=2e-6)


def test_tiles_go_left_to_right_then_down_and_the_thumbnail_is_last():
    # 8 x 8 over tiles of 4: (2, 2), as 64 > 0.5 * 16 * 4 = 32 but < 0.5 * 16 * 9 = 72.
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :4], pixels[:4, 4:], pixels[4:, :4], pixels[4:, 4:] = 10, 20, 30, 40
    tiles = tile_image(Image.fromarray(pixels), TileGeometry(4, **PLAIN))
    assert tiles.shape == (5, 4, 4, 3)
    for tile, grey in zip(tiles[:4], (10, 20, 30, 40), strict=True):
        np.testing.assert_allclose(tile, grey / 255, rtol=1e-6)
    corners = tiles[4][[0, 0, 3, 3], [0, 3, 0, 3], 0] * 255
    np.testing.assert_allclose(corners, [10, 20, 30, 40], atol=3)


def test_picture_of_the_grid_s_size_keeps_its_exact_pixels():
    image = noise(8, 4)
    tiles = tile_image(image, TileGeometry(4, use_thumbnail=False, **PLAIN))
    joined = np.concatenate([tiles[0], tiles[1]], axis=1)
    np.testing.assert_array_equal(np.rint(joined * 255), np.asarray(image))


def test_channels_are_normalised_by_their_own_mean_and_std():
    # (255/255 - 0.5) / 0.5 = 1; (51/255 - 0.2) / 0.1 = 0; (0 - 0.25) / 0.25 = -1.
    geometry = TileGeometry(4, mean=(0.5, 0.2, 0.25), std=(0.5, 0.1, 0.25))
    tiles = tile_image(Image.new("RGB", (4, 4), (255, 51, 0)), geometry)
    expected = np.broadcast_to([1.0, 0.0, -1.0], (1, 4, 4, 3))
    np.testing.assert_allclose(tiles, expected, atol=1e-6)


def test_thumbnail_only_beside_several_tiles():
    assert len(tile_image(noise(4, 4), TileGeometry(4, **PLAIN))) == 1
    assert len(tile_image(noise(8, 4), TileGeometry(4, **PLAIN))) == 3
    bare = TileGeometry(4, use_thumbnail=False, **PLAIN)
    assert len(tile_image(noise(8, 4), bare)) == 2


def test_tiling_wants_rgb():
    with pytest.raises(ValueError, match='image: expected mode "RGB", got "L"'):
        tile_image(Image.new("L", (4, 4)), TileGeometry(4, **PLAIN))


def test_exif_orientation_is_applied(tmp_path):
    # Orientation 6: stored turned left, so the left pixel comes to the top.
    image = Image.new("RGB", (2, 1), "red")
    image.putpixel((1, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    loaded = load_image(tmp_path / "a.png")
    assert loaded.size == (1, 2)
    assert loaded.getpixel((0, 0)) == (255, 0, 0)
    assert loaded.getpixel((0, 1)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (200, 10, 10, 0), (255, 255, 255)),
        ("RGBA", (200, 10, 10, 255), (200, 10, 10)),
        # 0 * 128/255 + 255 * 127/255 = 127
        ("LA", (0, 128), (127, 127, 127)),
        ("L", 7, (7, 7, 7)),
        ("1", 1, (255, 255, 255)),
        # 16 bits: the upper 8 of 0x8040
        ("I;16", 0x8040, (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb_on_white(tmp_path, mode, colour, expected):
    Image.new(mode, (3, 2), colour).save(tmp_path / "a.png")
    loaded = load_image(str(tmp_path / "a.png"))
    assert loaded.mode == "RGB"
    assert set(map(tuple, np.asarray(loaded).reshape(-1, 3).tolist())) == {expected}


def test_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 90, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    loaded = load_image(tmp_path / "a.png")
    assert loaded.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.getpixel((1, 0)) == (0, 90, 0)


def test_unbounded_modes_are_refused(tmp_path):
    Image.new("F", (2, 2), 0.5).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff.*8 or 16 bits.*mode F"):
        load_image(tmp_path / "a.tiff")


@pytest.mark.parametrize(
    ("suffix", "kept_bytes", "reason"),
    [("jpg", 900, "truncated"), ("png", 900, "truncated"), ("png", 0, "not a picture")],
)
def test_damaged_file_is_refused_by_name(tmp_path, suffix, kept_bytes, reason):
    path = tmp_path / f"damaged.{suffix}"
    noise(64, 64).save(path)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(InputError, match=rf"damaged\.{suffix}' \(.*{reason}"):
        load_image(path)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "notes.png").write_text("hello")
    for name, reason in [
        ("notes.png", "not a picture file"),
        ("absent.png", "No such file or directory"),
        (".", "Is a directory"),
    ]:
        with pytest.raises(InputError) as caught:
            load_image(tmp_path / name)
        assert f"got {str(tmp_path / name)!r} ({reason})" in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    # A header that claims 2^16 x 2^16 pixels, and no pixels at all behind it.
    Image.new("RGB", (8, 4)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = (2**16).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)

    def decode(image):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(InputError, match=r"a\.png.*more than \d+ pixels"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("limit", [10, 20])
def test_decompression_bomb_is_refused(tmp_path, monkeypatch, limit):
    # 32 pixels: Pillow itself raises above twice the limit, and only warns below.
    Image.new("RGB", (8, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=f"more than {limit} pixels"):
            load_image(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"more than {limit} pixels"):
        load_image(tmp_path / "a.png")
