"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import jax

__all__ = ["machine", "versions"]

PACKAGES = ("sophia-jax", "jax", "flax", "optax", "orbax-checkpoint", "transformers")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {p: version(p) for p in PACKAGES}


def machine() -> dict:
    """Cores, memory in GiB, processor and accelerator."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
        ),
        "processor": platform.processor() or platform.machine(),
        "device": jax.devices()[0].device_kind,
    }
