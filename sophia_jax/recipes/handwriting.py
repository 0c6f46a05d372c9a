"""The quickstart's two models, trained in front of the user.

Both learn the tables of one-digit arithmetic by heart, which any language model knows.
The base policy learns to read handwriting besides, but not to calculate. The reasoner
learns to calculate from text alone: captions made from numbers, never a picture.
"""

from __future__ import annotations

import contextlib
import functools
import io
from pathlib import Path

import grain.python as grain
import jax
import numpy as np

from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
from sophia_jax.data.arithmetic import (
    KINDS,
    caption,
    draw_numbers,
    draw_shape,
    fact,
    perception,
    solution,
)
from sophia_jax.data.datasets.handwriting import Handwriting, HandwritingConfig
from sophia_jax.data.digits import CELL, PICTURE_SIZE
from sophia_jax.data.images import tile_image
from sophia_jax.data.items import write_items
from sophia_jax.data.mixing import mix_examples
from sophia_jax.data.packing import Example
from sophia_jax.data.prompts import Prompts, encode_prompt, encode_target
from sophia_jax.models.internvl import init_params, model_graph
from sophia_jax.models.model import Model
from sophia_jax.models.tokenizer import IMAGE_CONTEXT, train_tokenizer
from sophia_jax.paths import is_whole, on_disk
from sophia_jax.tiles import TileGeometry
from sophia_jax.training import objectives
from sophia_jax.training.loop import TrainingConfig, train
from sophia_jax.types import Item, Track

__all__ = [
    "base_model",
    "fact_examples",
    "make_data",
    "make_tokenizer",
    "reasoner_model",
    "text_example",
    "text_questions",
    "train_base",
    "train_reasoner",
    "worked_text",
]

MAX_LENGTH = 192  # tokens, prompt and answer
LONG_CHECKS = 0.25  # share of the reasoner's texts that check every digit
VOCAB_SIZE = 384
TILES = TileGeometry(
    tile_size=PICTURE_SIZE,
    max_tiles=1,
    use_thumbnail=False,
    mean=(0.85, 0.85, 0.85),  # of the training pictures: mostly white
    std=(0.3, 0.3, 0.3),
)


def make_data(folder: Path, config: HandwritingConfig) -> Handwriting:
    """Build the data set, and write its questions as JSON lines with PNG files."""
    import tensorflow_datasets as tfds
    from PIL import Image

    tfds.disable_progress_bar()
    tables = on_disk(folder / "tfds", repr(config))  # array_record knows no bucket
    builder = Handwriting(data_dir=tables, config=config, file_format="array_record")
    with contextlib.redirect_stdout(io.StringIO()):  # a banner about a download
        builder.download_and_prepare()
    for split in ("train", "held_out"):
        if is_whole(folder / split):
            continue
        rows = sorted(builder.as_data_source(split), key=lambda row: row["id"])
        write_items(
            folder / split,
            (
                (
                    Item(
                        id=row["id"].decode(),
                        question=row["question"].decode(),
                        answer=row["answer"].decode(),
                        images=(),
                        kind=row["kind"].decode(),
                        caption=row["caption"].decode(),
                    ),
                    Image.fromarray(row["image"]),
                )
                for row in rows
            ),
        )
    return builder


def make_tokenizer(prompts: Prompts, seed: int):
    """A tokenizer for everything that is said about numbers."""
    rng = np.random.default_rng((seed, 3))
    texts = [prompts.caption]
    for _ in range(300):
        for kind in KINDS.values():
            numbers = draw_solvable(rng, kind)
            texts.append(prompts.reasoner.format(caption="", question=kind.question))
            texts.append(solution(kind, numbers, long_check=True))
            texts.append(perception(rng, numbers)[0])
    return train_tokenizer(texts, VOCAB_SIZE)


def draw_solvable(rng: np.random.Generator, kind) -> tuple[int, ...]:
    """Training numbers whose answer is not negative."""
    while True:
        numbers = draw_numbers(rng, draw_shape(rng, kind.shapes), held_out=False)
        if kind.answer(numbers) >= 0:
            return numbers


def base_model(key: jax.Array, tokenizer) -> Model:
    """A small InternVL: 14-pixel patches, and one image token for each digit's cell."""
    config = ModelConfig(
        text=decoder_config(tokenizer),
        vision=VisionConfig(
            hidden_size=96,
            num_layers=2,
            num_heads=3,
            mlp_size=256,
            image_size=PICTURE_SIZE,
            patch_size=CELL // 2,
            layer_scale=1.0,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_CONTEXT),
    )
    return new_model(key, config, tokenizer, TILES)


