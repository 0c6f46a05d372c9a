"""Which questions a notebook shows."""

from sophia_jax.types import Item
from sophia_jax.viz.examples import choose_questions, in_turn


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
