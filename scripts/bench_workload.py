"""What the rollout benchmark samples: prompts, forced lengths, and the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from sophia_jax.config import ModelConfig, TextConfig
from sophia_jax.models.internvl import init_params, model_graph
from sophia_jax.models.model import Model
from sophia_jax.types import Request

PAD_ID, END_ID, FIRST_WORD_ID = 0, 1, 2  # prompts hold words alone


@dataclass(frozen=True)
class Workload:
    """How much is sampled, in the shape of one SOPHIA round."""

    num_questions: int = 4
    """Questions, each about a picture of its own."""
    num_captions: int = 8
    """K, captions of each question's picture."""
    num_reasonings: int = 8
    """N, reasonings from each caption."""
    image_tokens: int = 256
    """Tokens that stand for a picture: random words, distinct for each question."""
    caption_prompt_tokens: int = 64
    """Tokens behind the picture that ask for a caption: the same for all."""
    question_tokens: int = 48
    """Tokens of instructions and question, which a question's captions share."""
    caption_tokens: int = 112
    """Tokens of the caption behind them; each its own."""
    distinct_prefixes: bool = False
    """Draw the question's tokens anew for each caption, so that nothing is shared."""
    median_length: float = 96.0
    """Median of a sample's tokens; lengths are lognormal."""
    sigma: float = 0.7
    """Standard deviation of the lengths' logarithm."""
    max_new_tokens: int = 384
    """Most tokens of a sample."""
    seed: int = 0
    """Of prompts, lengths, weights and noise."""


@dataclass(frozen=True)
class ModelSize:
    """A decoder of the Qwen2 type with random weights; the default has 25M."""

    hidden_size: int = 512
    """Width of the residual stream."""
    num_layers: int = 8
    """Layers."""
    num_heads: int = 8
    """Query heads."""
    num_kv_heads: int = 2
    """Key and value heads."""
    head_dim: int = 64
    """Width of a head."""
    mlp_size: int = 1408
    """Width of the MLP."""
    vocab_size: int = 4096
    """Tokens, with padding and end."""


@dataclass(frozen=True)
class Phase:
    """Groups of samples that share a prompt, each with the length that is forced.

    Attributes:
      name: `captions` or `reasonings`.
      prompts: Int32[token] by group, all of one length.
      lengths: Int[sample] by group, tokens that each sample must have.
      seed: of the noise.
    """

    name: str
    prompts: dict[str, np.ndarray]
    lengths: dict[str, np.ndarray]
    seed: int

    @property
    def prompt_length(self) -> int:
        (length,) = {len(prompt) for prompt in self.prompts.values()}
        return length

    @property
    def row_lengths(self) -> np.ndarray:
        """Int[row], group by group."""
        return np.concatenate(list(self.lengths.values()))

    @property
    def useful_tokens(self) -> int:
        return int(self.row_lengths.sum())

    def first(self, num_rows: int) -> Phase:
        """The groups that hold the first `num_rows` samples."""
        starts = np.cumsum([0, *(len(x) for x in self.lengths.values())])
        kept = [g for g, s in zip(self.prompts, starts, strict=False) if s < num_rows]
        return replace(
            self,
            prompts={group: self.prompts[group] for group in kept},
            lengths={group: self.lengths[group] for group in kept},
        )

    def shortened(self, most: int) -> Phase:
        """With no sample longer than `most` tokens."""
        lengths = {g: np.minimum(length, most) for g, length in self.lengths.items()}
        return replace(self, lengths=lengths)

    def requests(self) -> Iterator[Request]:
        for index, (group, prompt) in enumerate(self.prompts.items()):
            yield Request(
                group,
                text_of(prompt),
                num_samples=len(self.lengths[group]),
                seed=self.seed + index,
            )


@dataclass(frozen=True)
class Run:
    """What an engine made of a phase.

    Attributes:
      token_ids: Int[token] by (group, sample).
      steps: that were decoded, by the rows of their batch.
    """

    token_ids: dict[tuple[str, int], np.ndarray]
    steps: Mapping[int, int]

    @property
    def row_steps(self) -> int:
        """Tokens that were drawn for any row, useful or not."""
        return sum(rows * steps for rows, steps in self.steps.items())


def draw_lengths(
    rng: np.random.Generator, shape: Sequence[int], *, median: float, sigma: float, most
) -> np.ndarray:
    """Lognormal lengths in tokens, rounded, in [1, most]."""
    lengths = np.rint(median * np.exp(sigma * rng.standard_normal(shape)))
    return np.clip(lengths, 1, most).astype(int)


