"""Room for compiled programs in a process that compiles for hours."""

from __future__ import annotations

from pathlib import Path

import jax

__all__ = ["forget_programs", "share_of_mappings"]

FULL = 0.4  # of the mappings; what compiles next may need as many again
LIMIT, MAPPINGS = Path("/proc/sys/vm/max_map_count"), Path("/proc/self/maps")


def forget_programs(full: float = FULL) -> bool:
    """Let go of all compiled programs, if the process can hardly hold more.

    On a CPU each program takes several of the memory mappings that Linux allows a
    process (65,530), and where they run out the process ends. What is needed again
    comes from JAX's cache on disk, if there is one. Nothing may be running meanwhile.

    Args:
      full: share of the mappings from which on programs are let go.

    Returns:
      Whether they were.
    """
    if share_of_mappings() < full:
        return False
    jax.clear_caches()
    return True


def share_of_mappings() -> float:
    """Of the memory mappings that this process may have, those that it has; 0 where
    there is no such limit."""
    try:
        limit = int(LIMIT.read_text())
        with MAPPINGS.open("rb") as lines:
            return sum(1 for _ in lines) / limit
    except OSError:
        return 0.0
