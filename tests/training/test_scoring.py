"""Answers are scored together as they are alone, on one device and on a mesh."""

import dataclasses

import jax
import numpy as np
import pytest

from sophia_jax.data.packing import pack_examples
from sophia_jax.models.moving import move_model
from sophia_jax.sharding.mesh import make_mesh
from sophia_jax.sharding.rules import TRAINING, Partition
from sophia_jax.training import scoring
from sophia_jax.training.scoring import score_examples
from sophia_jax.training.step import policy_log_probs
from sophia_jax.types import InputError

LOG_PROBS = jax.jit(policy_log_probs, static_argnums=0)


def alone(model, example):
    batch = pack_examples([example], model.config, row_length=32)
    found = LOG_PROBS(model.graphdef, model.params, batch)
    return np.asarray(found)[0, : len(example.target_ids)]


def assert_as_alone(found, model, examples):
    assert len(found) == len(examples)
    for scores, example in zip(found, examples, strict=True):
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, alone(model, example), atol=2e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_each_answer_scores_as_alone_whatever_stands_beside_it(
    batch_size, text_model, text_examples
):
    found = score_examples(
        text_model, text_examples, row_length=32, batch_size=batch_size
    )
    assert_as_alone(found, text_model, text_examples)


def test_answers_about_pictures_score_as_alone(vision_model, picture_examples):
    found = score_examples(vision_model, picture_examples, row_length=40)
    assert_as_alone(found, vision_model, picture_examples)


def test_a_mesh_gives_the_same_scores(text_model, text_examples):
    moved = move_model(text_model, Partition(make_mesh(fsdp=2), TRAINING))
    # The last batch has one example, for two shares of the mesh.
    found = score_examples(moved, text_examples, row_length=32, batch_size=11)
    assert_as_alone(found, text_model, text_examples)


def test_batches_of_a_bucket_share_one_program(text_model, text_examples):
    score_examples(text_model, text_examples[:4], row_length=32, batch_size=4)
    before = scoring._log_probs._cache_size()
    score_examples(text_model, text_examples[:8], row_length=32, batch_size=4)
    assert scoring._log_probs._cache_size() == before


def test_a_long_example_is_refused_not_cut(text_model, text_examples):
    long = dataclasses.replace(text_examples[0], target_ids=np.full(40, 9, np.int32))
    with pytest.raises(InputError, match="at most row_length=32 tokens"):
        score_examples(text_model, [long], row_length=32)
    with pytest.raises(ValueError, match="batch_size: expected >= 1, got 0"):
        score_examples(text_model, text_examples, row_length=32, batch_size=0)
