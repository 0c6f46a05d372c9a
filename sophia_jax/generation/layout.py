"""Sizes of the engine's cache, and whether there is room for it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.config import TextConfig
from sophia_jax.types import InputError

__all__ = ["Layout", "free_bytes", "make_layout", "page_bytes"]

USUAL_CACHE_BYTES = 2**30
PIECE = 512  # tokens
GATHERED = 0.25  # of the cache, at most
FEWEST_SLOTS = {True: 8, False: 2}  # of a program, where there are to be few or not
SPARE = 2.0


@dataclass(frozen=True)
class Layout:
    """Sizes of the cache and of the programs.

    Attributes:
      slots: sequences that are decoded together.
      sizes: slots of a program, all of them first; fewer when the queue runs dry.
      page: tokens of a page.
      num_pages: filled pages that there is room for.
      gathered: pages that may stand side by side, once more, while they are read.
      spare: times the room it needs, that a table may have before another program is
        compiled for it.
      most_parts: pages of the longest sequence.
      chunk: steps between two refills; a divisor of `page`.
      bucket: prompts are padded to `bucket_size` tokens, with this step.
      piece: tokens of a prompt that are read at once, whole pages.
    """

    slots: int
    sizes: tuple[int, ...]
    page: int
    num_pages: int
    gathered: int
    spare: float
    most_parts: int
    chunk: int
    bucket: int
    piece: int


def make_layout(
    config: TextConfig,
    dtype: jnp.dtype,
    *,
    slots: int,
    page: int,
    chunk: int,
    bucket: int,
    few_programs: bool,
    cache_bytes: int | None,
    available_bytes: int | None,
) -> Layout:
    """The sizes that fit into a cache.

    Args:
      config: of the model.
      dtype: of its keys and values.
      slots, page, chunk, bucket: as in `Layout`.
      few_programs: gather nothing, read tables of any size that are known, and halve
        the slots when the queue runs dry rather than in smaller steps.
      cache_bytes: for all keys and values; None for 1 GiB, or for two of the longest
        sequences and the slots where that is more.
      available_bytes: of the device; None where it does not say.

    Raises:
      InputError: the cache cannot hold one sequence of the longest kind, or is larger
        than what is available; says what would fit.
      ValueError: one of the sizes is not positive.
    """
    sizes = {"slots": slots, "page": page, "chunk": chunk, "bucket": bucket}
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name}: expected > 0, got {value}")
    if page % chunk:
        raise ValueError(f"chunk: expected a divisor of page={page}, got {chunk}")
    most_parts = -(-config.max_length // page) + 2  # it may begin and end within one
    size = page_bytes(config, dtype, page)
    least = (slots + most_parts) * size
    if cache_bytes is None:
        cache_bytes = max(USUAL_CACHE_BYTES, least + most_parts * size)
    if cache_bytes < least:
        fitting = cache_bytes // size - most_parts
        raise InputError(
            f"cache: expected at least {_gib(least)} for {slots} slots and one "
            f"sequence of {config.max_length} tokens, got {_gib(cache_bytes)}; "
            + (f"{fitting} slots would fit" if fitting > 0 else "no slot would fit")
        )
    room = cache_bytes // size
    gathered = min(int(GATHERED * room), room - slots - most_parts, slots * most_parts)
    gathered = 0 if few_programs else gathered
    num_pages = min(room - slots - gathered, slots * most_parts)
    wanted = (num_pages + slots + gathered) * size
    if available_bytes is not None and wanted > available_bytes:
        raise InputError(
            f"cache: expected at most the {_gib(available_bytes)} that are available, "
            f"got {_gib(wanted)}; set fewer slots or a smaller cache"
        )
    return Layout(
        slots=slots,
        sizes=_sizes(slots, few_programs),
        page=page,
        num_pages=num_pages,
        gathered=gathered,
        spare=math.inf if few_programs else SPARE,
        most_parts=most_parts,
        chunk=chunk,
        bucket=bucket,
        piece=-(-PIECE // page) * page,
    )


def _sizes(slots: int, few: bool) -> tuple[int, ...]:
    """Halves of the slots, and what lies between them unless there are to be few.

    The first steps are the smallest, since the largest batches cost the most.
    """
    sizes = {slots}
    while min(sizes) > FEWEST_SLOTS[few]:
        size, parts = min(sizes), 1 if few else 4 if len(sizes) == 1 else 2
        half = -(-size // 2)
        sizes |= {half + (size - half) * part // parts for part in range(parts)}
    return tuple(sorted(sizes, reverse=True))


def page_bytes(config: TextConfig, dtype: jnp.dtype, page: int) -> int:
    """Keys and values of one page, in all layers."""
    numbers = 2 * config.num_layers * config.num_kv_heads * config.head_dim * page
    return numbers * jnp.dtype(dtype).itemsize


def free_bytes() -> int | None:
    """What the device can still hold; None where it does not say."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats["bytes_in_use"]


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
