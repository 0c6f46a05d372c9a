"""The decoder looks back only, and decoding step by step is the full forward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sophia_jax.config import ModelConfig, TextConfig
from sophia_jax.models.internvl import InternVL
from sophia_jax.models.layers import (
    attention,
    merge_attention,
    partial_attention,
    rotary_angles,
    rotate,
)

TEXT = TextConfig(
    vocab_size=40,
    hidden_size=16,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_size=24,
    max_length=64,
    rope_theta=1e4,
)


@pytest.fixture(scope="module")
def decoder(key):
    return InternVL(ModelConfig(TEXT), rngs=nnx.Rngs(key)).decoder


def embeds_of(seed, batch, token):
    return jax.random.normal(jax.random.key(seed), (batch, token, TEXT.hidden_size))


def test_a_token_depends_on_its_own_past_alone(decoder):
    # Two sequences packed in one row, then padding:     0  1  2  3  4  5  6  7
    segment_ids = jnp.asarray([[1, 1, 1, 1, 2, 2, 2, 0]])
    positions = jnp.asarray([[0, 1, 2, 3, 0, 1, 2, 0]])
    embeds = embeds_of(0, 1, 8)

    @jax.jit
    def influence(embeds):
        def outputs(embeds):
            hidden = decoder(embeds, positions, segment_ids)
            return jnp.sum(hidden * embeds_of(1, 1, 8), axis=-1)[0]

        gradients = jax.jacobian(outputs)(embeds)[:, 0]  # [output, input, embed]
        return jnp.abs(gradients).max(axis=-1)

    seen = np.zeros((8, 8), bool)
    seen[:4, :4] = np.tril(np.ones((4, 4)))
    seen[4:7, 4:7] = np.tril(np.ones((3, 3)))
    seen[7, 7] = True
    strength = np.asarray(influence(embeds))
    assert (strength[~seen] == 0).all()
    assert (strength[seen] > 1e-4).all()


def test_a_packed_sequence_is_as_if_alone(decoder):
    # 3 and 4 tokens in a row of 8; each must equal its own forward.
    segment_ids = jnp.asarray([[1, 1, 1, 2, 2, 2, 2, 0]])
    positions = jnp.asarray([[0, 1, 2, 0, 1, 2, 3, 0]])
    embeds = embeds_of(2, 1, 8)
    packed = decoder(embeds, positions, segment_ids)
    for start, length in [(0, 3), (3, 4)]:
        alone = decoder(
            embeds[:, start : start + length],
            jnp.arange(length)[None],
            jnp.ones((1, length), int),
        )
        np.testing.assert_allclose(packed[:, start : start + length], alone, atol=1e-5)


def test_decoding_from_a_shared_prefix_equals_the_full_forward(decoder):
    # Prompts of 5 and 3 tokens (padded to 5 on the right), 3 samples each, 4 tokens.
    group, sample, context, new = 2, 3, 5, 4
    lengths = np.asarray([5, 3])
    prompts, answers = embeds_of(3, group, context), embeds_of(4, group * sample, new)
    valid = jnp.arange(context)[None] < lengths[:, None]
    prompt_positions = jnp.tile(jnp.arange(context), (group, 1))
    _, prefix = decoder.prefill(prompts, prompt_positions, valid.astype(int))
    suffix = decoder.empty_cache(group * sample, new, prompts.dtype)
    decode = jax.jit(decoder.decode)
    steps = []
    for step in range(new):
        hidden, suffix = decode(
            answers[:, step].reshape(group, sample, -1),
            jnp.asarray(np.tile(lengths[:, None] + step, (1, sample))),
            prefix,
            valid,
            suffix,
            jnp.asarray(step),
        )
        steps.append(hidden)
    ours = np.stack(steps, axis=2)
    for i in range(group):
        for j in range(sample):
            row = [prompts[i, : lengths[i]], answers[i * sample + j]]
            whole = jnp.concatenate(row)[None]
            positions = jnp.arange(whole.shape[1])[None]
            full = decoder(whole, positions, jnp.ones_like(positions))
            np.testing.assert_allclose(ours[i, j], full[0, -new:], atol=1e-5)


def test_prefill_gives_the_hidden_states_of_the_full_forward(decoder):
    embeds, positions = embeds_of(5, 2, 6), jnp.tile(jnp.arange(6), (2, 1))
    segment_ids = jnp.asarray([[1] * 6, [1] * 4 + [0] * 2])
    full = decoder(embeds, positions, segment_ids)
    hidden, _ = decoder.prefill(embeds, positions, segment_ids)
    np.testing.assert_allclose(hidden, full, atol=1e-6)


def test_rematerialisation_changes_no_gradient(decoder):
    positions = jnp.arange(6)[None]
    graphdef, params = nnx.split(decoder)

    def loss(params, embeds, remat):
        hidden = nnx.merge(graphdef, params)(
            embeds, positions, jnp.ones_like(positions), remat=remat
        )
        return jnp.sum(jnp.sin(hidden))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    plain, again = (gradient(params, embeds_of(6, 1, 6), remat) for remat in (0, 1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        plain,
        again,
    )


def heads_of(seed, token, heads):
    shape = (2, token, heads, TEXT.head_dim)
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("masked", [False, True])
def test_merged_attention_over_parts_is_attention_over_the_whole(masked):
    query, key, value = heads_of(0, 3, 4), heads_of(1, 7, 2), heads_of(2, 7, 2)
    mask = jax.random.bernoulli(jax.random.key(3), 0.6, (2, 3, 7)).at[..., 0].set(True)
    mask = mask if masked else jnp.ones_like(mask)
    cached_key, cached_value = key.swapaxes(1, 2), value.swapaxes(1, 2)
    parts = [
        partial_attention(
            query, cached_key[:, :, part], cached_value[:, :, part], mask[..., part]
        )
        for part in (slice(0, 2), slice(2, 6), slice(6, 7))
    ]
    whole = attention(query, key, value, mask)
    np.testing.assert_allclose(merge_attention(parts), whole, atol=1e-6)


def test_the_weight_of_a_part_is_the_log_of_its_softmax_sum():
    # One key equal to the query, [2, 0, 0, ...]: q k / sqrt(8) = 4 / sqrt(8).
    one = jnp.zeros((1, 1, 1, 8)).at[..., 0].set(2.0)
    out, log_weight = partial_attention(one, one, 3 * one, jnp.ones((1, 1, 1), bool))
    np.testing.assert_allclose(log_weight, [[[4 / np.sqrt(8)]]], rtol=1e-6)
    np.testing.assert_allclose(out, 3 * one)


def test_attention_is_softmax_weighted_over_grouped_heads():
    # Scores 0 and log 3 (key head 0) weigh 1/4 and 3/4; key head 1 weighs 1/2 each.
    query = jnp.ones((1, 1, 4, 1))
    key = jnp.asarray([[0.0, 5.0], [np.log(3.0), 5.0]]).reshape(1, 2, 2, 1)
    value = jnp.asarray([[4.0, 10.0], [8.0, 20.0]]).reshape(1, 2, 2, 1)
    # Query heads 0, 1 read key head 0: 4/4 + 3 * 8/4 = 7; heads 2, 3 read head 1: 15.
    out = attention(query, key, value)
    np.testing.assert_allclose(out.ravel(), [7, 7, 15, 15], rtol=1e-6)


def test_rotary_angles_follow_the_formula():
    # d = 4, theta = 100: frequencies 1 and 100^(-1/2) = 0.1.
    angles = rotary_angles(jnp.asarray([[0, 1, 30]]), 4, theta=100.0)
    np.testing.assert_allclose(angles, [[[0, 0], [1, 0.1], [30, 3]]], rtol=1e-6)


def test_rotating_a_quarter_turn_exchanges_the_halves():
    # [x1, x2] = [3, 4] by 90 degrees: [-x2, x1].
    x = jnp.asarray([3.0, 4.0]).reshape(1, 1, 1, 2)
    turned = rotate(x, jnp.full((1, 1, 1), jnp.pi / 2))
    np.testing.assert_allclose(turned.ravel(), [-4, 3], atol=1e-6)


def test_rotated_products_depend_on_the_distance_alone():
    query, key = heads_of(4, 3, 2), heads_of(5, 3, 2)

    def products(shift):
        positions = jnp.tile(jnp.asarray([0, 4, 9]) + shift, (2, 1))
        angles = rotary_angles(positions, TEXT.head_dim, theta=1e4)
        turned = rotate(query, angles), rotate(key, angles)
        return jnp.einsum("bthd,bshd->bhts", *turned)

    np.testing.assert_allclose(products(0), products(17), atol=1e-5)
    straight = jnp.einsum("bthd,bshd->bhts", query, key)
    same = np.eye(3, dtype=bool)
    np.testing.assert_allclose(products(5)[..., same], straight[..., same], atol=1e-5)
    assert np.abs(products(5) - straight)[..., ~same].max() > 0.1
