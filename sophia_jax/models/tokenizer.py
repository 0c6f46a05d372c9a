"""Tokenizers of the Qwen2 type: loaded from a model folder, or learnt from texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2Tokenizer

from sophia_jax.models.model import Model
from sophia_jax.types import InputError

__all__ = [
    "END",
    "IMAGE_CONTEXT",
    "IMAGE_END",
    "IMAGE_START",
    "load_tokenizer",
    "token_counter",
    "train_tokenizer",
]

IMAGE_START, IMAGE_CONTEXT, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
THINKING = ("<think>", "</think>")

# The answer follows the end of what was asked, so that a short prompt stays short.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role != 'assistant' %}<|im_start|>{% endif %}"
    "{{ message.content }}<|im_end|>"
    "{% endfor %}"
)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; no code from the folder is ever run.

    Raises:
      InputError: the folder holds no tokenizer that `transformers` can read.
    """
    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    # Damaged files are met with errors of nearly any type.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{folder}: no readable tokenizer: {reason}") from error


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer that spells digits one by one and can spell anything.

    Args:
      texts: what the merges are learnt from.
      vocab_size: at most this many tokens, the 256 bytes and the specials included.

    Returns:
      A Qwen2 tokenizer with chat, thinking and image tokens and a chat template.
    """
    specials = [PAD, START, END, IMAGE_START, IMAGE_CONTEXT, IMAGE_END]
    tokenizer = Qwen2Tokenizer(vocab={}, merges=[]).train_new_from_iterator(
        texts, vocab_size - len(specials) - len(THINKING), show_progress=False
    )
    tokenizer.add_special_tokens(
        {
            "pad_token": PAD,
            "eos_token": END,
            "additional_special_tokens": specials,
        }
    )
    tokenizer.add_tokens(list(THINKING))
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def token_counter(
    policy: Model, reasoner: Model | None = None
) -> Callable[[Sequence[str]], list[int]] | None:
    """Lengths of texts in the policy's tokens, the end token included.

    None where the reasoner has the same tokens: then its own count is the policy's. Of
    a reasoner on a server there are texts alone; it is None here.
    """
    if reasoner is not None and _rules(policy.tokenizer) == _rules(reasoner.tokenizer):
        return None

    def count_tokens(texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        token_ids = policy.tokenizer(list(texts), add_special_tokens=False).input_ids
        return [len(ids) + 1 for ids in token_ids]

    return count_tokens


def _rules(tokenizer: PreTrainedTokenizerBase) -> str:
    """Everything that decides how a text is cut."""
    return tokenizer.backend_tokenizer.to_str()
