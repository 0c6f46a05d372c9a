"""Packing: nothing is cut, and no example notices another."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from sophia_jax.data import packing
from sophia_jax.data.packing import Buckets, Example, pack_examples, pack_parts
from sophia_jax.losses import sft_loss, sophia_loss
from sophia_jax.training.step import policy_log_probs
from sophia_jax.types import InputError

ROW = 48
TOKENS_PER_TILE = 4
REWARDS = (1.0, 0.5, 0.0, 1.0, 0.25, 1.0)


@pytest.fixture(scope="module")
def pack(vision_model):
    return functools.partial(pack_examples, config=vision_model.config, row_length=ROW)


@pytest.fixture(scope="module")
def example(vision_model):
    """A random example with so many tiles, as pixels, features or neither."""
    features = jax.jit(
        nnx.merge(vision_model.graphdef, vision_model.params).encode_images
    )

    def example(number, prompt, target, tiles=0, kind="pixels"):
        rng = np.random.default_rng(number)
        prompt_ids = rng.integers(9, 250, prompt)
        where = rng.choice(prompt, tiles * TOKENS_PER_TILE, replace=False)
        prompt_ids[where] = vision_model.config.image_token_id
        images = rng.normal(size=(tiles, 28, 28, 3)).astype(np.float32)
        if kind == "features" and tiles:
            images = np.asarray(features(images))
        return Example(
            prompt_ids.astype(np.int32),
            rng.integers(9, 250, target).astype(np.int32),
            images if tiles else None,
            REWARDS[number % len(REWARDS)],
        )

    return example


SIZES = [(5, 9), (17, 3), (1, 1), (20, 12), (13, 7), (30, 18)]
TILES = [0, 3, 0, 1, 2, 0]  # some with several tiles, some with none


@pytest.fixture
def examples(example):
    def examples(kind="pixels"):
        return [
            example(number, *size, tiles, kind)
            for number, (size, tiles) in enumerate(zip(SIZES, TILES, strict=True))
        ]

    return examples


def test_a_packed_batch_worked_by_hand(text_model):
    # Longest first: 7 + 9, 7 + 8 -> 3 tokens; then 5 -> 1; 4, 3 -> 2 do not fit the
    # first row of 4 together with it, so they share the second.
    long = Example(np.array([7, 9]), np.array([8, 6, 2]), reward=0.5)
    short = Example(np.array([5]), np.array([4]))
    middle = Example(np.array([4, 3]), np.array([1, 2]))
    batch = pack_examples(
        [short, long, middle],
        text_model.config,
        row_length=4,
        buckets=Buckets(rows=2, targets=2),
    )
    assert batch.token_ids.tolist() == [[7, 9, 8, 6], [4, 3, 1, 5]]
    assert batch.positions.tolist() == [[0, 1, 2, 3], [0, 1, 2, 0]]
    assert batch.segment_ids.tolist() == [[2, 2, 2, 2], [3, 3, 3, 1]]
    assert batch.target_ids.tolist() == [[4, 0, 0, 0], [8, 6, 2, 0], [1, 2, 0, 0]]
    assert batch.target_index.tolist() == [[7, 0, 0, 0], [1, 2, 3, 0], [5, 6, 0, 0]]
    assert batch.target_mask.sum(axis=1).tolist() == [1, 3, 2]
    assert batch.reward.tolist() == [1, 0.5, 1]
    assert batch.images is None
    assert np.all(batch.image_index == -1)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_cut(pack, example, seed):
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(20):
        prompt, target, tiles = rng.integers(12, 30), rng.integers(1, 19), number % 4
        examples.append(example(number, prompt, target, tiles))
    batch = pack(examples)
    for number, original in enumerate(examples):
        mine = batch.segment_ids == number + 1
        read = [*original.prompt_ids, *original.target_ids[:-1]]
        assert batch.token_ids[mine].tolist() == read
        assert batch.positions[mine].tolist() == list(range(len(read)))
        mask = batch.target_mask[number]
        assert batch.target_ids[number, mask].tolist() == original.target_ids.tolist()
        # Each target is predicted from the place before its own.
        places = batch.target_index[number, mask]
        assert (
            places.tolist()
            == np.flatnonzero(mine)[len(original.prompt_ids) - 1 :].tolist()
        )
        if original.num_tiles:
            index = batch.image_index[mine]
            tiles = batch.images[
                index[index >= 0][::TOKENS_PER_TILE] // TOKENS_PER_TILE
            ]
            np.testing.assert_array_equal(tiles, original.images)
            assert np.all(np.diff(index[index >= 0]) == 1)
    assert np.sum(batch.segment_ids > 0) == sum(e.length for e in examples)


@pytest.fixture(scope="module")
def losses_and_gradients(vision_model):
    """Of both losses: each example's, and the gradient of their sum."""

    def losses(params, batch):
        log_probs = policy_log_probs(vision_model.graphdef, params, batch)
        sophia = sophia_loss(log_probs, batch.target_mask, batch.reward)
        both = {"sophia": sophia, "sft": sft_loss(log_probs, batch.target_mask)}
        return {name: loss.sum() for name, loss in both.items()}, both

    gradients = jax.jit(jax.jacrev(losses, has_aux=True))

    def losses_and_gradients(batch):
        gradient, values = gradients(vision_model.params, batch)
        return values, gradient

    return losses_and_gradients


