"""Requests in token ids, and what of them is read at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.generation.decode import PromptBatch
from sophia_jax.types import Request

__all__ = ["Piece", "Prompt", "stack_pieces"]


@dataclass(frozen=True)
class Prompt:
    """A request in token ids, with its pictures' features.

    Attributes:
      request: what was asked.
      token_ids: Int32[token], with a placeholder for each image token.
      is_image: Bool[token], where these stand.
      image_embeds: Float[image_token embed] of all its pictures, or None.
    """

    request: Request
    token_ids: np.ndarray
    is_image: np.ndarray
    image_embeds: np.ndarray | None


@dataclass(frozen=True)
class Piece:
    """A part of a prompt that is read at once.

    Attributes:
      prompt: whose it is.
      start, stop: its tokens; it starts where a page does.
      context: the pages before it.
      filled: the pages that it fills.
    """

    prompt: Prompt
    start: int
    stop: int
    context: Sequence[int]
    filled: Sequence[int]

    @property
    def has_images(self) -> bool:
        return bool(self.prompt.is_image[self.start : self.stop].any())


def stack_pieces(
    pieces: Sequence[Piece],
    *,
    num_groups: int,
    width: int,
    page: int,
    most_parts: int,
    no_page: int,
) -> PromptBatch:
    """A batch whose shapes depend on the bucket alone.

    Args:
      pieces: at most `num_groups`, of at most `width` tokens; all with image tokens, or
        none.
      num_groups: filled up with groups of length 0.
      width: tokens.
      page: tokens of a page.
      most_parts: pages that can stand before a piece.
      no_page: a page number that is out of range.
    """
    shape = (num_groups, width)
    token_ids = np.zeros(shape, np.int32)
    length, num_parts = np.zeros(num_groups, np.int32), np.zeros(num_groups, np.int32)
    context = np.zeros((num_groups, most_parts), np.int32)
    filled = np.full((num_groups, -(-width // page)), no_page, np.int32)
    is_image = image_embeds = None
    if pieces[0].has_images:
        embeds = pieces[0].prompt.image_embeds
        is_image = np.zeros(shape, bool)
        image_embeds = np.zeros((*shape, embeds.shape[1]), embeds.dtype)
    for row, piece in enumerate(pieces):
        part = slice(piece.start, piece.stop)
        length[row] = piece.stop - piece.start
        token_ids[row, : length[row]] = piece.prompt.token_ids[part]
        num_parts[row] = len(piece.context)
        context[row, : len(piece.context)] = piece.context
        filled[row, : len(piece.filled)] = piece.filled
        if is_image is not None:
            is_image[row, : length[row]] = piece.prompt.is_image[part]
            first = int(piece.prompt.is_image[: piece.start].sum())
            last = first + int(is_image[row].sum())
            image_embeds[row, is_image[row]] = piece.prompt.image_embeds[first:last]
    return PromptBatch(
        token_ids=token_ids,
        length=length,
        image_embeds=image_embeds,
        is_image=is_image,
        context=context,
        num_parts=num_parts,
        filled=filled,
    )
