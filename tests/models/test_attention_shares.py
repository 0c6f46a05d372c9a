"""Attention on a mesh is attention on one device, forward and backward."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.models.attention_backends import causal_attention
from sophia_jax.models.attention_shares import Shares
from sophia_jax.sharding import TRAINING, Partition, make_mesh
from sophia_jax.types import InputError

ON_EIGHT = """
import functools, json
import jax, jax.numpy as jnp, numpy as np
from sophia_jax.models.attention_backends import causal_attention, full_attention
from sophia_jax.models.remat import rematerialised
from sophia_jax.sharding import TRAINING, Partition, make_mesh

jax.config.update("jax_numpy_rank_promotion", "raise")
ids = np.zeros((4, 200), np.int32)  # segments cross the border between shares, at 100
ids[0, :50], ids[0, 50:170], ids[1, :130], ids[1, 130:] = 1, 2, 1, 2
ids[2], ids[3, 90:110] = 1, 5
ids = jnp.asarray(ids)

def scene(rows, token, heads, kv_heads):
    rng = np.random.default_rng(0)
    return [
        jnp.asarray(rng.normal(size=(rows, token, count, 16)), jnp.float32)
        for count in (heads, kv_heads, kv_heads, heads)
    ]

def gradients(attend, query, key, value, above):
    def total(*x):
        out = attend(*x)
        return jnp.sum(out * above), out
    (_, out), found = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(
        query, key, value
    )
    return out, *found

def worst(found, expected):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(found, expected))

def on(attend, **sizes):
    partition = Partition(make_mesh(**sizes), TRAINING)
    return functools.partial(attend, partition=partition, interpret=True)

@functools.cache
def on_one(heads):
    attend = functools.partial(causal_attention, segment_ids=ids, backend="xla")
    return gradients(attend, *scene(4, 200, *heads))

errors, split = {}, {}
for backend, heads, sizes in (
    ("xla", (4, 2), dict(data=2, tensor=2, context=2)),
    ("splash", (4, 2), dict(fsdp=2, tensor=2, context=2)),
    ("xla", (12, 3), dict(tensor=4, context=2)),  # of 4 heads to a key, 3 a device
    ("splash", (4, 2), dict(tensor=4, context=2)),  # one key head for two devices
):
    arrays = scene(4, 200, *heads)
    attend = functools.partial(causal_attention, segment_ids=ids, backend=backend)
    found = gradients(on(attend, **sizes), *arrays)
    name = f"{backend} {heads} {sizes}"
    errors[name] = worst(found, on_one(heads))
    split[name] = list(found[0].sharding.shard_shape(found[0].shape))

arrays = scene(8, 130, 3, 3)  # three heads over two devices: each has all
attend = functools.partial(full_attention, backend="splash")
alone = functools.partial(full_attention, backend="xla")
expected = gradients(alone, *arrays)
sizes = dict(data=2, fsdp=2, tensor=2)
errors["tiles"] = worst(gradients(on(attend, **sizes), *arrays), expected)

def temp_bytes(token, **sizes):
    attend = on(causal_attention, **sizes)
    whole = jnp.ones((1, token), jnp.int32)
    total = lambda *x: attend(*x, whole).sum()
    shapes = [jax.ShapeDtypeStruct((1, token, 1, 8), jnp.float32)] * 3
    compiled = jax.jit(jax.grad(total, (0, 1, 2))).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes

def maxima(remat):
    attend = functools.partial(causal_attention, segment_ids=ids)
    attend = on(attend, data=2, tensor=2, context=2)
    layer = rematerialised(lambda x: attend(x, x, x), remat)
    return str(jax.make_jaxpr(jax.grad(lambda x: layer(x).sum()))(arrays[0])).count(
        "= reduce_max"
    )

