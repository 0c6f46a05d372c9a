"""Semi-off-policy reinforcement learning for vision-language models, in JAX and Flax.

Names are loaded when they are first used, so that importing the package costs little.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Address": "sophia_jax.generation.address",
    "Completion": "sophia_jax.types",
    "Engine": "sophia_jax.generation.engine",
    "Example": "sophia_jax.data.packing",
    "GenerateFn": "sophia_jax.types",
    "GrpoConfig": "sophia_jax.config",
    "InputError": "sophia_jax.types",
    "Item": "sophia_jax.types",
    "JudgeFn": "sophia_jax.types",
    "LoraConfig": "sophia_jax.config",
    "Model": "sophia_jax.models.model",
    "OptimizerConfig": "sophia_jax.config",
    "PackedBatch": "sophia_jax.data.packing",
    "RemoteModel": "sophia_jax.generation.remote",
    "Request": "sophia_jax.types",
    "RewardFn": "sophia_jax.types",
    "RolloutTables": "sophia_jax.rollouts.tables",
    "SamplingConfig": "sophia_jax.config",
    "ServerConfig": "sophia_jax.config",
    "SophiaConfig": "sophia_jax.config",
    "TrainState": "sophia_jax.training.step",
    "TrainingConfig": "sophia_jax.training.loop",
    "add_adapters": "sophia_jax.models.adapters",
    "adamw": "sophia_jax.training.optimizer",
    "collect_rollouts": "sophia_jax.sophia",
    "encode_images": "sophia_jax.generation.images",
    "generate": "sophia_jax.generation.engine",
    "init_state": "sophia_jax.training.step",
    "load_adapters": "sophia_jax.models.adapter_folder",
    "load_model": "sophia_jax.models.folder",
    "merge_adapters": "sophia_jax.models.adapters",
    "pack_examples": "sophia_jax.data.packing",
    "read_items": "sophia_jax.data.items",
    "read_source": "sophia_jax.data.sources",
    "save_adapters": "sophia_jax.models.adapter_folder",
    "save_model": "sophia_jax.models.folder",
    "token_counter": "sophia_jax.models.tokenizer",
    "train": "sophia_jax.training.loop",
    "train_on_policy": "sophia_jax.grpo",
    "train_step": "sophia_jax.training.step",
    "trajectory_examples": "sophia_jax.sophia",
    "update_policy": "sophia_jax.sophia",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sophia_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
