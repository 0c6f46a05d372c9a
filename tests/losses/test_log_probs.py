"""Token log probabilities: hand values, extremes, what the chunked version promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.losses import chunked_token_log_probs, token_log_probs


@pytest.fixture
def scene():
    """Hidden states, head and ids: 3 sequences of 7 tokens, 5 wide, 11 words."""
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (3, 7, 5))
    head = jax.random.normal(keys[1], (5, 11))
    return hidden, head, jax.random.randint(keys[2], (3, 7), 0, 11)


def full_log_probs(hidden, head, token_ids):
    return token_log_probs(jnp.einsum("btd,dv->btv", hidden, head), token_ids)


# --- token_log_probs ---


def test_log_probabilities_of_known_odds():
    # Logits log 1, log 3, log 4 are odds 1 : 3 : 4, so probabilities 1/8, 3/8, 1/2.
    logits = jnp.log(jnp.array([[[1.0, 3.0, 4.0]] * 3]))
    log_probs = token_log_probs(logits, jnp.array([[0, 1, 2]]))
    np.testing.assert_allclose(jnp.exp(log_probs), [[1 / 8, 3 / 8, 1 / 2]], rtol=1e-6)


def test_a_constant_added_to_the_logits_changes_nothing():
    logits = jnp.array([[[0.0, 1.0, -2.0]]])
    ids = jnp.array([[1]])
    shifted = token_log_probs(logits + 1024.0, ids)
    np.testing.assert_allclose(shifted, token_log_probs(logits, ids), rtol=1e-6)


def test_probabilities_over_the_vocabulary_sum_to_one(scene):
    hidden, head, _ = scene
    every_id = [full_log_probs(hidden, head, jnp.full((3, 7), i)) for i in range(11)]
    np.testing.assert_allclose(jnp.exp(jnp.stack(every_id)).sum(0), 1.0, rtol=1e-6)


def test_huge_logits_stay_finite():
    # The other word has probability e^-20000 = 0, so log 1 = 0 and log 0 ~ -20000.
    logits = jnp.array([[[1e4, -1e4], [1e4, -1e4]]])
    log_probs = token_log_probs(logits, jnp.array([[0, 1]]))
    np.testing.assert_array_equal(log_probs, [[0.0, -2e4]])


def test_banned_words_have_probability_zero_and_leave_gradients_finite():
    logits = jnp.array([[[0.0, 0.0, -jnp.inf]]])
    assert token_log_probs(logits, jnp.array([[2]]))[0, 0] == -jnp.inf
    gradient = jax.grad(lambda z: token_log_probs(z, jnp.array([[0]])).sum())(logits)
    np.testing.assert_allclose(gradient, [[[0.5, -0.5, 0.0]]])


@pytest.mark.parametrize("unknown", [-1, -100, 3])
def test_an_unknown_id_gives_nan_that_a_mask_removes(unknown):
    ids = jnp.array([[0, unknown]])

    def masked_sum(logits):
        log_probs = token_log_probs(logits, ids)
        return jnp.where(jnp.array([[True, False]]), log_probs, 0).sum()

    logits = jnp.zeros((1, 2, 3))
    assert jnp.isnan(token_log_probs(logits, ids)[0, 1])
    # d/dz of log softmax(z)[0] at equal logits: onehot - 1/3.
    expected = [[[2 / 3, -1 / 3, -1 / 3], [0.0, 0.0, 0.0]]]
    np.testing.assert_allclose(jax.grad(masked_sum)(logits), expected, rtol=1e-6)


def test_bfloat16_logits_give_float32_probabilities():
    # 1000 equal words: log 1/1000, which bfloat16 would round by up to 0.4 %.
    logits = jnp.zeros((1, 1, 1000), jnp.bfloat16)
    log_probs = token_log_probs(logits, jnp.array([[7]]))
    assert log_probs.dtype == jnp.float32
    np.testing.assert_allclose(log_probs, [[-np.log(1000.0)]], rtol=1e-6)


def test_the_gradient_agrees_with_finite_differences(scene):
    hidden, head, ids = scene
    direction = jax.random.normal(jax.random.key(1), hidden.shape)

    def total(step):
        return full_log_probs(hidden + step * direction, head, ids).sum()

    slope = (total(1e-2) - total(-1e-2)) / 2e-2
    # Error of the difference: step² f'''/6 ~ 1e-4 of the value, and rounding.
    np.testing.assert_allclose(jax.grad(total)(0.0), slope, rtol=2e-3)


def test_ids_of_another_shape_or_dtype_are_refused():
    logits = jnp.zeros((2, 3, 5))
    with pytest.raises(TypeError, match="token_ids"):
        token_log_probs(logits, jnp.zeros((2, 4), int))
    with pytest.raises(TypeError, match="token_ids"):
        token_log_probs(logits, jnp.zeros((2, 3)))


# --- chunked_token_log_probs ---


# 21 tokens: one by one, fewer than rows, a row each, two positions of each, all, more.
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 6, 20, 21, 1000])
def test_chunks_change_neither_value_nor_gradient(scene, chunk):
    hidden, head, ids = scene
    weights = jax.random.normal(jax.random.key(2), ids.shape)

    def chunked(hidden, head):
        log_probs = chunked_token_log_probs(hidden, head, ids, chunk=chunk)
        return (weights * log_probs).sum(), log_probs

    def full(hidden, head):
        log_probs = full_log_probs(hidden, head, ids)
        return (weights * log_probs).sum(), log_probs

    gradients, log_probs = jax.grad(chunked, (0, 1), has_aux=True)(hidden, head)
    expected, full_values = jax.grad(full, (0, 1), has_aux=True)(hidden, head)
    np.testing.assert_allclose(log_probs, full_values, rtol=1e-5, atol=1e-6)
    for gradient, full_gradient in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, full_gradient, rtol=1e-4, atol=1e-5)


def test_one_token_and_no_tokens(scene):
    hidden, head, ids = scene
    one = chunked_token_log_probs(hidden[:1, :1], head, ids[:1, :1], chunk=8)
    np.testing.assert_allclose(
        one, full_log_probs(hidden[:1, :1], head, ids[:1, :1]), rtol=1e-5
    )
    for rows, tokens in ((0, 7), (3, 0)):
        empty = chunked_token_log_probs(
            hidden[:rows, :tokens], head, ids[:rows, :tokens], chunk=4
        )
        assert empty.shape == (rows, tokens)


def test_unknown_ids_stay_nan_where_they_are(scene):
    hidden, head, ids = scene
    unknown = ids.at[1, 4].set(-100)
    log_probs = chunked_token_log_probs(hidden, head, unknown, chunk=4)
    np.testing.assert_array_equal(jnp.isnan(log_probs), unknown == -100)


def test_bfloat16_logits_are_never_rounded():
    # The logits are 256 and 257; bfloat16 would round 257 to 256, and the answer,
    # log e^256 / (e^256 + e^257) = -log(1 + e), to log ½.
    hidden = jnp.array([[[256.0, 1.0]]], jnp.bfloat16)
    head = jnp.array([[1.0, 1.0], [0.0, 1.0]], jnp.bfloat16)
    log_probs = chunked_token_log_probs(hidden, head, jnp.array([[0]]), chunk=1)
    assert log_probs.dtype == jnp.float32
    np.testing.assert_allclose(log_probs, [[-np.log(1 + np.e)]], rtol=1e-5)


def test_the_bfloat16_head_gradient_does_not_drown_in_many_chunks():
    # Two words with equal logits, h = 1, always word 0: each of 1024 tokens adds
    # onehot - 1/2 = (1/2, -1/2). A bfloat16 running sum would stop growing at 128,
    # where half a unit in the last place is 1/2.
    hidden = jnp.ones((1, 1024, 1), jnp.bfloat16)
    head = jnp.zeros((1, 2), jnp.bfloat16)
    ids = jnp.zeros((1, 1024), int)

    def total(head):
        return chunked_token_log_probs(hidden, head, ids, chunk=1).sum()

    np.testing.assert_array_equal(jax.grad(total)(head), [[512.0, -512.0]])


def test_bfloat16_gradients_are_those_of_the_plain_function(scene):
    hidden, head, ids = scene
    narrow = hidden.astype(jnp.bfloat16), head.astype(jnp.bfloat16)

    def total(log_probs_fn):
        return lambda hidden, head: log_probs_fn(hidden, head).sum()

    chunked = jax.grad(
        total(lambda h, w: chunked_token_log_probs(h, w, ids, chunk=4)), (0, 1)
    )(*narrow)
    wide = [array.astype(jnp.float32) for array in narrow]
    exact = jax.grad(total(lambda h, w: full_log_probs(h, w, ids)), (0, 1))(*wide)
    for gradient, expected in zip(chunked, exact, strict=True):
        assert gradient.dtype == jnp.bfloat16
        # Half a unit in the last of bfloat16's eight places.
        np.testing.assert_allclose(
            gradient.astype(jnp.float32), expected, rtol=2**-8, atol=1e-6
        )


def test_the_gradient_never_holds_all_logits():
    batch, token, embed, vocab, chunk = 4, 256, 16, 16384, 32
    hidden = jax.ShapeDtypeStruct((batch, token, embed), jnp.float32)
    head = jax.ShapeDtypeStruct((embed, vocab), jnp.float32)
    ids = jnp.zeros((batch, token), int)

    def peak_bytes(log_probs_fn):
        def total(hidden, head):
            return log_probs_fn(hidden, head).sum()

        gradient = jax.jit(jax.grad(total, (0, 1)))
        compiled = gradient.lower(hidden, head).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    full = peak_bytes(lambda hidden, head: full_log_probs(hidden, head, ids))
    chunked = peak_bytes(
        lambda hidden, head: chunked_token_log_probs(hidden, head, ids, chunk=chunk)
    )
    logits_bytes = 4 * batch * token * vocab
    chunk_bytes = 4 * chunk * vocab
    assert full >= logits_bytes
    # A chunk's logits, log probabilities, softmax and gradient; the head's gradient.
    assert chunked <= 4 * chunk_bytes + 4 * embed * vocab
    assert chunked < full / 6


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_a_batch_split_over_devices_is_not_gathered(scene):
    _, head, _ = scene
    devices = np.array(jax.devices()[:2])
    mesh = jax.sharding.Mesh(devices, ("data",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    hidden = jax.device_put(jnp.ones((4, 8, 5)), split)
    ids = jax.device_put(jnp.zeros((4, 8), int), split)

    def total(hidden, head):
        return chunked_token_log_probs(hidden, head, ids, chunk=8).sum()

    gradient = jax.jit(jax.grad(total, (0, 1)))
    program = gradient.lower(hidden, jax.device_put(head, whole)).compile().as_text()
    assert "all-reduce" in program  # the head's gradient: the devices did share work
    assert "all-gather" not in program
    assert "all-to-all" not in program


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_below_one_is_refused(scene, chunk):
    with pytest.raises(ValueError, match=rf"chunk: expected >= 1 token, got {chunk}"):
        chunked_token_log_probs(*scene, chunk=chunk)


def test_a_head_of_another_width_is_refused(scene):
    hidden, head, ids = scene
    with pytest.raises(TypeError, match="head"):
        chunked_token_log_probs(hidden, head[:4], ids, chunk=4)


def test_padded_columns_of_a_head_are_no_tokens():
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (2, 5, 4))
    head = jax.random.normal(keys[1], (4, 7))
    padded = jnp.pad(head, [(0, 0), (0, 5)])  # a logit of 0, which would count
    token_ids = jax.random.randint(keys[2], (2, 5), 0, 7)

    def summed(head, vocab_size):
        return jnp.sum(
            chunked_token_log_probs(
                hidden, head, token_ids, chunk=4, vocab_size=vocab_size
            )
        )

    value, gradient = jax.value_and_grad(summed)(head, None)
    found, found_gradient = jax.value_and_grad(summed)(padded, 7)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    np.testing.assert_allclose(found_gradient[:, :7], gradient, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found_gradient[:, 7:], 0)

    beyond = chunked_token_log_probs(
        hidden, padded, jnp.full((2, 5), 7), chunk=4, vocab_size=7
    )
    assert jnp.all(jnp.isnan(beyond))


@pytest.mark.parametrize("vocab_size", [0, 8])
def test_more_tokens_than_columns_are_refused(vocab_size):
    with pytest.raises(ValueError, match=f"expected 1 to 7 tokens, got {vocab_size}"):
        chunked_token_log_probs(
            jnp.zeros((1, 2, 4)),
            jnp.zeros((4, 7)),
            jnp.zeros((1, 2), int),
            chunk=2,
            vocab_size=vocab_size,
        )
