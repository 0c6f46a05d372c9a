"""A critic reads the state before each token, and learns what it is worth."""

import dataclasses

import numpy as np
import optax
import pytest

from sophia_jax.data.packing import pack_examples
from sophia_jax.training.critic import (
    BEHAVIOR_VALUE,
    RETURN,
    critic_step,
    init_critic,
    values,
)


@pytest.fixture(scope="module")
def batch(text_examples, text_model):
    """Packed; the return of each token is its answer's reward, counted from the end."""

    def with_signals(example):
        tokens = len(example.target_ids)
        returns = example.reward * np.arange(tokens, 0, -1, dtype=np.float32)
        signals = {RETURN: returns, BEHAVIOR_VALUE: np.zeros(tokens, np.float32)}
        return dataclasses.replace(example, signals=signals)

    examples = [with_signals(example) for example in text_examples]
    return pack_examples(examples, text_model.config, row_length=32)


@pytest.fixture(scope="module")
def taught(text_model, batch):
    """Critics after 0 and 60 updates, and the metrics of each update."""
    critic = init_critic(text_model, optax.adam(1e-2))
    untaught, metrics = values(critic, batch), []
    for _ in range(60):
        critic, found = critic_step(critic, batch, clip=np.inf)
        metrics.append(found)
    return untaught, critic, metrics


def test_an_untaught_critic_values_nothing(taught):
    assert not np.any(taught[0])


def test_it_learns_what_each_state_is_worth(taught, batch):
    _, critic, metrics = taught
    losses = [float(each["value_loss"]) for each in metrics]
    assert losses[-1] < losses[0] / 10
    assert float(metrics[-1]["explained_variance"]) > 0.9
    found, mask = np.asarray(values(critic, batch)), batch.target_mask
    errors = found[mask] - batch.signals[RETURN][mask]
    assert np.sqrt(np.mean(errors**2)) < 0.3 * np.std(batch.signals[RETURN][mask])
    assert not found[~mask].any()


def test_a_value_knows_nothing_of_its_own_token_and_what_follows(
    taught, text_model, text_examples
):
    example = text_examples[4]
    other = dataclasses.replace(example, target_ids=example.target_ids.copy())
    other.target_ids[2:] = other.target_ids[2:][::-1] + 1

    def value(each):
        packed = pack_examples([each], text_model.config, row_length=32)
        return np.asarray(values(taught[1], packed))[0, : len(each.target_ids)]

    first, second = value(example), value(other)
    np.testing.assert_allclose(first[:3], second[:3], atol=1e-6)
    assert np.abs(first[3:] - second[3:]).max() > 1e-3


def test_a_critic_shares_no_weight_with_the_policy(taught, text_model):
    trained = taught[1].params["decoder"]["embedding"]["embedding"]
    start = text_model.params["decoder"]["embedding"]["embedding"]
    assert np.abs(trained - start).max() > 1e-4  # and the start can still be read


def test_a_critic_on_a_mesh_is_refused(text_model):
    on_mesh = dataclasses.replace(text_model, partition=object())
    with pytest.raises(ValueError, match="model: expected one on one device"):
        init_critic(on_mesh, optax.sgd(1.0))
