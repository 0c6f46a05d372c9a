"""Every program of a run, with what it does in one step, and how often."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax.numpy as jnp

from sophia_jax.config import ModelConfig, SamplingConfig
from sophia_jax.generation.images import TILES_PER_CALL
from sophia_jax.generation.layout import GATHERED, page_bytes
from sophia_jax.planning.collectives import (
    Traffic,
    lane_traffic,
    tower_traffic,
    update_traffic,
)
from sophia_jax.planning.compiling import (
    Program,
    lane_devices,
    shard_bytes,
    slice_devices,
    usable_hbm,
)
from sophia_jax.planning.counts import (
    Work,
    causal_pairs,
    decode_work,
    decoder_weights,
    head_weights,
    prefill_work,
    tower_work,
    training_passes,
    update_work,
)
from sophia_jax.planning.lanes import (
    PAGE,
    PROMPTS_TOGETHER,
    Lane,
    decode_program,
    encode_program,
    prefill_program,
)
from sophia_jax.planning.run_plan import RunPlan, model_config
from sophia_jax.planning.update import Update

__all__ = ["Role", "roles"]

LIKELY = 0.7  # share of the free memory that the first batch's cache takes


@dataclass(frozen=True)
class Role:
    """One program of a run.

    Attributes:
      name: of the role.
      chips: that run one copy of the program.
      unit: what a batch counts.
      first: batch to begin with.
      step: batches are multiples of it.
      most: batch that is of use; None for any.
      program: of a batch, to be compiled.
      work: of one chip in one step of a batch.
      traffic: likewise.
      steps: of one copy of the program, in the whole round, for a batch.
      host_seconds: of the whole round, that chips wait for their hosts.
      largest_runs: whether the run takes the largest batch that fits.
    """

    name: str
    chips: int
    unit: str
    first: int
    step: int
    most: int | None
    program: Callable[[int], Program]
    work: Callable[[int], Work]
    traffic: Callable[[int], Traffic]
    steps: Callable[[int], float]
    host_seconds: float = 0.0
    largest_runs: bool = False


def roles(plan: RunPlan) -> Iterator[Role]:
    """The roles of a run, in the order of the round."""
    policy = model_config(plan.policy, _ways(plan), plan.max_length)
    reasoner = None
    if plan.reasoner is not None:
        reasoner = model_config(plan.reasoner, plan.lane, plan.max_length)
    held = _held_by_lane(plan, policy), _held_by_lane(plan, reasoner)
    of_policy = _Collector(plan, policy, is_policy=True, also_held=held[1])
    if policy.vision is not None:
        yield of_policy.encode()
    yield of_policy.prefill("caption prefill")
    yield of_policy.decode("caption decode")
    if reasoner is not None:
        of_reasoner = _Collector(plan, reasoner, is_policy=False, also_held=held[0])
        yield of_reasoner.prefill("reasoner prefill")
        yield of_reasoner.decode("reasoner decode")
    yield update_role(plan, policy)


def _ways(plan: RunPlan) -> int:
    """Chips that share the vocabulary, in any of the roles."""
    return math.lcm(plan.lane, plan.mesh.tensor)


def _held_by_lane(plan: RunPlan, config: ModelConfig | None) -> int:
    if config is None or not plan.shared or plan.reasoner is None:
        return 0
    return shard_bytes(_lane(plan, config, slots=1, is_policy=True).params)


def _lane(plan: RunPlan, config: ModelConfig, *, slots: int, is_policy: bool) -> Lane:
    """Of captions or of reasonings, both at their longest."""
    sizes = plan.sizes
    if is_policy:
        prompt = plan.tiles * config.tokens_per_tile + sizes.question_tokens
        answer, samples = plan.caption_length, sizes.captions
    else:
        prompt, samples = sizes.question_tokens + plan.caption_length, sizes.reasonings
        answer = plan.max_length - prompt
    return Lane(
        config=config,
        devices=lane_devices(plan.target.generation, plan.lane),
        slots=slots,
        prompt=prompt,
        answer=answer,
        samples=samples,
        has_images=config.vision is not None,
    )


@dataclass(frozen=True)
class _Collector:
    """The roles of one model on its lanes."""

    plan: RunPlan
    config: ModelConfig
    is_policy: bool
    also_held: int

    def lane(self, slots: int) -> Lane:
        return _lane(self.plan, self.config, slots=slots, is_policy=self.is_policy)

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
        return number / self.plan.lanes

    @property
    def samples(self) -> int:
        """Of each prompt."""
        sizes = self.plan.sizes
        return sizes.captions if self.is_policy else sizes.reasonings

    def role(self, name: str, program: Callable, **fields: object) -> Role:
        def beside_other(batch: int) -> Program:
            return program(batch).with_held("other model", self.also_held)

        return Role(name=name, chips=self.plan.lane, program=beside_other, **fields)

    def encode(self) -> Role:
        """Tiles are dealt out to the chips of a lane."""
        chips, sizes = self.plan.lane, self.plan.sizes
        tiles = sizes.questions * sizes.tiles / self.plan.lanes
        return self.role(
            "image encoding",
            unit="tiles",
            first=TILES_PER_CALL,
            step=TILES_PER_CALL,
            most=None,
            program=lambda batch: encode_program(self.lane(1), batch),
            work=lambda batch: tower_work(self.config, batch / chips),
            traffic=lambda batch: Traffic(tower_traffic(self.config, chips)),
            steps=lambda batch: tiles / batch,
        )

    def prefill(self, name: str) -> Role:
        """Pieces of prompts, behind half of a mean prompt."""
        text, chips = self.config.text, self.plan.lane
        piece = self.lane(1).layout.piece
        pieces = self.prompts * self.mean_prompt / piece
        return self.role(
            name,
            unit=f"pieces of {piece} tokens",
            first=PROMPTS_TOGETHER,
            step=PROMPTS_TOGETHER,
            most=None,
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

    def decode(self, name: str) -> Role:
        """One token of every slot; a prompt is read once for its samples."""
        text, chips = self.config.text, self.plan.lane
        context = self.mean_prompt / self.samples + self.mean_answer / 2
        tokens = self.prompts * self.samples * self.mean_answer
        asked = self.plan.caption_slots if self.is_policy else self.plan.reasoning_slots
        length = self.lane(1).prompt + self.lane(1).answer
        sampling = SamplingConfig(self.lane(1).answer)
        return self.role(
            name,
            unit=f"sequences of {length:,} tokens",
            first=asked or self._likely_slots(),
            step=1,
            largest_runs=True,
            most=asked or round(self.prompts * self.samples),
            program=lambda batch: decode_program(self.lane(batch), sampling),
            work=lambda batch: decode_work(
                text, slots=batch, context=context, tensor=chips
            ),
            traffic=lambda batch: Traffic(lane_traffic(text, batch, chips, head=True)),
            steps=lambda batch: tokens / batch,
        )

    def _likely_slots(self) -> int:
        """Whose cache would take most of what the weights leave: where to begin."""
        lane = self.lane(1)
        page = page_bytes(self.config.text, jnp.bfloat16, PAGE) / self.plan.lane
        pages = lane.prompt / self.samples / PAGE + lane.answer / PAGE + 3
        held = shard_bytes(lane.params) + self.also_held
        free = usable_hbm(self.plan.target.generation) - held
        slots = int(LIKELY * free * (1 - GATHERED) / (page * pages))
        return max(1, min(slots, round(self.prompts * self.samples)))


def update_role(plan: RunPlan, config: ModelConfig) -> Role:
    """The policy update: all trajectories of an update, packed into rows."""
    update = Update(plan, config, slice_devices(plan.target))
    text, mesh, sizes = config.text, plan.mesh, plan.sizes
    passes = training_passes(text, remat=plan.remat, learn_weights=plan.lora_rank == 0)
    tokens = plan.batch_size * update.mean_length / (update.shards * mesh.context)
    pairs = causal_pairs([update.mean_length]) / update.mean_length * tokens
    learnt = tokens * sizes.reasoning_tokens / update.mean_length
    weights = text.num_layers * decoder_weights(text) + 2 * head_weights(text)

    @functools.cache
    def state_bytes() -> float:
        """Of each weight, read and written."""
        held = update.program(1).held
        own = held["optimizer"] + held["weights"]
        return 2 * own * mesh.fsdp * mesh.tensor / weights

    return Role(
        name="policy update",
        chips=plan.target.chips,
        unit=f"rows of {plan.max_length:,} tokens in each of {update.shards} shares",
        first=plan.rows,
        step=1,
        most=math.ceil(plan.batch_size / update.shards),
        program=update.program,
        work=lambda rows: update_work(
            config,
            tokens=tokens,
            pairs=pairs,
            learnt=learnt,
            passes=passes,
            micro_batches=update.parts(rows),
            tensor=mesh.tensor,
            shards=mesh.fsdp * mesh.tensor,
            weights=weights,
            state_bytes=state_bytes(),
        ),
        traffic=lambda rows: update_traffic(
            config,
            mesh,
            tokens=tokens,
            micro_batches=update.parts(rows),
            remat=plan.remat,
            learnt_share=1.0,
            num_slices=plan.target.num_slices,
        ),
        steps=lambda rows: sizes.questions * sizes.kept_share / plan.batch_size,
    )
