"""Objectives of packed batches: pairs, signals, parts, and one step for all of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sophia_jax.data.packing import pack_examples, pack_parts
from sophia_jax.losses import (
    JENSEN_SHANNON,
    REVERSE_KL,
    alpha_divergence,
    f_dpo_loss,
    grpo_token_loss,
    sequence_mean,
    sequence_weights,
    token_weights,
)
from sophia_jax.training import objectives
from sophia_jax.training.step import init_state, policy_log_probs, train_step
from sophia_jax.types import InputError

DESCENT = optax.sgd(1.0)


def with_signals(example, seed):
    """Random advantage, behaviour and reference of an example."""
    rng = np.random.default_rng(seed)
    tokens = len(example.target_ids)
    signals = {
        objectives.ADVANTAGE: float(rng.normal()),
        objectives.BEHAVIOR: rng.uniform(-6, -5, tokens).astype(np.float32),
        objectives.REFERENCE: rng.uniform(-6, -5, tokens).astype(np.float32),
    }
    return dataclasses.replace(example, signals=signals)


@pytest.fixture(scope="module")
def examples(text_examples):
    return [with_signals(example, n) for n, example in enumerate(text_examples)]


@pytest.fixture(scope="module")
def pairs(examples):
    return list(zip(examples[::2], examples[1::2], strict=True))


@pytest.fixture(scope="module")
def log_probs(text_model):
    """By example, each packed alone."""

    def log_probs(example):
        batch = pack_examples([example], text_model.config, row_length=32)
        found = policy_log_probs(text_model.graphdef, text_model.params, batch)
        return np.asarray(found)[0, : len(example.target_ids)].astype(np.float64)

    return log_probs


@pytest.fixture(scope="module")
def metrics(text_model):
    def metrics(batch, objective, **options):
        state = init_state(text_model, DESCENT, objective=objective, **options)
        return jax.device_get(train_step(state, batch)[1])

    return metrics


def parts(examples, text_model, num_parts=3, **options):
    return pack_parts(
        examples, text_model.config, num_parts=num_parts, row_length=32, **options
    )


def test_signals_lie_beside_the_targets(examples, text_model):
    batch = pack_examples(
        examples, text_model.config, row_length=32, num_sequences=len(examples) + 2
    )
    assert set(batch.signals) == set(examples[0].signals)
    for number, example in enumerate(examples):
        tokens = len(example.target_ids)
        for name, value in example.signals.items():
            found = batch.signals[name][number]
            if np.ndim(value):
                np.testing.assert_array_equal(found[:tokens], value)
                assert not found[tokens:].any()
            else:
                assert found == np.float32(value)
    assert not any(array[len(examples) :].any() for array in batch.signals.values())


def test_pairs_stay_together_in_every_part_and_shard(pairs, text_model):
    batch = parts(pairs, text_model, num_parts=2, num_shards=2)
    known = {pair[0].reward: pair[1].reward for pair in pairs}
    rewards = batch.reward.reshape(-1, 2)
    some = rewards[rewards.any(axis=1)]
    assert len(some) == len(pairs)
    assert all(known[float(chosen)] == rejected for chosen, rejected in some)


def test_groups_of_three_begin_at_multiples_of_three(examples, text_model):
    groups = [examples[n : n + 3] for n in range(0, 12, 3)]
    batch = parts(groups, text_model, num_parts=2)
    assert batch.reward.shape[1] % 3 == 0
    first = {group[0].reward for group in groups}
    assert {float(x) for x in batch.reward.reshape(-1, 3)[:, 0]} - {0.0} == first


@pytest.mark.parametrize(
    "divergence",
    [REVERSE_KL, JENSEN_SHANNON, alpha_divergence(0.3)],
    ids=lambda d: d.name,
)
def test_f_dpo_of_a_batch_is_that_of_its_pairs(
    divergence, pairs, log_probs, metrics, text_model
):
    ratios = np.array(
        [
            [np.sum(log_probs(e) - e.signals[objectives.REFERENCE]) for e in pair]
            for pair in pairs
        ],
        np.float32,
    )
    chosen, rejected = jnp.asarray(ratios.T)
    expected = f_dpo_loss(chosen, rejected, divergence, beta=0.5)
    margin = divergence.scaled_difference(chosen, rejected, 0.5)
    found = metrics(
        parts(pairs, text_model),
        objectives.f_dpo(divergence, beta=0.5),
        measure=objectives.pair_measures(divergence, beta=0.5),
    )
    np.testing.assert_allclose(found["loss"], expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(found["reward_margin"], margin.mean(), rtol=1e-3)
    np.testing.assert_allclose(found["reward_accuracy"], (margin > 0).mean(), rtol=1e-6)
    np.testing.assert_allclose(found["chosen_log_ratio"], chosen.mean(), rtol=1e-4)
    np.testing.assert_allclose(found["rejected_log_ratio"], rejected.mean(), rtol=1e-4)


def test_the_preference_of_a_pair_is_by_the_likelihood_of_its_answers(
    pairs, log_probs, metrics, text_model
):
    rewards = np.array([[log_probs(each).sum() for each in pair] for pair in pairs])
    margin = rewards[:, 0] - rewards[:, 1]
    found = metrics(parts(pairs, text_model), objectives.preference)
    expected = np.logaddexp(0, -margin).mean()
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-4)


def test_preferences_are_learnt(pairs, text_model):
    start = text_model
    with_reference = []
    for pair in pairs:
        batch = pack_examples(pair, start.config, row_length=32)
        found = np.asarray(policy_log_probs(start.graphdef, start.params, batch))
        with_reference.append(
            tuple(
                dataclasses.replace(
                    example,
                    signals={objectives.REFERENCE: found[n, : len(example.target_ids)]},
                )
                for n, example in enumerate(pair)
            )
        )
    batch = pack_examples(with_reference, start.config, row_length=32)
    state = init_state(
        start,
        optax.adam(1e-2),
        objective=objectives.f_dpo(JENSEN_SHANNON, beta=0.3),
        measure=objectives.pair_measures(JENSEN_SHANNON, beta=0.3),
    )
    seen = []
    for _ in range(8):
        state, found = train_step(state, batch)
        seen.append(jax.device_get(found))
    np.testing.assert_allclose(seen[0]["loss"], np.log(2), rtol=1e-4)
    assert seen[0]["reward_accuracy"] == pytest.approx(0.5, abs=0.5)
    assert seen[-1]["loss"] < 0.6 and seen[-1]["reward_accuracy"] == 1
    assert seen[-1]["reward_margin"] > 0.1


@pytest.mark.parametrize("num_parts", [1, 3])
def test_grpo_of_a_batch_is_that_of_its_sequences(
    num_parts, examples, log_probs, metrics, text_model
):
    def token_losses(example):
        policy = jnp.asarray(log_probs(example), jnp.float32)[None]
        behavior, reference = (
            jnp.asarray(example.signals[name])[None]
            for name in (objectives.BEHAVIOR, objectives.REFERENCE)
        )
        return grpo_token_loss(
            policy,
            behavior,
            jnp.array([example.signals[objectives.ADVANTAGE]]),
            jnp.ones(policy.shape, bool),
            reference_log_probs=reference,
            kl_coefficient=0.1,
        )

    tokens = [np.asarray(token_losses(example))[0] for example in examples]
    batch = parts(examples, text_model, num_parts=num_parts)
    everything = np.concatenate(tokens)
    for reduce, expected in [
        (objectives.over_sequence, np.mean([each.mean() for each in tokens])),
        (objectives.over_update, everything.mean()),
        (objectives.over_length(20), everything.sum() / 20 / len(tokens)),
    ]:
        found = metrics(batch, objectives.grpo(kl_coefficient=0.1, reduce=reduce))
        np.testing.assert_allclose(found["loss"], expected, rtol=1e-4, atol=1e-6)


def test_an_advantage_may_be_of_each_token(examples, text_model):
    def with_tokens(example):
        each = np.full(len(example.target_ids), example.signals[objectives.ADVANTAGE])
        signals = {**example.signals, objectives.ADVANTAGE: each.astype(np.float32)}
        return dataclasses.replace(example, signals=signals)

    batch = pack_examples(examples, text_model.config, row_length=32)
    of_tokens = pack_examples(
        [with_tokens(example) for example in examples], text_model.config, row_length=32
    )
    mean_length = jnp.full(len(batch.reward), 5.0)
    log_probs = jnp.where(batch.target_mask, -5.0, 0)  # some beyond their clips
    for function in (objectives.grpo(), objectives.grpo_measures()):
        found = [
            function(
                log_probs,
                each.replace(
                    signals={**each.signals, objectives.MEAN_LENGTH: mean_length}
                ),
            )
            for each in (batch, of_tokens)
        ]
        jax.tree.map(np.testing.assert_array_equal, *found)


def test_the_ratio_to_the_behaviour_is_always_logged(
    examples, text_examples, log_probs, metrics, text_model
):
    behavior = [float(np.sum(x.signals[objectives.BEHAVIOR])) for x in examples]
    ratios = [
        np.sum(log_probs(example)) - log_prob
        for example, log_prob in zip(examples, behavior, strict=True)
    ]
    by_token = metrics(parts(examples, text_model), objectives.sophia)
    # Of whole answers, as across tokenizers, and not of all of them: three parts.
    known = [
        dataclasses.replace(example, behavior_log_prob=log_prob)
        for example, log_prob in zip(text_examples, behavior, strict=True)
    ]
    whole = metrics(parts(known[:7] + text_examples[7:], text_model), objectives.sophia)
    for found, expected in ((by_token, ratios), (whole, ratios[:7])):
        np.testing.assert_allclose(found["log_ratio"], np.mean(expected), rtol=1e-4)
        np.testing.assert_allclose(
            found["absolute_log_ratio"], np.mean(np.abs(expected)), rtol=1e-4
        )
    unknown = metrics(parts(text_examples, text_model), objectives.sophia)
    assert np.isnan(unknown["log_ratio"])


@pytest.mark.parametrize("num_parts", [1, 3])
def test_of_all_tokens_the_clipped_ones_and_the_gap_to_the_sampler_are_logged(
    num_parts, examples, log_probs, metrics, text_model
):
    def told(example, number):
        """Ratios around 1, on either side of either clip."""
        policy = log_probs(example)
        ratio = np.random.default_rng(number).uniform(0.5, 1.6, len(policy))
        signals = dict(example.signals) | {
            objectives.BEHAVIOR: (policy - np.log(ratio)).astype(np.float32),
            objectives.SAMPLER: (policy + 0.25 * (-1) ** number).astype(np.float32),
        }
        gain = signals[objectives.ADVANTAGE]
        clipped = ratio > 1.3 if gain > 0 else ratio < 0.8
        return dataclasses.replace(example, signals=signals), clipped

    sampled, clipped = zip(*map(told, examples, range(12)), strict=True)
    measure = objectives.grpo_measures(clip_low=0.2, clip_high=0.3)
    batch = parts(sampled, text_model, num_parts=num_parts)
    found = metrics(batch, objectives.sophia, measure=measure)
    expected = np.concatenate(clipped).mean()
    assert 0 < expected < 1
    np.testing.assert_allclose(found["clip_share"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["sampler_gap"], 0.25, rtol=1e-3)
    assert "log_ratio" in found


@pytest.mark.parametrize("weights", [sequence_weights, token_weights])
def test_weighted_sophia_weighs_each_answer(
    weights, examples, log_probs, metrics, text_model
):
    def loss(example):
        policy = jnp.asarray(log_probs(example), jnp.float32)[None]
        behavior = jnp.asarray(example.signals[objectives.BEHAVIOR])[None]
        given = weights(policy, behavior, jnp.ones(policy.shape, bool), largest=1.5)
        return -example.reward * float(jnp.sum(given * policy))

    found = metrics(
        parts(examples, text_model), objectives.weighted_sophia(weights, largest=1.5)
    )
    expected = np.mean([loss(example) for example in examples])
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-4)


def test_equal_options_are_one_objective():
    assert objectives.grpo(clip_high=0.3) is objectives.grpo(clip_high=0.3)
    one, two = (objectives.f_dpo(alpha_divergence(0.3), beta=0.2) for _ in range(2))
    assert one is two
    assert one is not objectives.f_dpo(alpha_divergence(0.4), beta=0.2)


def test_an_objective_of_one_s_own_is_a_function(examples, metrics, text_model):
    def longest_first(log_probs, batch):
        return sequence_mean(-log_probs, batch.target_mask) * batch.signals["weight"]

    weighted = [
        dataclasses.replace(each, signals={"weight": float(n)})
        for n, each in enumerate(examples)
    ]
    found = metrics(parts(weighted, text_model), longest_first)
    assert found["loss"] > 0


def test_signals_that_do_not_fit_are_refused(examples, text_model):
    short = dataclasses.replace(examples[0], signals={"x": np.zeros(2, np.float32)})
    with pytest.raises(InputError, match="expected one x for each of 3 target tokens"):
        parts([short, *examples[1:]], text_model)
    other = dataclasses.replace(examples[1], signals={"x": 1.0})
    with pytest.raises(InputError, match="example 1: expected signals"):
        pack_examples([examples[0], other], text_model.config, row_length=32)
    with pytest.raises(ValueError, match=r"expected groups of one size, got \[1, 2\]"):
        parts([examples[0], tuple(examples[1:3])], text_model, num_parts=1)
