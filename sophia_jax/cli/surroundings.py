"""What every command runs in: kept compilations, and no chatter of libraries."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

__all__ = ["prepare"]


def prepare() -> None:
    """Keep compiled programs between runs, and leave libraries their errors only."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.filterwarnings("ignore", message=".*OpenCV.*")
    for name in ("absl", "orbax", "tensorflow_datasets", "grain"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        cache = Path.home() / ".cache" / "sophia_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
