"""The loop as a whole: what is collected, kept and learnt, and what survives a kill."""

import dataclasses
import importlib.util
import random
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from sophia_jax.config import OptimizerConfig, SamplingConfig, SophiaConfig
from sophia_jax.data.packing import pack_examples
from sophia_jax.data.prompts import Prompts
from sophia_jax.generation.engine import Engine
from sophia_jax.models.tokenizer import token_counter, train_tokenizer
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sophia import (
    collect_rollouts,
    trajectory_examples,
    update_policy,
)
from sophia_jax.training.loop import TrainingConfig
from sophia_jax.training.step import policy_log_probs
from sophia_jax.types import Completion, InputError, Item

PROMPTS = Prompts(
    caption="Read.", reasoner="I see {caption}. {question}", system="Think first."
)
CONFIG = SophiaConfig(num_captions=2, num_reasonings=4, seed=3)

# For each question and caption, what the reasoner says. R: right, W: wrong, C: right
# but cut off; the number is how many words it takes.
PLAN = {
    # Caption 0: 4 of 4, above 0.75. Caption 1: 3 of 4, not above, though it has the
    # shortest answer. Kept: caption 0, reasoning 2.
    "clear": (("R9", "R7", "R5", "R6"), ("R1", "R2", "R3", "W1")),
    # Both 4 of 4. Shortest of all eight: caption 1, reasoning 0, first of two with 3.
    "both": (("R8", "R8", "R8", "R4"), ("R3", "R3", "R9", "R9")),
    # 3 of 4 each, since what is cut off is wrong: nothing kept.
    "cut off": (("R1", "R1", "R1", "C1"), ("W2", "R1", "R1", "R1")),
    # Never right: nothing kept.
    "hard": (("W1", "W2", "W3", "C1"), ("W1", "W1", "W1", "W1")),
}
REWARDS = {
    "clear": [1.0, 0.75],
    "both": [1.0, 1.0],
    "cut off": [0.75, 0.75],
    "hard": [0.0, 0.0],
}
KEPT = {"clear": (0, 2, 5), "both": (1, 0, 3)}
REASONS = {
    "clear": "kept",
    "both": "kept",
    "cut off": "no caption above the threshold",
    "hard": "no right answer",
}


def planned(question_id, caption, reasoning):
    """What the reasoner says, and how it ends."""
    plan = PLAN[question_id][caption][reasoning]
    answer = 12 if plan[0] in "RC" else 13
    thought = " ".join(["7"] * int(plan[1:]))
    text = rf"<think>{thought}</think>\boxed{{{answer}}}"
    return text, "length" if plan[0] == "C" else "stop"


def reasoner(requests):
    """A `GenerateFn` that follows the plan, in a shuffled order."""
    samples = [(r, n) for r in requests for n in range(r.num_samples)]
    random.Random(0).shuffle(samples)
    for request, sample in samples:
        caption, _, question_id = request.group.partition("/")
        text, reason = planned(question_id, int(caption), sample)
        ids = np.arange(3, dtype=np.int32)
        yield Completion(request.group, sample, text, ids, None, None, reason)


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Four questions about pictures of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    made = []
    for question_id in PLAN:
        path = folder / f"{question_id}.png"
        Image.fromarray(rng.integers(0, 256, (28, 28, 3), np.uint8)).save(path)
        question = f"What is {question_id}?"
        made.append(Item(question_id, question, "12", (str(path),)))
    return tuple(made)


def foreign(model):
    """The model, speaking in other tokens."""
    return dataclasses.replace(model, tokenizer=train_tokenizer(["a b c"], 270))


@pytest.fixture(scope="module")
def tables(vision_model, items, tmp_path_factory):
    """A whole collection: captions by a random InternVL, reasonings by the plan."""
    tables = RolloutTables(tmp_path_factory.mktemp("rollouts"), items, 3)
    with AnswerVerifier() as verifier:
        collect_rollouts(
            Engine(vision_model, SamplingConfig(max_new_tokens=8), slots=4),
            reasoner,
            verifier.verify,
            token_counter(vision_model, foreign(vision_model)),
            tables,
            PROMPTS,
            CONFIG,
        )
        assert verifier.counts.math_verify == 0
    return tables


@pytest.fixture(scope="module")
def examples(vision_model, items, tables):
    rows = tables.selection.read_all()
    return trajectory_examples(vision_model, items, rows, PROMPTS)


