"""The frontier's task is known wholly: what is computed of it, and what is drawn."""

import numpy as np
import pytest

from sophia_jax.losses import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    alpha_divergence,
)
from sophia_jax.recipes.frontier.batches import batches_of
from sophia_jax.recipes.frontier.exact import (
    answer_log_probs,
    exact_divergence,
    exact_reward,
    optimum_curve,
)
from sophia_jax.recipes.frontier.laboratory import (
    standardised,
)
from sophia_jax.recipes.frontier.learnt_rewards import (
    reward_correlation,
)
from sophia_jax.recipes.frontier.reference import fresh_model, prompt_ids
from sophia_jax.recipes.frontier.samples import draw_samples, sampler, shuffled
from sophia_jax.recipes.frontier.task import (
    CUT_OFF,
    LONGEST,
    PROMPTS,
    START,
    all_answers,
    answer_number,
    draw_task,
    raw_rewards,
    usual_words,
)

# --- the task ---


def test_every_answer_is_there_once_and_knows_its_number():
    answers = all_answers()
    assert len(answers.lengths) == sum(4**n for n in range(LONGEST + 1))
    assert len(np.unique(answers.token_ids, axis=0)) == len(answers.lengths)
    for number in (0, 1, 4, 5, 20, 700, 1364, 1365, 5460):
        token_ids = answers.token_ids[number][: answers.lengths[number]]
        assert answer_number(token_ids) == number
    assert answers.cut_off.sum() == 4**LONGEST


@pytest.mark.parametrize("token_ids", [[0, 1], [4, 4], [0] * 6 + [4], [], [5, 4]])
def test_what_is_no_answer_has_no_number(token_ids):
    with pytest.raises(ValueError, match="token_ids: expected an answer of the task"):
        answer_number(np.array(token_ids, int))


def test_a_reward_is_the_mean_worth_of_neighbours():
    task = draw_task(0)
    worth, found = task.worth[2], raw_rewards(task)[2]
    b_a = worth[START, 1] + worth[1, 0] + worth[0, 4]
    assert found[answer_number(np.array([1, 0, 4]))] == pytest.approx(b_a / 3)
    cut = worth[START, 3] + 5 * worth[3, 3]
    assert found[answer_number(np.full(6, 3))] == pytest.approx(cut / 6 + CUT_OFF)


def test_usual_words_follow_their_probabilities():
    task, rng = draw_task(1), np.random.default_rng(0)
    words = usual_words(task, rng, 1, 4000)
    assert max(map(len, words)) < LONGEST
    # Of words of one letter "a", against those of one letter "b": no other factor.
    ways = [task.usual[1, START, x] * task.usual[1, x, 4] for x in (0, 1)]
    counts = np.array([words.count("a"), words.count("b")])
    expected = ways[0] / sum(ways)
    error = np.sqrt(expected * (1 - expected) / counts.sum())
    assert counts[0] / counts.sum() == pytest.approx(expected, abs=4 * error)


# --- what is computed ---


@pytest.fixture(scope="module")
def model():
    return fresh_model(0)


@pytest.fixture(scope="module")
def log_probs(model):
    return answer_log_probs(model, prompt_ids(model))


def test_the_sampler_gives_answers_as_often_as_is_computed(model, log_probs):
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-5)
    samples = draw_samples(sampler(model), 250, 0, "test")
    told = [each.sum() for each in samples.log_probs]
    np.testing.assert_allclose(
        told, log_probs[samples.prompts, samples.answers], atol=1e-4
    )
    # How often words end at once, or are one letter long.
    short = np.exp(log_probs)[:, :5].sum(1)
    drawn = np.bincount(samples.prompts[samples.answers < 5], minlength=len(PROMPTS))
    errors = np.sqrt(short * (1 - short) / 250)
    assert np.all(np.abs(drawn / 250 - short) < 4 * errors + 1e-9)


def test_a_divergence_by_hand():
    policy, reference = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.25, 0.5]])
    # u = 2, 1, 1/2
    assert exact_divergence(policy, reference, REVERSE_KL) == pytest.approx(
        0.25 * np.log(2), rel=1e-5
    )
    f = (np.sqrt([2, 1, 0.5]) - [1.5, 1, 0.75]) / -0.25  # f(u), α = 1/2
    assert exact_divergence(policy, reference, alpha_divergence(0.5)) == pytest.approx(
        np.dot([0.25, 0.25, 0.5], f), rel=1e-4
    )


def test_what_a_policy_gave_up_costs_all_that_it_can():
    with np.errstate(divide="ignore"):
        policy = np.log([[1.0, 0.0]])
    reference = np.log([[0.5, 0.5]])
    assert exact_divergence(policy, reference, REVERSE_KL) == pytest.approx(np.log(2))
    # f(2) / 2 + f(0) / 2, f(u) = u log u - (u + 1) log((u + 1) / 2)
    expected = (2 * np.log(2) - 3 * np.log(1.5)) / 2 + np.log(2) / 2
    found = exact_divergence(policy, reference, JENSEN_SHANNON)
    assert found == pytest.approx(expected, rel=1e-5)
    assert exact_divergence(policy, reference, FORWARD_KL) > 30


@pytest.mark.parametrize("divergence", [REVERSE_KL, JENSEN_SHANNON, FORWARD_KL])
def test_nobody_is_above_the_optimum(log_probs, divergence):
    rewards = standardised(raw_rewards(draw_task(0)), log_probs)
    np.testing.assert_allclose(np.sum(np.exp(log_probs) * rewards, 1), 0, atol=1e-6)
    assert reward_correlation(rewards, rewards, log_probs) == pytest.approx(1)
    curve = optimum_curve(log_probs, rewards, divergence, np.array([0.1, 1.0, 10.0]))
    assert curve[0]["reward"] > curve[1]["reward"] > curve[2]["reward"] > 0
    assert curve[0]["divergence"] > curve[1]["divergence"] > curve[2]["divergence"]
    rng = np.random.default_rng(0)
    for best in curve:
        for slope, noise in ((1 / best["beta"], 0), (0.5, 0.5), (0.9, 0.1), (0, 1)):
            tilted = (
                log_probs + slope * rewards + noise * rng.normal(size=rewards.shape)
            )
            other = tilted - np.log(np.exp(tilted).sum(1, keepdims=True))
            gain = exact_reward(other, rewards) - best["beta"] * exact_divergence(
                other, log_probs, divergence
            )
            most = best["reward"] - best["beta"] * best["divergence"]
            assert gain <= most + 1e-4


# --- what is learnt from ---


def test_neighbours_stay_neighbours(model):
    samples = shuffled(
        draw_samples(sampler(model), 8, 0, "pairs"), np.random.default_rng(0)
    )
    first, second = samples.prompts.reshape(-1, 2).T
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) == len(PROMPTS)
    for answer, token_ids in zip(samples.answers, samples.token_ids, strict=True):
        assert answer_number(token_ids) == answer


def test_an_epoch_holds_each_example_once():
    batches = batches_of(list("abcdef"), 4, np.random.default_rng(0))
    drawn = [next(batches) for _ in range(3)]
    assert all(len(batch) == 4 for batch in drawn)
    both = sum(drawn, [])
    assert sorted(both[:6]) == sorted(both[6:]) == list("abcdef")
