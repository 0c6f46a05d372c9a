"""Prints, for small programs on eight devices, the counted and the compiled traffic."""

import json
import math
import re

import jax
import jax.numpy as jnp

from sophia_jax.config import ModelConfig, OptimizerConfig, TextConfig
from sophia_jax.data.packing import PackedBatch
from sophia_jax.models.internvl import abstract_params, model_graph
from sophia_jax.models.logical_axes import param_shardings
from sophia_jax.planning.collectives import MeshShape, lane_traffic, update_traffic
from sophia_jax.planning.lanes import Lane, prefill_program
from sophia_jax.sharding import TRAINING, Partition, make_mesh
from sophia_jax.training import objectives
from sophia_jax.training.layout import batch_shardings, optimizer_shardings
from sophia_jax.training.optimizer import make_optimizer
from sophia_jax.training.step import TrainState, lower_train_step

SIZES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1, "s8": 1, "f16": 2}
OPERATION = re.compile(
    r"= (?P<type>.*?) (?P<kind>all-gather|all-reduce|reduce-scatter|all-to-all"
    r"|collective-permute)(?:-start)?\("
)
TEXT = TextConfig(
    vocab_size=512,
    hidden_size=256,
    num_layers=2,
    num_heads=8,
    num_kv_heads=8,
    head_dim=32,
    mlp_size=512,
    max_length=512,
)


def received(text):
    """Bytes of all collectives of a module, those of loops as often as they run."""
    computations, name = {}, None
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{", line)
        name = head[1] if head else name
        computations.setdefault(name, []).append(line)
        if line.startswith("ENTRY"):
            entry = name

    def of(name):
        return sum(of_line(line) for line in computations.get(name, []))

    def of_line(line):
        total = 0.0
        found = OPERATION.search(line)
        if found:
            total += of_operation(line, found)
        times = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
        for called in re.findall(r"(?:body|to_apply|calls)=%?([\w.\-]+)", line):
            total += of(called) * (int(times[1]) if times else 1)
        return total

    return of(entry)


def of_operation(line, found):
    shapes = re.findall(r"([a-z]\w*)\[([\d,]*)\]", found["type"])
    size = sum(
        SIZES[kind] * math.prod(map(int, filter(None, numbers.split(","))))
        for kind, numbers in shapes
    )
    groups = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    chips = int(groups[2]) if groups else len(listed[1].split(",")) if listed else 2
    share = (chips - 1) / chips
    return {
        "all-gather": size * share,
        "all-reduce": 2 * size * share,
        "reduce-scatter": size * (chips - 1),
        "all-to-all": size * share,
        "collective-permute": size,
    }[found["kind"]]


def update(mesh):
    """Counted and compiled, of one update."""
    config = ModelConfig(TEXT)
    partition = Partition(make_mesh(**vars(mesh)), TRAINING)
    rows, length, learnt = mesh.data * mesh.fsdp, 64 * mesh.context, 8
    params = placed(abstract_params(config), param_shardings(config, partition))
    optimizer = make_optimizer(OptimizerConfig(num_steps=2, clip_norm=None))
    opt_state = jax.eval_shape(optimizer.init, params)
    state = TrainState(
        params=params,
        opt_state=placed(opt_state, optimizer_shardings(opt_state, params, partition)),
        step=jax.ShapeDtypeStruct((), jnp.int32, sharding=partition.sharding()),
        graphdef=model_graph(config, partition),
        partition=partition,
        optimizer=optimizer,
        objective=objectives.sophia,
        measure=objectives.off_policy_measures,
        trainable=("decoder",),
        remat="block",
    )

    def shape(*size, dtype=jnp.int32):
        return jax.ShapeDtypeStruct(size, dtype)

    by_row, by_target = shape(rows, length), shape(rows, 16)
    batch = PackedBatch(
        **dict.fromkeys(
            ("token_ids", "positions", "segment_ids", "image_index"), by_row
        ),
        images=None,
        target_index=by_target,
        target_ids=by_target,
        target_mask=shape(rows, 16, dtype=bool),
        learnt=shape(rows, learnt),
        reward=shape(rows, dtype=jnp.float32),
        behavior_log_prob=shape(rows, dtype=jnp.float32),
        signals={},
    )
    batch = placed(batch, batch_shardings(batch, partition))
    counted = update_traffic(
        config,
        mesh,
        tokens=rows * length / (mesh.data * mesh.fsdp * mesh.context),
        micro_batches=1,
        remat="block",
        learnt_share=1.0,
    )
    # Weights and activations are float32 here: twice what is counted but gradients.
    return counted.ici_bytes, received(
        lower_train_step(state, batch).compile().as_text()
    )


def lane():
    """Counted and compiled, of reading pieces of prompts on eight devices."""
    config = ModelConfig(TEXT)
    of = Lane(config, jax.devices(), 2, 64, 64, 64, 2, False)
    text = prefill_program(of, 2).lower().compile().as_text()
    return lane_traffic(TEXT, 2 * of.layout.piece, 8, head=False), received(text)


def placed(tree, places):
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=place
        ),
        tree,
        places,
    )


print(
    json.dumps(
        {
            "fsdp": update(MeshShape(fsdp=8)),
            "data fsdp": update(MeshShape(data=2, fsdp=4)),
            "tensor": update(MeshShape(tensor=8)),
            "context": update(MeshShape(fsdp=2, context=4)),
            "lane": lane(),
        }
    )
)
