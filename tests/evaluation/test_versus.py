"""Two runs matched by question, and refused when they are of other questions."""

import numpy as np
import pytest

from sophia_jax.evaluation.significance import paired_difference
from sophia_jax.evaluation.versus import versus
from sophia_jax.types import InputError

NAMES = ("one", "two")


def run(verdicts, **changes):
    """A run whose questions have these verdicts, a letter for each sample."""
    return [
        {
            "question_id": name,
            "sample": sample,
            "kind": "sum" if name < "c" else "product",
            "question": f"{name}?",
            "answer": "1",
            "verdict": {"r": "right", "w": "wrong", "u": "undecided"}[verdict],
        }
        | changes.get(name, {})
        for name, samples in verdicts.items()
        for sample, verdict in enumerate(samples)
    ]


def test_questions_are_matched_by_id_not_by_place():
    first = run({"a": "r", "b": "w", "c": "w", "d": "r"})
    second = run({"d": "w", "c": "r", "b": "r", "a": "r"})
    compared = versus(first, second, names=NAMES)
    assert (compared["first"], compared["second"]) == (0.5, 0.75)
    assert (compared["won"], compared["lost"], compared["tied"]) == (2, 1, 1)
    assert compared["test"] == "McNemar's exact test"
    assert compared["num_questions"] == 4
    assert [each["question_id"] for each in compared["changed"]] == ["b", "c", "d"]
    assert compared["changed"][0] == {
        "question_id": "b",
        "kind": "sum",
        "first": 0.0,
        "second": 1.0,
    }
    assert compared["by_kind"]["sum"]["difference"] == 0.5
    assert compared["by_kind"]["product"]["won"] == 1


def test_several_samples_count_by_their_share_even_where_numbers_differ():
    first, second = run({"a": "rw", "b": "ww"}), run({"a": "rrru", "b": "wwww"})
    compared = versus(first, second, names=NAMES, seed=3)
    pair = paired_difference(np.array([0.5, 0.0]), np.array([0.75, 0.0]), seed=3)
    assert compared["difference"] == pair.difference == 0.125
    assert compared["interval"] == pair.interval
    assert compared["p_value"] == pair.p_value


def test_the_largest_gains_come_first():
    first = run({"a": "rrrr", "b": "wwww", "c": "wwww", "d": "rrww"})
    second = run({"a": "wwww", "b": "rwww", "c": "rrrw", "d": "rrww"})
    changed = versus(first, second, names=NAMES)["changed"]
    assert [each["question_id"] for each in changed] == ["c", "b", "a"]


def test_a_run_against_itself_is_a_tie():
    rows = run({"a": "r", "b": "w"})
    compared = versus(rows, rows, names=NAMES)
    assert (compared["difference"], compared["p_value"]) == (0.0, 1.0)
    assert compared["interval"] == (0.0, 0.0)
    assert compared["changed"] == []


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            {"a": "r"},
            r"two: expected the questions of one, got 1 \('b' first\) missing",
        ),
        ({"a": "r", "b": "r", "c": "r"}, r"got 0 missing and 1 \('c' first\) more"),
        ({"x": "r"}, "two: expected questions of one, got none"),
        ({}, "two: expected at least one answered question, got none"),
    ],
)
def test_other_questions_are_refused(second, message):
    with pytest.raises(InputError, match=message):
        versus(run({"a": "r", "b": "w"}), run(second), names=NAMES)


def test_common_questions_are_compared_on_demand_and_the_others_counted():
    first, second = run({"a": "r", "b": "w"}), run({"b": "r", "c": "r", "d": "w"})
    compared = versus(first, second, names=NAMES, common=True)
    assert (compared["num_questions"], compared["difference"]) == (1, 1.0)
    assert (compared["only_first"], compared["only_second"]) == (1, 2)


@pytest.mark.parametrize("field", ["question", "answer"])
def test_the_same_ids_of_other_questions_are_refused(field):
    verdicts = {"a": "r", "b": "w"}
    second = run(verdicts, b={field: "changed"})
    with pytest.raises(
        InputError, match=f"two: {field} of 'b': expected .* in one, got"
    ):
        versus(run(verdicts), second, names=NAMES, common=True)
