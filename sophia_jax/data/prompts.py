"""What the models are asked, and how a chat becomes token ids.

The only place where an image becomes placeholder tokens.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.types import InputError

__all__ = [
    "DIGITS",
    "IMAGE_CONTEXT",
    "PAPER",
    "Prompts",
    "encode_prompt",
    "encode_target",
    "index_image_tokens",
]

IMAGE_START, IMAGE_CONTEXT, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"


@dataclass(frozen=True)
class Prompts:
    """The texts around captions and questions.

    Attributes:
      caption: asks for everything that the picture shows; the question is hidden.
      reasoner: with the fields {caption} and {question}; asks to answer as if the
        picture were seen.
      system: of trajectories with think tags, and of evaluation; None for none.
    """

    caption: str
    reasoner: str
    system: str | None = None


DIGITS = Prompts(caption="Read the picture.", reasoner="{caption}\n{question}")
"""As short as the quickstart's small models need them."""

PAPER = Prompts(
    caption=(
        "Write down everything that this picture shows, so that someone who cannot see "
        "it could answer any question about it. Copy every text, symbol and number as "
        "it stands, and say where. For diagrams, name each line or arrow with its "
        "kind, direction and label, and what it joins; for charts, give every axis, "
        "legend, label and value; for scenes, go from the front to the back with "
        "colours, shapes, sizes and positions; for people, posture, clothing and "
        "expression. Leave nothing out, and do not guess at what is asked."
    ),
    reasoner=(
        "Here is what a picture shows, and a question about the picture. Think the "
        "question through step by step as if you saw the picture yourself: speak of "
        "the picture, never of a description, and look back at it where that helps. "
        "What can be read off directly, copy as it stands. Stop when you begin to go "
        "in circles. End with the line **Final answer** and the answer in \\boxed{{}}."
        "\n\nThe picture: {caption}\n\nQuestion: {question}"
    ),
    system=(
        "You are an experienced solver of competition mathematics. Understand the "
        "problem in depth, look at it from several sides, think systematically, argue "
        "rigorously and check the result more than once. Think inside <think> and "
        "</think>, at most 32768 tokens, then answer in the language of the question."
    ),
)
"""After what section 3 and the appendix of the paper say that its prompts ask."""


def encode_prompt(
    tokenizer: Any,
    config: ModelConfig,
    text: str,
    *,
    system: str | None = None,
    tiles_per_image: Sequence[int] = (),
    max_new_tokens: int = 0,
) -> np.ndarray:
    """Token ids of one user turn with its images first, ready for the answer.

    Each image becomes <img>, one placeholder for each of its image tokens, and </img>.
    Nothing is ever cut off.

    Args:
      tokenizer: with a chat template.
      config: of the model that will read it.
      text: what the user says.
      system: the system prompt, or None.
      tiles_per_image: how many tiles each image was cut into.
      max_new_tokens: room that the answer needs in the model's context.

    Returns:
      Int32[token].

    Raises:
      InputError: the placeholders are not one for each image token, as where the text
        spells one itself; or prompt and answer do not fit.
    """
    messages = [{"role": "system", "content": system}] if system is not None else []
    images = (
        _placeholders(tiles * config.tokens_per_tile) for tiles in tiles_per_image
    )
    messages.append({"role": "user", "content": "".join(images) + text})
    chat = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    ids = np.asarray(tokenizer(chat, add_special_tokens=False).input_ids, np.int32)
    image_tokens = sum(tiles_per_image) * config.tokens_per_tile
    placeholders = np.sum(ids == config.image_token_id)
    if placeholders != image_tokens:
        raise InputError(
            f"prompt: expected {image_tokens} image placeholders (token "
            f"{config.image_token_id}), got {placeholders}: {text[:80]!r}"
        )
    if len(ids) + max_new_tokens > config.text.max_length:
        raise InputError(
            f"prompt: expected at most {config.text.max_length} tokens with its answer,"
            f" got {len(ids)} + {max_new_tokens}: {text[:80]!r}"
        )
    return ids


def encode_target(tokenizer: Any, text: str) -> np.ndarray:
    """Token ids of an answer to be learnt, with the end token: Int32[token].

    What the text spells stays text: it can contain neither an early end nor an image
    placeholder. The think tags are ordinary tokens.
    """
    # Cut behind its first letter, the spelling of a special token is plain text. (The
    # tokenizer's own switch for this is not safe in threads.)
    special = "|".join(map(re.escape, tokenizer.all_special_tokens))
    cuts = [found.start() + 1 for found in re.finditer(special, text)]
    ids = []
    for start, end in itertools.pairwise([0, *cuts, len(text)]):
        ids += tokenizer(text[start:end], add_special_tokens=False).input_ids
    return np.asarray([*ids, tokenizer.eos_token_id], np.int32)


def index_image_tokens(
    token_ids: np.ndarray, config: ModelConfig, *, first_tile: int = 0
) -> np.ndarray:
    """Which image token stands at each place of a prompt.

    Args:
      token_ids: Int32[token], with a placeholder for each image token.
      config: of the model that will read them.
      first_tile: index of the prompt's first tile among all features.

    Returns:
      Int32[token]: the tile times the tokens per tile plus the token; -1 for text.
    """
    is_image = token_ids == config.image_token_id
    first = first_tile * config.tokens_per_tile
    return np.where(is_image, first + np.cumsum(is_image) - 1, -1).astype(np.int32)


def _placeholders(image_tokens: int) -> str:
    return IMAGE_START + IMAGE_CONTEXT * image_tokens + IMAGE_END + "\n"
