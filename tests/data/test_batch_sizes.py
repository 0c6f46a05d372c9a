"""Padded batches: more of nothing, and the same of everything else."""

import dataclasses

import jax
import numpy as np
import pytest

from sophia_jax.data.batch_sizes import batch_sizes, pad_batch
from sophia_jax.data.packing import Buckets, Example, pack_parts
from sophia_jax.training.step import policy_log_probs

SMALL = Buckets(rows=1, tokens=8, sequences=1, targets=2, learnt=4, tiles=1)


@pytest.fixture
def examples(vision_model):
    rng = np.random.default_rng(0)
    image = np.full(4, vision_model.config.image_token_id, np.int32)
    return [
        Example(
            np.concatenate([image, rng.integers(9, 250, 3 + number)]),
            rng.integers(9, 250, 2 + number),
            rng.normal(size=(1, 28, 28, 3)).astype(np.float32),
            reward=number,
        )
        for number in range(5)
    ]


def pack(examples, model):
    return pack_parts(
        examples, model.config, num_parts=1, num_shards=2, row_length=32, buckets=SMALL
    )


def test_padding_changes_no_log_probability(examples, vision_model):
    batch = pack(examples, vision_model)
    before = batch_sizes(batch)
    sizes = before._replace(
        rows=before.rows + 1,
        tokens=before.tokens + 24,
        sequences=before.sequences + 2,
        targets=before.targets + 3,
        learnt=before.learnt + 8,
        tiles=before.tiles + 2,
    )
    padded = pad_batch(batch, sizes)
    assert batch_sizes(padded) == sizes
    log_prob, padded_log_prob = (
        np.asarray(
            policy_log_probs(
                vision_model.graphdef,
                vision_model.params,
                jax.tree.map(lambda array: array[0], each),
            )
        )
        for each in (batch, padded)
    )
    for shard in range(2):
        ours, theirs = (
            each.reshape(2, size.sequences, size.targets)[shard]
            for each, size in [(padded_log_prob, sizes), (log_prob, before)]
        )
        rest = ours[: before.sequences, : before.targets]
        np.testing.assert_allclose(rest, theirs, atol=1e-5)
        assert np.count_nonzero(ours) == np.count_nonzero(theirs) > 0
    assert np.sum(padded.reward) == np.sum(batch.reward) == 10


def test_a_host_without_pictures_gets_empty_tiles(examples, vision_model):
    with_pictures = batch_sizes(pack(examples, vision_model))
    texts = [
        dataclasses.replace(each, prompt_ids=each.prompt_ids[4:], images=None)
        for each in examples
    ]
    padded = pad_batch(pack(texts, vision_model), with_pictures)
    assert batch_sizes(padded) == with_pictures
    assert not padded.images.any()
    assert (padded.image_index == -1).all()


def test_a_batch_of_the_right_sizes_is_left_as_it_is(examples, vision_model):
    batch = pack(examples, vision_model)
    assert pad_batch(batch, batch_sizes(batch)) is batch


@pytest.mark.parametrize(
    "changes, message",
    [({"rows": 0}, "expected none below"), ({"tile_depth": 4}, "expected the tiles")],
)
def test_what_cannot_be_padded_is_refused(examples, vision_model, changes, message):
    batch = pack(examples, vision_model)
    with pytest.raises(ValueError, match=message):
        pad_batch(batch, batch_sizes(batch)._replace(**changes))