@pytest.mark.parametrize("kind", ["pixels", "features"])
def test_packed_examples_have_the_losses_and_gradients_of_a_row_each(
    monkeypatch, pack, examples, losses_and_gradients, kind
):
    packed = pack(examples(kind))
    one_each = [(row, 0) for row in range(6)]
    monkeypatch.setattr(packing, "choose_rows", lambda *_, **__: (6, ROW, [one_each]))
    unpacked = pack(examples(kind))
    assert packed.segment_ids.any(axis=1).sum() < 6
    assert unpacked.segment_ids.any(axis=1).sum() == 6
    losses, gradients = losses_and_gradients(packed)
    expected, expected_gradients = losses_and_gradients(unpacked)
    for name in ("sophia", "sft"):
        np.testing.assert_allclose(losses[name], expected[name], rtol=1e-5)
        leaves = jax.tree.leaves(expected_gradients[name])
        scale = max(np.abs(leaf).max() for leaf in leaves)
        assert scale > 0.1
        assert_close(gradients[name], expected_gradients[name], atol=1e-5 * scale)


def assert_close(tree, other, *, atol):
    compare = functools.partial(np.testing.assert_allclose, rtol=0, atol=atol)
    jax.tree.map(compare, tree, other)


def test_examples_do_not_see_one_another(pack, examples, vision_model):
    original = examples()
    changed = [
        dataclasses.replace(original[0], prompt_ids=original[0].prompt_ids + 1),
        original[1],
        *original[2:3],
        dataclasses.replace(original[3], images=original[3].images + 1),
        *original[4:],
    ]
    log_probs = jax.jit(policy_log_probs, static_argnums=0)
    before, after = (
        np.asarray(log_probs(vision_model.graphdef, vision_model.params, pack(batch)))
        for batch in (original, changed)
    )
    same = [np.array_equal(*rows) for rows in zip(before, after, strict=True)]
    assert same == [False, True, True, False, True, True]


def test_sequences_that_fill_the_batch_change_nothing(
    pack, examples, losses_and_gradients
):
    losses, gradients = losses_and_gradients(pack(examples("features")))
    filled, filled_gradients = losses_and_gradients(
        pack(examples("features"), num_sequences=9)
    )
    for name in ("sophia", "sft"):
        np.testing.assert_allclose(filled[name][:6], losses[name], rtol=1e-6)
        assert filled[name][6:].tolist() == [0, 0, 0]
    assert_close(gradients, filled_gradients, atol=1e-4)


@pytest.mark.parametrize(("smallest", "largest"), [(20, 30), (29, 91)])
def test_random_batches_share_few_shapes(text_model, smallest, largest):
    # Targets as long as the quickstart's captions, and as its worked solutions.
    rng = np.random.default_rng(0)
    shapes = set()
    for _ in range(50):
        examples = [
            Example(np.ones(rng.integers(14, 24), int), np.ones(length, int))
            for length in rng.integers(smallest, largest, 32)
        ]
        batch = pack_examples(examples, text_model.config, row_length=144)
        shapes.add((batch.token_ids.shape, batch.target_ids.shape, batch.learnt.shape))
    assert len(shapes) <= 8


def test_answers_are_listed_once_each(pack, examples):
    batch = pack(examples())
    (learnt,) = batch.learnt
    places = learnt[learnt < batch.target_mask.size]
    assert places.tolist() == np.flatnonzero(batch.target_mask).tolist()