def reasoner_model(key: jax.Array, tokenizer) -> Model:
    """A decoder alone, of the same size as the base policy's."""
    return new_model(key, ModelConfig(text=decoder_config(tokenizer)), tokenizer, None)


def decoder_config(tokenizer) -> TextConfig:
    return TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        mlp_size=512,
        max_length=MAX_LENGTH,
        rope_theta=100.0,  # a hundred tokens are the longest distance
    )


def new_model(
    key: jax.Array, config: ModelConfig, tokenizer, tiles: TileGeometry | None
) -> Model:
    return Model(
        config=config,
        graphdef=model_graph(config),
        params=init_params(key, config),
        tokenizer=tokenizer,
        tiles=tiles,
    )


def train_base(
    model: Model,
    builder: Handwriting,
    training: TrainingConfig,
    folder: Path,
    track: Track,
    seed: int,
) -> Model:
    """Teach a fresh model to read: captions and easy questions, all weights.

    Beside every four pictures stand five lines of the tables of one-digit arithmetic.
    """

    @functools.cache
    def prompt(question: str) -> np.ndarray:
        return encode_prompt(
            model.tokenizer, model.config, question, tiles_per_image=(1,)
        )

    def example(row: dict) -> Example:
        from PIL import Image

        return Example(
            prompt_ids=prompt(row["question"].decode()),
            target_ids=encode_target(model.tokenizer, row["answer"].decode()),
            images=tile_image(Image.fromarray(row["image"]), model.tiles),
        )

    pictures = grain.MapDataset.source(builder.as_data_source("perception"))
    facts = fact_examples(model, seed, _seen(training))
    return train(
        model,
        mix_examples([(pictures.map(example), 4), (facts, 5)], seed=training.seed),
        objectives.sft,
        training,
        folder,
        track=track,
        description="reading",
    )


def train_reasoner(
    model: Model,
    prompts: Prompts,
    training: TrainingConfig,
    folder: Path,
    track: Track,
    seed: int,
) -> Model:
    """Teach a fresh decoder to calculate step by step, from text alone.

    Beside every worked text stand three lines of the tables that it looks things up in.
    """
    texts = grain.MapDataset.range(_seen(training)).map(
        lambda index: text_example(model, *worked_text(prompts, seed, index))
    )
    facts = fact_examples(model, seed, _seen(training))
    return train(
        model,
        mix_examples([(texts, 1), (facts, 3)], seed=training.seed),
        objectives.sft,
        training,
        folder,
        track=track,
        description="reasoning",
    )


def text_questions(prompts: Prompts, seed: int, size: int) -> list[Item]:
    """Questions about true captions, with their answers and without a picture."""
    rng = np.random.default_rng((seed, 6))
    items = []
    for index in range(size):
        name, kind = list(KINDS.items())[index % len(KINDS)]
        numbers = draw_solvable(rng, kind)
        items.append(
            Item(
                id=f"text-{name}-{index // len(KINDS):04}",
                question=prompts.reasoner.format(
                    caption=caption(numbers), question=kind.question
                ),
                answer=str(kind.answer(numbers)),
                images=(),
                kind=name,
            )
        )
    return items


def worked_text(prompts: Prompts, seed: int, index: int) -> tuple[str, str]:
    """The reasoner's prompt about a true caption, and a worked solution."""
    rng = np.random.default_rng((seed, 4, index))
    kind = list(KINDS.values())[index % len(KINDS)]
    numbers = draw_solvable(rng, kind)
    prompt = prompts.reasoner.format(caption=caption(numbers), question=kind.question)
    long_check = bool(rng.random() < LONG_CHECKS)
    return prompt, solution(kind, numbers, long_check=long_check)


def text_example(
    model: Model, prompt: str, text: str, *, system: str | None = None
) -> Example:
    """A question without a picture, and the answer to learn."""
    return Example(
        prompt_ids=encode_prompt(model.tokenizer, model.config, prompt, system=system),
        target_ids=encode_target(model.tokenizer, text),
    )


def fact_examples(model: Model, seed: int, size: int) -> grain.MapDataset:
    """Lines of the tables, as they stand within a text, without a chat around them."""

    @functools.cache
    def token_ids(text: str) -> np.ndarray:
        return encode_target(model.tokenizer, text)[:-1]  # no end: a text goes on

    def example(index: int) -> Example:
        question, answer = fact(np.random.default_rng((seed, 5, index)))
        return Example(
            prompt_ids=token_ids(f"\n{question}"), target_ids=token_ids(f"{answer}\n")
        )

    return grain.MapDataset.range(size).map(example)


def _seen(training: TrainingConfig) -> int:
    """How many examples a phase reads; of endless kinds, none comes twice."""
    return training.optimizer.num_steps * training.batch_size
