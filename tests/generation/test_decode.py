"""What is drawn: the model's own distribution, whatever slots and pages do."""

import dataclasses

import numpy as np
import pytest

from sophia_jax.generation.scheduler import Scheduler
from sophia_jax.types import Request

LENGTHS = (5, 17, 1, 8, 9, 33, 16, 2)  # pages hold 8 tokens


@pytest.fixture(scope="module")
def prompts(random_prompts):
    return random_prompts(*LENGTHS)


@pytest.fixture(scope="module")
def end(tiny_tokenizer):
    return tiny_tokenizer.eos_token_id


@pytest.fixture(scope="module")
def free(token_engine, prompts):
    """What is drawn where nothing ends, with fewer slots than samples."""
    return token_engine(max_new_tokens=30).ask(prompts)


def assert_same(completions, others):
    for place, completion in completions.items():
        np.testing.assert_array_equal(completion.token_ids, others[place].token_ids)
        np.testing.assert_allclose(
            completion.policy_log_probs, others[place].policy_log_probs, atol=1e-5
        )


def test_without_an_end_every_sample_reaches_the_limit(free, prompts):
    assert sorted(free) == sorted((name, n) for name in prompts for n in range(3))
    assert {len(c.token_ids) for c in free.values()} == {30}
    assert {c.finish_reason for c in free.values()} == {"length"}


def test_log_probs_are_those_of_the_full_forward(free, prompts, full_log_probs):
    # Samples begin and end in the middle of pages, and cross several.
    for (name, _), completion in free.items():
        expected = full_log_probs(prompts[name], completion.token_ids)
        chosen = expected[np.arange(30), completion.token_ids]
        np.testing.assert_allclose(completion.policy_log_probs, chosen, atol=2e-5)


def test_greedy_samples_are_the_argmax_of_the_full_forward(
    token_engine, prompts, full_log_probs, end
):
    drawn = token_engine(max_new_tokens=20, temperature=0.0).ask(prompts, num_samples=2)
    for (name, _), completion in drawn.items():
        assert np.all(completion.behavior_log_probs == 0)
        log_probs = full_log_probs(prompts[name], completion.token_ids).copy()
        log_probs[:, end] = -np.inf  # it is not drawn here
        np.testing.assert_array_equal(completion.token_ids, log_probs.argmax(axis=1))


def test_samples_end_with_the_end_token(token_engine, prompts, full_log_probs, end):
    drawn = token_engine(max_new_tokens=8, never_ends=False).ask(prompts)
    assert {c.finish_reason for c in drawn.values()} == {"stop", "length"}
    for (name, _), completion in drawn.items():
        ends = np.flatnonzero(completion.token_ids == end).tolist()
        last = len(completion.token_ids) - 1
        assert ends == ([last] if completion.finish_reason == "stop" else [])
        log_probs = full_log_probs(prompts[name], completion.token_ids)
        chosen = log_probs[np.arange(last + 1), completion.token_ids]
        np.testing.assert_allclose(completion.policy_log_probs, chosen, atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 32},  # everything at once
        {"slots": 8},  # one lane, refilled many times
        {"page": 64},
        {"page": 4},
        {"bucket": 64},
        {"slots": 1},
    ],
    ids=str,
)
def test_slots_pages_and_buckets_change_nothing(token_engine, prompts, free, options):
    assert_same(token_engine(max_new_tokens=30, **options).ask(prompts), free)


def test_running_out_of_pages_changes_nothing(token_engine, prompts, monkeypatch):
    put_back = []
    before = Scheduler._put_back

    def watched(scheduler, slot):
        put_back.append(slot)
        before(scheduler, slot)

    monkeypatch.setattr(Scheduler, "_put_back", watched)
    free = token_engine(max_new_tokens=60, slots=8).ask(prompts)
    assert not put_back
    # Room for one sequence of the longest kind, 34 pages: 8 slots would fill 64.
    crowded = token_engine(max_new_tokens=60, slots=8)
    crowded.layout = dataclasses.replace(
        crowded.layout, num_pages=crowded.layout.most_parts
    )
    drawn = crowded.ask(prompts)
    assert put_back
    assert_same(drawn, free)


def test_the_order_of_the_requests_changes_nothing(token_engine, prompts, free):
    seeds = {name: index for index, name in enumerate(prompts)}
    backwards = dict(reversed(prompts.items()))
    assert_same(token_engine(max_new_tokens=30).ask(backwards, seeds=seeds), free)


def test_a_sample_does_not_depend_on_how_many_there_are(token_engine, prompts, free):
    drawn = token_engine(max_new_tokens=30).ask(prompts, num_samples=7)
    assert_same(free, drawn)