arrays = scene(4, 200, 2, 2)
print(json.dumps(dict(
    errors=errors, split=split, temp_bytes=temp_bytes(8192, context=8),
    maxima={remat: maxima(remat) for remat in ("none", "projections", "block")},
)))
"""


@pytest.fixture(scope="module")
def on_eight():
    flags = "--xla_force_host_platform_device_count=8"
    return json.loads(run(ON_EIGHT, XLA_FLAGS=flags, JAX_PLATFORMS="cpu"))


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_shares_together_are_the_whole_forward_and_backward(on_eight):
    assert len(on_eight["errors"]) == 5
    assert max(on_eight["errors"].values()) < 2e-5


def test_each_device_has_its_own_rows_queries_and_heads(on_eight):
    assert list(on_eight["split"].values()) == [
        [2, 100, 2, 16],
        [2, 100, 2, 16],
        [4, 100, 3, 16],
        [4, 100, 1, 16],
    ]


def test_a_share_of_the_tokens_forms_blocks_of_scores_alone(on_eight):
    scores = 4 * 1024 * 8192  # bytes, of a device's queries against all keys
    assert on_eight["temp_bytes"] < scores / 10


def test_on_a_mesh_too_attention_that_is_kept_is_not_computed_again(on_eight):
    assert on_eight["maxima"] == {"none": 1, "projections": 1, "block": 2}


def test_what_does_not_divide_is_refused():
    partition = Partition(make_mesh(tensor=2, devices=jax.devices()[:2]), TRAINING)
    x = jnp.zeros((1, 8, 3, 4))
    with pytest.raises(InputError, match=r"num_heads 3 over tensor=2"):
        causal_attention(x, x, x, jnp.ones((1, 8), int), partition=partition)


def test_heads_of_keys_that_do_not_divide_are_chosen_by_the_queries():
    partition = Partition(make_mesh(tensor=2, devices=jax.devices()[:2]), TRAINING)
    query = np.zeros((1, 8, 6, 4))
    assert Shares.of_rows(partition, query, query[:, :, :2]).kv_heads_divide
    assert not Shares.of_rows(partition, query, query[:, :, :3]).kv_heads_divide


FOR_TPU = """
import jax, jax.numpy as jnp
from jax.experimental import topologies
from sophia_jax.models.attention_backends import causal_attention, full_attention
from sophia_jax.sharding import TRAINING, Partition, make_mesh

devices = topologies.get_topology_desc(
    platform="tpu", topology_name="v5p:2x2x1"
).devices
partition = Partition(make_mesh(context=2, tensor=2, devices=devices), TRAINING)

def shape(*sizes, axes):
    place = partition.sharding(*axes)
    return jax.ShapeDtypeStruct(sizes, jnp.bfloat16, sharding=place)

def rows(head_dim):
    axes = ("batch", "token", "heads", None)
    return [shape(1, 1000, heads, head_dim, axes=axes) for heads in (4, 2, 2)]

ids = jax.ShapeDtypeStruct(
    (1, 1000), jnp.int32, sharding=partition.sharding("batch", "token")
)
tiles = shape(4, 1025, 3, 64, axes=("tile", None, None, None))

def total(narrow, wide, tiles, ids):
    outs = [
        causal_attention(*narrow, ids, partition=partition),
        causal_attention(*wide, ids, partition=partition),
        full_attention(tiles, tiles, tiles, partition=partition),
    ]
    return sum(out.astype(jnp.float32).sum() for out in outs)

gradient = jax.jit(jax.grad(total, (0, 1, 2)))
lowered = gradient.lower(rows(64), rows(128), tiles, ids)
kernels = lowered.as_text().count("tpu_custom_call")
lowered.compile()
print(kernels)
"""


@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu, TPU's compiler")
def test_a_tpu_gets_kernels_that_its_compiler_takes():
    # Each of the three attentions: forward, and backward to queries and to keys.
    assert int(run(FOR_TPU, TPU_SKIP_MDS_QUERY="1", JAX_PLATFORMS="cpu")) == 9
