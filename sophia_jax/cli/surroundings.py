"""What every command runs in: its hosts, kept compilations, no chatter of libraries."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sophia_jax.cli.options import HostOptions

__all__ = ["prepare"]


def prepare(hosts: HostOptions | None = None) -> None:
    """Keep compiled programs, leave libraries their errors only, and join the hosts.

    Args:
      hosts: of a command that several processes may run; None for one that is alone.

    Raises:
      InputError: for hosts that contradict each other or the environment.
    """
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
    if hosts is not None:
        from sophia_jax.sharding.hosts import initialize_hosts

        initialize_hosts(**asdict(hosts))
