"""Which questions are shown, and the pictures and lengths that go with them."""

import base64
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sophia_jax.types import Item
from sophia_jax.viz.answers import make_answer_cards
from sophia_jax.viz.in_turn import in_turn
from sophia_jax.viz.pictures import LARGEST, SMALL, embed_picture
from sophia_jax.viz.rollout_cards import choose_questions, make_cards
from sophia_jax.viz.rollouts import (
    RolloutShards,
    count_rollouts,
    read_lengths,
    read_selection,
)


def row(name, *rewards, reason="kept"):
    return {
        "question_id": name,
        "least_caption_rewards": list(rewards),
        "most_caption_rewards": list(rewards),
        "kept": reason == "kept",
        "reason": reason,
    }


def names(rows):
    return [each["question_id"] for each in rows]


def test_groups_take_turns_and_keep_their_order():
    assert in_turn(["b1", "a1", "a2", "b2", "a3"], lambda name: name[0]) == [
        *("a1", "b1"),
        *("a2", "b2"),
        "a3",
    ]
    assert in_turn([], str) == []


def test_kept_questions_come_by_kind_the_undecided_captions_first():
    items = {n: Item(n, "?", "1", ("x",), kind=n[0]) for n in ("a1", "a2", "b1", "b2")}
    rows = [row("a1", 1, 1), row("a2", 1, 0), row("b1", 1, 1), row("b2", 1, 0)]
    assert names(choose_questions(rows, items, 4)) == ["a2", "b2", "a1", "b1"]


def test_room_is_left_for_dropped_questions_and_filled_where_there_are_few():
    kept = [row(f"k{i}", 1) for i in range(20)]
    dropped = [row(f"x{i}", 0, reason="x") for i in range(9)]
    dropped += [row("y0", 0, reason="y")]
    chosen = names(choose_questions(kept + dropped, {}, 12))
    assert chosen == [f"k{i}" for i in range(8)] + ["x0", "y0", "x1", "x2"]
    assert len(choose_questions(kept + dropped[:1], {}, 12)) == 12
    assert len(choose_questions(kept[:2] + dropped, {}, 12)) == 12


def test_counts_come_from_the_tables(whole_run):
    shards = RolloutShards.find(whole_run)
    counts = count_rollouts(shards, read_selection(shards))
    # 2 questions, 2 captions each, 3 reasonings each; 3 + 1 + 0 + 0 right.
    assert (counts.num_questions, counts.captions, counts.reasonings) == (2, 4, 12)
    assert (counts.right, counts.kept) == (4, 1)
    assert counts.dropped == {"no right answer": 1}


def test_lengths_are_those_of_right_reasonings_and_of_the_kept_one(whole_run):
    shards = RolloutShards.find(whole_run)
    right, kept = read_lengths(shards, read_selection(shards))
    # Reasoning r of caption c has 1 + 3 c + r tokens. Of q1 all of caption 0 are right
    # and the middle one of caption 1; reasoning 1 of caption 0 was kept.
    np.testing.assert_array_equal(right, [1, 2, 3, 5])
    np.testing.assert_array_equal(kept, [2])


def test_a_card_holds_its_own_question_only(whole_run):
    shards = RolloutShards.find(whole_run)
    first, second = make_cards(shards, read_selection(shards), {}, 0.75)
    assert [line.outcomes for line in first.captions] == [
        ("right", "right", "right"),
        ("wrong", "right", "cut off"),
    ]
    assert [line.passes for line in first.captions] == [True, False]
    assert [line.kept_reasoning for line in first.captions] == [1, None]
    assert (first.wrong.caption, first.wrong.reasoning) == (1, 0)
    assert second.kept_text is None
    assert {outcome for line in second.captions for outcome in line.outcomes} == {
        "wrong",
        "cut off",
    }


@pytest.mark.parametrize(
    ("finish_reason", "outcome"),
    [("too_long", "prompt too long"), ("refused", "refused"), ("stop", "wrong")],
)
def test_a_reasoning_that_a_server_did_not_give_is_named(
    whole_run, finish_reason, outcome
):
    shards = RolloutShards.find(whole_run)
    (path,) = shards.reasonings.paths
    table = pq.read_table(path)
    rows = [row | {"finish_reason": finish_reason} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    *_, card = make_cards(shards, read_selection(shards), {}, 0.75)
    assert {each for line in card.captions for each in line.outcomes} == {outcome}
    assert card.wrong.outcome == outcome


def test_answers_stand_side_by_side(whole_run):
    (card,) = make_answer_cards(whole_run, 12)
    assert {model: r.verdict for model, r in card.responses.items()} == {
        "base": "wrong",
        "sophia": "right",
    }
    assert card.responses["base"].extracted is None
    assert card.picture is not None


def test_a_question_without_a_picture_is_shown_without_one(run_folder):
    path = run_folder / "evaluations" / "base" / "predictions.parquet"
    (row,) = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist([row | {"image": None}]), path)
    (card,) = make_answer_cards(run_folder, 12)
    assert card.picture is None


@pytest.mark.parametrize(
    ("size", "shown", "pixelated"),
    [
        ((84, 84), (84, 84), True),
        ((SMALL, 3), (SMALL, 3), True),
        ((SMALL + 1, 3), (SMALL + 1, 3), False),
        ((4 * LARGEST, 2 * LARGEST), (LARGEST, LARGEST // 2), False),
    ],
)
def test_pictures_are_embedded_at_a_fair_size(tmp_path, size, shown, pixelated):
    Image.new("RGB", size, "red").save(tmp_path / "x.png")
    picture = embed_picture(tmp_path / "x.png")
    assert ((picture.width, picture.height), picture.pixelated) == (shown, pixelated)
    content = base64.b64decode(picture.uri.split(",", 1)[1])
    with Image.open(io.BytesIO(content)) as decoded:
        assert decoded.size == shown


def test_what_is_no_picture_is_not_embedded(tmp_path):
    (tmp_path / "secret.png").write_text("secret")
    assert embed_picture(tmp_path / "secret.png") is None
    assert embed_picture(tmp_path / "nothing.png") is None
