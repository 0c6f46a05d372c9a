"""Tokenizers: loaded from a model folder, or learnt from texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from transformers import (
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

from sophia_jax.models.chat import internvl_template, turn_end
from sophia_jax.models.internlm2_tokenizer import read_internlm2_tokenizer
from sophia_jax.models.model import Model
from sophia_jax.models.safetensors import read_json
from sophia_jax.paths import as_path, downloaded
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
FILES = ("*.json", "*.jinja", "*.txt", "*.model")  # all but the weights
QWEN2 = ("vocab.json", "merges.txt")  # where there is no tokenizer.json

# The answer follows the end of what was asked, so that a short prompt stays short.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role != 'assistant' %}<|im_start|>{% endif %}"
    "{{ message.content }}<|im_end|>"
    "{% endfor %}"
)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; no code from the folder is ever run.

    Its `eos_token` is what ends an answer in a chat. A folder in InternVL's original
    layout gets the chat template that its config.json names: the tokenizer's own, where
    there is one, is that of the language model that InternVL was made from.

    Args:
      folder: with a tokenizer.json, or with the files that Qwen2Tokenizer or
        InternLM2Tokenizer reads.

    Raises:
      InputError: there is no readable tokenizer, no chat template, or none of which it
        is known how an answer ends.
    """
    folder = as_path(folder)
    with downloaded(folder, FILES) as local:
        try:
            return _load(local)
        # Damaged files are met with errors of nearly any type.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            reason = reason.replace(str(local), str(folder))
            if not isinstance(error, InputError):
                reason = f"{folder}: no readable tokenizer: {reason}"
            where = "" if reason.startswith(str(folder)) else f"{folder}: "
            raise InputError(f"{where}{reason}") from error


def _load(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer with the template and the end of its chats."""
    tokenizer = _read(folder)
    processor = folder / "chat_template.json"
    if processor.exists() and not (folder / "chat_template.jinja").exists():
        # Older processors keep it there; the tokenizer's is the decoder's own.
        tokenizer.chat_template = read_json(processor).get("chat_template")
    name = _original_template(folder / "config.json")
    if name is not None:
        start = tokenizer.decode(tokenizer("").input_ids)
        tokenizer.chat_template = internvl_template(name, start=start)
    tokenizer.eos_token = turn_end(tokenizer)
    return tokenizer


def _read(folder: Path) -> PreTrainedTokenizerBase:
    """By a class that is known here: `AutoTokenizer` would ask to run the folder's."""
    config = folder / "tokenizer_config.json"
    name = read_json(config).get("tokenizer_class") if config.exists() else None
    name = str(name).removesuffix("Fast")
    if name == "InternLM2Tokenizer":
        return read_internlm2_tokenizer(folder)
    whole = (folder / "tokenizer.json").exists()
    if name == "Qwen2Tokenizer":
        # Without them it would be an empty tokenizer.
        missing = [] if whole else [f for f in QWEN2 if not (folder / f).exists()]
        if missing:
            raise InputError(f"no readable tokenizer: expected {missing[0]}, got none")
        return Qwen2Tokenizer.from_pretrained(folder)
    if not whole:
        raise InputError(
            "no readable tokenizer: expected a tokenizer.json, or the class "
            f"Qwen2Tokenizer or InternLM2Tokenizer, got {name}"
        )
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _original_template(config: Path) -> str | None:
    """What config.json calls its chat template, in InternVL's original layout.

    None where it is the tokenizer's own, as `save_model` leaves one without a name.
    """
    values = read_json(config) if config.exists() else {}
    if values.get("model_type") != "internvl_chat" or values.get("template") is None:
        return None
    return str(values["template"])


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
