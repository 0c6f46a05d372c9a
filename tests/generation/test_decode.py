"""Sampling groups of prompts: one prefill, many samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sophia_jax.config import SamplingConfig
from sophia_jax.generation import decode
from sophia_jax.generation.decode import PromptBatch, sample_groups
from sophia_jax.losses import token_log_probs

LIMIT, WIDTH = 12, 16
NEVER = -1  # an end token that is never drawn


def prompts(lengths, *, seeds=None):
    """Random prompts; equal numbers stand for equal prompts."""
    token_ids = np.zeros((len(lengths), WIDTH), np.int32)
    for row, length in enumerate(lengths):
        token_ids[row, :length] = np.random.default_rng(length).integers(9, 250, length)
    seeds = range(len(lengths)) if seeds is None else seeds
    return PromptBatch(
        token_ids=token_ids,
        length=np.array(lengths, np.int32),
        image_index=np.full(token_ids.shape, -1, np.int32),
        features=None,
        seeds=np.array([divmod(seed, 2**32) for seed in seeds], np.uint32),
    )


@pytest.fixture(scope="module")
def sample(text_model):
    def sample(batch, *, num_samples=3, end_id=NEVER, banned_ids=(), **settings):
        settings = {"max_new_tokens": LIMIT, "temperature": 0.8} | settings
        return jax.device_get(
            sample_groups(
                text_model.graphdef,
                text_model.params,
                batch,
                num_samples=num_samples,
                sampling=SamplingConfig(**settings),
                end_id=end_id,
                banned_ids=banned_ids,
            )
        )

    return sample


@pytest.fixture(scope="module")
def free(sample):
    """What is drawn where nothing ends."""
    return sample(prompts([5, 16, 1, 11]))


@pytest.fixture(scope="module")
def full_logits(text_model):
    """What the decoder says to three whole sequences at once."""

    @jax.jit
    def logits(params, token_ids):
        decoder = nnx.merge(text_model.graphdef, params).decoder
        positions = jnp.broadcast_to(jnp.arange(token_ids.shape[1])[None], (3, 28))
        embeds = decoder.embedding(token_ids)
        return decoder(embeds, positions, jnp.ones_like(positions)) @ decoder.head

    def padded(token_ids):
        missing = WIDTH + LIMIT - token_ids.shape[1]
        return logits(text_model.params, np.pad(token_ids, [(0, 0), (0, missing)]))

    return padded


def assert_same(samples, others):
    jax.tree.map(np.testing.assert_array_equal, dict(samples), dict(others))


def group(samples, index):
    return jax.tree.map(lambda values: values[index], samples)


def test_without_an_end_every_sample_reaches_the_limit(free):
    assert np.all(free.length == LIMIT)
    assert not np.any(free.stopped)


def test_policy_log_probs_are_those_of_the_full_forward(full_logits, free):
    batch = prompts([5, 16, 1, 11])
    for row, length in enumerate(batch.length):
        prompt = np.tile(batch.token_ids[row, :length], (3, 1))
        logits = full_logits(np.concatenate([prompt, free.token_ids[row]], axis=1))
        logits = logits[:, length - 1 : length - 1 + LIMIT]
        expected = token_log_probs(logits, free.token_ids[row])
        np.testing.assert_allclose(free.policy_log_probs[row], expected, atol=1e-5)


def test_greedy_samples_are_the_argmax_of_the_full_forward(full_logits, sample):
    batch = prompts([5, 16, 1, 11])
    drawn = sample(batch, temperature=0.0)
    assert np.all(drawn.behavior_log_probs == 0)
    for row, length in enumerate(batch.length):
        prompt = np.tile(batch.token_ids[row, :length], (3, 1))
        logits = full_logits(np.concatenate([prompt, drawn.token_ids[row]], axis=1))
        likeliest = np.argmax(logits[:, length - 1 : length - 1 + LIMIT], axis=-1)
        np.testing.assert_array_equal(drawn.token_ids[row], likeliest)


def test_the_end_token_only_cuts_what_is_drawn_anyway(free, sample):
    # Sample 1 of group 2 ends with its first token, the others where they meet it.
    end = int(free.token_ids[2, 1, 0])
    drawn = sample(prompts([5, 16, 1, 11]), end_id=end)
    for place in np.ndindex(free.length.shape):
        ends = np.flatnonzero(free.token_ids[place] == end)
        length = ends[0] + 1 if len(ends) else LIMIT
        assert drawn.length[place] == length
        assert drawn.stopped[place] == bool(len(ends))
        for values, uncut in [
            (drawn.token_ids, free.token_ids),
            (drawn.behavior_log_probs, free.behavior_log_probs),
            (drawn.policy_log_probs, free.policy_log_probs),
        ]:
            np.testing.assert_array_equal(values[place][:length], uncut[place][:length])
            assert not np.any(values[place][length:])
    assert drawn.length[2, 1] == 1


def test_the_loop_ends_when_all_samples_have_ended(
    monkeypatch, text_model, tiny_tokenizer
):
    steps = []

    def counting(keys, *args):
        jax.debug.callback(lambda: steps.append(None))
        return draw_tokens(keys, *args)

    draw_tokens = decode.draw_tokens
    monkeypatch.setattr(decode, "draw_tokens", counting)
    traced_anew = functools.partial(
        sample_groups.__wrapped__,
        text_model.graphdef,
        num_samples=2,
        sampling=SamplingConfig(max_new_tokens=200),
        end_id=tiny_tokenizer.eos_token_id,
        banned_ids=(),
    )
    drawn = jax.device_get(jax.jit(traced_anew)(text_model.params, prompts([5, 7, 0])))
    jax.effects_barrier()
    assert np.all(drawn.stopped)
    assert len(steps) == drawn.length.max() < 200


def test_a_limit_of_one_token_gives_the_first_token(free, sample):
    drawn = sample(prompts([5, 16, 1, 11]), max_new_tokens=1)
    np.testing.assert_array_equal(drawn.token_ids, free.token_ids[:, :, :1])


def test_a_group_is_the_same_wherever_it_stands_in_the_batch(free, sample):
    drawn = sample(prompts([11, 1, 16, 5], seeds=[3, 2, 1, 0]))
    assert_same(drawn, jax.tree.map(lambda values: values[::-1], free))


def test_a_group_is_the_same_whatever_stands_beside_it(free, sample):
    drawn = sample(prompts([5, 2, 0, 0], seeds=[0, 7, 0, 0]))
    assert_same(group(drawn, 0), group(free, 0))


def test_groups_that_fill_the_batch_draw_nothing(sample):
    drawn = sample(prompts([5, 0, 7, 0]))
    assert drawn.length.tolist() == [[LIMIT] * 3, [0] * 3, [LIMIT] * 3, [0] * 3]
    assert not np.any(drawn.token_ids[[1, 3]])
    assert np.all(np.isfinite(drawn.policy_log_probs))


def test_the_seed_decides_and_both_its_halves_count(sample):
    seeds = [5, 5, 5 + 2**40, 6]
    drawn = sample(prompts([9, 9, 9, 9], seeds=seeds))
    assert_same(group(drawn, 0), group(drawn, 1))
    assert drawn.token_ids[0].tolist() != drawn.token_ids[2].tolist()
    assert drawn.token_ids[0].tolist() != drawn.token_ids[3].tolist()


def test_samples_of_a_group_differ(free):
    for row in free.token_ids:
        assert len({tuple(tokens) for tokens in row.tolist()}) == len(row)


def test_every_position_has_its_own_noise(sample):
    # So hot that the noise alone decides: the same noise would draw the same token.
    drawn = sample(prompts([5]), temperature=1e6)
    for tokens in drawn.token_ids[0].tolist():
        assert len(set(tokens)) > LIMIT // 2


def test_a_sample_does_not_depend_on_how_many_there_are(free, sample):
    drawn = sample(prompts([5, 16, 1, 11]), num_samples=5)
    np.testing.assert_array_equal(drawn.token_ids[:, :3], free.token_ids)


def test_the_first_tokens_follow_the_model_s_distribution(full_logits, sample):
    # One prompt under many seeds; the likeliest tokens apart, the rest together.
    num_groups, num_samples = 64, 64
    batch = prompts([5] * num_groups, seeds=range(1000, 1000 + num_groups))
    drawn = sample(batch, num_samples=num_samples, max_new_tokens=1, temperature=1.0)
    logits = np.asarray(full_logits(batch.token_ids[:3, :5]), np.float64)[0, 4]
    probs = np.exp(logits) / np.exp(logits).sum()
    likeliest = np.argsort(-probs)[:8]
    num_draws = num_groups * num_samples
    wanted = num_draws * np.append(probs[likeliest], 1 - probs[likeliest].sum())
    counts = np.bincount(drawn.token_ids.ravel(), minlength=len(probs))[likeliest]
    counts = np.append(counts, num_draws - counts.sum())
    chi_squared = np.sum((counts - wanted) ** 2 / wanted)
    assert wanted.min() > 25
    assert chi_squared < 8 + 5 * np.sqrt(2 * 8)  # mean df, variance 2 df
