"""Run with eight devices: what a mesh computes beside what one device does, as JSON."""

import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sophia_jax.config import ModelConfig, SamplingConfig, TextConfig, VisionConfig
from sophia_jax.data.packing import Example, pack_parts
from sophia_jax.generation.engine import Engine
from sophia_jax.models import moving
from sophia_jax.models.folder import load_model
from sophia_jax.models.internvl import init_params, model_graph
from sophia_jax.models.logical_axes import param_shardings
from sophia_jax.models.model import Model
from sophia_jax.models.moving import move_array, move_model
from sophia_jax.sharding import DECODING, TRAINING, Partition, make_mesh
from sophia_jax.training.layout import place_batch
from sophia_jax.training.step import init_state, train_step
from sophia_jax.types import Request

SIZES = {
    "vocab_size": 255,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 8,
    "num_kv_heads": 4,
    "head_dim": 8,
    "mlp_size": 64,
    "max_length": 512,
    "vocab_multiple": 4,
}
QWEN, INTERNLM = TextConfig(**SIZES), TextConfig(**SIZES, qkv_bias=False)
SMALL = VisionConfig(32, 2, 4, 48, image_size=28, patch_size=7)
LARGE = VisionConfig(
    *(32, 2, 4, 48),
    image_size=28,
    patch_size=7,
    norm="rms_norm",
    qkv_bias=False,
    qk_norm=True,
)
CASES = {
    "qwen": (QWEN, SMALL, [{"data": 2, "fsdp": 2, "tensor": 2}, {"tensor": 4}]),
    "internlm": (
        *(INTERNLM, LARGE),
        [{"fsdp": 4, "context": 2}, {"data": 2, "tensor": 2, "context": 2}],
    ),
}
ALL_PARTS = ("decoder", "vision", "projector")


def make_examples(config):
    rng = np.random.default_rng(0)

    def example(number):
        tiles = number % 3
        text = rng.integers(0, 250, 10 + number)
        image = np.full(config.tokens_per_tile * tiles, config.image_token_id)
        pixels = rng.normal(size=(tiles, 28, 28, 3)).astype(np.float32)
        return Example(
            prompt_ids=np.concatenate([image, text]).astype(np.int32),
            target_ids=rng.integers(0, 250, 20 + number).astype(np.int32),
            images=pixels if tiles else None,
            reward=float(rng.random()),
        )

    return [example(number) for number in range(12)]


def one_step(config, params, examples, sizes):
    """Loss, weights after a step down the gradient, and whether places were kept."""
    partition = None
    if sizes is not None:
        devices = jax.devices()[: math.prod(sizes.values())]
        mesh = make_mesh(**sizes, devices=devices)
        partition = Partition(mesh, TRAINING)
        params = jax.device_put(params, param_shardings(config, partition))
    graphdef = model_graph(config, partition)
    model = Model(config, graphdef, params, None, None, (), partition)
    state = init_state(model, optax.adam(1e-2, eps=1e-3), trainable=ALL_PARTS)
    places = jax.tree.map(lambda array: array.sharding, (state.params, state.opt_state))
    shards = 1 if partition is None else partition.ways("batch")
    batch = pack_parts(examples, config, num_parts=2, num_shards=shards, row_length=128)
    state, metrics = train_step(state, place_batch(batch, partition))
    kept = jax.tree.map(
        lambda array, place: array.sharding.is_equivalent_to(place, array.ndim),
        (state.params, state.opt_state),
        places,
    )
    metrics = {name: float(value) for name, value in metrics.items()}
    return state, metrics, all(jax.tree.leaves(kept))


def largest_difference(one, two):
    def difference(x, y):
        return float(np.max(np.abs(np.asarray(x) - np.asarray(y)), initial=0))

    return max(jax.tree.leaves(jax.tree.map(difference, one, two)))


def updates():
    """For each mesh, how far its update is from that of one device."""
    found = []
    for name, (text, vision, meshes) in CASES.items():
        config = ModelConfig(text, vision, image_token_id=254)
        params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), config)
        examples = make_examples(config)
        alone, metrics, _ = one_step(config, params, examples, None)
        for sizes in meshes:
            state, same, kept = one_step(config, params, examples, sizes)
            moments = [each.opt_state[0].mu for each in (alone, state)]
            found.append(
                {
                    "case": [name, sizes],
                    "metrics": [metrics, same],
                    "gradient": largest_difference(*moments),
                    "weights": largest_difference(alone.params, state.params),
                    "moved": largest_difference(alone.params, params),
                    "kept": kept,
                }
            )
    return found


