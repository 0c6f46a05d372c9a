"""What `bench_accelerator.py` runs: its sizes, updates, samples, and their counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from bench_engines import ForcedLengths
from bench_measure import product_parameters
from bench_workload import (
    ModelSize,
    Phase,
    Run,
    Workload,
    check_run,
    draw_words,
    random_model,
)

from sophia_jax.config import OptimizerConfig, Remat, TextConfig
from sophia_jax.data.packing import Example, pack_parts
from sophia_jax.models.model import Model
from sophia_jax.training import objectives
from sophia_jax.training.optimizer import make_optimizer
from sophia_jax.training.step import init_state, train_step

TINY = ModelSize(64, 2, 4, 2, 16, 96, 512)


@dataclass(frozen=True)
class Benchmark:
    """Sizes of what is measured; the default model has 1.3 billion weights."""

    device: Literal["auto", "cpu"] = "auto"
    """The first device that JAX sees, or the CPU."""
    tiny: bool = False
    """Sizes of a test in place of all that follow."""
    model: ModelSize = field(
        default_factory=lambda: ModelSize(1536, 28, 12, 2, 128, 8960, 32768)
    )
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of weights and activations."""
    examples: int = 16
    """Packed examples of an update."""
    example_tokens: int = 1024
    """Tokens of each, a quarter of them prompt."""
    row_length: int = 4096
    """Most tokens in a packed row."""
    micro_batches: int = 1
    """Parts of an update, one at a time in memory."""
    remat: Remat = "block"
    """Which activations are computed twice, to save memory; not counted as work."""
    slots: int = 64
    """Sequences that are decoded together, each with a prompt of its own."""
    prompt_tokens: int = 512
    """Tokens of each prompt."""
    new_tokens: int = 256
    """Tokens drawn for each."""
    repetitions: int = 5
    """Timed, after one that compiles."""
    seed: int = 0
    """Of weights, tokens and noise."""
    json: Path | None = None
    """File for all figures."""

    def sized(self) -> Benchmark:
        if not self.tiny:
            return self
        small = {"examples": 4, "example_tokens": 32, "row_length": 64, "slots": 4}
        small |= {"prompt_tokens": 16, "new_tokens": 8, "repetitions": 2}
        return replace(self, model=TINY, dtype="float32", **small)


def make_model(size: ModelSize, tokens: int, dtype: str, seed: int) -> Model:
    """Random weights, for sequences of so many tokens."""
    workload = Workload(image_tokens=tokens, caption_prompt_tokens=0, seed=seed)
    model = random_model(size, workload)
    params = jax.tree.map(lambda array: array.astype(dtype), model.params)
    return replace(model, params=params)


def make_examples(options: Benchmark) -> list[Example]:
    rng = np.random.default_rng(options.seed)
    prompt = options.example_tokens // 4
    return [
        Example(
            *np.split(draw_words(rng, tokens + 1, options.model.vocab_size), [prompt])
        )
        for tokens in [options.example_tokens] * options.examples
    ]


def step_flop(text: TextConfig, examples: list[Example]) -> float:
    """Of an update: three times the products of a forward pass over real tokens.

    A token meets each weight of the layers, a target also those of the head; and each
    token's scores and sums are over itself and what stands before it.
    """
    lengths = np.array([example.length for example in examples])
    targets = sum(len(example.target_ids) for example in examples)
    head = text.hidden_size * text.vocab_size
    weights = lengths.sum() * (product_parameters(text) - head) + targets * head
    pairs = (lengths * (lengths + 1) / 2).sum()
    scores = 2 * pairs * text.num_layers * text.num_heads * text.head_dim
    return float(3 * 2 * (weights + scores))


def updates(model: Model, options: Benchmark) -> Callable[[], dict[str, float]]:
    """Makes one update at each call, always on the same batch; gives its metrics."""
    batch = pack_parts(
        make_examples(options),
        model.config,
        num_parts=options.micro_batches,
        row_length=options.row_length,
    )
    batch = jax.tree.map(jnp.asarray, batch)
    optimizer = make_optimizer(
        OptimizerConfig(
            num_steps=1000, final_fraction=1.0, master=options.dtype != "float32"
        )
    )
    state = init_state(model, optimizer, objective=objectives.sft, remat=options.remat)

    def update() -> dict[str, float]:
        nonlocal state
        state, metrics = train_step(state, batch)
        jax.block_until_ready(state.params)
        return {name: float(metrics[name]) for name in ("loss", "gradient_norm")}

    return update


def decode_bytes(text: TextConfig, options: Benchmark, steps: int) -> int:
    """Read while decoding: all weights at each step, and each token's context."""
    context = options.prompt_tokens + np.arange(options.new_tokens)
    each = 2 * text.num_layers * text.num_kv_heads * text.head_dim
    numbers = steps * product_parameters(text) + options.slots * context.sum() * each
    return int(numbers) * jnp.dtype(options.dtype).itemsize


def make_phase(options: Benchmark) -> Phase:
    """As many prompts as slots, with nothing in common."""
    rng = np.random.default_rng([options.seed, 1])
    prompts = {
        f"p{n}": draw_words(rng, options.prompt_tokens, options.model.vocab_size)
        for n in range(options.slots)
    }
    lengths = {name: np.array([options.new_tokens]) for name in prompts}
    return Phase("decode", prompts, lengths, options.seed)


def sampler(
    model: Model, options: Benchmark, *, temperature: float = 1.0
) -> Callable[[], Run]:
    """Samples the phase at each call."""
    phase = make_phase(options)
    engine = ForcedLengths(
        model, slots=options.slots, max_new_tokens=options.new_tokens
    )
    engine.sampling = replace(engine.sampling, temperature=temperature)
    engine.lengths = phase.lengths

    def sample() -> Run:
        completions = engine(phase.requests())
        drawn = {(each.group, each.sample): each.token_ids for each in completions}
        run = Run(drawn, completions.steps)
        check_run(phase, run, options.model.vocab_size)
        return run

    return sample
