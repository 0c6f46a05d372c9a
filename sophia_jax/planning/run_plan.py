"""What a run is: models, slice, layouts, sizes; checked on creation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from sophia_jax.config import ModelConfig, OptimizerConfig, SophiaConfig
from sophia_jax.models.folder_contents import CONFIG
from sophia_jax.models.hf_config import config_from_hf
from sophia_jax.models.original_config import ORIGINAL_KINDS, original_config
from sophia_jax.models.safetensors import read_json
from sophia_jax.models.tokenizer import load_tokenizer
from sophia_jax.planning.collectives import MeshShape
from sophia_jax.planning.slices import Slice, parse_slice
from sophia_jax.presets import MODELS, MOST_TILES
from sophia_jax.types import InputError

__all__ = ["RoundSizes", "RunPlan", "model_config", "optimizer_config"]

State = Literal["float32", "int8", "adafactor"]
Remat = Literal["none", "projections", "block"]


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
      mesh: of the policy update, over all chips.
      lane: chips that decode together, with a copy of each model between them; lanes
        are independent, and fill the slice.
      shared: both models stay on a lane's chips while it collects.
      caption_slots, reasoning_slots: sequences of a lane that are decoded together, all
        of full length; None for as many as fit.
      tiles: of the largest picture.
      max_length: tokens of the longest sequence, prompt and answer.
      caption_length: tokens of the longest caption.
      batch_size: trajectories in an update; the paper's is 512.
      rows: packed rows of `max_length` tokens that a share of the mesh holds at a time.
      remat: what the backward pass forms again.
      optimizer: kind of its state.
      lora_rank: of adapters that learn in the decoder's stead; 0 for none.
      sizes: of the round.
    """

    policy: str
    reasoner: str | None
    slice: str
    mesh: MeshShape
    lane: int = 4
    shared: bool = True
    caption_slots: int | None = None
    reasoning_slots: int | None = None
    tiles: int = MOST_TILES
    max_length: int = 32768
    caption_length: int = 1024
    batch_size: int = 512
    rows: int = 1
    remat: Remat = "block"
    optimizer: State = "float32"
    lora_rank: int = 0
    sizes: RoundSizes = field(default_factory=RoundSizes)

    def __post_init__(self) -> None:
        positive = (
            "lane",
            "tiles",
            "max_length",
            "caption_length",
            "batch_size",
            "rows",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected >= 1, got {getattr(self, name)}")
        for name, choices in (("remat", Remat), ("optimizer", State)):
            if getattr(self, name) not in get_args(choices):
                expected = ", ".join(get_args(choices))
                raise ValueError(
                    f"{name}: expected {expected}, got {getattr(self, name)}"
                )
        target = self.target
        if self.mesh.chips != target.chips:
            raise ValueError(
                f"mesh: expected axes that multiply to the {target.chips} chips of "
                f"{target}, got {self.mesh}"
            )
        if self.mesh.data % target.num_slices:
            raise ValueError(
                f"mesh: expected data to be a multiple of {target.num_slices} slices, "
                f"got {self.mesh.data}"
            )
        if target.chips_per_host % self.lane:
            raise ValueError(
                f"lane: expected a divisor of a host's {target.chips_per_host} chips, "
                f"got {self.lane}"
            )

    @property
    def target(self) -> Slice:
        return parse_slice(self.slice)

    @property
    def lanes(self) -> int:
        """Groups of chips that collect side by side."""
        return self.target.chips // self.lane


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
    """The paper's, for one pass over what is kept."""
    kept = plan.sizes.questions * plan.sizes.kept_share
    return OptimizerConfig(num_steps=max(1, round(kept / plan.batch_size)))
