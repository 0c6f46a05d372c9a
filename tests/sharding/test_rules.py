"""Rules turn logical axes into axes of a mesh, and say what does not divide."""

import dataclasses

import jax
import pytest
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.logical_axes import (
    check_partition,
    logical_axes,
    param_shardings,
    with_paths,
)
from sophia_jax.sharding import (
    DECODING,
    MESH_AXES,
    TRAINING,
    MeshConfig,
    Partition,
    make_mesh,
    parse_mesh,
)
from sophia_jax.sharding.mesh import make_lane_mesh
from sophia_jax.sharding.roles import sampling_partition, training_partition
from sophia_jax.types import InputError

# InternVL3-8B: the heads and widths of Qwen2.5-7B and of InternViT-300M.
TEXT = TextConfig(
    vocab_size=151674,
    hidden_size=3584,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    mlp_size=18944,
    max_length=32768,
)
VISION = VisionConfig(1024, 24, 16, 4096)
INTERNVL3_8B = ModelConfig(TEXT, VISION, image_token_id=151667)


def partition(rules=TRAINING, **sizes):
    """Rules for a mesh of any size, without its devices."""
    shape = [sizes.get(axis, 1) for axis in MESH_AXES]
    return Partition(AbstractMesh(tuple(shape), MESH_AXES), rules)


def test_a_mesh_axis_serves_the_first_axis_that_asks_for_it():
    rules = dataclasses.replace(TRAINING, token=("fsdp", "context"))
    spec = partition(rules, data=2, fsdp=2, context=2).spec("batch", "token", None)
    assert spec == PartitionSpec(("data", "fsdp"), "context", None)


def test_weights_are_cut_along_fsdp_and_tensor_to_learn_and_tensor_to_decode():
    path = "decoder.layers.down.kernel"
    axes = logical_axes(path, 3)
    assert partition().spec(*axes) == PartitionSpec(None, "tensor", ("fsdp", "context"))
    assert partition(DECODING).spec(*axes) == PartitionSpec(None, "tensor", None)


def test_every_parameter_has_a_place():
    shardings = param_shardings(INTERNVL3_8B, Partition(make_mesh(fsdp=2), TRAINING))
    cut = [s for s in jax.tree.leaves(shardings) if not s.is_fully_replicated]
    assert len(cut) == 18
    large = []

    def note(path, leaf):
        if leaf.size > 2**20 and "positions" not in path:
            large.append(path)

    with_paths(note, abstract_params(INTERNVL3_8B))
    places = {}
    with_paths(places.__setitem__, shardings)
    assert not any(places[path].is_fully_replicated for path in large)


@pytest.mark.parametrize("sizes", [{"fsdp": 16}, {"fsdp": 8, "tensor": 2}])
def test_a_padded_vocabulary_divides(sizes):
    text = dataclasses.replace(TEXT, vocab_multiple=sizes.get("tensor", 1))
    config = dataclasses.replace(INTERNVL3_8B, text=text)
    check_partition(config, partition(**sizes))


def test_what_does_not_divide_is_named_with_what_would():
    with pytest.raises(InputError) as refusal:
        check_partition(INTERNVL3_8B, partition(tensor=8))
    message = str(refusal.value)
    assert "num_heads 28 over tensor=8; 7 or 14 would divide it" in message
    assert "num_kv_heads 4 over tensor=8; 4 would divide it" in message
    assert "vocab_size with its padding 151674 over tensor=8" in message
    assert "8 would divide 151680" in message
    assert "hidden_size" not in message


def test_rules_of_an_unknown_axis_are_refused():
    rules = dataclasses.replace(TRAINING, mlp="model")
    with pytest.raises(InputError, match=r"mlp along an axis of the mesh .*'model'"):
        partition(rules)


def test_a_mesh_takes_what_the_other_axes_leave():
    assert dict(make_mesh(fsdp=-1).shape) == {
        "data": 1,
        "fsdp": 2,
        "tensor": 1,
        "context": 1,
    }


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"data": 3}, "multiply to 2 devices, got data=3, fsdp=1, tensor=1, context=1"),
        ({"data": -1, "fsdp": -1}, "one of them perhaps -1"),
        ({"data": -1, "fsdp": 4}, "multiply to 2 devices"),
        ({"data": 0}, "sizes >= 1"),
    ],
)
def test_a_mesh_of_other_than_the_devices_is_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        make_mesh(**sizes)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("tensor=4", MeshConfig(tensor=4)),
        ("fsdp=-1,tensor=2", MeshConfig(fsdp=-1, tensor=2)),
        ("data=2@4:8", MeshConfig(data=2, first=4, count=4)),
        ("data=2@4:", MeshConfig(data=2, first=4)),
    ],
)
def test_a_mesh_is_read_as_it_is_written(text, config):
    assert parse_mesh(text) == config


@pytest.mark.parametrize(
    "text", ["", "4", "tensor", "tensor=0", "model=2", "data=2,data=2", "data=2@3:3"]
)
def test_other_writings_of_a_mesh_are_refused(text):
    with pytest.raises(InputError, match="mesh: expected"):
        parse_mesh(text)


def test_a_cpu_needs_no_mesh_until_it_is_asked_for_one():
    assert training_partition(None) is None
    assert sampling_partition(None, num_kv_heads=lambda: 4) is None
    assert training_partition(MeshConfig(fsdp=2)).rules == TRAINING
    lanes = sampling_partition(MeshConfig(tensor=1), num_kv_heads=lambda: 4)
    assert (lanes.rules, lanes.mesh.shape["data"]) == (DECODING, 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MeshConfig(fsdp=2), "tensor and data alone for sampling, got fsdp=2"),
        (MeshConfig(tensor=2, data=2), "expected data=1, the lanes of tensor=2"),
        (MeshConfig(tensor=1, first=1, count=2), "among the 2 that there are, got 1:3"),
        (MeshConfig(tensor=3), "a divisor of the 2 devices of a process, got 3"),
    ],
)
def test_a_mesh_that_cannot_sample_is_refused(config, message):
    with pytest.raises(InputError, match=message):
        sampling_partition(config, num_kv_heads=lambda: 4)


def test_lanes_do_not_cross_processes():
    class Device:
        platform = "cpu"

        def __init__(self, number):
            self.id, self.process_index = number, number // 4

    mesh = make_lane_mesh(
        tensor=2, devices=[Device(n) for n in (0, 4, 1, 5, 2, 6, 3, 7)]
    )
    assert isinstance(mesh, Mesh)
    groups = mesh.devices.reshape(-1, 2)
    assert all(one.process_index == two.process_index for one, two in groups)
