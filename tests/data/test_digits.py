"""Scans are split once and for all, and pictures hold them where they should."""

import hashlib
import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sophia_jax.data.digits import CELL, PICTURE_SIZE, compose_picture, split_scans

NUMBERS = (7, 40, 123)
# (row, column) of each digit of NUMBERS, aligned to the right.
CELLS = [(0, 2), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def cell(picture, row, column):
    values = np.asarray(picture)[:, :, 0]
    return values[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]


def enlarged(scan, size=24):
    """The scan's ink as grey values, smoothly enlarged."""
    ink = Image.fromarray((scan * 255 / 16).astype(np.uint8))
    return 255 - np.asarray(ink.resize((size, size), Image.Resampling.BICUBIC))


def test_every_scan_is_on_exactly_one_side(digits):
    split = split_scans()
    both = np.concatenate([*split.training, *split.held_out])
    assert len(digits.target) == 1797
    assert sorted(both) == list(range(1797))


def test_split_is_stratified_by_digit(digits):
    split = split_scans()
    for digit in range(10):
        training, held_out = split.training[digit], split.held_out[digit]
        assert set(digits.target[training]) == set(digits.target[held_out]) == {digit}
        assert abs(len(held_out) - 0.2 * (len(training) + len(held_out))) <= 0.5


def test_split_is_the_same_on_each_call_and_machine():
    again = split_scans.__wrapped__()
    for side in ("training", "held_out"):
        for one, two in zip(
            getattr(split_scans(), side), getattr(again, side), strict=True
        ):
            np.testing.assert_array_equal(one, two)
    # Another split would make held-out scans of those that a saved model has seen.
    indices = np.sort(np.concatenate(again.held_out)).astype("<i8")
    digest = hashlib.sha256(indices.tobytes()).hexdigest()
    assert (len(indices), digest[:16]) == (359, "fcac648d8ebbcd1b")


@pytest.mark.parametrize("distort", [False, True])
def test_each_cell_holds_an_allowed_scan_of_its_digit(digits, distort):
    allowed = split_scans().held_out
    picture, used = compose_picture(
        np.random.default_rng(0), NUMBERS, allowed, distort=distort
    )
    assert picture.mode == "RGB"
    assert picture.size == (PICTURE_SIZE, PICTURE_SIZE) == (84, 84)
    assert "".join(str(digits.target[index]) for index in used) == "740123"
    assert set(used) <= set(np.concatenate(allowed))
    channels = np.asarray(picture)
    assert (channels[:, :, :1] == channels).all()


@pytest.mark.parametrize("distort", [False, True])
def test_cells_without_a_digit_are_white_and_the_others_are_not(distort):
    picture, _ = compose_picture(
        np.random.default_rng(1), NUMBERS, split_scans().training, distort=distort
    )
    for row, column in itertools.product(range(3), repeat=2):
        values = cell(picture, row, column)
        if (row, column) in CELLS:
            assert values.min() < 64  # dark ink
            assert values.max() == 255
        else:
            assert (values == 255).all()


@pytest.mark.parametrize("seed", range(5))
def test_held_out_pictures_are_the_scans_themselves_somewhere_in_their_cells(
    digits, seed
):
    picture, used = compose_picture(
        np.random.default_rng(seed), NUMBERS, split_scans().held_out, distort=False
    )
    for place, index in zip(CELLS, used, strict=True):
        found = 0
        for top, left in itertools.product(range(5), repeat=2):
            wanted = np.full((CELL, CELL), 255)
            wanted[top : top + 24, left : left + 24] = enlarged(digits.images[index])
            found += (cell(picture, *place) == wanted).all()
        assert found >= 1


def test_training_pictures_show_their_scans_turned_and_scaled(digits):
    rng = np.random.default_rng(2)
    scans = split_scans().training
    for _ in range(10):
        picture, used = compose_picture(rng, NUMBERS, scans, distort=True)
        for place, index in zip(CELLS, used, strict=True):
            ink = 255 - cell(picture, *place).astype(float)
            rows, columns = np.nonzero(ink > 16)
            box = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            scan = 255 - enlarged(digits.images[index]).astype(float)
            rows, columns = np.nonzero(scan > 16)
            plain = scan[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            same_size = Image.fromarray(box).resize(plain.shape[::-1])
            assert np.corrcoef(np.ravel(same_size), plain.ravel())[0, 1] > 0.7


def test_same_seed_gives_the_same_picture_and_another_one_does_not():
    scans = split_scans().training
    pictures = [
        compose_picture(np.random.default_rng(seed), NUMBERS, scans, distort=True)
        for seed in (0, 0, 1)
    ]
    first, again, other = (np.asarray(picture) for picture, _ in pictures)
    assert (first == again).all()
    assert (first != other).any()
    assert pictures[0][1] == pictures[1][1]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((), r"numbers: expected 1 to 3 of them, got \(\)"),
        ((1, 2, 3, 4), "numbers: expected 1 to 3 of them, got"),
        ((1, 1000), "numbers: expected 0 to 999, got"),
        ((-1, 2), "numbers: expected 0 to 999, got"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(numbers, message):
    scans = split_scans().training
    with pytest.raises(ValueError, match=message):
        compose_picture(np.random.default_rng(0), numbers, scans, distort=False)