def test_parts_hold_every_example_once_and_are_alike_in_shape(
    example, examples, vision_model
):
    parts = pack_parts(examples(), vision_model.config, num_parts=2, row_length=ROW)
    rewards = parts.reward[np.any(parts.target_mask, axis=-1)]
    assert sorted(rewards.tolist()) == sorted(REWARDS)
    for array in jax.tree.leaves(parts):
        assert len(array) == 2
    # A part without pictures has tiles of zeros beside one with them.
    mixed = [example(0, 20, 12, 1), example(1, 5, 5)]
    parts = pack_parts(mixed, vision_model.config, num_parts=2, row_length=ROW)
    assert parts.images.any(axis=(1, 2, 3, 4)).tolist() == [True, False]


@pytest.mark.parametrize("num_parts", [0, 3])
def test_no_part_may_be_empty(example, vision_model, num_parts):
    two = [example(number, 3, 3) for number in range(2)]
    with pytest.raises(ValueError, match=f"the 2 examples, got {num_parts}"):
        pack_parts(two, vision_model.config, num_parts=num_parts, row_length=ROW)


def test_parts_may_be_empty_where_that_is_wanted(example, vision_model):
    two = [example(number, 3, 3) for number in (0, 1)]
    parts = pack_parts(
        two,
        vision_model.config,
        num_parts=2,
        num_shards=2,
        row_length=ROW,
        some_empty=True,
    )
    some = np.any(parts.target_mask, axis=-1)
    assert sorted(parts.reward[some].tolist()) == sorted(REWARDS[:2])
    assert [bool(part.any()) for part in some] == [True, False]
    assert (parts.segment_ids > 0).sum() == sum(each.length for each in two)
    learnt = parts.learnt < some.shape[1] // 2 * parts.target_mask.shape[2]
    assert learnt.sum(axis=2).tolist() == [[3, 3], [0, 0]]
    with pytest.raises(ValueError, match="the 0 examples"):
        pack_parts(
            [], vision_model.config, num_parts=1, row_length=ROW, some_empty=True
        )


def test_few_examples_may_fill_as_many_sequences_as_many(example, vision_model):
    for few in (1, 9):
        parts = pack_parts(
            [example(number, 3, 3) for number in range(few)],
            vision_model.config,
            num_parts=1,
            row_length=ROW,
            least_sequences=20,
        )
        assert parts.reward.shape == (1, 24)


def test_an_example_longer_than_a_row_is_refused(pack, example):
    with pytest.raises(InputError, match="example 1: expected at most row_length=48"):
        pack([example(0, 5, 5), example(1, 30, 20)])
    pack([example(0, 5, 5), example(1, 29, 20)])  # the last target is never read


def test_placeholders_must_be_as_many_as_image_tokens(pack, example):
    missing = dataclasses.replace(example(0, 20, 5, 2), images=np.zeros((1, 28, 28, 3)))
    with pytest.raises(InputError, match=r"example 0: expected 4 .* 1 tiles, got 8"):
        pack([missing])
    without = dataclasses.replace(missing, images=None)
    with pytest.raises(InputError, match=r"example 1: expected 0 .* 0 tiles, got 8"):
        pack([example(1, 5, 5), without])


def test_a_placeholder_is_never_learnt(pack, example, vision_model):
    target_ids = np.array([9, vision_model.config.image_token_id, 10])
    spoilt = dataclasses.replace(example(0, 20, 5, 2), target_ids=target_ids)
    with pytest.raises(InputError, match="example 0: expected no image placeholder"):
        pack([spoilt])


@pytest.mark.parametrize("part", ["prompt_ids", "target_ids"])
def test_prompt_and_target_must_not_be_empty(pack, example, part):
    empty = dataclasses.replace(example(0, 3, 3), **{part: np.zeros(0, np.int32)})
    with pytest.raises(InputError, match="example 0: expected tokens in prompt and"):
        pack([empty])


def test_pixels_and_features_do_not_mix(pack, example):
    with pytest.raises(InputError, match="images: expected tiles of one shape"):
        pack([example(0, 20, 5, 1), example(1, 20, 5, 1, "features")])


def test_a_text_only_model_takes_no_pictures(text_model, example):
    with pytest.raises(InputError, match=r"expected no pictures .* got 1 tiles"):
        pack_examples([example(0, 20, 5, 1)], text_model.config, row_length=ROW)


@pytest.mark.parametrize("count", [0, 3])
def test_the_number_of_examples_must_fit(pack, example, count):
    few = [example(number, 3, 3) for number in range(count)]
    with pytest.raises(ValueError, match=f"between 1 and 2, got {count}"):
        pack(few, num_sequences=2)
