"""A reward model reads whole answers, and learns which are preferred."""

import dataclasses

import numpy as np
import optax
import pytest

from sophia_jax.data.packing import pack_examples
from sophia_jax.training.critic import init_critic
from sophia_jax.training.reward_model import answer_rewards, preference_step


@pytest.fixture(scope="module")
def pairs(text_examples):
    """Each answer with one more token, beside the same without its first token."""
    whole = [
        dataclasses.replace(each, target_ids=np.append(each.target_ids, np.int32(1)))
        for each in text_examples
        if len(each.target_ids) > 2
    ]
    return [(e, dataclasses.replace(e, target_ids=e.target_ids[1:])) for e in whole]


@pytest.fixture(scope="module")
def taught(text_model, pairs):
    """A batch of which four sequences are padding, the model after 40 updates on it,
    and the metrics of each."""
    batch = pack_examples(
        pairs, text_model.config, row_length=32, num_sequences=2 * len(pairs) + 4
    )
    model, metrics = init_critic(text_model, optax.adam(1e-2)), []
    for _ in range(40):
        model, found = preference_step(model, batch)
        metrics.append({name: float(value) for name, value in found.items()})
    return batch, model, metrics


def test_it_learns_which_answers_are_preferred(taught):
    batch, model, metrics = taught
    # Before the first update it rewards all alike: log 2, and no pair told right.
    assert metrics[0]["preference_loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert metrics[0]["reward_accuracy"] == 0
    assert metrics[-1]["preference_loss"] < 0.1
    assert metrics[-1]["reward_accuracy"] == 1
    found = np.asarray(answer_rewards(model, batch))
    assert np.all(found[:-4:2] > found[1:-4:2])
    assert not found[-4:].any()


def test_a_reward_is_of_the_answer_and_not_of_the_token_after_it(
    taught, text_model, pairs
):
    def reward(example):
        packed = pack_examples([example], text_model.config, row_length=32)
        return float(answer_rewards(taught[1], packed)[0])

    example = pairs[0][0]
    changed = [
        dataclasses.replace(example, target_ids=example.target_ids.copy())
        for _ in range(2)
    ]
    changed[0].target_ids[-1] += 1
    changed[1].target_ids[-2] += 1
    assert reward(changed[0]) == pytest.approx(reward(example), abs=1e-6)
    assert abs(reward(changed[1]) - reward(example)) > 1e-3
