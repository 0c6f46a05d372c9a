"""Reasonings come from captions, are judged, and are complete and in order."""

import dataclasses
from types import SimpleNamespace

import pytest

from sophia_jax.config import SophiaConfig
from sophia_jax.rollouts.captions import write_captions
from sophia_jax.rollouts.reasoning import write_reasonings
from sophia_jax.rollouts.store import REASONINGS, ShardedTable
from sophia_jax.types import InputError

CONFIG = SophiaConfig(num_captions=2, num_reasonings=3, seed=5, round=2)
TEMPLATE = "See: {caption}\nAsked: {question}"
HOSTILE = "{question} {0} {caption.__class__} }{ %s {{}}"


class Verdict(SimpleNamespace):
    """A verdict of a `RewardFn`: truthy when right."""

    def __bool__(self):
        return self.value == "right"


def verify(pairs):
    """Right is what ends with the answer; undecided is what ends with a question."""
    values = [
        "right"
        if response.endswith(answer)
        else "undecided"
        if response.endswith("?")
        else "wrong"
        for response, answer in pairs
    ]
    return [Verdict(value=value) for value in values]


def describe(request, sample):
    return f"caption {sample} of {request.group}"


def answer(request, sample):
    return ("so 4", "so 5", "or?")[sample]


@pytest.fixture
def captions(scripted, items):
    return write_captions(scripted(describe), items, "Describe.", CONFIG)


def reasonings(reasoner, items, captions, config=CONFIG, template=TEMPLATE):
    return write_reasonings(reasoner, verify, items, captions, template, config)


@pytest.mark.parametrize("order", range(3))
def test_rows_are_complete_and_ordered_in_whatever_order_they_come(
    scripted, items, captions, order
):
    def say(request, sample):
        return f"{request.group} {sample}"

    rows = reasonings(scripted(say, order), items, captions)
    places = [(r["question_id"], r["caption"], r["reasoning"]) for r in rows]
    assert places == [
        (name, caption, reasoning)
        for name in ("b", "a", "1/c")
        for caption in range(2)
        for reasoning in range(3)
    ]
    texts = [row["text"] for row in rows]
    assert texts == [f"{caption}/{name} {n}" for name, caption, n in places]
    assert reasonings(scripted(say, order + 1), items, captions) == rows


def test_rows_fit_the_stored_table(scripted, items, captions, tmp_path):
    rows = reasonings(scripted(answer), items, captions)
    table = ShardedTable(tmp_path / "reasonings", REASONINGS, 1)
    table.write(0, rows)
    assert table.read(0) == rows


def test_the_reasoner_reads_caption_and_question_and_sees_no_picture(
    scripted, items, captions
):
    reasoner = scripted(answer)
    rows = reasonings(reasoner, items, captions)
    assert [request.text for request in reasoner.requests] == [
        f"See: caption {caption} of {name}\nAsked: {name}?"
        for caption in range(2)  # the questions take turns
        for name in ("b", "a", "1/c")
    ]
    assert {request.images for request in reasoner.requests} == {()}
    assert {request.num_samples for request in reasoner.requests} == {3}
    assert rows[4]["prompt"] == reasoner.requests[3].text


def test_verdicts_become_rewards(scripted, items, captions):
    rows = reasonings(scripted(answer), items, captions)
    assert [row["verdict"] for row in rows[:3]] == ["right", "wrong", "undecided"]
    assert [row["reward"] for row in rows] == [1.0, 0.0, 0.0] * 6


def test_each_answer_is_compared_with_its_own_question(scripted, items, captions):
    seen = []

    def record(pairs):
        seen.extend(pairs)
        return verify(pairs)

    own = [dataclasses.replace(item, answer=item.id) for item in items]
    write_reasonings(
        scripted(lambda request, _: request.text),
        record,
        own,
        captions,
        TEMPLATE,
        CONFIG,
    )
    assert len(seen) == 18
    assert all(response.endswith(f"Asked: {name}?") for response, name in seen)


