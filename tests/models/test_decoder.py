"""The decoder looks back only, and decoding step by step is the full forward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sophia_jax.config import ModelConfig, TextConfig
from sophia_jax.generation.readers import (
    Part,
    chain_shape,
    make_chains,
    rows_of,
)
from sophia_jax.models.internvl import InternVL
from sophia_jax.models.layers import (
    attention,
    merge_attention,
    partial_attention,
)
from sophia_jax.models.paged import Pages, Rows
from sophia_jax.models.rotary import rotary, rotate

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


PAGE = 4  # tokens
NOWHERE = 99


def fill(decoder, pages, embeds, lengths, filled, context=None):
    """Read prompts into pages, behind the pages of a context."""
    context = [[]] * len(lengths) if context is None else context
    numbers = np.zeros((len(lengths), 4), np.int32)
    for row, before in enumerate(context):
        numbers[row, : len(before)] = before
    return jax.jit(decoder.prefill)(
        embeds,
        jnp.asarray(lengths),
        jnp.asarray(numbers),
        jnp.asarray([len(before) for before in context]),
        pages,
        jnp.asarray(filled),
    )


def chains_of(parts, *, num_slots, gathered, pages):
    """Chains of some slots, with so many of their pages side by side."""
    rows = rows_of(parts)
    shape = chain_shape(rows, num_slots=num_slots, most_gathered=0, known=(), spare=1)
    chains = make_chains(rows, shape, num_slots=num_slots, most_parts=4).chains
    if not gathered:
        return chains
    first = pages.gathered(chains.page[:, :gathered], stacked=True)
    return chains.replace(first=first)


@pytest.mark.parametrize("gathered", [0, 1, 2])
def test_decoding_from_shared_pages_equals_the_full_forward(decoder, gathered):
    # Prompts of 6 and 3 tokens, read by 3 and 1 samples; 5 tokens each, which begin at
    # place 2 of the open page, fill it after 2 tokens, and go on in a new one.
    lengths, slots = [6, 3], [0, 0, 0, 1]
    prompts, answers = embeds_of(3, 2, 6), embeds_of(4, 4, 5)
    pages = Pages.empty(TEXT, 8, PAGE, prompts.dtype)
    pages = fill(decoder, pages, prompts, lengths, [[5, 2], [7, NOWHERE]])
    open_pages = Rows.empty(TEXT, 4, PAGE, prompts.dtype, stacked=True)
    shared = {slot: [Part(5, 0, 4), Part(2, 0, 2)] for slot in range(3)}
    shared[3] = [Part(7, 0, 3)]
    own, start, place, steps = {}, 2, 2, []
    for step in range(5):
        if place == PAGE:
            closed = jnp.asarray([0, 1, 3, 4])
            pages = pages.filled(closed, open_pages)
            own = {slot: [Part(int(n), start, PAGE)] for slot, n in enumerate(closed)}
            start = place = 0
        tables = [(shared, gathered)] + [(own, min(gathered, 1))] * bool(own)
        hidden, open_pages = jax.jit(decoder.decode)(
            answers[:, step],
            decoder.turns(jnp.asarray([lengths[prompt] + step for prompt in slots])),
            pages,
            [
                chains_of(parts, num_slots=4, gathered=side_by_side, pages=pages)
                for parts, side_by_side in tables
            ],
            open_pages,
            jnp.full(4, start),
            jnp.asarray(place),
        )
        place += 1
        steps.append(hidden)
    for slot, prompt in enumerate(slots):
        row = [prompts[prompt, : lengths[prompt]], answers[slot]]
        whole = jnp.concatenate(row)[None]
        positions = jnp.arange(whole.shape[1])[None]
        full = decoder(whole, positions, jnp.ones_like(positions))
        ours = np.stack(steps)[:, slot]
        np.testing.assert_allclose(ours, full[0, -5:], atol=1e-5)


def test_layers_one_by_one_are_the_layers_in_a_scan(decoder):
    embeds = embeds_of(7, 3, 1)[:, 0]
    pages = Pages.empty(TEXT, 1, PAGE, embeds.dtype)
    outs = [
        jax.jit(decoder.decode)(
            embeds,
            decoder.turns(jnp.asarray([0, 4, 9])),
            pages,
            [],
            Rows.empty(TEXT, 3, PAGE, embeds.dtype, stacked=layers is None),
            jnp.zeros(3, int),
            jnp.asarray(0),
            layers=layers,
        )
        for layers in (None, decoder.unstacked_layers())
    ]
    (scanned, its_pages), (unstacked, other_pages) = outs
    np.testing.assert_allclose(unstacked, scanned, atol=1e-6)
    for name in ("key", "value"):
        apart, stacked = np.stack(other_pages[name]), its_pages[name]
        np.testing.assert_allclose(apart, stacked, atol=1e-6)


def test_a_prompt_read_in_pieces_fills_the_same_pages(decoder):
    prompts = embeds_of(5, 2, 11)
    empty = Pages.empty(TEXT, 6, PAGE, prompts.dtype)
    numbers = np.asarray([[0, 1, 2], [3, 4, 5]])
    whole = fill(decoder, empty, prompts, [11, 9], numbers)
    first = fill(decoder, empty, prompts[:, :8], [8, 8], numbers[:, :2])
    pieces = fill(
        decoder, first, prompts[:, 8:], [3, 1], numbers[:, 2:], numbers[:, :2]
    )
    for name, tokens in (("key", (4,)), ("value", (3,))):
        ours, other = np.array(pieces[name]), np.array(whole[name])
        # What stands behind the end of a prompt means nothing.
        for each in (ours, other):
            last = each[:, [2, 5]] if tokens == (3,) else each[:, [2, 5]].swapaxes(3, 4)
            last[:, 0, :, 3:], last[:, 1, :, 1:] = 0, 0
            each[:, [2, 5]] = last if tokens == (3,) else last.swapaxes(3, 4)
        np.testing.assert_allclose(ours, other, atol=1e-5)


def heads_of(seed, token, heads):
    shape = (2, token, heads, TEXT.head_dim)
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("masked", [False, True])
def test_merged_attention_over_parts_is_attention_over_the_whole(masked):
    query, key, value = heads_of(0, 3, 4), heads_of(1, 7, 2), heads_of(2, 7, 2)
    mask = jax.random.bernoulli(jax.random.key(3), 0.6, (2, 3, 7)).at[..., 0].set(True)
    mask = mask if masked else jnp.ones_like(mask)
    keys, values = key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)
    parts = [
        partial_attention(query, keys[..., part], values[:, :, part], mask[..., part])
        for part in (slice(0, 2), slice(2, 6), slice(6, 7))
    ]
    out, log_weight = merge_attention(parts)
    np.testing.assert_allclose(out, attention(query, key, value, mask), atol=1e-5)
    _, expected = partial_attention(query, keys, values, mask)
    np.testing.assert_allclose(log_weight, expected, atol=1e-5)


def test_merged_attention_is_the_same_over_two_devices():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    query, key, value = heads_of(0, 3, 4), heads_of(1, 6, 2), heads_of(2, 6, 2)
    keys, values = key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)

    @jax.jit
    def merged(query, keys, values):
        seen = jnp.ones((2, 1, 3), bool)
        return merge_attention(
            [
                partial_attention(query, keys[..., :3], values[:, :, :3], seen),
                partial_attention(query, keys[..., 3:], values[:, :, 3:], seen),
            ]
        )

    out, _ = merged(*jax.device_put((query, keys, values), rows))
    assert out.sharding.is_equivalent_to(rows, 4)
    np.testing.assert_allclose(out, attention(query, key, value), atol=1e-5)


def test_the_weight_of_a_part_is_the_log_of_its_softmax_sum():
    # One key equal to the query, [2, 0, 0, ...]: q k / sqrt(8) = 4 / sqrt(8).
    one = jnp.zeros((1, 1, 1, 8)).at[..., 0].set(2.0)
    key = one.swapaxes(2, 3)
    out, log_weight = partial_attention(one, key, 3 * one, jnp.ones((1, 1, 1), bool))
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


def test_rotary_follows_the_formula():
    # d = 4, theta = 100: frequencies 1 and 100^(-1/2) = 0.1.
    turns = rotary(jnp.asarray([[0, 1, 30]]), 4, theta=100.0)
    angles = np.asarray([[[0, 0], [1, 0.1], [30, 3]]])
    np.testing.assert_allclose(turns, [np.cos(angles), np.sin(angles)], atol=1e-6)


def test_rotating_a_quarter_turn_exchanges_the_halves():
    # [x1, x2] = [3, 4] by 90 degrees: [-x2, x1].
    x = jnp.asarray([3.0, 4.0]).reshape(1, 1, 1, 2)
    turned = rotate(x, jnp.asarray([0.0, 1.0]).reshape(2, 1, 1, 1))
    np.testing.assert_allclose(turned.ravel(), [-4, 3], atol=1e-6)


def test_rotated_products_depend_on_the_distance_alone():
    query, key = heads_of(4, 3, 2), heads_of(5, 3, 2)

    def products(shift):
        positions = jnp.tile(jnp.asarray([0, 4, 9]) + shift, (2, 1))
        turns = rotary(positions, TEXT.head_dim, theta=1e4)
        turned = rotate(query, turns), rotate(key, turns)
        return jnp.einsum("bthd,bshd->bhts", *turned)

    np.testing.assert_allclose(products(0), products(17), atol=1e-5)
    straight = jnp.einsum("bthd,bshd->bhts", query, key)
    same = np.eye(3, dtype=bool)
    np.testing.assert_allclose(products(5)[..., same], straight[..., same], atol=1e-5)
    assert np.abs(products(5) - straight)[..., ~same].max() > 0.1
