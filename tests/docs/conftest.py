"""Pages as lists of blocks, and a place where their blocks can run."""

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]
COMMENT = re.compile(r"<!--\s*(setup|run|not run)(?::\s*|\s+)?(.*?)\s*-->", re.DOTALL)
MARKDOWN = MarkdownIt("commonmark").enable("table")
SURE = 60.0  # how much likelier the next token is than others, in nats


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or a hidden setup.

    Attributes:
      language: as the fence says it; "setup" of a comment that holds Python.
      text: what is inside.
      line: of the page, from 1.
      marks: of the comment right before it: "run", or "not run" with the reason.
      follows: whether nothing but a line that ends in a colon stands between it and the
        block before.
    """

    language: str
    text: str
    line: int
    marks: dict[str, str] = field(default_factory=dict)
    follows: bool = False


def parse_blocks(text):
    """The blocks of a page; a block that is only indented is an error."""
    blocks, marks, follows = [], {}, False
    for token in MARKDOWN.parse(text):
        line = (token.map or [0])[0] + 1
        if token.type == "code_block":
            raise AssertionError(f"line {line}: expected a fenced block, got indented")
        if token.type == "fence":
            blocks.append(
                Block(token.info.strip(), token.content, line, marks, follows)
            )
            marks, follows = {}, True
        elif token.type == "html_block":
            for kind, content in COMMENT.findall(token.content):
                if kind == "setup":
                    blocks.append(Block("setup", content, line))
                else:
                    marks = marks | {kind: content}
        elif token.type == "inline":
            marks, follows = {}, follows and token.content.endswith(":")
    return blocks


@pytest.fixture(scope="session")
def blocks_of():
    """Gives the blocks of a page, by its text."""
    return parse_blocks


def speaking(model, prompt_end, text):
    """A model that answers whatever it is asked with one text.

    Each token of it may occur once: what comes next depends on the last token alone,
    for every layer adds nothing to the embedding.
    """
    tokens = [prompt_end, *model.tokenizer.encode(text)]
    assert len(set(tokens)) == len(tokens), tokens
    decoder = dict(model.params["decoder"])
    layers = decoder["layers"]
    silent = {name: {"kernel": layers[name]["kernel"] * 0} for name in ("out", "down")}
    embedding = np.zeros(decoder["embedding"]["embedding"].shape, np.float32)
    head = np.zeros(decoder["lm_head"]["kernel"].shape, np.float32)
    following = [*tokens[1:], model.tokenizer.eos_token_id]
    for place, (token, after) in enumerate(zip(tokens, following, strict=True)):
        embedding[token, place] = 1
        head[place, after] = SURE
    decoder["layers"] = layers | silent
    decoder["embedding"] = {"embedding": jnp.asarray(embedding)}
    decoder["lm_head"] = {"kernel": jnp.asarray(head)}
    return replace(model, params=model.params | {"decoder": decoder})


def write_questions(folder, prefix, answers):
    """Pictures of sums in the manner of the quickstart, one for each answer."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for index, answer in enumerate(answers):
        name = f"images/{prefix}-{index}.png"
        picture = Image.new("L", (56, 56), 255)
        ImageDraw.Draw(picture).text((4 + index, 20), f"3 + {answer - 3}", fill=0)
        picture.convert("RGB").save(folder / name)
        row = {"id": f"{prefix}-{index}", "question": "What is the sum?"}
        row |= {"answer": str(answer), "image": name, "kind": "sum"}
        rows.append(row | {"caption": f"3\n{answer - 3}"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "items.jsonl").write_text(lines)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, vision_model, text_model):
    """A folder with `runs/quickstart` as a quickstart leaves it, made in a second.

    The policy reads the same in every picture, and the reasoner always answers 7.
    """
    from sophia_jax.data.prompts import encode_prompt
    from sophia_jax.models.folder import save_model

    folder = tmp_path_factory.mktemp("pages")
    run = folder / "runs" / "quickstart"
    run.mkdir(parents=True)
    prompt_end = int(encode_prompt(text_model.tokenizer, text_model.config, "?")[-1])
    policy = speaking(vision_model, prompt_end, "3, 4")
    save_model(policy, run / "base")
    save_model(policy, run / "model")
    save_model(speaking(text_model, prompt_end, "\\boxed{7}"), run / "reasoner")
    write_questions(run / "data" / "train", "train", [7, 7, 8, 7])
    write_questions(run / "data" / "held_out", "held-out", [7, 9])
    return folder


@pytest.fixture
def workspace(finished_run, tmp_path, monkeypatch):
    """An empty working folder beside that run, which pages only read.

    Programs are small and run once, so little time goes into making them fast.
    """
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(finished_run / "runs" / "quickstart")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    jax.config.update("jax_disable_most_optimizations", before)
