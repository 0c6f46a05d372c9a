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
    "answer_opening",
    "encode_prompt",
    "encode_target",
    "index_image_tokens",
]

IMAGE_START, IMAGE_CONTEXT, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"
THINK = "<think>"


@dataclass(frozen=True)
class Prompts:
    """The texts around captions and questions.

    Attributes:
      caption: asks for everything that the picture shows; the question is hidden.
      reasoner: with the fields {caption} and {question}; asks to answer as if the
        picture were seen.
      system: of trajectories with think tags, and of evaluation; None for the default
        of the chat template.
    """

    caption: str
    reasoner: str
    system: str | None = None

    def system_for(self, trajectory: str) -> str | None:
        """The system prompt with which a trajectory is learnt; None for the default.

        Reference:
          SOPHIA, 2025, https://arxiv.org/abs/2507.16814, appendix: a trajectory without
          think tags keeps the model's default; evaluation always has the system prompt.
        """
        return self.system if THINK in trajectory else None


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
        "You are told what a picture shows, and asked a question about the picture. "
        "Think the question through step by step as if you saw the picture yourself: "
        "speak of the picture, never of a description, and look back at it where that "
        "helps. What can be read off directly, copy as it stands. Stop when you begin "
        "to go in circles. End with the line **Final answer** and the answer in "
        "\\boxed{{}}.\n\n"
        "An example.\n\n"
        "The picture: A triangle with the corners A (top left), C (bottom left) and B "
        '(bottom right). A small square marks the angle at C. "5 cm" stands to the '
        'left of the side AC, "12 cm" below the side CB. AB has no label.\n\n'
        "Question: How long is AB, in centimetres?\n\n"
        "The ideal response: In the picture, the small square at C says that the angle "
        "there is a right one. So AC and CB are the legs and AB, opposite C, is the "
        "hypotenuse. The picture gives 5 cm for AC and 12 cm for CB. Then AB² = 5² + "
        "12² = 25 + 144 = 169, so AB = 13. Let me look at the picture again: does the "
        "12 cm belong to CB or to AB? It stands below the bottom side, so to CB. And "
        "13 is more than either leg and less than 5 + 12 = 17, as it must be.\n\n"
        "**Final answer**\n\n\\boxed{{13}}\n\n"
        "Now it is your turn.\n\n"
        "The picture: {caption}\n\nQuestion: {question}"
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

    Each image becomes <img>, one placeholder for each of its image tokens, and </img>,
    on a line of its own; several are introduced as Image-1, Image-2, ..., as InternVL
    was trained. What text and system prompt spell stays text: they cannot end the turn.
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

    Reference: https://github.com/OpenGVLab/InternVL, `chat` of the model and its
      examples with several pictures.
    """
    mark = _unused_character(f"{system}{text}")
    told = _cut_specials(tokenizer, text, mark, spared=IMAGE_CONTEXT)
    images = _placeholders([n * config.tokens_per_tile for n in tiles_per_image])
    messages = [{"role": "user", "content": images + told}]
    if system is not None:
        told = _cut_specials(tokenizer, system, mark, spared=IMAGE_CONTEXT)
        messages.insert(0, {"role": "system", "content": told})
    chat = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    ids = _token_ids(tokenizer, chat, mark)
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


def answer_opening(tokenizer: Any) -> str:
    """What the chat template itself writes of an answer: "<think>\\n", or nothing.

    Templates of slow-thinking models (QwQ, DeepSeek-R1) open the tag, so that what the
    model writes has only its end.
    """
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": ""}], tokenize=False, add_generation_prompt=True
    )
    return re.search(rf"({THINK}\s*)?\Z", chat)[0]


def encode_target(tokenizer: Any, text: str) -> np.ndarray:
    """Token ids of an answer to be learnt, with the end token: Int32[token].

    What the text spells stays text: it can contain neither an early end nor an image
    placeholder. The think tags are ordinary tokens; one that the prompt ends with is
    not learnt again.
    """
    if text.startswith(THINK) and (opening := answer_opening(tokenizer)):
        text = text.removeprefix(THINK).removeprefix(opening.removeprefix(THINK))
    mark = _unused_character(text)
    ids = _token_ids(tokenizer, _cut_specials(tokenizer, text, mark), mark)
    return np.append(ids, np.int32(tokenizer.eos_token_id))


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


def _placeholders(image_tokens: Sequence[int]) -> str:
    """What stands in the prompt for pictures of so many image tokens."""
    images = [IMAGE_START + IMAGE_CONTEXT * n + IMAGE_END + "\n" for n in image_tokens]
    if len(images) > 1:
        images = [f"Image-{n}: {image}" for n, image in enumerate(images, start=1)]
    return "".join(images)


def _unused_character(text: str) -> str:
    """A character for private use that the text does not hold."""
    return next(c for c in map(chr, range(0xE000, 0xF900)) if c not in text)


def _cut_specials(tokenizer: Any, text: str, mark: str, *, spared: str = "") -> str:
    """The text with a mark in each spelling of a special token but `spared`.

    Cut behind its first letter, a spelling is plain text. (The tokenizer's own switch
    for this is not safe in threads, and its `all_special_tokens` leaves out those
    without a role, such as <IMG_CONTEXT>.)
    """
    added = tokenizer.added_tokens_decoder.values()
    names = {token.content for token in added if token.special} - {spared}
    if not names:
        return text
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return re.sub(pattern, lambda found: found[0][0] + mark + found[0][1:], text)


def _token_ids(tokenizer: Any, text: str, mark: str) -> np.ndarray:
    """Int32[token] of the parts between the marks."""
    ids = [
        tokenizer(part, add_special_tokens=False).input_ids for part in text.split(mark)
    ]
    return np.asarray(list(itertools.chain(*ids)), np.int32)
