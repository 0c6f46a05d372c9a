"""Runs as data: what is refused, which meshes follow, and what would help."""

import json

import pytest

from sophia_jax.config import LoraConfig
from sophia_jax.planning.advice import changes
from sophia_jax.planning.collectives import MeshShape, Traffic
from sophia_jax.planning.counts import Work
from sophia_jax.planning.hardware import GENERATIONS
from sophia_jax.planning.roofline import roofline
from sophia_jax.planning.run_plan import RoundSizes, RunPlan, model_config
from sophia_jax.presets import MODELS
from sophia_jax.sharding import MeshConfig, Roles
from sophia_jax.types import InputError


def plan(slice="v5p-128", **fields):
    return RunPlan("internvl3-38b", "qwq-32b", slice, **fields)


def update(**sizes):
    return {"roles": Roles(update=MeshConfig(**sizes))}


def test_without_a_mesh_all_chips_share_the_weights():
    assert plan().mesh == MeshShape(fsdp=64)
    assert plan("2*v6e-64").mesh == MeshShape(data=2, fsdp=64)
    assert plan(**update(fsdp=-1, context=4)).mesh == MeshShape(fsdp=16, context=4)


def test_lanes_are_as_many_as_there_is_room_for():
    config = MODELS["internvl3-8b"]  # of four key-value heads
    assert plan("v6e-8").lanes(config, None) == MeshShape(data=2, tensor=4)
    assert plan().lanes(config, MeshConfig(tensor=2)) == MeshShape(data=32, tensor=2)
    some = MeshConfig(tensor=4, first=32)
    assert plan().lanes(config, some) == MeshShape(data=8, tensor=4)
    with pytest.raises(ValueError, match="a divisor of a host's 4 chips"):
        plan().lanes(config, MeshConfig(tensor=8))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (update(fsdp=3), "multiply to 64 of 64 chips"),
        (update(fsdp=64, count=32), "multiply to 32 of 64 chips"),
        ({"slice": "2*v6e-64", **update(fsdp=128)}, "multiple of the 2 slices, got 1"),
        ({"tiles": 0}, "tiles: expected >= 1, got 0"),
        ({"caption_slots": 0}, "caption_slots: expected >= 1, got 0"),
        ({"remat": "some"}, "remat: expected none, block, projections, got some"),
        ({"optimizer_state": "int4"}, "int4"),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        plan(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"questions": 0}, "questions: expected > 0, got 0"),
        ({"kept_share": 1.5}, "kept_share: expected <= 1, got 1.5"),
    ],
)
def test_sizes_of_a_round_are_checked(fields, said):
    with pytest.raises(ValueError, match=said):
        RoundSizes(**fields)


def test_a_model_is_a_preset_or_a_folder(tmp_path):
    padded = model_config("InternVL3-8B", 4, 4096).text
    assert padded.embedding_rows == 151676 and padded.max_length == 4096
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "model_type": "qwen2",
                "vocab_size": 1000,
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 128,
                "max_position_embeddings": 512,
                "rms_norm_eps": 1e-6,
                "rope_theta": 1e6,
                "hidden_act": "silu",
                "tie_word_embeddings": False,
                "use_sliding_window": False,
            }
        )
    )
    assert model_config(str(tmp_path), 1, 512).text.mlp_size == 128
    with pytest.raises(InputError, match="internvl3-8b, .*, or a model folder; got x"):
        model_config("x", 1, 512)


def test_the_least_harmful_changes_come_first_and_add_up():
    asked = plan("v6e-64", remat="none", rows=2, **update(data=4, fsdp=16))
    found = list(changes(asked, "policy update"))
    assert [change.words.split(", ")[-1] for change in found] == [
        "remat block",
        "fsdp=64",
        "1 row in each share at a time",
        "an 8-bit optimizer state",
        "LoRA of rank 16",
    ]
    last = found[-1].plan
    assert (last.remat, last.rows, last.lora) == ("block", 1, LoraConfig(rank=16))
    assert last.mesh == MeshShape(fsdp=64)
    assert [c.words for c in changes(last, "policy update")] == []


def test_a_lane_may_gain_chips():
    asked = plan(roles=Roles(policy=MeshConfig(), reasoner=MeshConfig()))
    words = [change.words for change in changes(asked, "reasoner decode")]
    assert words[-1] == "tensor=2 for each lane, tensor=4 for each lane"


def test_whatever_takes_longest_is_the_limit():
    chip = GENERATIONS["v5p"]
    busy = roofline(Work(459e12, 2765e9 / 2), Traffic(60e9, 0.0), chip)
    assert (busy.seconds, busy.limiter) == (1.0, "compute")
    assert roofline(Work(1, 2765e9), Traffic(), chip).limiter == "memory"
    assert roofline(Work(1, 1), Traffic(600e9), chip).limiter == "network"
    far = roofline(Work(1, 1), Traffic(600e9, 6.25e9 * 2), chip)
    assert (far.seconds, far.limiter) == (2.0, "between slices")
