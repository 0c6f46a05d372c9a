"""What a run is: models, slice, layouts, sizes; checked on creation."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from sophia_jax.config import (
    Algorithm,
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    Remat,
    SophiaConfig,
    StateDtype,
)
from sophia_jax.models.folder_contents import CONFIG
from sophia_jax.models.hf_config import config_from_hf
from sophia_jax.models.original_config import ORIGINAL_KINDS, original_config
from sophia_jax.models.safetensors import read_json
from sophia_jax.models.tokenizer import load_tokenizer
from sophia_jax.planning.collectives import MeshShape
from sophia_jax.planning.slices import Slice, parse_slice
from sophia_jax.presets import MODELS, MOST_TILES
from sophia_jax.sharding import MESH_AXES, MeshConfig, Roles
from sophia_jax.types import InputError

__all__ = ["RoundSizes", "RunPlan", "model_config", "optimizer_config"]


@dataclass(frozen=True)
class RoundSizes:
    """Of one round. Lengths are means, on which the paper says nothing."""

    questions: int = 80_000  # the paper's
    captions: int = SophiaConfig.num_captions  # K, the paper's
    reasonings: int = SophiaConfig.num_reasonings  # N of each caption, the paper's
    tiles: float = 7.0  # of a question's pictures; assumed
    question_tokens: int = 600  # with the system prompt; assumed
    caption_tokens: int = 400  # assumed
    reasoning_tokens: int = 4000  # assumed
    kept_share: float = 0.5  # of the questions, that are learnt from; assumed
    read_rate: float = 1e9  # bytes a second from storage to each host; assumed

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name}: expected > 0, got {value}")
        if self.kept_share > 1:
            raise ValueError(f"kept_share: expected <= 1, got {self.kept_share}")


@dataclass(frozen=True)
class RunPlan:
    """One run of the loop on one slice.

    Attributes:
      policy: a preset's name, or a model folder; its weights are not read.
      reasoner: likewise; None where a server elsewhere answers.
      slice: as of `parse_slice`.
      roles: the mesh of each role, as the commands that run take them; None for
        `tensor` chips of a host that share a model's heads, and for all along `fsdp`.
      caption_slots, reasoning_slots: sequences of a lane that are decoded together;
        None for as many as fit at their mean length.
      tiles: of the largest picture.
      max_length: tokens of the longest sequence, prompt and answer.
      caption_length: tokens of the longest caption.
      batch_size: trajectories in an update; the paper's is 512.
      rows: packed rows of `max_length` tokens that a share of the mesh holds at a time.
      remat: what the backward pass forms again.
      algorithm, optimizer_state: of the optimizer.
      lora: of adapters that learn in the decoder's stead; None for all of the decoder.
      sizes: of the round.
    """

    policy: str
    reasoner: str | None
    slice: str
    roles: Roles = Roles()
    caption_slots: int | None = None
    reasoning_slots: int | None = None
    tiles: int = MOST_TILES
    max_length: int = 32768
    caption_length: int = 1024
    batch_size: int = 512
    rows: int = 1
    remat: Remat = "block"
    algorithm: Algorithm = "adamw"
    optimizer_state: StateDtype = "float32"
    lora: LoraConfig | None = None
    sizes: RoundSizes = field(default_factory=RoundSizes)

    def __post_init__(self) -> None:
        positive = ("tiles", "max_length", "caption_length", "batch_size", "rows")
        slots = ("caption_slots", "reasoning_slots")
        for name in (*positive, *slots):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected >= 1, got {value}")
        if self.remat not in get_args(Remat):
            expected = ", ".join(get_args(Remat))
            raise ValueError(f"remat: expected {expected}, got {self.remat}")
        optimizer_config(self)
        if self.mesh.data % self.target.num_slices:
            raise ValueError(
                f"mesh: expected data to be a multiple of the "
                f"{self.target.num_slices} slices, got {self.mesh.data}"
            )

    @property
    def target(self) -> Slice:
        return parse_slice(self.slice)

    @property
    def mesh(self) -> MeshShape:
        """Of the update."""
        config = self.roles.update or MeshConfig(data=self.target.num_slices, fsdp=-1)
        return whole_mesh(config, self.target.chips)

    def lanes(self, config: ModelConfig, role: MeshConfig | None) -> MeshShape:
        """Of a model that is sampled: `data` lanes of `tensor` chips each.

        Args:
          config: of the model.
          role: its mesh.

        Raises:
          ValueError: lanes are no part of a host.
        """
        per_host = self.target.chips_per_host
        if role is None:
            role = MeshConfig(tensor=math.gcd(config.text.num_kv_heads, per_host))
        if per_host % role.tensor or role.fsdp != 1 or role.context != 1:
            raise ValueError(
                f"mesh: expected sizes of data and tensor alone for sampling, tensor "
                f"a divisor of a host's {per_host} chips, got {role}"
            )
        return whole_mesh(dataclasses.replace(role, data=-1), self.target.chips)


def whole_mesh(config: MeshConfig, chips: int) -> MeshShape:
    """The sizes of a mesh on a slice of so many chips.

    Raises:
      ValueError: they do not multiply to the chips that it may have.
    """
    count = chips - config.first if config.count is None else config.count
    sizes = {axis: getattr(config, axis) for axis in MESH_AXES}
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if list(sizes.values()).count(-1) == 1 and count % fixed == 0:
        sizes = {axis: count // fixed if n == -1 else n for axis, n in sizes.items()}
    fits = 0 < count <= chips - config.first and math.prod(sizes.values()) == count
    if not fits or min(sizes.values()) < 1:
        raise ValueError(
            f"mesh: expected axes that multiply to {count} of {chips} chips, got "
            + ", ".join(f"{axis}={size}" for axis, size in sizes.items())
        )
    return MeshShape(**sizes)


def model_config(name: str, ways: int, max_length: int) -> ModelConfig:
    """The configuration of a preset or of a model folder.

    Args:
      name: of the preset, in upper or lower case, or the folder's path.
      ways: chips that share the vocabulary, to a multiple of which it is padded.
      max_length: tokens of the longest sequence.

    Raises:
      InputError: there is neither.
    """
    config = MODELS.get(name.lower())
    if config is None:
        config = _folder_config(name)
    text = dataclasses.replace(config.text, vocab_multiple=ways, max_length=max_length)
    return dataclasses.replace(config, text=text)


def _folder_config(name: str) -> ModelConfig:
    """What `config.json` says; of an original folder, its tokenizer as well."""
    folder = Path(name)
    if not folder.is_dir():
        known = ", ".join(MODELS)
        raise InputError(f"model: expected {known}, or a model folder; got {name}")
    file = folder / CONFIG
    values = read_json(file)
    if values.get("model_type") in ORIGINAL_KINDS:
        return original_config(values, str(file), load_tokenizer(folder))
    return config_from_hf(values, str(file))


def optimizer_config(plan: RunPlan) -> OptimizerConfig:
    """The paper's, for one pass over what is kept; weights are bfloat16."""
    kept = plan.sizes.questions * plan.sizes.kept_share
    return OptimizerConfig(
        num_steps=max(1, round(kept / plan.batch_size)),
        algorithm=plan.algorithm,
        state=plan.optimizer_state,
        master=plan.lora is None,
    )
