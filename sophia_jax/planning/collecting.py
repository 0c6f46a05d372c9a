"""The roles of a model that is sampled: encode pictures, read prompts, decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp

from sophia_jax.config import ModelConfig, SamplingConfig
from sophia_jax.generation.images import TILES_PER_CALL
from sophia_jax.generation.layout import GATHERED, page_bytes
from sophia_jax.planning.collectives import (
    MeshShape,
    Traffic,
    lane_traffic,
    tower_traffic,
)
from sophia_jax.planning.compiling import (
    Program,
    lane_devices,
    shard_bytes,
    usable_hbm,
)
from sophia_jax.planning.counts import decode_work, prefill_work, tower_work
from sophia_jax.planning.lanes import (
    PAGE,
    PROMPTS_TOGETHER,
    Lane,
    decode_program,
    encode_program,
    prefill_program,
)
from sophia_jax.planning.role import Role
from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.planning.weights import decoding_partition
from sophia_jax.types import InputError

__all__ = ["Collector"]

LIKELY = 0.7  # share of the free memory that the first batch's cache takes


@dataclass(frozen=True)
class Collector:
    """One model on its lanes.

    Attributes:
      plan: of the run.
      config: of the model.
      mesh: `data` lanes of `tensor` chips each.
      is_policy: it describes pictures; or else it reasons from captions.
    """

    plan: RunPlan
    config: ModelConfig
    mesh: MeshShape
    is_policy: bool

    def lane(self, slots: int) -> Lane:
        """Of captions or of reasonings."""
        sizes, config = self.plan.sizes, self.config
        if self.is_policy:
            prompt = self.plan.tiles * config.tokens_per_tile + sizes.question_tokens
            answer, samples = self.plan.caption_length, sizes.captions
        else:
            prompt = sizes.question_tokens + self.plan.caption_length
            answer, samples = self.plan.max_length - prompt, sizes.reasonings
        if prompt + max(answer, 1) > self.plan.max_length:
            raise InputError(
                f"max_length: expected more than the {prompt:,} tokens of the longest "
                f"{self._name} prompt and its answer, got {self.plan.max_length:,}"
            )
        return Lane(
            config=config,
            devices=lane_devices(self.plan.target.generation, self.mesh.tensor),
            slots=slots,
            prompt=prompt,
            answer=answer,
            usual=min(answer, self.mean_answer),
            samples=samples,
            has_images=config.vision is not None,
        )

    @property
    def mean_prompt(self) -> int:
        sizes = self.plan.sizes
        if not self.is_policy:
            return sizes.question_tokens + sizes.caption_tokens
        return round(sizes.question_tokens + sizes.tiles * self.config.tokens_per_tile)

    @property
    def mean_answer(self) -> int:
        sizes = self.plan.sizes
        return sizes.caption_tokens if self.is_policy else sizes.reasoning_tokens

    @property
    def prompts(self) -> float:
        """Of each lane, in the round."""
        sizes = self.plan.sizes
        number = sizes.questions * (1 if self.is_policy else sizes.captions)
        return number / self.mesh.data

    @property
    def samples(self) -> int:
        """Of each prompt."""
        sizes = self.plan.sizes
        return sizes.captions if self.is_policy else sizes.reasonings

    def encode(self) -> Role:
        """Tiles are dealt out to the chips of a host."""
        chips = min(self.plan.target.chips_per_host, self.mesh.chips)
        hosts = self.mesh.chips / chips
        tiles = self.plan.sizes.questions * self.plan.sizes.tiles / hosts
        tensor = self.mesh.tensor

        def program(batch: int) -> Program:
            devices = lane_devices(self.plan.target.generation, chips)
            partition = decoding_partition(self.config, devices, tensor)
            return encode_program(self.config, partition, batch)

        return self._role(
            "image encoding",
            chips=chips,
            unit="tiles",
            first=TILES_PER_CALL,
            step=TILES_PER_CALL,
            program=program,
            work=lambda batch: tower_work(self.config, batch / chips),
            traffic=lambda batch: Traffic(tower_traffic(self.config, tensor)),
            steps=lambda batch: tiles / batch,
        )

    def prefill(self) -> Role:
        """Pieces of prompts, behind half of a mean prompt."""
        text, chips = self.config.text, self.mesh.tensor
        piece = self.lane(1).layout.piece
        pieces = self.prompts * self.mean_prompt / piece
        return self._role(
            f"{self._name} prefill",
            unit=f"pieces of {piece} tokens",
            first=PROMPTS_TOGETHER,
            step=PROMPTS_TOGETHER,
            program=lambda batch: prefill_program(self.lane(1), batch),
            work=lambda batch: prefill_work(
                text,
                sequences=batch,
                tokens=piece,
                context=self.mean_prompt // 2,
                tensor=chips,
            ),
            traffic=lambda batch: Traffic(
                lane_traffic(text, batch * piece, chips, head=False)
            ),
            steps=lambda batch: pieces / batch,
        )

    def decode(self) -> Role:
        """One token of every slot; a prompt is read once for its samples."""
        text, chips = self.config.text, self.mesh.tensor
        context = self.mean_prompt / self.samples + self.mean_answer / 2
        tokens = self.prompts * self.samples * self.mean_answer
        asked = self.plan.caption_slots if self.is_policy else self.plan.reasoning_slots
        longest = self.lane(1)
        sampling = SamplingConfig(longest.answer)
        return self._role(
            f"{self._name} decode",
            unit=f"sequences, {longest.usual:,} tokens each to {longest.answer:,}",
            first=asked or self._likely_slots(),
            step=1,
            most=asked or max(1, round(self.prompts * self.samples)),
            largest_runs=True,
            program=lambda batch: decode_program(self.lane(batch), sampling),
            work=lambda batch: decode_work(
                text, slots=batch, context=context, tensor=chips
            ),
            traffic=lambda batch: Traffic(lane_traffic(text, batch, chips, head=True)),
            steps=lambda batch: tokens / batch,
        )

    @property
    def _name(self) -> str:
        return "caption" if self.is_policy else "reasoner"

    def _role(
        self,
        name: str,
        program: Callable[[int], Program],
        chips: int | None = None,
        **fields: object,
    ) -> Role:
        return Role(
            name=name,
            chips=chips or self.mesh.tensor,
            used_chips=self.mesh.chips,
            program=program,
            **fields,
        )

    def _likely_slots(self) -> int:
        """Whose cache would take most of what the weights leave: where to begin."""
        lane = self.lane(1)
        page = page_bytes(self.config.text, jnp.bfloat16, PAGE) / self.mesh.tensor
        pages = lane.prompt / self.samples / PAGE + lane.usual / PAGE + 3
        held = shard_bytes(lane.params)
        free = usable_hbm(self.plan.target.generation) - held
        slots = int(LIKELY * free * (1 - GATHERED) / (page * pages))
        return max(1, min(slots, round(self.prompts * self.samples)))