def test_a_limit_of_one_token_gives_the_first_token(token_engine, prompts, free):
    drawn = token_engine(max_new_tokens=1).ask(prompts)
    for place, completion in drawn.items():
        assert completion.token_ids.tolist() == free[place].token_ids[:1].tolist()


def test_each_sample_ends_at_its_own_limit(token_engine, prompts, free):
    engine = token_engine(max_new_tokens=30)
    engine.limits_of = {name: [1 + int(name), 30, 8] for name in prompts}
    for (name, sample), completion in engine.ask(prompts).items():
        limit = engine.limits_of[name][sample]
        expected = free[name, sample].token_ids[:limit]
        np.testing.assert_array_equal(completion.token_ids, expected)


def test_the_seed_decides_and_both_its_halves_count(token_engine, random_prompts):
    [(_, ids)] = random_prompts(9).items()
    seeds = {"a": 5, "b": 5, "c": 5 + 2**40, "d": 6}
    drawn = token_engine().ask(dict.fromkeys(seeds, ids), seeds=seeds)
    said = {name: drawn[name, 0].token_ids.tolist() for name in seeds}
    assert said["a"] == said["b"]
    assert said["a"] != said["c"]
    assert said["a"] != said["d"]


def test_samples_of_a_group_differ(free, prompts):
    for name in prompts:
        assert len({tuple(free[name, n].token_ids) for n in range(3)}) == 3


def test_every_position_has_its_own_noise(token_engine, random_prompts):
    # So hot that the noise alone decides: the same noise would draw the same token.
    drawn = token_engine(temperature=1e6).ask(random_prompts(5))
    for completion in drawn.values():
        assert len(set(completion.token_ids.tolist())) > 6


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.7}, {"top_p": 0.8}], ids=str
)
def test_tokens_follow_the_distribution_with_sharing_refilling_and_stopping(
    token_engine, random_prompts, full_log_probs, end, settings
):
    # Second tokens, given the likeliest first one, of one prompt under many seeds: 128
    # equal prompts share their pages, samples end after 2 or 3 tokens and slots are
    # refilled in between, and every fourth group is stopped while it runs.
    [(_, ids)] = random_prompts(13).items()
    num_groups, num_samples = 128, 48
    engine = token_engine(max_new_tokens=3, slots=64, **settings)
    names = [f"{n}" for n in range(num_groups)]
    engine.limits_of = {name: [2, 3] * (num_samples // 2) for name in names}
    run = engine.run(
        dict.fromkeys(names, ids),
        (Request(name, "", num_samples=num_samples, seed=int(name)) for name in names),
    )
    firsts, seconds = [], []
    for completion in run:
        if int(completion.group) % 4 == 3:
            run.cancel(completion.group)
        if len(completion.token_ids) >= 2:
            firsts.append(completion.token_ids[0])
            seconds.append(completion.token_ids[1])
    firsts, seconds = np.asarray(firsts), np.asarray(seconds)
    probs = sampled_probs(full_log_probs(ids, [9]), end, settings)[0]
    assert_follows(firsts, probs)
    after = {
        first: sampled_probs(full_log_probs(ids, [first, 9]), end, settings)[1]
        for first in set(firsts.tolist())
    }
    assert_follows(seconds, np.mean([after[first] for first in firsts], axis=0))


def sampled_probs(log_probs, end, settings):
    """The distribution that is sampled, in NumPy and float64."""
    logits = log_probs.astype(np.float64) / settings.get("temperature", 1.0)
    logits[:, end] = -np.inf
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    order = np.argsort(-probs, axis=1)
    likelier = np.cumsum(np.take_along_axis(probs, order, 1), axis=1)
    likelier = np.take_along_axis(likelier, np.argsort(order, axis=1), 1) - probs
    probs = np.where(likelier < settings.get("top_p", 1.0), probs, 0)
    return probs / probs.sum(axis=1, keepdims=True)


def assert_follows(drawn, probs):
    """Chi-squared over the likeliest tokens and the rest."""
    assert np.all(probs[drawn] > 0)
    likeliest = np.argsort(-probs)[:8]
    wanted = len(drawn) * np.append(probs[likeliest], 1 - probs[likeliest].sum())
    counts = np.bincount(drawn, minlength=len(probs))[likeliest]
    counts = np.append(counts, len(drawn) - counts.sum())
    counts, wanted = counts[wanted > 0], wanted[wanted > 0]
    assert wanted.min() > 10
    chi_squared = np.sum((counts - wanted) ** 2 / wanted)
    assert chi_squared < len(wanted) + 5 * np.sqrt(2 * len(wanted))
