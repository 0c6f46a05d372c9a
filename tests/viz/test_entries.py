"""What became of each text, and how questions can be told apart by it."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sophia_jax.evaluation.predictions import PREDICTIONS, write_predictions
from sophia_jax.types import InputError, Item
from sophia_jax.viz.answer_entries import answer_entries
from sophia_jax.viz.questions import find_pictures, read_questions
from sophia_jax.viz.rollout_entries import (
    OTHER_CHOICE,
    Decision,
    rollout_entries,
)
from sophia_jax.viz.rollouts import (
    RolloutShards,
    count_rollouts,
    read_lengths,
    read_selection,
)


def rollouts(run, threshold=0.75):
    shards = RolloutShards.find(run)
    items = read_questions(run, None)
    total = len(read_selection(shards))
    return list(rollout_entries(run, shards, total, items, threshold).entries)


# --- rollouts ---


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


def test_each_reasoning_has_its_fate(whole_run):
    first, second = rollouts(whole_run)
    notes = [[leaf.note for leaf in branch.leaves] for branch in first.branches]
    assert notes == [
        [
            OTHER_CHOICE,
            "kept",
            "longer than the kept one",
        ],
        [
            "wrong answer",
            "its caption’s reward is not above 0.75",
            "cut off at the length limit",
        ],
    ]
    assert [branch.passes for branch in first.branches] == [True, False]
    assert [leaf.kept for leaf in first.branches[0].leaves] == [False, True, False]
    assert (first.status, second.status) == ("kept", "no right answer")


@pytest.mark.parametrize(
    ("reason", "tokens", "length", "reward", "fate"),
    [
        ("kept", 5, 4, 1.0, "longer than the kept one"),
        ("kept", 4, 4, 1.0, "as long as the kept one, which comes first"),
        ("kept", 3, 4, 1.0, OTHER_CHOICE),
        ("kept", None, 4, 1.0, OTHER_CHOICE),
        ("kept", 4, None, 1.0, OTHER_CHOICE),
        # What was stopped counts as not right: the least is the reward that counts.
        ("kept", 5, 4, 0.5, "its caption’s reward is not above 0.75"),
        ("kept", 5, 4, 0.75, "its caption’s reward is not above 0.75"),
        ("no score of a right answer", 4, None, 1.0, "it has no score"),
    ],
)
def test_why_a_right_reasoning_was_not_kept(reason, tokens, length, reward, fate):
    row = {"kept": reason == "kept", "reason": reason, "caption": 1, "reasoning": 1}
    reasoning = {"caption": 1, "reasoning": 2, "num_tokens": tokens}
    assert Decision(row, length, 0.75).fate(reasoning, (reward, 1.0)) == fate


def test_one_before_the_kept_one_was_not_passed_over_for_its_place():
    row = {"kept": True, "reason": "kept", "caption": 1, "reasoning": 1}
    before = {"caption": 0, "reasoning": 7, "num_tokens": 4}
    assert Decision(row, 4, 0.75).fate(before, (1.0, 1.0)) == OTHER_CHOICE


def test_a_reward_at_the_threshold_does_not_pass_in_single_precision():
    reward = (float(np.float32(0.8)),) * 2
    assert reward[0] > 0.8
    assert Decision({"kept": True}, 4, 0.8).passes(reward) is False
    assert Decision({"kept": True}, 4, 0.7).passes(reward) is True


def test_without_a_threshold_the_selection_s_reason_is_given():
    row = {"kept": False, "reason": "no caption above the threshold"}
    decision = Decision(row, None, None)
    reasoning = {"caption": 0, "reasoning": 0, "num_tokens": 4}
    fate = decision.fate(reasoning, (0.5, 0.5))
    assert fate == "no caption above the threshold"
    assert decision.passes((1.0, 1.0)) is None


def test_a_reward_that_is_no_number_is_not_known(run_folder):
    (path,) = RolloutShards.find(run_folder).selection.paths
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0] |= dict.fromkeys(
        ("least_caption_rewards", "most_caption_rewards"), [float("nan"), 1.0]
    )
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    first, _ = rollouts(run_folder)
    found = [(branch.reward, branch.passes, branch.note) for branch in first.branches]
    assert found == [(None, None, ""), ((1.0, 1.0), True, "above 0.75")]


@pytest.mark.parametrize(
    ("finish_reason", "mark", "note"),
    [
        ("too_long", "prompt too long", "never written: its prompt was too long"),
        ("refused", "refused", "never written: the server refused"),
        ("stop", "wrong", "wrong answer"),
    ],
)
def test_a_reasoning_that_a_server_did_not_give_is_named(
    run_folder, finish_reason, mark, note
):
    (path,) = RolloutShards.find(run_folder).reasonings.paths
    table = pq.read_table(path)
    rows = [row | {"finish_reason": finish_reason} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    *_, entry = rollouts(run_folder)
    found = {(leaf.mark, leaf.note) for b in entry.branches for leaf in b.leaves}
    assert found == {(mark, note)}


def test_captions_are_compared_with_what_the_picture_holds(whole_run):
    first, second = rollouts(whole_run)
    # Its true caption is "caption 5", and its captions are "caption N" and more.
    kinds = [[kind for kind, _ in branch.differences] for branch in first.branches]
    assert [kind[0] for kind in kinds] == ["same", "same"]
    assert ("held", "5") in first.branches[0].differences
    assert first.labels["captions right"] == "none"
    assert second.truth is None and "captions right" not in second.labels
    assert all(branch.differences is None for branch in second.branches)


# --- answers ---


def row(name, verdict, sample=0, **columns):
    given = {
        "question_id": name,
        "sample": sample,
        "kind": "sum",
        "level": "",
        "question": f"What is {name}?",
        "answer": "7",
        "image": None,
        "response": "It is 7.",
        "extracted": "7",
        "verdict": verdict,
        "caption": None,
        "caption_right": None,
        "num_tokens": 4,
        "finish_reason": "stop",
        "score": None,
    }
    return given | columns


def answers(folder, tables, items=None):
    files = {}
    for name, rows in tables.items():
        files[name] = folder / f"{name}.parquet"
        write_predictions(files[name], [rows])
    found = answer_entries("answers", folder, files, items or {})
    return found.total, list(found.entries)


def test_two_models_are_told_apart_by_what_changed(tmp_path):
    before = [row("a", "wrong"), row("b", "right"), row("c", "right")]
    after = [row("a", "right"), row("b", "wrong"), row("d", "wrong")]
    total, found = answers(tmp_path, {"before": before, "after": after})
    assert total == 4
    assert [(each.name, each.status, each.good) for each in found] == [
        ("a", "now right", True),
        ("b", "no longer right", False),
        ("c", "right", True),
        ("d", "wrong", False),
    ]
    assert found[0].words == "before: wrong; after: right"


def test_several_answers_are_counted_and_the_best_scored_named(tmp_path):
    rows = [row("a", "right", 0, score=0.5), row("a", "wrong", 1, score=2.0)]
    rows += [row("b", "right", 0, score=float("nan")), row("b", "right", 1)]
    _, (a, b) = answers(tmp_path, {"Answers": rows})
    assert (a.status, a.words) == ("some right", "1 of 2 answers right")
    assert a.labels["best-scored answer"] == "not right"
    assert "best-scored answer" not in b.labels
    assert a.branches[0].leaves[1].note == "answer 7, score 2"


def test_the_best_scored_answers_of_two_models_are_told_apart(tmp_path):
    tables = {
        "before": [row("a", "wrong", score=0.5)],
        "after": [row("a", "right", score=0.5)],
    }
    _, (a,) = answers(tmp_path, tables)
    assert a.labels["best-scored answer, before"] == "not right"
    assert a.labels["best-scored answer, after"] == "right"
    assert "best-scored answer" not in a.labels


def test_an_answer_that_was_cut_off_says_so(tmp_path):
    cut = {"finish_reason": "length", "extracted": None}
    _, (entry,) = answers(tmp_path, {"Answers": [row("a", "wrong", **cut)]})
    (leaf,) = entry.branches[0].leaves
    assert leaf.mark == "cut off"
    assert leaf.note == "no answer found, cut off at the length limit"


def test_a_description_is_compared_with_the_true_one(tmp_path):
    said = {"caption": "7 38", "caption_right": False}
    items = {"a": Item("a", "?", "7", (), caption="7\n33")}
    _, (entry,) = answers(tmp_path, {"Answers": [row("a", "right", **said)]}, items)
    assert entry.branches[0].differences == (
        *(("same", "7 "), ("said", "38")),
        ("held", "33"),
    )
    assert entry.labels["description"] == "wrong"


def test_tables_of_earlier_versions_are_read(tmp_path):
    early = PREDICTIONS.remove(PREDICTIONS.get_field_index("score"))
    table = pa.Table.from_pylist([row("a", "right")], early)
    pq.write_table(table.drop_columns(["level", "sample"]), tmp_path / "early.parquet")
    files = {"Answers": tmp_path / "early.parquet"}
    (entry,) = answer_entries("answers", tmp_path, files, {}).entries
    assert entry.status == "right"
    pq.write_table(table.drop_columns(["verdict"]), files["Answers"])
    with pytest.raises(InputError, match="early.parquet: .* got no column verdict"):
        list(answer_entries("answers", tmp_path, files, {}).entries)


# --- pictures of questions ---


def test_pictures_are_looked_for_where_the_run_may_have_them(tmp_path):
    inside = tmp_path / "data" / "held_out" / "images"
    inside.mkdir(parents=True)
    (inside / "x.png").write_text("")
    there, lost = find_pictures(tmp_path, ["elsewhere/x.png", "y.png", "z" * 5_000])
    assert (there, lost) == ((inside / "x.png",), 2)
