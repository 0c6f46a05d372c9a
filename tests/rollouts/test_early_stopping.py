"""Stopping early changes what is sampled, never what is selected."""

import dataclasses

import numpy as np
import pytest

from sophia_jax.config import SophiaConfig
from sophia_jax.rollouts.early_stopping import hopeful_order
from sophia_jax.rollouts.reasoning import write_reasonings
from sophia_jax.rollouts.selection import select_trajectories
from sophia_jax.types import Completion, Item

CONFIG = SophiaConfig(num_captions=4, num_reasonings=4)


class Slots:
    """A reasoner with few slots, whose samples' lengths and outcomes are given.

    All slots draw one token a tick; what has ended comes at every eighth tick, as from
    an engine that decodes in chunks. `num_tokens` counts what was drawn.
    """

    def __init__(self, plan, num_slots):
        self.plan, self.num_slots, self.num_tokens = plan, num_slots, 0

    def __call__(self, requests):
        return Running(self, requests)


class Running:
    def __init__(self, model, requests):
        self.model, self.stops = model, {}
        self.completions = self.run(requests)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.completions)

    def cancel(self, group, after=0):
        self.stops[group] = after

    def run(self, requests):
        waiting = [(r.group, n) for r in requests for n in range(r.num_samples)]
        running = {}
        while waiting or running:
            while waiting and len(running) < self.model.num_slots:
                running[waiting.pop(0)] = 0
            ended = []
            for _ in range(8):
                for place in list(running):
                    running[place] += 1
                    self.model.num_tokens += 1
                    if running[place] == self.model.plan[place][0]:
                        ended.append(self.completion(place, running.pop(place), "stop"))
            yield from ended
            for group, after in self.stops.items():
                mine = [place for place in running if place[0] == group]
                rest = [place for place in waiting if place[0] == group]
                if (rest and after) or any(running[place] < after for place in mine):
                    continue
                for place in mine + rest:
                    yield self.completion(place, running.pop(place, 0), "cancelled")
                waiting = [place for place in waiting if place[0] != group]

    def completion(self, place, length, reason):
        right = self.model.plan[place][1] if reason == "stop" else False
        return Completion(
            group=place[0],
            sample=place[1],
            text="right" if right else "wrong",
            token_ids=np.zeros(length, np.int32),
            behavior_log_probs=None,
            policy_log_probs=None,
            finish_reason=reason,
        )


class Outcome:
    def __init__(self, text):
        self.value = text

    def __bool__(self):
        return self.value == "right"


def verify(pairs):
    return [Outcome(response) for response, _ in pairs]


def items_of(count):
    return tuple(Item(f"q{n}", "?", "right", ()) for n in range(count))


def captions_of(items, rng):
    return [
        {
            "question_id": item.id,
            "caption": caption,
            "text": "",
            "policy_log_probs": rng.normal(size=3).tolist(),
        }
        for item in items
        for caption in range(CONFIG.num_captions)
    ]


def plan_of(items, rng):
    """Every length up to 12 in use, so that there are many ties."""
    plan = {}
    for item in items:
        for caption in range(CONFIG.num_captions):
            chance = rng.beta(2, 1)
            for n in range(CONFIG.num_reasonings):
                place = f"{caption}/{item.id}", n
                plan[place] = int(rng.integers(1, 13)), bool(rng.random() < chance)
    return plan


def collect(items, captions, plan, num_slots, config, **options):
    model = Slots(plan, num_slots)
    rows = write_reasonings(
        model, verify, items, captions, "{caption}{question}", config, **options
    )
    return rows, select_trajectories(items, rows, None, config), model.num_tokens


def chosen(selection):
    return [(row["caption"], row["reasoning"], row["kept"]) for row in selection]


@pytest.mark.parametrize("counts_tokens", [True, False])
@pytest.mark.parametrize("num_slots", [1, 5, 23, 1000])
def test_the_selection_is_that_of_full_sampling(num_slots, counts_tokens):
    saved = 0
    for seed in range(12):
        rng = np.random.default_rng((seed, num_slots))
        items = items_of(int(rng.integers(1, 40)))
        captions, plan = captions_of(items, rng), plan_of(items, rng)
        full = dataclasses.replace(CONFIG, early_stopping=False)
        _, expected, all_tokens = collect(items, captions, plan, num_slots, full)
        rows, selection, num_tokens = collect(
            items, captions, plan, num_slots, CONFIG, counts_tokens=counts_tokens
        )
        assert chosen(selection) == chosen(expected)
        assert len(rows) == len(plan)
        saved += all_tokens - num_tokens
        for found, exact in zip(selection, expected, strict=True):
            rewards = np.asarray(exact["least_caption_rewards"])
            assert np.all(found["least_caption_rewards"] <= rewards)
            assert np.all(rewards <= found["most_caption_rewards"])
            if found["kept"]:  # the winning caption's reward is exact
                bounds = ("least_caption_rewards", "most_caption_rewards")
                assert len({found[bound][found["caption"]] for bound in bounds}) == 1
    assert saved > 0


def test_what_was_stopped_is_neither_right_nor_wrong():
    rng = np.random.default_rng(0)
    items = items_of(8)
    rows, _, _ = collect(items, captions_of(items, rng), plan_of(items, rng), 5, CONFIG)
    stopped = [row for row in rows if row["verdict"] == "unfinished"]
    assert stopped
    assert {row["reward"] for row in stopped} == {None}
    assert {row["finish_reason"] for row in stopped} == {"cancelled"}
    assert {row["reward"] for row in rows} == {None, 0.0, 1.0}


def test_with_the_option_off_everything_is_finished():
    rng = np.random.default_rng(0)
    items = items_of(8)
    plan = plan_of(items, rng)
    config = dataclasses.replace(CONFIG, early_stopping=False)
    rows, _, num_tokens = collect(items, captions_of(items, rng), plan, 5, config)
    assert {row["finish_reason"] for row in rows} == {"stop"}
    assert num_tokens == sum(length for length, _ in plan.values())


def test_questions_take_turns_and_sure_captions_come_first():
    def caption(question, index, *log_probs):
        return {
            "question_id": question,
            "caption": index,
            "policy_log_probs": list(log_probs),
        }

    captions = [
        caption("a", 0, -3.0, -1.0),  # mean -2
        caption("a", 1, -0.5),
        caption("b", 0, -0.1),
        caption("b", 1, -0.2),
    ]
    assert hopeful_order(captions, 2) == [1, 2, 0, 3]
    for row in captions:
        row["policy_log_probs"] = None  # a server that gives none
    assert hopeful_order(captions, 2) == [0, 2, 1, 3]


def test_so_many_questions_take_turns_at_a_time():
    captions = [
        {"question_id": q, "caption": c, "policy_log_probs": None}
        for q in range(70)
        for c in range(2)
    ]
    order = hopeful_order(captions, 2)
    assert sorted(order) == list(range(140))
    first = [captions[index] for index in order[:128]]
    assert [row["question_id"] for row in first] == [*range(64), *range(64)]
    assert [row["caption"] for row in first] == [0] * 64 + [1] * 64