def samples(folders, picture):
    """What one device says of a picture and of texts, and what lanes on meshes say."""
    found = {}
    # Few lanes: each compiles for itself.
    meshes = [{"data": 2, "tensor": 2}, {"tensor": 2}]
    for folder, sizes in zip(folders, meshes, strict=True):
        devices = jax.devices()[: math.prod(sizes.values())]
        mesh = make_mesh(**sizes, devices=devices)
        models = [load_model(folder), load_model(folder, mesh=mesh, rules=DECODING)]
        requests = [
            Request(
                str(n),
                "Read it: " + "12 + 3 " * n,
                images=(picture,) * (n % 2),
                num_samples=3,
                seed=n,
            )
            for n in range(6)
        ]
        found[folder] = []
        for model in models:
            engine = Engine(model, SamplingConfig(12), slots=16, page=16)
            said = {}
            for done in engine(requests):
                said[f"{done.group} {done.sample}"] = [
                    done.token_ids.tolist(),
                    done.policy_log_probs.tolist(),
                ]
            found[folder].append(said)
    return found


def held():
    """Bytes of all arrays on all devices."""
    return sum(
        shard.data.nbytes for array in jax.live_arrays() for shard in _shards(array)
    )


def _shards(array):
    return [] if array.is_deleted() else array.addressable_shards


def bytes_of(arrays):
    return sum(shard.data.nbytes for array in arrays for shard in _shards(array))


def moves(folder):
    """A model laid out for training, moved to decode elsewhere, and back."""
    four = jax.devices()[:4]
    mesh = make_mesh(fsdp=2, tensor=2, devices=four)
    there = Partition(make_mesh(data=2, tensor=2, devices=four), DECODING)
    elsewhere = Partition(make_mesh(tensor=2, devices=jax.devices()[4:6]), DECODING)
    model = load_model(folder, mesh=mesh)
    plain = jax.tree.map(np.asarray, model.params)
    found = []
    most, usual_move = [], moving.move_array

    def watched_move(array, sharding, **options):
        moved = usual_move(array, sharding, **options)
        most.append(held())
        return moved

    moving.move_array = watched_move
    for partition in (there, elsewhere, model.partition):
        before = jax.tree.leaves(model.params)
        size, others = bytes_of(before), held() - bytes_of(before)
        each = max(bytes_of([array]) for array in before)
        most.clear()
        model = move_model(model, partition, donate=tuple(model.params))
        after = jax.tree.leaves(model.params)
        each += max(bytes_of([array]) for array in after)
        pairs = zip(before, jax.tree.leaves(model.params), strict=True)
        found.append(
            {
                "equal": largest_difference(model.params, plain) == 0,
                "no second copy": max(most) - others
                <= max(size, bytes_of(after)) + each,
                "given up": all(
                    old.is_deleted()
                    or old.sharding.is_equivalent_to(new.sharding, old.ndim)
                    for old, new in pairs
                ),
                "placed": all(
                    jax.tree.leaves(
                        jax.tree.map(
                            lambda array, place: array.sharding == place,
                            model.params,
                            param_shardings(model.config, partition),
                        )
                    )
                ),
            }
        )
    return found


def chunks():
    """Whether arrays that move in chunks are those that move at once."""
    source = Partition(make_mesh(fsdp=8), TRAINING).sharding(None, "embed", None)
    target = Partition(make_mesh(tensor=8), TRAINING).sharding(None, None, "mlp")
    array = jax.device_put(jnp.arange(16 * 64 * 64.0).reshape(16, 64, 64), source)
    moved = move_array(array, target, chunk_bytes=array.nbytes // 5)
    uneven = move_array(array[:7], target, chunk_bytes=array.nbytes // 8)
    return {
        "equal": bool(jnp.all(moved == jax.device_put(array, target))),
        "uneven": bool(jnp.all(uneven == jax.device_put(array[:7], target))),
        "placed": moved.sharding == target and uneven.sharding == target,
    }


if __name__ == "__main__":
    picture, *folders = sys.argv[1:]
    print(
        json.dumps(
            {
                "updates": updates(),
                "samples": samples(folders, picture),
                "moves": moves(folders[0]),
                "chunks": chunks(),
            }
        )
    )
