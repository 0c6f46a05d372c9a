"""Counted work: by hand, and against what XLA counts of unrolled programs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sophia_jax.config import OptimizerConfig, SamplingConfig
from sophia_jax.data.packing import PackedBatch
from sophia_jax.generation.decode import Slots, decode_chunk
from sophia_jax.models.internvl import abstract_params, model_graph
from sophia_jax.models.paged import Pages, Rows
from sophia_jax.planning.counts import (
    Work,
    causal_pairs,
    decode_work,
    decoder_weights,
    head_weights,
    kv_bytes,
    prefill_work,
    tower_work,
    training_passes,
    update_work,
)
from sophia_jax.presets import MODELS
from sophia_jax.training import objectives
from sophia_jax.training.optimizer import make_optimizer
from sophia_jax.training.step import TrainState, lower_train_step

QWQ = MODELS["qwq-32b"].text


def xla_flops(lowered):
    return lowered.compile().cost_analysis()["flops"]


def test_the_weights_of_a_layer_and_of_the_head():
    # Queries and out 5120², keys and values 5120 * 1024, MLP 5120 * 27648.
    assert decoder_weights(QWQ) == 2 * 5120**2 + 2 * 5120 * 1024 + 3 * 5120 * 27648
    assert head_weights(QWQ) == 5120 * 152064


def test_a_token_of_the_reasoner_has_256_kib_of_keys_and_values():
    # 2 * 64 layers * 8 heads * 128 * 2 bytes.
    assert kv_bytes(QWQ) == 256 * 2**10


def test_pairs_are_those_below_the_diagonal_and_on_it():
    assert causal_pairs([3, 1]) == 6 + 1


def test_a_step_of_decoding_reads_all_weights_and_all_keys_and_values():
    one = decode_work(QWQ, slots=1, context=0)
    weights = 2 * (64 * decoder_weights(QWQ) + head_weights(QWQ))
    assert one.hbm_bytes == pytest.approx(weights, rel=1e-3)
    longer = decode_work(QWQ, slots=8, context=1000)
    shorter = decode_work(QWQ, slots=8, context=0)
    assert longer.hbm_bytes - shorter.hbm_bytes == 8 * 1000 * kv_bytes(QWQ)


def test_chips_of_a_lane_share_the_products():
    alone = decode_work(QWQ, slots=16, context=500)
    shared = decode_work(QWQ, slots=16, context=500, tensor=4)
    assert shared.flops == pytest.approx(alone.flops / 4)
    assert alone.hbm_bytes / 4 < shared.hbm_bytes < 1.02 * alone.hbm_bytes / 4


def test_pieces_of_a_prompt_are_as_much_work_as_the_whole():
    whole = prefill_work(QWQ, sequences=1, tokens=1024, context=0)
    halves = [
        prefill_work(QWQ, sequences=1, tokens=512, context=context)
        for context in (0, 512)
    ]
    assert sum(half.flops for half in halves) == pytest.approx(whole.flops)


def test_recomputation_is_a_pass_more_and_adapters_one_less():
    none, projections, block = (
        training_passes(QWQ, remat=remat, learn_weights=True)
        for remat in ("none", "projections", "block")
    )
    assert (none.layers, block.layers, none.head) == (3, 4, 4)
    assert none.layers < projections.layers < block.layers
    assert none.attention == projections.attention == block.attention - 1
    assert training_passes(QWQ, remat="none", learn_weights=False).layers == 2


def test_work_adds_and_multiplies():
    assert Work(1, 2) + Work(3, 4) * 2 == Work(7, 10)


def test_the_forward_pass_is_counted_as_xla_counts_it(small):
    rows, tokens = 4, 64  # short rows: all scores are formed, below and above
    params = abstract_params(small)
    ids = jax.ShapeDtypeStruct((rows, tokens), jnp.int32)

    def forward(params, embeds, positions, segments):
        model = nnx.merge(model_graph(small), params)
        return model.decoder(embeds, positions, segments) @ model.decoder.head

    embeds = jax.ShapeDtypeStruct((rows, tokens, 256), jnp.float32)
    lowered = jax.jit(forward).lower(params, embeds, ids, ids)
    counted = prefill_work(
        small.text, sequences=rows * tokens, tokens=1, context=tokens - 1
    ).flops + 2 * rows * tokens * head_weights(small.text)
    assert xla_flops(lowered) == pytest.approx(counted, rel=0.04)


def test_the_tower_is_counted_as_xla_counts_it(small):
    tiles = jax.ShapeDtypeStruct((3, 56, 56, 3), jnp.float32)

    def encode(params, tiles):
        return nnx.merge(model_graph(small), params).encode_images(tiles)

    lowered = jax.jit(encode).lower(abstract_params(small), tiles)
    assert xla_flops(lowered) == pytest.approx(tower_work(small, 3).flops, rel=0.04)


def test_a_step_of_decoding_is_counted_as_xla_counts_it(small):
    text, slots, page = small.text, 8, 16
    shape = jax.ShapeDtypeStruct
    pages = jax.eval_shape(lambda: Pages.empty(text, 1, page, jnp.float32))
    rows = jax.eval_shape(
        lambda: Rows.empty(text, slots, page, jnp.float32, stacked=True)
    )
    numbers = dict.fromkeys(
        ("latest", "position", "index", "limit", "sample", "start"),
        shape((slots,), jnp.int32),
    )
    lowered = decode_chunk.lower(
        model_graph(small),
        abstract_params(small),
        pages,
        Slots(
            **numbers,
            running=shape((slots,), bool),
            seeds=shape((slots, 2), jnp.uint32),
        ),
        (),
        shape((), jnp.int32),
        layers=None,
        open_pages=rows,
        num_steps=1,
        sampling=SamplingConfig(1, temperature=0.0),
        end_ids=(0,),
        banned_ids=(),
    )
    counted = decode_work(text, slots=slots, context=page).flops
    assert xla_flops(lowered) == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("remat", ["none", "block"])
def test_an_update_is_counted_as_xla_counts_it(small, remat):
    rows, tokens, learnt = 16, 16, 64
    text_only = dataclasses.replace(small, vision=None)
    batch = text_batch(rows, tokens, learnt)
    optimizer = make_optimizer(OptimizerConfig(num_steps=10))
    params = abstract_params(text_only)
    state = TrainState(
        params=params,
        opt_state=jax.eval_shape(optimizer.init, params),
        step=jax.ShapeDtypeStruct((), jnp.int32),
        graphdef=model_graph(text_only),
        partition=None,
        optimizer=optimizer,
        objective=objectives.sophia,
        measure=objectives.off_policy_measures,
        trainable=("decoder",),
        remat=remat,
    )
    counted = update_work(
        text_only,
        tokens=rows * tokens,
        pairs=rows * tokens**2,
        learnt=learnt,
        passes=training_passes(small.text, remat=remat, learn_weights=True),
        micro_batches=1,
        tensor=1,
        shards=1,
        weights=0,
        state_bytes=0,
    ).flops
    # Beside the products: the optimizer's few operations for each weight, and the
    # second pass of a layer leaves its last product out, which nothing needs.
    assert xla_flops(lower_train_step(state, batch)) == pytest.approx(counted, rel=0.08)


def text_batch(rows, tokens, learnt):
    """The shapes of a batch without pictures."""

    def shape(*size, dtype=np.int32):
        return jax.ShapeDtypeStruct(size, dtype)

    return PackedBatch(
        token_ids=shape(rows, tokens),
        positions=shape(rows, tokens),
        segment_ids=shape(rows, tokens),
        image_index=shape(rows, tokens),
        images=None,
        target_index=shape(rows, tokens),
        target_ids=shape(rows, tokens),
        target_mask=shape(rows, tokens, dtype=bool),
        learnt=shape(1, learnt),
        reward=shape(rows, dtype=np.float32),
        behavior_log_prob=shape(rows, dtype=np.float32),
        signals={},
    )