def test_captions_are_the_policys_own_and_do_not_see_the_question(tables, items):
    rows = tables.captions.read_all()
    places = [(row["question_id"], row["caption"]) for row in rows]
    assert places == [(item.id, n) for item in items for n in range(2)]
    assert {row["prompt"] for row in rows} == {"Read."}
    for row in rows:
        assert len(row["token_ids"]) == len(row["policy_log_probs"]) > 0
        assert row["finish_reason"] in ("stop", "length")
        assert max(row["policy_log_probs"]) <= 0


def test_reasonings_come_from_caption_and_question(tables, items):
    captions = {
        (row["question_id"], row["caption"]): row["text"]
        for row in tables.captions.read_all()
    }
    rows = tables.reasonings.read_all()
    assert len(rows) == 4 * 2 * 4
    for row in rows:
        place = (row["question_id"], row["caption"])
        assert row["prompt"] == f"I see {captions[place]}. What is {place[0]}?"
        text, _ = planned(*place, row["reasoning"])
        assert row["text"] == text
        right = PLAN[place[0]][place[1]][row["reasoning"]][0] == "R"
        assert row["verdict"] == ("right" if right else "wrong")
        assert row["reward"] == float(right)


def test_what_is_kept_is_what_was_worked_out_by_hand(tables):
    for row in tables.selection.read_all():
        name = row["question_id"]
        assert row["least_caption_rewards"] == REWARDS[name]
        assert row["most_caption_rewards"] == REWARDS[name]
        assert row["reason"] == REASONS[name]
        assert row["kept"] == (name in KEPT)
        assert row["reward"] == float(name in KEPT)
        if name in KEPT:
            caption, reasoning, _ = KEPT[name]
            assert (row["caption"], row["reasoning"]) == (caption, reasoning)
            assert row["text"] == planned(name, caption, reasoning)[0]


def test_lengths_are_the_policys_tokens_and_the_end(tables, vision_model):
    assert token_counter(vision_model, vision_model) is None
    count_tokens = token_counter(vision_model, foreign(vision_model))
    # Each word but the first costs its digit and a blank, in no more than two tokens.
    shorter, longer = count_tokens([planned("clear", 0, n)[0] for n in (2, 3)])
    assert shorter < longer <= shorter + 2
    tokenizer = vision_model.tokenizer
    for row in tables.selection.read_all():
        if row["kept"]:
            ids = tokenizer(row["text"], add_special_tokens=False).input_ids
            assert row["num_tokens"] == len(ids) + 1
    assert count_tokens([]) == []
    assert count_tokens([""]) == [1]


def test_update_learns_from_picture_and_question_and_never_from_the_caption(
    examples, items, tables, vision_model
):
    def read(ids):
        return vision_model.tokenizer.decode(ids, skip_special_tokens=False)

    pictures = "<img>" + "<IMG_CONTEXT>" * 4 + "</img>\n"
    for example, name in zip(examples, KEPT, strict=True):
        assert read(example.prompt_ids) == (
            "<|im_start|>Think first.<|im_end|>"
            f"<|im_start|>{pictures}What is {name}?<|im_end|>"
        )
        assert (
            read(example.target_ids) == planned(name, *KEPT[name][:2])[0] + "<|im_end|>"
        )
        assert example.images.shape == (1, 4, 32)
        assert example.reward == 1.0


def test_system_prompt_is_only_for_reasonings_that_think_between_tags(
    vision_model, items, tables
):
    rows = [row for row in tables.selection.read_all() if row["kept"]]
    plain = [{**row, "text": r"So \boxed{12}"} for row in rows]
    for example in trajectory_examples(vision_model, items, plain, PROMPTS):
        prompt = vision_model.tokenizer.decode(example.prompt_ids)
        assert "Think first." not in prompt


def test_pictures_of_one_question_are_given_in_turn(vision_model, items, tables):
    row = next(row for row in tables.selection.read_all() if row["kept"])
    both = dataclasses.replace(items[0], images=items[0].images + items[1].images)
    [pair] = trajectory_examples(vision_model, [both], [row], PROMPTS)
    [first] = trajectory_examples(vision_model, items[:1], [row], PROMPTS)
    assert pair.images.shape == (2, 4, 32)
    np.testing.assert_allclose(pair.images[:1], first.images, atol=1e-6)
    placeholder = vision_model.config.image_token_id
    assert np.sum(pair.prompt_ids == placeholder) == 8


