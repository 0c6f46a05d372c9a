"""What is exported answers with torch what it answers here."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import sophia_jax as sj
from sophia_jax.data.arithmetic import KINDS
from sophia_jax.data.digits import compose_picture, split_scans
from sophia_jax.data.items import write_items
from sophia_jax.data.prompts import DIGITS
from sophia_jax.recipes.handwriting import (
    base_model,
    make_tokenizer,
)

SCRIPT = Path(__file__).parent.parent / "scripts" / "check_export.py"


@pytest.fixture(scope="module")
def check_export():
    spec = importlib.util.spec_from_file_location("check_export", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small model with large random weights, and six pictures with questions."""
    folder = tmp_path_factory.mktemp("export")
    tokenizer = make_tokenizer(DIGITS, 0)
    model = base_model(jax.random.key(0), tokenizer)
    # Larger weights than fresh ones, so that answers depend on the pictures.
    params = jax.tree.map(lambda x: 1.5 * x if x.ndim > 1 else x, model.params)
    sj.save_model(dataclasses.replace(model, params=params), folder / "model")
    rng = np.random.default_rng(0)
    scans = split_scans().held_out
    kinds = list(KINDS.items())
    questions = [
        (
            sj.Item(
                id=f"q{n}", question=kind.question, answer="0", images=(), kind=name
            ),
            compose_picture(rng, (17 * n + 3, 40 + n), scans, distort=False)[0],
        )
        for n, (name, kind) in enumerate(kinds + kinds[:1])
    ]
    write_items(folder / "data", questions)
    return folder


def test_torch_and_jax_say_the_same_from_the_png_files(exported, check_export):
    lines = (exported / "data" / "items.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    theirs = check_export.answer_with_torch(exported / "model", rows, exported / "data")
    ours = check_export.answer_with_jax(exported / "model", exported / "data")
    assert [ours[row["id"]] for row in rows] == theirs
    # The pictures matter: the first and the last question are the same words.
    assert rows[0]["question"] == rows[-1]["question"]
    assert theirs[0] != theirs[-1]
