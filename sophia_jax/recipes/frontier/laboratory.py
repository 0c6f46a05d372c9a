"""What the arms of one seed share: the reference, the rewards, the pairs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import optax

from sophia_jax.config import ModelConfig, OptimizerConfig, SamplingConfig, TextConfig
from sophia_jax.data.examples import Example, Group
from sophia_jax.data.packing import Buckets, PackedBatch, pack_examples
from sophia_jax.data.prompts import encode_prompt, encode_target
from sophia_jax.generation.engine import Engine
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.internvl import init_params, model_graph
from sophia_jax.models.model import Model
from sophia_jax.paths import is_whole
from sophia_jax.recipes.frontier.exact import answer_log_probs
from sophia_jax.recipes.frontier.sizes import FrontierConfig
from sophia_jax.recipes.frontier.task import (
    LONGEST,
    PROMPTS,
    VOCAB_SIZE,
    WordTask,
    answer_number,
    draw_task,
    make_tokenizer,
    raw_rewards,
    usual_words,
)
from sophia_jax.recipes.run_folder import remove_leftovers
from sophia_jax.seeds import group_seed
from sophia_jax.training import objectives
from sophia_jax.training.optimizer import make_optimizer
from sophia_jax.training.step import init_state, train_step
from sophia_jax.types import Float, Request

__all__ = [
    "Laboratory",
    "Samples",
    "batches_of",
    "draw_samples",
    "make_laboratory",
    "make_reference",
    "optimizer",
    "pack",
    "prompt_ids",
    "shuffled",
]

ROW_LENGTH = 64
MOST_READ = len(PROMPTS[0]) + LONGEST  # tokens of a prompt, its end, and an answer
SLOTS = 128
REFERENCE_RATE = 3e-3
POOL = 4096  # usual words of each prompt that the reference learns


@dataclass(frozen=True)
class Samples:
    """Answers that a policy gave, in the order of prompts and of samples.

    Attributes:
      prompts: Int[sample], of `PROMPTS`.
      answers: Int[sample], of `all_answers`.
      token_ids: of each answer, the end token included.
      log_probs: Float32[token] of each, under what it was sampled from.
    """

    prompts: np.ndarray
    answers: np.ndarray
    token_ids: Sequence[np.ndarray]
    log_probs: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True)
class Laboratory:
    """What the arms of one seed share.

    Attributes:
      seed: of task, reference, pairs and samples.
      reference: where every arm starts.
      prompt_ids: Int32[prompt token]
      log_probs: Float[prompt answer], the reference's, of all answers.
      rewards: Float[prompt answer], of mean 0 and deviation 1 under the reference.
      pool: the reference's answers, from which pairs are made and the best are chosen.
      first_wins: Bool[pair], whether the first of the pool's answers 2 i and 2 i + 1 is
        preferred. The last ones are held out.
    """

    seed: int
    reference: Model
    prompt_ids: np.ndarray
    log_probs: np.ndarray
    rewards: np.ndarray
    pool: Samples
    first_wins: np.ndarray


def make_laboratory(config: FrontierConfig, seed: int, folder: Path) -> Laboratory:
    """Everything that one seed's arms need; the reference is kept in a folder."""
    path, task = folder / "reference", draw_task(seed)
    if not is_whole(path):
        remove_leftovers(path)
        save_model(make_reference(task, config, seed), path)
    reference = load_model(path)
    prompts = prompt_ids(reference)
    log_probs = answer_log_probs(reference, prompts)
    rewards = standardised(raw_rewards(task), log_probs)
    num_pairs = config.num_pairs + config.num_held_out
    pool = draw_samples(reference, 2 * num_pairs // len(PROMPTS), seed, "pool")
    pool = shuffled(pool, np.random.default_rng((seed, 2)))
    first, second = rewards[pool.prompts, pool.answers].reshape(-1, 2).T
    # Bradley-Terry: P(first wins) = σ(r_1 - r_2)
    chances = 1 / (1 + np.exp(second - first))
    wins = np.random.default_rng((seed, 3)).random(len(chances)) < chances
    return Laboratory(seed, reference, prompts, log_probs, rewards, pool, wins)


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
        state, _ = train_step(state, pack(chosen, model))
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


def standardised(
    rewards: Float[np.ndarray, "prompt answer"],
    log_probs: Float[np.ndarray, "prompt answer"],
) -> Float[np.ndarray, "prompt answer"]:
    """Rewards of mean 0 and deviation 1 under a policy, over all prompts."""
    probs = np.exp(log_probs) / len(log_probs)
    centred = rewards - np.sum(probs * rewards)
    return centred / np.sqrt(np.sum(probs * centred**2))


def draw_samples(model: Model, num_samples: int, seed: int, stage: str) -> Samples:
    """Answers of each prompt, at temperature 1 over all tokens.

    Args:
      model: the policy.
      num_samples: of each prompt.
      seed: of the run.
      stage: what for; another stage draws other answers.
    """
    engine = Engine(model, SamplingConfig(LONGEST), slots=SLOTS)
    completions = engine(
        Request(
            group=prompt,
            text=prompt,
            num_samples=num_samples,
            seed=group_seed(seed, 0, stage, prompt),
        )
        for prompt in PROMPTS
    )
    found = sorted(completions, key=lambda c: (PROMPTS.index(c.group), c.sample))
    token_ids = [np.asarray(each.token_ids, np.int32) for each in found]
    return Samples(
        prompts=np.array([PROMPTS.index(each.group) for each in found]),
        answers=np.array([answer_number(each) for each in token_ids]),
        token_ids=token_ids,
        log_probs=[np.asarray(c.behavior_log_probs, np.float32) for c in found],
    )


def shuffled(samples: Samples, rng: np.random.Generator) -> Samples:
    """In an order in which neighbours 2 i and 2 i + 1 answer the same prompt."""
    pairs = rng.permutation(len(samples) // 2)
    order = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
    return Samples(
        prompts=samples.prompts[order],
        answers=samples.answers[order],
        token_ids=[samples.token_ids[place] for place in order],
        log_probs=[samples.log_probs[place] for place in order],
    )


def batches_of(
    examples: Sequence[Group], size: int, rng: np.random.Generator
) -> Iterator[list[Group]]:
    """Endless batches, each example once in every epoch."""
    left: list[Group] = []
    while True:
        while len(left) < size:
            left += [examples[place] for place in rng.permutation(len(examples))]
        yield left[:size]
        left = left[size:]


def pack(examples: Sequence[Group], model: Model) -> PackedBatch:
    """One batch, of one shape for each number of answers."""
    num_answers = sum(1 if isinstance(e, Example) else len(e) for e in examples)
    rows = -(-num_answers // (ROW_LENGTH // MOST_READ))
    buckets = Buckets(
        rows=rows,
        tokens=ROW_LENGTH,
        sequences=8,
        targets=8,
        learnt=num_answers * LONGEST,
    )
    return pack_examples(examples, model.config, row_length=ROW_LENGTH, buckets=buckets)


@functools.cache
def optimizer(
    learning_rate: float, num_steps: int, warmup_steps: int
) -> optax.GradientTransformation:
    """AdamW at a constant rate: one object, and so one program, for all arms."""
    return make_optimizer(
        OptimizerConfig(
            num_steps,
            learning_rate=learning_rate,
            final_fraction=1.0,
            warmup_steps=warmup_steps,
            weight_decay=0.0,
        )
    )
