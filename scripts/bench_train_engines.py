"""The workload of `bench_train.py`, and one update of it by each engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from sophia_jax.config import ModelConfig, OptimizerConfig, TextConfig
from sophia_jax.data.packing import Example, PackedBatch, pack_parts
from sophia_jax.models.internvl import init_params, model_graph
from sophia_jax.models.model import Model
from sophia_jax.models.weights import to_hf
from sophia_jax.training import objectives
from sophia_jax.training.optimizer import adamw
from sophia_jax.training.step import init_state, train_step

TEXT = TextConfig(
    vocab_size=4096,
    hidden_size=512,
    num_layers=8,
    num_heads=8,
    num_kv_heads=2,
    head_dim=64,
    mlp_size=1408,
    max_length=1024,
    tied_head=True,
)
OPTIMIZER = OptimizerConfig(num_steps=1000, final_fraction=1.0)

Update = Callable[[Sequence[Example]], float]  # one update; its loss


@dataclass(frozen=True)
class Workload:
    """Compare updates on prompts with answers of lognormal lengths."""

    batch_size: int = 32
    """Examples in an update."""
    micro_batches: int = 4
    """Parts of an update, one at a time in memory, for this project."""
    row_length: int = 2560
    """Most tokens in a packed row."""
    torch_micro_batches: tuple[int, ...] = (1, 4)
    """Parts of an update for torch; the fastest in the warm-up is measured."""
    repetitions: int = 5
    """Timed updates of each, every one on new examples."""
    prompt_tokens: int = 160
    """Tokens in each prompt."""
    median_answer: float = 96.0
    """Median of an answer's tokens."""
    sigma: float = 0.7
    """Standard deviation of the logarithm of an answer's tokens."""
    longest_answer: int = 384
    """Most tokens in an answer."""
    threads: int = 2
    """Of torch; JAX takes every core that the process may use."""
    seed: int = 0
    """Of weights and examples."""
    json: Path | None = None
    """File for all figures."""


def make_examples(options: Workload, vocab_size: int) -> list[list[Example]]:
    """One batch for the warm-up, and one for each repetition."""
    rng = np.random.default_rng(options.seed)

    def example() -> Example:
        length = rng.lognormal(np.log(options.median_answer), options.sigma)
        answer = int(np.clip(length, 1, options.longest_answer))
        prompt_ids, target_ids = (
            rng.integers(0, vocab_size, size).astype(np.int32)
            for size in (options.prompt_tokens, answer)
        )
        return Example(prompt_ids, target_ids)

    return [
        [example() for _ in range(options.batch_size)]
        for _ in range(options.repetitions + 1)
    ]


def random_model(config: ModelConfig, seed: int) -> Model:
    params = jax.jit(init_params, static_argnums=1)(jax.random.key(seed), config)
    return Model(config, model_graph(config), params, None)


def pack(examples: Sequence[Example], options: Workload) -> PackedBatch:
    return pack_parts(
        examples,
        ModelConfig(TEXT),
        num_parts=options.micro_batches,
        row_length=options.row_length,
    )


def our_updates(model: Model, options: Workload) -> Update:
    """This project's update; packing counts as a part of it."""
    state = init_state(model, adamw(OPTIMIZER), objective=objectives.sft)

    def update(examples: Sequence[Example]) -> float:
        nonlocal state
        state, metrics = train_step(state, pack(examples, options))
        jax.block_until_ready(state.params)
        return float(metrics["loss"])

    return update


def pad_right(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Right-padded ids, their mask, and labels that are -100 but for the answers."""
    longest = max(example.length + 1 for example in examples)
    input_ids = np.zeros((len(examples), longest), np.int64)
    attention_mask, labels = np.zeros_like(input_ids), np.full_like(input_ids, -100)
    for row, example in enumerate(examples):
        prompt, end = len(example.prompt_ids), example.length + 1
        input_ids[row, :prompt] = example.prompt_ids
        input_ids[row, prompt:end] = example.target_ids
        attention_mask[row, :end] = 1
        labels[row, prompt:end] = example.target_ids
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def split_by_length(examples: Sequence[Example], parts: int) -> list[list[Example]]:
    """Neighbours in length together, so that little is padding."""
    order = sorted(examples, key=lambda example: example.length)
    bounds = np.linspace(0, len(order), parts + 1).round().astype(int)
    return [order[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True) if b > a]


def torch_model(model: Model):
    """The same weights in transformers' Qwen2ForCausalLM, float32."""
    import torch
    import transformers

    text = model.config.text
    config = transformers.Qwen2Config(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        num_hidden_layers=text.num_layers,
        num_attention_heads=text.num_heads,
        num_key_value_heads=text.num_kv_heads,
        intermediate_size=text.mlp_size,
        max_position_embeddings=text.max_length,
        rms_norm_eps=text.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": text.rope_theta},
        tie_word_embeddings=text.tied_head,
    )
    theirs = transformers.Qwen2ForCausalLM(config).to(torch.float32).train()
    arrays = dict(to_hf(model.params, model.config))
    weights = {name: torch.tensor(np.array(array)) for name, array in arrays.items()}
    _, unexpected = theirs.load_state_dict(weights, strict=False)
    if unexpected:
        raise ValueError(f"weights: expected those of Qwen2, got {unexpected}")
    theirs.tie_weights()
    return theirs


def torch_updates(model: Model, options: Workload, parts: int) -> Update:
    """torch's update; logits are formed for the answers alone, as ours are."""
    import torch

    torch.set_num_threads(options.threads)
    theirs = torch_model(model)
    optimizer = torch.optim.AdamW(
        theirs.parameters(),
        lr=OPTIMIZER.learning_rate,
        betas=(OPTIMIZER.beta1, OPTIMIZER.beta2),
        weight_decay=OPTIMIZER.weight_decay,
        fused=True,
    )

    def loss(part: Sequence[Example]):
        batch = {name: torch.tensor(x) for name, x in pad_right(part).items()}
        hidden = theirs.model(
            batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        ).last_hidden_state[:, :-1]
        labels = batch["labels"][:, 1:]
        logits = theirs.lm_head(hidden[labels >= 0])
        return torch.nn.functional.cross_entropy(
            logits, labels[labels >= 0], reduction="sum"
        )

    def update(examples: Sequence[Example]) -> float:
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in split_by_length(examples, parts):
            mean = loss(part) / len(examples)
            mean.backward()
            total += mean.item()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), OPTIMIZER.clip_norm)
        optimizer.step()
        return total

    return update


def our_fill(examples: Sequence[Example], options: Workload) -> float:
    """The share of the packed tokens that is real."""
    return float(np.mean(pack(examples, options).segment_ids > 0))


def padded_fill(examples: Sequence[Example], parts: int) -> float:
    """The share of the right-padded tokens that is real."""
    split = split_by_length(examples, parts)
    padded = sum(pad_right(part)["input_ids"].size for part in split)
    return sum(example.length + 1 for example in examples) / padded
