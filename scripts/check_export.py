"""Ask the exported model with transformers and torch alone, and compare with ours.

    python scripts/check_export.py runs/quickstart

Starts from the PNG files of the held-out questions and from what stands in `model/`;
the placeholders are expanded here. Both sides are greedy, so that the answers can be
compared one by one; needs the test extra (torch).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, InternVLForConditionalGeneration

MAX_NEW_TOKENS = 112  # as the quickstart asks for
BATCH = 64


def answer_with_torch(model_folder: Path, rows: list[dict], data: Path) -> list[str]:
    """Greedy answers of the exported folder; nothing of ours is used.

    Args:
      model_folder: as `save_model` leaves it.
      rows: of `items.jsonl`.
      data: the folder of `items.jsonl`, to which picture paths are relative.
    """
    tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side="left")
    model = InternVLForConditionalGeneration.from_pretrained(model_folder).eval()
    values = json.loads((model_folder / "preprocessor_config.json").read_text())
    image_tokens = "<IMG_CONTEXT>" * model.config.image_seq_length
    answers = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        chats = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": f"<img>{image_tokens}</img>\n{q}"}],
                tokenize=False,
                add_generation_prompt=True,
            )
            for q in (row["question"] for row in batch)
        ]
        inputs = tokenizer(
            chats, return_tensors="pt", padding=True, add_special_tokens=False
        )
        pixels = np.stack([read_pixels(data / row["image"], values) for row in batch])
        with torch.no_grad():
            out = model.generate(
                input_ids=inputs.input_ids,
                attention_mask=inputs.attention_mask,
                pixel_values=torch.from_numpy(pixels),
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                suppress_tokens=[model.config.image_token_id],  # never an answer
            )
        new = out[:, inputs.input_ids.shape[1] :]
        answers += [spoken(tokenizer, ids) for ids in new.tolist()]
    return answers


def read_pixels(path: Path, values: dict) -> np.ndarray:
    """One picture as the preprocessor's values say: channels first."""
    size = values["size"]
    image = Image.open(path).convert("RGB")
    image = image.resize((size["width"], size["height"]), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, np.float32) * np.float32(values["rescale_factor"])
    pixels = (pixels - np.float32(values["image_mean"])) / np.float32(
        values["image_std"]
    )
    return pixels.transpose(2, 0, 1).astype(np.float32)


def spoken(tokenizer, ids: list[int]) -> str:
    """The text before the end token."""
    end = tokenizer.eos_token_id
    return tokenizer.decode(ids[: ids.index(end)] if end in ids else ids)


def answer_with_jax(model_folder: Path, data: Path) -> dict[str, str]:
    """Greedy answers of our engine, by question id."""
    import sophia_jax as sj

    sampling = sj.SamplingConfig(MAX_NEW_TOKENS, temperature=0.0)
    requests = (
        sj.Request(group=item.id, text=item.question, images=item.images)
        for item in sj.read_items(data).items
    )
    model = sj.load_model(model_folder)
    completions = sj.generate(model, requests, sampling=sampling, slots=BATCH)
    return {completion.group: completion.text for completion in completions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that the quickstart left")
    parser.add_argument("--limit", type=int, help="first so many questions")
    options = parser.parse_args()
    data, model = options.run / "data" / "held_out", options.run / "model"
    lines = (data / "items.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines][: options.limit]

    from sophia_jax.rewards import AnswerVerifier

    ours = answer_with_jax(model, data)
    theirs = answer_with_torch(model, rows, data)
    with AnswerVerifier() as verifier:
        gold = [row["answer"] for row in rows]
        jax_right = verifier.verify([(ours[row["id"]], row["answer"]) for row in rows])
        torch_right = verifier.verify(list(zip(theirs, gold, strict=True)))
    same = sum(ours[row["id"]] == t for row, t in zip(rows, theirs, strict=True))
    print(f"questions          {len(rows)}")
    print(f"jax, greedy        {sum(map(bool, jax_right)) / len(rows):.1%} right")
    print(f"torch, greedy      {sum(map(bool, torch_right)) / len(rows):.1%} right")
    print(f"same answer text   {same / len(rows):.1%}")


if __name__ == "__main__":
    main()