def test_selection_of_other_questions_is_refused(vision_model, items, tables):
    rows = tables.selection.read_all()
    with pytest.raises(InputError, match=r"selection: expected ids .*, got 'clear'"):
        trajectory_examples(vision_model, items[1:], rows, PROMPTS)


TRAINING = TrainingConfig(
    optimizer=OptimizerConfig(num_steps=6, learning_rate=1e-2),
    batch_size=2,
    row_length=128,
)


def log_probs(model, examples):
    """log π(y | x, v) of each example, in nats."""
    batch = pack_examples(examples, model.config, row_length=128)
    tokens = policy_log_probs(model.graphdef, model.params, batch)
    return np.sum(np.asarray(tokens), axis=1, where=batch.target_mask)


def test_update_raises_what_was_kept_and_leaves_the_vision_alone(
    vision_model, examples, tmp_path
):
    start = jax.tree.map(np.array, vision_model.params)
    updated = update_policy(vision_model, examples, TRAINING, tmp_path)
    assert (log_probs(updated, examples) > log_probs(vision_model, examples) + 1).all()
    for part in ("vision", "projector"):
        same = jax.tree.map(np.array_equal, start[part], updated.params[part])
        assert all(jax.tree.leaves(same))
    same = jax.tree.map(np.array_equal, start["decoder"], updated.params["decoder"])
    assert not any(jax.tree.leaves(same))
    same = jax.tree.map(np.array_equal, start, vision_model.params)
    assert all(jax.tree.leaves(same))


def test_nothing_kept_is_said_before_anything_is_written(
    vision_model, items, tables, tmp_path
):
    rows = [row for row in tables.selection.read_all() if not row["kept"]]
    assert len(rows) == 2
    nothing = trajectory_examples(vision_model, items, rows, PROMPTS)
    assert not nothing
    with pytest.raises(InputError, match="got 0 trajectories kept"):
        update_policy(vision_model, nothing, TRAINING, tmp_path / "update")
    assert not (tmp_path / "update").exists()


# Resuming.

SCRIPT = Path(__file__).with_name("killed_collection.py")


class Interrupted(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture(scope="module")
def collection():
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def undisturbed(collection, tmp_path_factory):
    """The files of a collection that ran through."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert collection.collect(folder) == collection.NUM_COMPLETIONS == 40
    files = stored(folder)
    assert len(files) == 3 * 3
    return files


def stored(folder):
    """All that is there, leftovers of interrupted writes too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stop():
    raise Interrupted


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 9, 10, 11, 21, 22, 33, 39])
def test_interrupted_collection_ends_with_the_same_bytes(
    collection, undisturbed, tmp_path, limit
):
    with pytest.raises(Interrupted):
        collection.collect(tmp_path, limit, stop)
    before = stored(tmp_path)
    assert before.items() <= undisturbed.items()
    rest = collection.collect(tmp_path)
    assert stored(tmp_path) == undisturbed
    # Two questions a shard: 4 captions, then 12 reasonings are made again at most.
    assert 40 - limit <= rest < 40 - limit + 12


def test_collection_that_is_interrupted_again_and_again_ends_with_the_same_bytes(
    collection, undisturbed, tmp_path
):
    interruptions = 0
    while True:
        try:
            collection.collect(tmp_path, 13, stop)
            break
        except Interrupted:
            interruptions += 1
    # 4 + 4 + 2 captions, then 12 reasonings at most a run.
    assert interruptions == 3
    assert stored(tmp_path) == undisturbed


def test_whole_collection_is_not_made_again(collection, undisturbed, tmp_path):
    collection.collect(tmp_path)
    assert collection.collect(tmp_path, 0, stop) == 0
    assert stored(tmp_path) == undisturbed


def test_selection_alone_is_made_again_from_what_is_stored(
    collection, undisturbed, tmp_path
):
    collection.collect(tmp_path)
    for path in (tmp_path / "selection").iterdir():
        path.unlink()
    assert collection.collect(tmp_path, 0, stop) == 0
    assert stored(tmp_path) == undisturbed


def test_killed_process_is_gone_on_with_and_ends_with_the_same_bytes(
    collection, undisturbed, tmp_path
):
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "25"],
        cwd=SCRIPT.parent.parent,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert 0 < len(stored(tmp_path)) < len(undisturbed)
    assert collection.collect(tmp_path) < 40
    assert stored(tmp_path) == undisturbed
