"""A judge's worth among many answers, from few of them."""

import itertools
import math

import numpy as np
import pytest

from sophia_jax.evaluation.judge_fit import fit_judge, log_likelihood, refit
from sophia_jax.evaluation.judge_forecast import answers_of, forecast
from sophia_jax.evaluation.judge_model import (
    JudgeModel,
    best_num_samples,
    best_temperature,
    predict_accuracy,
)
from sophia_jax.evaluation.judged import within_question_concordance

NAN = math.nan
LEVELS = np.array([NAN, 0.0, 2.0, 5.0, 8.0, 10.0])
# On easy questions the judge is good; on hard ones its best scores mislead.
EASY = [0.2 * np.array([10, 50, 20, 10, 7, 3]), 0.8 * np.array([10, 5, 10, 15, 30, 30])]
HARD = [
    0.7 * np.array([10, 20, 20, 20, 15, 15]),
    0.3 * np.array([10, 20, 20, 30, 15, 5]),
]
TRUE = JudgeModel(LEVELS, np.array([0.6, 0.4]), np.array([EASY, HARD]) / 100)
KS = (1, 2, 4, 8, 16, 64, 1000, math.inf)


def draw(num_questions, num_samples, seed):
    random = np.random.default_rng(seed)
    classes = random.choice(2, p=TRUE.shares, size=num_questions)
    cells = [
        random.choice(12, p=TRUE.probs[c].ravel(), size=num_samples) for c in classes
    ]
    return [(LEVELS[cell % 6], cell >= 6) for cell in cells]


@pytest.mark.parametrize("temperature", [0.0, 0.3, 2.0, 50.0, math.inf])
def test_every_way_to_draw_k_answers_counts_by_its_probability(temperature):
    for k in (1, 2, 3):
        expected = 0.0
        for share, probs in zip(TRUE.shares, TRUE.probs, strict=True):
            for cells in itertools.product(range(12), repeat=k):
                chance = share * np.prod([probs.ravel()[cell] for cell in cells])
                scores = LEVELS[np.array(cells) % 6]
                right = np.array(cells) >= 6
                known = ~np.isnan(scores)
                if not known.any():
                    continue
                best = scores[known].max()
                weights = (
                    (scores[known] == best).astype(float)
                    if temperature == 0
                    else np.exp((scores[known] - best) / temperature)
                )
                expected += chance * (weights @ right[known]) / weights.sum()
        found = predict_accuracy(TRUE, [k, 7], temperature=temperature)
        assert found[0] == pytest.approx(expected, abs=1e-12)


def test_many_answers_come_near_to_infinitely_many():
    for temperature in (0.0, 1.0, 10.0):
        found = predict_accuracy(TRUE, [10**6, math.inf], temperature=temperature)
        assert found[0] == pytest.approx(found[1], abs=1e-5)
    # The best level is 10: .24 of .246 are right in the one class, .015 of .12 in the
    # other.
    expected = 0.6 * 0.24 / (0.24 + 0.006) + 0.4 * 0.015 / (0.015 + 0.105)
    assert predict_accuracy(TRUE, [math.inf], temperature=0.0)[0] == pytest.approx(
        expected
    )


def test_the_k_and_the_t_are_the_best_ones():
    for temperature in (0.0, 1.0):
        every = predict_accuracy(TRUE, range(1, 200), temperature=temperature)
        found = best_num_samples(TRUE, temperature=temperature)
        assert found == 1 + int(np.argmax(every)) < 10
    # One class with a judge that never misleads: more is better for ever.
    good = JudgeModel(LEVELS, np.ones(1), TRUE.probs[:1])
    assert best_num_samples(good, temperature=0.0) is None
    # One that prefers wrong answers: a single answer, and the highest T.
    bad = JudgeModel(LEVELS, np.ones(1), TRUE.probs[:1, :, [0, 5, 4, 3, 2, 1]])
    assert best_num_samples(bad, temperature=0.0) == 1
    assert best_temperature(bad, num_samples=16) == math.inf
    best = best_temperature(TRUE, num_samples=16)
    top = predict_accuracy(TRUE, [16], temperature=best)[0]
    assert 0 < best < math.inf
    for other in (0.0, best / 1.3, best * 1.3, math.inf):
        assert predict_accuracy(TRUE, [16], temperature=other)[0] < top


def test_concordance_is_that_of_answers_drawn_from_the_model():
    random = np.random.default_rng(3)
    one, other = (JudgeModel(LEVELS, np.ones(1), TRUE.probs[[c]]) for c in (0, 1))
    for model in (one, other):
        cells = random.choice(12, p=model.probs.ravel(), size=4000)
        drawn = within_question_concordance(LEVELS[cells % 6], cells >= 6)
        assert model.concordance == pytest.approx(drawn, abs=0.02)
    assert other.concordance < 0.5 < TRUE.concordance < one.concordance


def test_a_fit_finds_the_model_behind_the_answers():
    model = fit_judge(draw(600, 8, seed=0))
    assert len(model.shares) > 1
    for temperature in (0.0, 1.0, 5.0):
        np.testing.assert_allclose(
            predict_accuracy(model, KS, temperature=temperature),
            predict_accuracy(TRUE, KS, temperature=temperature),
            atol=0.05,
        )
    assert model.concordance == pytest.approx(TRUE.concordance, abs=0.03)
    assert best_num_samples(model, temperature=0.0) in (3, 4, 5)
    fresh = draw(300, 8, seed=1)
    assert log_likelihood(model, fresh) == pytest.approx(
        log_likelihood(with_edges(TRUE, model), fresh), abs=0.05
    )


