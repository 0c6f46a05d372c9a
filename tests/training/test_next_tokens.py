"""How likely a first token is: as the model says, whatever is packed beside it."""

import dataclasses

import jax
import numpy as np
import pytest

from sophia_jax.models.moving import move_model
from sophia_jax.sharding.mesh import make_mesh
from sophia_jax.sharding.rules import TRAINING, Partition
from sophia_jax.training.next_tokens import next_token_log_probs
from sophia_jax.training.scoring import score_examples

IDS = [5, 17, 100]


def as_answers(model, examples):
    """By another way: each token as an answer of its own."""
    answers = [
        dataclasses.replace(example, target_ids=np.array([token], np.int32))
        for example in examples
        for token in IDS
    ]
    found = score_examples(model, answers, row_length=40)
    return np.concatenate(found).reshape(len(examples), len(IDS))


def all_tokens(model, examples):
    every = range(model.config.text.vocab_size)
    return next_token_log_probs(model, examples, every, row_length=40, batch_size=4)


def test_each_token_is_as_likely_as_an_answer_that_is_it(text_model, text_examples):
    found = all_tokens(text_model, text_examples)
    assert len(found) == len(text_examples) > 4
    expected = as_answers(text_model, text_examples)
    np.testing.assert_allclose(found[:, IDS], expected, atol=2e-5)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=1e-5)
    moved = move_model(text_model, Partition(make_mesh(fsdp=2), TRAINING))
    assert len(jax.devices()) == 2
    # The last batch has one example, for two shares of the mesh.
    there = all_tokens(moved, text_examples[:5])
    np.testing.assert_allclose(there, found[:5], atol=2e-5)


def test_pictures_are_seen(vision_model, picture_examples):
    found = next_token_log_probs(vision_model, picture_examples, IDS, row_length=40)
    expected = as_answers(vision_model, picture_examples)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_numbers_out_of_their_range_are_refused(text_model, text_examples):
    with pytest.raises(ValueError, match="prompts: expected at least one, got none"):
        next_token_log_probs(text_model, [], IDS, row_length=40)
    with pytest.raises(ValueError, match="batch_size: expected >= 1, got 0"):
        next_token_log_probs(
            text_model, text_examples, IDS, row_length=40, batch_size=0
        )
