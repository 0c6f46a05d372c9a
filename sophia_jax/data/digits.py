"""Pictures of numbers, composed of real handwritten digits."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["CELL", "PICTURE_SIZE", "ScanSplit", "compose_picture", "split_scans"]

CELL = 28  # pixels per side that one digit takes
MARGIN = 2  # pixels on each side of a digit that is neither turned nor scaled
ROWS = COLUMNS = 3
PICTURE_SIZE = CELL * ROWS
WHITE = 255
HELD_OUT_SHARE = 0.2  # of each digit's scans


@dataclass(frozen=True)
class ScanSplit:
    """Which of scikit-learn's 1,797 scans may be used where.

    Attributes:
      training: for each digit 0-9, the indices of its training scans.
      held_out: for each digit, the rest.
    """

    training: tuple[np.ndarray, ...]
    held_out: tuple[np.ndarray, ...]


@functools.cache
def scans() -> tuple[np.ndarray, np.ndarray]:
    """All scans, Float[1797 8 8] in [0, 16] (16 is ink), and their digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images, digits.target


@functools.cache
def split_scans() -> ScanSplit:
    """Split the scans by digit, always the same way, before anything is composed."""
    rng = np.random.default_rng(20250716)
    shuffled = [rng.permutation(np.flatnonzero(scans()[1] == d)) for d in range(10)]
    cuts = [round(len(indices) * HELD_OUT_SHARE) for indices in shuffled]
    return ScanSplit(
        training=tuple(s[cut:] for s, cut in zip(shuffled, cuts, strict=True)),
        held_out=tuple(s[:cut] for s, cut in zip(shuffled, cuts, strict=True)),
    )


def compose_picture(
    rng: np.random.Generator,
    numbers: tuple[int, ...],
    scan_indices: tuple[np.ndarray, ...],
    *,
    distort: bool,
) -> tuple[Image.Image, list[int]]:
    """One picture with one number per row, dark ink on white, aligned to the right.

    Args:
      rng: chooses the scans, their places and distortions.
      numbers: one to three, of one to three digits.
      scan_indices: for each digit, the scans to choose from.
      distort: turn and scale each scan a little, as training pictures are.

    Returns:
      An RGB picture of PICTURE_SIZE pixels a side, and the indices of the scans used.

    Raises:
      ValueError: the numbers do not fit the picture.
    """
    if not 1 <= len(numbers) <= ROWS:
        raise ValueError(f"numbers: expected 1 to {ROWS} of them, got {numbers}")
    if not all(0 <= number < 10**COLUMNS for number in numbers):
        raise ValueError(f"numbers: expected 0 to {10**COLUMNS - 1}, got {numbers}")
    ink = np.zeros((PICTURE_SIZE, PICTURE_SIZE))
    used = []
    for row, number in enumerate(numbers):
        text = str(number)
        for column, character in enumerate(text, start=COLUMNS - len(text)):
            index = int(rng.choice(scan_indices[int(character)]))
            used.append(index)
            top, left = row * CELL, column * CELL
            ink[top : top + CELL, left : left + CELL] = draw_digit(rng, index, distort)
    grey = np.round(WHITE * (1 - ink)).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)), used


def draw_digit(rng: np.random.Generator, index: int, distort: bool) -> np.ndarray:
    """One scan, smoothly enlarged and placed in its cell; ink in [0, 1]."""
    scan = Image.fromarray((scans()[0][index] * (WHITE / 16)).astype(np.uint8))
    size = CELL - 2 * MARGIN
    if distort:
        size += int(rng.integers(-MARGIN, MARGIN + 1))
    digit = scan.resize((size, size), Image.Resampling.BICUBIC)
    if distort:
        digit = digit.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    cell = np.zeros((CELL, CELL))
    top, left = rng.integers(0, CELL - size + 1, size=2)
    cell[top : top + size, left : left + size] = np.asarray(digit) / WHITE
    return cell