def with_edges(model, fitted):
    return JudgeModel(model.levels, model.shares, model.probs, fitted.edges)


def test_doubling_every_question_fits_what_counting_it_twice_does():
    questions = draw(40, 6, seed=2)
    model = fit_judge(questions)
    np.testing.assert_allclose(model.probs.sum(axis=(1, 2)), 1)
    assert model.shares.sum() == pytest.approx(1)
    [once] = refit(model, questions * 2, np.ones((1, 80)))
    [twice] = refit(model, questions, np.full((1, 40), 2.0))
    np.testing.assert_allclose(once.probs, twice.probs, rtol=1e-9)
    # Whoever is not drawn does not count.
    some = np.arange(40) < 25
    [left] = refit(model, questions, some.astype(float)[None])
    [alone] = refit(model, questions[:25], np.ones((1, 25)))
    np.testing.assert_allclose(left.probs, alone.probs, rtol=1e-9)


def test_many_scores_become_levels_that_are_fine_at_the_top():
    random = np.random.default_rng(0)
    questions = []
    for _ in range(100):
        right = random.random(16) < 0.5
        questions.append((random.normal(size=16) + right, right))
    model = fit_judge(questions)
    known = model.levels[1:]
    assert len(known) <= 24
    assert np.all(np.diff(known) > 0)
    scores = np.concatenate([each for each, _ in questions])
    assert np.mean(scores >= model.edges[-1]) < 0.01
    # Of two normal distributions at distance 1: Phi(1 / sqrt 2).
    assert model.concordance == pytest.approx(0.7602, abs=0.03)


def test_a_forecast_holds_on_the_other_half():
    rows = [
        [
            {"score": None if np.isnan(s) else s, "verdict": "right" if r else "wrong"}
            for s, r in zip(*each, strict=True)
        ]
        for each in draw(400, 16, seed=7)
    ]
    found = forecast(
        answers_of(rows), ks=[1, 4, 16], temperatures=[0.0, 3.0], num_resamples=40
    )
    assert found["num_questions"] == [200, 200]
    assert found["fit_samples"] == 8
    for curve, temperature in zip(found["curves"], (0.0, 3.0), strict=True):
        truth = predict_accuracy(TRUE, [1, 4, 16], temperature=temperature)
        for place, true in enumerate(truth):
            low, high = curve["difference"][place]
            assert low < 0 < high
            assert high - low < 0.25
            for name in ("predicted", "measured"):
                low, high = curve[f"{name}_interval"][place]
                assert low < curve[name][place] < high
                assert low - 0.02 < true < high + 0.02
    best = found["best_num_samples"][0]
    assert 2 <= best["predicted"] <= 8
    assert best["interval"][0] <= best["predicted"]
    assert found["best_temperature"]["k"] == 16
    assert found["pass@1"]["predicted"] == pytest.approx(TRUE.accuracy, abs=0.08)
    assert found["concordance"]["measured"] > 0.5


def test_what_a_judge_thinks_of_a_whole_question_changes_no_forecast():
    questions = draw(40, 6, seed=4)
    questions[0] = (np.full(6, NAN), questions[0][1])
    moods = np.random.default_rng(0).integers(-500, 500, 40)
    moody = [
        (scores + mood, right)
        for mood, (scores, right) in zip(moods, questions, strict=True)
    ]
    options = {"ks": [1, 2, 6], "temperatures": [0.0, 1.0], "num_resamples": 3}
    assert forecast(moody, **options) == forecast(questions, **options)


def test_a_forecast_does_not_look_at_the_other_half():
    questions = draw(40, 6, seed=5)
    order = np.random.default_rng(0).permutation(40)
    turned = list(questions)
    for place in order[20:]:
        scores, right = questions[place]
        turned[place] = (scores, ~right)
    options = {"ks": [1, 4], "temperatures": [1.0], "num_resamples": 3}
    one, other = (forecast(each, **options) for each in (questions, turned))
    assert one["curves"][0]["predicted"] == other["curves"][0]["predicted"]
    assert one["curves"][0]["measured"] != other["curves"][0]["measured"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda q: q[:3], "questions: expected four or more, with equally many"),
        (
            lambda q: [*q[:-1], (q[-1][0][:2], q[-1][1][:2])],
            "equally many answers, got",
        ),
        (lambda q: [(s * NAN, r) for s, r in q], "scores: expected at least one, got"),
    ],
)
def test_answers_that_say_nothing_are_refused(change, rule):
    with pytest.raises(ValueError, match=rule):
        forecast(change(draw(8, 4, seed=6)), ks=[1], temperatures=[0.0])


@pytest.mark.parametrize(
    ("ks", "temperature", "rule"),
    [
        ([0.5], 1.0, "k: expected >= 1"),
        ([1], -1.0, "temperature: expected >= 0, got -1"),
    ],
)
def test_numbers_out_of_their_range_are_refused(ks, temperature, rule):
    with pytest.raises(ValueError, match=rule):
        predict_accuracy(TRUE, ks, temperature=temperature)
