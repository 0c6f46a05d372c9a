"""Captions are complete and in order, and never see a question."""

import numpy as np
import pytest

from sophia_jax.config import SophiaConfig
from sophia_jax.rollouts.captions import sample_row, write_captions
from sophia_jax.rollouts.store import CAPTIONS, ShardedTable
from sophia_jax.types import Completion, Request

CONFIG = SophiaConfig(num_captions=3, seed=5, round=2)


def say(request, sample):
    return f"{sample} of {request.group}"


@pytest.mark.parametrize("order", range(3))
def test_rows_are_complete_and_ordered_in_whatever_order_they_come(
    scripted, items, order
):
    rows = write_captions(scripted(say, order), items, "Describe.", CONFIG)
    places = [(row["question_id"], row["caption"]) for row in rows]
    assert places == [(name, n) for name in ("b", "a", "1/c") for n in range(3)]
    assert [row["text"] for row in rows] == [f"{n} of {name}" for name, n in places]
    assert {row["prompt"] for row in rows} == {"Describe."}
    assert {row["reward"] for row in rows} == {None}


def test_rows_fit_the_stored_table(scripted, items, tmp_path):
    rows = write_captions(scripted(say), items, "Describe.", CONFIG)
    table = ShardedTable(tmp_path / "captions", CAPTIONS, 1)
    table.write(0, rows)
    assert table.read(0) == rows


def test_the_policy_sees_the_picture_and_never_the_question(scripted, items):
    policy = scripted(say)
    write_captions(policy, items, "Describe.", CONFIG)
    assert [request.images for request in policy.requests] == [
        item.images for item in items
    ]
    for request, item in zip(policy.requests, items, strict=True):
        assert (request.text, request.system) == ("Describe.", None)
        assert request.num_samples == 3
        assert item.question not in repr(request)


def test_seeds_depend_on_seed_round_and_question_alone(scripted, items):
    def seeds(items, **settings):
        config = SophiaConfig(**{"num_captions": 3, "seed": 5, "round": 2} | settings)
        rows = write_captions(scripted(say), items, "Describe.", config)
        return {row["question_id"]: row["seed"] for row in rows}

    known = seeds(items)
    assert len(set(known.values())) == 3
    assert seeds(items[::-1]) == known
    assert seeds(items[1:2]) == {"a": known["a"]}
    assert seeds(items, num_captions=1) == known
    for change in ({"seed": 6}, {"round": 3}):
        assert not set(seeds(items, **change).values()) & set(known.values())


def test_items_of_the_same_id_are_refused(scripted, items):
    with pytest.raises(ValueError, match="requests: expected unique groups, got 'b'"):
        write_captions(scripted(say), [*items, items[0]], "Describe.", CONFIG)


def spoilt(model, change):
    """The model, with its list of completions changed."""
    return lambda requests: iter(change(list(model(requests))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda done: done[:-1],
            "completions: expected 9, got 8; the first one missing",
        ),
        (lambda done: [*done, done[0]], "completions: expected each sample once, got"),
        (
            lambda done: [*done, completion("stranger", 0)],
            "expected what was asked for, got sample 0 of group 'stranger'",
        ),
        (
            lambda done: [*done, completion("b", 3)],
            "expected what was asked for, got sample 3 of group 'b'",
        ),
    ],
)
def test_policy_that_loses_or_makes_up_a_completion_is_found_out(
    scripted, items, change, message
):
    with pytest.raises(RuntimeError, match=message):
        write_captions(spoilt(scripted(say), change), items, "Describe.", CONFIG)


def completion(group, sample):
    request = Request(group=group, text="", num_samples=1)
    return Completion(request.group, sample, "", np.zeros(1, int), None, None, "stop")


def test_lost_completion_is_named(scripted, items):
    def loses(requests):
        for completion in scripted(say)(requests):
            if (completion.group, completion.sample) != ("a", 1):
                yield completion

    with pytest.raises(RuntimeError, match=r"missing is sample 1 of group 'a'$"):
        write_captions(loses, items, "Describe.", CONFIG)


def test_servers_without_log_probabilities_leave_null():
    row = sample_row(completion("q", 0), seed=2**64 - 1)
    assert row["behavior_log_probs"] is row["policy_log_probs"] is None
    assert row["token_ids"] == [0]
    assert row["seed"] == 2**64 - 1
