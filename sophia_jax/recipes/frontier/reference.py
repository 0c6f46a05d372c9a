"""Where every arm of a seed starts: a decoder that knows which words are usual."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from sophia_jax.config import ModelConfig, OptimizerConfig, TextConfig
from sophia_jax.data.examples import Example
from sophia_jax.data.prompts import encode_prompt, encode_target
from sophia_jax.models.internvl import init_params, model_graph
from sophia_jax.models.model import Model
from sophia_jax.recipes.frontier.batches import batches_of, pack
from sophia_jax.recipes.frontier.sizes import FrontierConfig
from sophia_jax.recipes.frontier.task import (
    PROMPTS,
    VOCAB_SIZE,
    WordTask,
    make_tokenizer,
    usual_words,
)
from sophia_jax.training import objectives
from sophia_jax.training.optimizer import make_optimizer
from sophia_jax.training.step import init_state, train_step

__all__ = ["fresh_model", "make_reference", "prompt_ids"]

REFERENCE_RATE = 3e-3
POOL = 4096  # usual words of each prompt that the reference learns


def make_reference(task: WordTask, config: FrontierConfig, seed: int) -> Model:
    """A fresh decoder that has learnt which words are usual."""
    model = fresh_model(seed)
    rng, prompts = np.random.default_rng((seed, 1)), prompt_ids(model)
    words = [usual_words(task, rng, p, POOL) for p in range(len(PROMPTS))]
    examples = [
        Example(prompts[p], encode_target(model.tokenizer, word))
        for p, of_prompt in enumerate(words)
        for word in of_prompt
    ]
    optimizer = make_optimizer(
        OptimizerConfig(
            config.reference_updates,
            learning_rate=REFERENCE_RATE,
            final_fraction=0.02,
            warmup_steps=min(20, config.reference_updates - 1),
        )
    )
    state = init_state(model, optimizer, objective=objectives.sft)
    batches = batches_of(examples, config.batch_size, rng)
    for _, chosen in zip(range(config.reference_updates), batches, strict=False):
        state, _ = train_step(state, pack(chosen, model.config))
    return dataclasses.replace(model, params=jax.device_get(state.params))


def fresh_model(seed: int) -> Model:
    """A decoder of two layers with random weights."""
    config = ModelConfig(
        text=TextConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=48,
            num_layers=2,
            num_heads=3,
            num_kv_heads=3,
            head_dim=16,
            mlp_size=128,
            max_length=32,
            rope_theta=100.0,
        )
    )
    return Model(
        config=config,
        graphdef=model_graph(config),
        params=init_params(jax.random.key(seed), config),
        tokenizer=make_tokenizer(),
    )


def prompt_ids(model: Model) -> np.ndarray:
    """Int32[prompt token]"""
    encode = functools.partial(encode_prompt, model.tokenizer, model.config)
    return np.stack([encode(prompt) for prompt in PROMPTS])
