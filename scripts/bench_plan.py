"""A plan beside the machine: what `plan` expects of a role, and what a device needs.

    python scripts/bench_plan.py --config tpu_configs/lora_internvl3_8b_h100.py \
        --json runs/plan_measured.json

The run's policy gets random weights on the first device that JAX sees, in bfloat16,
and does what its roles do: it encodes tiles, samples captions of prompts of the mean
length, and takes updates, of trajectories of the mean length and of the longest. Each
role is a process of its own, so that the most memory is its own. Seconds stand beside
the plan's bound of the same work. Needs the test extra: python -m pip install '.[test]'
"""

from __future__ import annotations

import functools
import json
import multiprocessing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from bench_engines import ForcedLengths
from bench_measure import seconds_of, surroundings
from bench_workload import Phase, draw_words, integer_tokenizer
from flax import nnx

from sophia_jax.data.packing import Example, pack_parts
from sophia_jax.generation.images import TILES_PER_CALL
from sophia_jax.models.adapters import add_adapters
from sophia_jax.models.internvl import init_params, model_graph
from sophia_jax.models.model import Model
from sophia_jax.planning.compiling import count_program, usable_hbm
from sophia_jax.planning.role import Role
from sophia_jax.planning.roles import roles
from sophia_jax.planning.roofline import roofline
from sophia_jax.planning.run_file import read_run_file
from sophia_jax.planning.run_plan import RunPlan, model_config, optimizer_config
from sophia_jax.training.optimizer import make_optimizer
from sophia_jax.training.step import init_state, train_step

RoleName = Literal["encoding", "captions", "update", "longest update"]
FEW_TOKENS = 8  # of a sampling whose time is nearly all reading of prompts
GIB = 2**30


@dataclass(frozen=True)
class Options:
    """What is measured."""

    config: Path
    """Run file whose plan is held against the machine."""
    roles: tuple[RoleName, ...] = ("encoding", "captions", "update", "longest update")
    """Which roles, each in a process of its own."""
    slots: int = 128
    """Captions that are decoded together."""
    micro_batches: int = 3
    """Rows of an update, one at a time in memory."""
    repetitions: int = 3
    """Timed, after one that compiles; the fastest is told."""
    seed: int = 0
    """Of weights and tokens."""
    json: Path | None = None
    """File for all figures."""


def random_policy(plan: RunPlan, seed: int) -> Model:
    """The run's policy in bfloat16, with adapters where the plan has them learn."""
    config = model_config(plan.policy, 1, plan.max_length)

    @jax.jit
    def make(key: jax.Array) -> dict:
        return jax.tree.map(lambda x: x.astype(jnp.bfloat16), init_params(key, config))

    tokenizer = integer_tokenizer(config.text.vocab_size)
    params = make(jax.random.key(seed))
    model = Model(config, model_graph(config), params, tokenizer)
    if plan.lora is None:
        return model
    return add_adapters(jax.random.key(seed + 1), model, plan.lora)


def expected(plan: RunPlan, name: str, batch: int | None = None) -> dict[str, float]:
    """Bytes and least seconds of a step, of the plan's role of a name."""
    role: Role = next(role for role in roles(plan) if role.name == name)
    batch = role.first if batch is None else batch
    chip = plan.target.generation
    needed = count_program(role.program(batch), usable_hbm(chip)).peak_bytes
    bound = roofline(role.work(batch), role.traffic(batch), chip)
    return {"bytes": needed, "seconds": bound.seconds}


def fastest(call: Any, repetitions: int) -> float:
    call()
    return min(seconds_of(call)[1] for _ in range(repetitions))


def measure_encoding(plan: RunPlan, options: Options) -> dict[str, Any]:
    """A call of the vision tower and the projector."""
    model = random_policy(replace(plan, lora=None), options.seed)
    size = model.config.vision.image_size
    tiles = np.random.default_rng(options.seed).normal(
        size=(TILES_PER_CALL, size, size, 3)
    )

    @jax.jit
    def encode(params: dict, tiles: jax.Array) -> jax.Array:
        return nnx.merge(model.graphdef, params).encode_images(tiles)

    on_device = jnp.asarray(tiles, jnp.float32)
    seconds = fastest(
        lambda: jax.block_until_ready(encode(model.params, on_device)),
        options.repetitions,
    )
    bound = expected(plan, "image encoding", TILES_PER_CALL)
    return {"unit": f"{TILES_PER_CALL} tiles", "seconds": seconds, "expected": bound}


