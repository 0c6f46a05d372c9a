"""InternLM2's tokenizer: its sentencepiece model in the form that `tokenizers` runs.

The published folders name a class that is code of their own, which is never run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    processors,
)
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

from sophia_jax.models.safetensors import read_json
from sophia_jax.types import InputError

__all__ = ["read_internlm2_tokenizer"]

MODEL, CONFIG = "tokenizer.model", "tokenizer_config.json"
NORMAL, USER_DEFINED = 1, 4  # kinds of pieces
BPE = 2  # kind of model
SPACE = "▁"  # what sentencepiece writes for a blank
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def read_internlm2_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder with `tokenizer.model`, with sentencepiece's own ids.

    tokenizer_config.json says which ids are special tokens; a piece that stands at such
    an id (`[UNUSED_TOKEN_146]` of `<|im_start|>`) gives up its name.

    Args:
      folder: with `tokenizer.model` and `tokenizer_config.json`.

    Returns:
      The tokenizer; it puts `<s>` before a text, as the original does.

    Raises:
      InputError: the model works in a way that is not implemented, or a special token
        would not get its id.

    Reference:
      Kudo and Richardson, 2018, "SentencePiece", https://arxiv.org/abs/1808.06226.
    """
    model = import_protobuf().ModelProto()
    model.ParseFromString((folder / MODEL).read_bytes())
    _check(model, folder / MODEL)
    config = read_json(folder / CONFIG)
    special = _special_tokens(config, folder / CONFIG)
    backend = _backend(model, special)
    for id_, token in special.items():
        if (got := backend.token_to_id(token.content)) != id_:
            raise InputError(
                f"{folder / CONFIG}: added_tokens_decoder: expected {token.content!r} "
                f"to get the id {id_}, got {got}"
            )
    named = {name: _text(config[name]) for name in NAMED if config.get(name)}
    if bos := named.get("bos_token"):
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A $B",
            special_tokens=[(bos, backend.token_to_id(bos))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        additional_special_tokens=[
            token.content
            for token in special.values()
            if token.content not in named.values()
        ],
        chat_template=config.get("chat_template"),
        clean_up_tokenization_spaces=False,
        **named,
    )


def _check(model: Any, file: Path) -> None:
    """Texts are taken as they are, and what has no piece is spelled in bytes."""
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    for name, value, expected in [
        ("model_type", trainer.model_type, BPE),
        ("byte_fallback", trainer.byte_fallback, True),
        ("add_dummy_prefix", normalizer.add_dummy_prefix, False),
        ("remove_extra_whitespaces", normalizer.remove_extra_whitespaces, False),
        ("escape_whitespaces", normalizer.escape_whitespaces, True),
        ("precompiled_charsmap", normalizer.precompiled_charsmap, b""),
    ]:
        if value != expected:
            raise InputError(f"{file}: {name}: expected {expected}, got {value}")


def _special_tokens(config: dict, file: Path) -> dict[int, AddedToken]:
    entries = config.get("added_tokens_decoder")
    if not isinstance(entries, dict) or not entries:
        raise InputError(
            f"{file}: added_tokens_decoder: expected tokens by id, got none"
        )
    contents = {int(id_): _text(entry) for id_, entry in entries.items()}
    return {
        id_: AddedToken(contents[id_], normalized=False, special=True)
        for id_ in sorted(contents)
    }


def _backend(model: Any, special: dict[int, AddedToken]) -> Tokenizer:
    pieces = [piece.piece for piece in model.pieces]
    names = [
        special[id_].content if id_ in special else piece
        for id_, piece in enumerate(pieces)
    ]
    backend = Tokenizer(
        models.BPE(
            vocab={name: id_ for id_, name in enumerate(names)},
            merges=_merges(model),
            unk_token=names[model.trainer_spec.unk_id],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(list(special.values()))
    # These are never joined with their neighbours.
    whole = [
        names[id_]
        for id_, piece in enumerate(model.pieces)
        if piece.type == USER_DEFINED and id_ not in special
    ]
    backend.add_tokens([AddedToken(name, normalized=False) for name in whole])
    return backend


def _merges(model: Any) -> list[tuple[str, str]]:
    """Pairs in the order in which they are joined: into the piece of the best score."""
    scores = {
        piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL
    }
    return [
        (piece[:cut], piece[cut:])
        for piece in sorted(scores, key=scores.get, reverse=True)
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]


def _text(token: Any) -> str:
    """A token's spelling; it stands alone or in an object beside its options."""
    return token["content"] if isinstance(token, dict) else token