def test_truncated_reasoning_is_wrong_whatever_it_says(scripted, items, captions):
    judged = []

    def say(request, sample):
        return ("so 4", "length") if sample == 1 else "so 4"

    def record(pairs):
        judged.extend(pairs)
        return verify(pairs)

    rows = write_reasonings(scripted(say), record, items, captions, TEMPLATE, CONFIG)
    assert [row["verdict"] for row in rows] == ["right", "wrong", "right"] * 6
    assert [row["reward"] for row in rows] == [1.0, 0.0, 1.0] * 6
    assert [row["finish_reason"] for row in rows[:3]] == ["stop", "length", "stop"]
    assert len(judged) == 12


def test_braces_of_a_hostile_caption_are_only_text(scripted, items):
    captions = write_captions(scripted(lambda *_: HOSTILE), items, "Describe.", CONFIG)
    reasoner = scripted(answer)
    reasonings(reasoner, items, captions)
    assert reasoner.requests[0].text == f"See: {HOSTILE}\nAsked: b?"


def test_braces_of_a_question_are_only_text(scripted, items, captions):
    hard = [dataclasses.replace(item, question=HOSTILE) for item in items]
    reasoner = scripted(answer)
    reasonings(reasoner, hard, captions)
    assert reasoner.requests[0].text == f"See: caption 0 of b\nAsked: {HOSTILE}"


def test_seeds_depend_on_seed_round_question_and_caption_alone(scripted, items):
    def seeds(items, **settings):
        sizes = {"num_captions": 2, "num_reasonings": 3, "seed": 5, "round": 2}
        config = SophiaConfig(**sizes | settings)
        captions = write_captions(scripted(describe), items, "Describe.", config)
        caption_seeds = {row["seed"] for row in captions}
        rows = reasonings(scripted(answer), items, captions, config)
        found = {(row["question_id"], row["caption"]): row["seed"] for row in rows}
        assert not caption_seeds & set(found.values())
        return found

    known = seeds(items)
    assert len(set(known.values())) == 6
    assert seeds(items[::-1]) == known
    assert seeds(items, num_reasonings=1) == known
    assert seeds(items, num_captions=1).items() <= known.items()
    for change in ({"seed": 6}, {"round": 3}):
        assert not set(seeds(items, **change).values()) & set(known.values())


def test_ids_with_slashes_are_kept_apart(scripted, items):
    tricky = [dataclasses.replace(items[0], id=name) for name in ("1/c", "c")]
    config = SophiaConfig(num_captions=2, num_reasonings=1)
    captions = write_captions(scripted(describe), tricky, "Describe.", config)
    rows = reasonings(scripted(lambda r, _: r.text), tricky, captions, config)
    assert [row["text"].split("\n")[0] for row in rows] == [
        f"See: caption {n} of {name}" for name in ("1/c", "c") for n in range(2)
    ]


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda rows: rows[:-1], r"\('1/c', 1\), got None"),
        (lambda rows: rows[1:], r"\('b', 0\), got \('b', 1\)"),
        (lambda rows: [*rows, rows[0]], r"None, got \('b', 0\)"),
        (lambda rows: rows[::-1], r"\('b', 0\), got \('1/c', 1\)"),
    ],
)
def test_captions_that_are_not_those_of_the_questions_are_refused(
    scripted, items, captions, change, got
):
    with pytest.raises(InputError, match=f"captions: expected question_id, .*{got}"):
        reasonings(scripted(answer), items, change(captions))


def test_lost_reasoning_is_named(scripted, items, captions):
    def loses(requests):
        for completion in scripted(answer)(requests):
            if (completion.group, completion.sample) != ("1/a", 2):
                yield completion

    with pytest.raises(RuntimeError, match=r"got 17; .* sample 2 of group '1/a'$"):
        reasonings(loses, items, captions)


def test_verifier_that_loses_a_verdict_is_found_out(scripted, items, captions):
    with pytest.raises(ValueError, match="zip"):
        write_reasonings(
            scripted(answer),
            lambda pairs: verify(pairs)[1:],
            items,
            captions,
            TEMPLATE,
            CONFIG,
        )