def measure_captions(plan: RunPlan, options: Options) -> dict[str, Any]:
    """A step of decoding: a long sampling less a short one, over the steps between."""
    model = random_policy(replace(plan, lora=None), options.seed)
    sizes, rng = plan.sizes, np.random.default_rng(options.seed)
    length = sizes.question_tokens + round(sizes.tiles * model.config.tokens_per_tile)
    prompts = {
        f"p{number}": draw_words(rng, length, model.config.text.vocab_size)
        for number in range(-(-options.slots // sizes.captions))
    }
    seconds = {}
    for tokens in (FEW_TOKENS, sizes.caption_tokens):
        engine = ForcedLengths(
            model, slots=options.slots, max_new_tokens=plan.caption_length
        )
        lengths = {name: np.full(sizes.captions, tokens) for name in prompts}
        phase = Phase("captions", prompts, lengths, options.seed)
        engine.lengths = lengths
        run = functools.partial(_drain, engine, phase)
        seconds[tokens] = fastest(run, options.repetitions)
    steps = sizes.caption_tokens - FEW_TOKENS
    whole = seconds[sizes.caption_tokens]
    samples = len(prompts) * sizes.captions
    return {
        "unit": f"a step of {options.slots} captions",
        "seconds": (whole - seconds[FEW_TOKENS]) / steps,
        "expected": expected(plan, "caption decode", options.slots),
        "prompt_tokens_per_second": len(prompts) * length / seconds[FEW_TOKENS],
        "tokens_per_second": samples * sizes.caption_tokens / whole,
    }


def _drain(engine: ForcedLengths, phase: Phase) -> None:
    for _ in engine(phase.requests()):
        pass


def measure_update(plan: RunPlan, options: Options) -> dict[str, Any]:
    """An update of so many rows, full of trajectories of the plan's mean length."""
    model = random_policy(plan, options.seed)
    sizes, rng = plan.sizes, np.random.default_rng(options.seed)
    tiles = round(sizes.tiles)
    prompt = sizes.question_tokens + tiles * model.config.tokens_per_tile
    each = plan.max_length // (prompt + sizes.reasoning_tokens - 1)
    number = each * plan.rows * options.micro_batches
    plan = replace(plan, batch_size=number)
    examples = [_trajectory(model, tiles, plan, rng) for _ in range(number)]
    batch = pack_parts(
        examples,
        model.config,
        num_parts=options.micro_batches,
        row_length=plan.max_length,
    )
    batch = jax.tree.map(jnp.asarray, batch)
    state = init_state(
        model,
        make_optimizer(optimizer_config(plan)),
        trainable=("decoder",) if plan.lora is None else ("adapters",),
        remat=plan.remat,
    )
    losses = []

    def update() -> None:
        nonlocal state
        state, metrics = train_step(state, batch)
        losses.append(float(metrics["loss"]))

    seconds = fastest(update, options.repetitions)
    if not np.isfinite(losses).all():
        raise ValueError(f"loss: expected finite numbers, got {losses}")
    return {
        "unit": f"{number} trajectories of {examples[0].length:,} tokens",
        "seconds": seconds,
        "expected": expected(plan, "policy update"),
        "tokens_per_second": sum(e.length for e in examples) / seconds,
        "losses": losses,
    }


def _trajectory(
    model: Model, tiles: int, plan: RunPlan, rng: np.random.Generator
) -> Example:
    """Random features of pictures, a random question, a random reasoning."""
    config, sizes = model.config, plan.sizes
    embed, vocab = config.text.hidden_size, config.text.vocab_size
    placeholders = np.full(
        tiles * config.tokens_per_tile, config.image_token_id, np.int32
    )
    words = draw_words(rng, sizes.question_tokens + sizes.reasoning_tokens, vocab)
    words[words == config.image_token_id] -= 1
    images = rng.normal(size=(tiles, config.tokens_per_tile, embed))
    return Example(
        np.concatenate([placeholders, words[: sizes.question_tokens]]),
        words[sizes.question_tokens :],
        images.astype(jnp.bfloat16) if tiles else None,
    )


def longest(plan: RunPlan) -> RunPlan:
    """Every trajectory has the largest picture and fills its row."""
    config = model_config(plan.policy, 1, plan.max_length)
    prompt = plan.sizes.question_tokens + plan.tiles * config.tokens_per_tile
    reasoning = plan.max_length - prompt
    sizes = replace(plan.sizes, tiles=plan.tiles, reasoning_tokens=reasoning)
    return replace(plan, sizes=sizes)


def measure(name: RoleName, options: Options) -> dict[str, Any]:
    """One role, in this process; bytes are the most that it held."""
    plan = read_run_file(options.config)
    if name == "encoding":
        found = measure_encoding(plan, options)
    elif name == "captions":
        found = measure_captions(plan, options)
    else:
        found = measure_update(plan if name == "update" else longest(plan), options)
    statistics = jax.devices()[0].memory_stats() or {}  # a CPU has none
    return found | {"bytes": statistics.get("peak_bytes_in_use")}


def row(name: str, found: dict[str, Any]) -> str:
    seconds, bound = found["seconds"], found["expected"]["seconds"]
    held = "–" if found["bytes"] is None else f"{found['bytes'] / GIB:.2f}"
    return (
        f"{name:16}{seconds:>11.4g}{bound:>11.4g}{bound / seconds:>8.0%}"
        f"{held:>10}{found['expected']['bytes'] / GIB:>10.2f}  {found['unit']}"
    )


def main() -> None:
    options = tyro.cli(Options, description=__doc__.splitlines()[0])
    figures: dict[str, Any] = {}
    print(f"{'':16}{'s':>11}{'least s':>11}{'share':>8}{'GiB':>10}{'planned':>10}")
    for name in options.roles:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            figures[name] = pool.apply(measure, (name, options))
        print(row(name, figures[name]), flush=True)
    figures["surroundings"] = surroundings()
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