def caption_phase(workload: Workload, vocab_size: int) -> Phase:
    """K captions of each picture, from one prompt."""
    rng = np.random.default_rng([workload.seed, 0])
    asked = draw_words(rng, workload.caption_prompt_tokens, vocab_size)
    prompts = {
        f"question-{q}": np.concatenate(
            [draw_words(rng, workload.image_tokens, vocab_size), asked]
        )
        for q in range(workload.num_questions)
    }
    return make_phase("captions", rng, prompts, workload.num_captions, workload)


def reasoning_phase(workload: Workload, vocab_size: int) -> Phase:
    """N reasonings from each caption; a question's captions share their beginning."""
    rng = np.random.default_rng([workload.seed, 1])
    prompts = {}
    for q in range(workload.num_questions):
        asked = draw_words(rng, workload.question_tokens, vocab_size)
        for k in range(workload.num_captions):
            if workload.distinct_prefixes:
                asked = draw_words(rng, workload.question_tokens, vocab_size)
            caption = draw_words(rng, workload.caption_tokens, vocab_size)
            prompts[f"question-{q}/caption-{k}"] = np.concatenate([asked, caption])
    return make_phase("reasonings", rng, prompts, workload.num_reasonings, workload)


def make_phase(
    name: str,
    rng: np.random.Generator,
    prompts: dict[str, np.ndarray],
    num_samples: int,
    workload: Workload,
) -> Phase:
    """Prompts with drawn lengths."""
    lengths = draw_lengths(
        rng,
        (len(prompts), num_samples),
        median=workload.median_length,
        sigma=workload.sigma,
        most=workload.max_new_tokens,
    )
    by_group = dict(zip(prompts, lengths, strict=True))
    return Phase(name, prompts, by_group, seed=workload.seed)


def draw_words(rng: np.random.Generator, length: int, vocab_size: int) -> np.ndarray:
    return rng.integers(FIRST_WORD_ID, vocab_size, length).astype(np.int32)


def text_of(token_ids: np.ndarray) -> str:
    """The text that the benchmark's tokenizer reads as exactly these words."""
    return " ".join(map(str, token_ids))


def integer_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of numbers, whose chats add nothing to what the user says."""
    words = {str(word): word for word in range(FIRST_WORD_ID, vocab_size)}
    vocabulary = {"<pad>": PAD_ID, "<end>": END_ID} | words
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        chat_template="{% for message in messages %}{{ message.content }}{% endfor %}",
    )


def random_model(size: ModelSize, workload: Workload) -> Model:
    """The model that every engine runs: float32, tied head, biases that are not 0."""
    longest_prompt = max(
        workload.image_tokens + workload.caption_prompt_tokens,
        workload.question_tokens + workload.caption_tokens,
    )
    text = TextConfig(
        **vars(size),
        max_length=longest_prompt + workload.max_new_tokens,
        tied_head=True,
    )
    config = ModelConfig(text)
    weights_key, biases_key = jax.random.split(jax.random.key(workload.seed))
    params = init_params(weights_key, config)
    layers = params["decoder"]["layers"]
    for name, key in zip(
        ("query", "key", "value"), jax.random.split(biases_key, 3), strict=True
    ):
        bias = layers[name]["bias"]
        layers[name]["bias"] = 0.1 * jax.random.normal(key, bias.shape, bias.dtype)
    return Model(
        config, model_graph(config), params, integer_tokenizer(size.vocab_size)
    )


def check_run(phase: Phase, run: Run, vocab_size: int) -> None:
    """Every sample is there with its forced length, and holds known tokens alone.

    Raises:
      ValueError: with all that is wrong.
    """
    wanted = {
        (group, sample): int(length)
        for group, lengths in phase.lengths.items()
        for sample, length in enumerate(lengths)
    }
    problems = [f"{where} was not asked for" for where in run.token_ids.keys() - wanted]
    for where, length in wanted.items():
        token_ids = run.token_ids.get(where)
        if token_ids is None:
            problems.append(f"{where} is missing")
        elif len(token_ids) != length:
            problems.append(f"{where}: expected {length} tokens, got {len(token_ids)}")
        elif np.min(token_ids) < 0 or np.max(token_ids) >= vocab_size:
            problems.append(f"{where}: expected tokens in [0, {vocab_size})")
    if run.row_steps < phase.useful_tokens:
        problems.append(f"{run.row_steps} row-steps for {phase.useful_tokens} tokens")
    if problems:
        raise ValueError(f"{phase.name}: " + "; ".join(problems))
