"""Rotary angles, also beyond the original length, equal those of transformers."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from sophia_jax.config import RopeScaling
from sophia_jax.models.rotary import rotary

HEAD_DIM, THETA, ORIGINAL = 128, 1e6, 32768  # those of every InternVL2.5 and 3

SCALINGS = [
    (None, {"rope_type": "default"}),
    (RopeScaling("linear", 4.0, ORIGINAL), {"rope_type": "linear", "factor": 4.0}),
    (RopeScaling("dynamic", 2.0, ORIGINAL), {"rope_type": "dynamic", "factor": 2.0}),
    (RopeScaling("yarn", 4.0, ORIGINAL), {"rope_type": "yarn", "factor": 4.0}),
    (
        RopeScaling("yarn", 8.0, 4096, 16.0, 2.0, 1.5, truncate=False),
        {
            "rope_type": "yarn",
            "factor": 8.0,
            "original_max_position_embeddings": 4096,
            "beta_fast": 16.0,
            "beta_slow": 2.0,
            "attention_factor": 1.5,
            "truncate": False,
        },
    ),
]


def theirs(parameters, positions):
    config = Qwen2Config(
        hidden_size=HEAD_DIM,
        num_attention_heads=1,
        max_position_embeddings=ORIGINAL,
        rope_parameters=parameters | {"rope_theta": THETA},
    )
    cos, sin = Qwen2RotaryEmbedding(config)(
        torch.zeros(1), torch.tensor(positions)[None]
    )
    return np.stack([cos[0, :, : HEAD_DIM // 2], sin[0, :, : HEAD_DIM // 2]])


@pytest.mark.parametrize("longest", [100, ORIGINAL - 1, 40_000])
@pytest.mark.parametrize(("scaling", "parameters"), SCALINGS)
def test_turns_equal_those_of_transformers(scaling, parameters, longest):
    positions = np.linspace(0, longest, 64).astype(np.int32)
    ours = rotary(
        jnp.asarray(positions),
        HEAD_DIM,
        theta=THETA,
        scaling=scaling,
        lengths=jnp.full(64, longest + 1),
    )
    # An angle of 40,000 radians is known to 0.004 in float32.
    atol = 1e-5 + 2e-7 * longest
    np.testing.assert_allclose(ours, theirs(parameters, positions), atol=atol)


def test_dynamic_scaling_begins_at_the_original_length():
    scaling = RopeScaling("dynamic", 2.0, 16)
    positions = jnp.arange(24)
    scaled = rotary(positions, 8, theta=100.0, scaling=scaling)
    plain = rotary(positions, 8, theta=100.0)
    np.testing.assert_allclose(scaled[:, :16], plain[:, :16], rtol=1e-6)
    # Of d = 8 the second frequency is base^(-1/4), and at position 23, of 24 tokens,
    # the base is 100 (2 * 24 / 16 - 1)^(8/6) = 252.
    angle = 23 * (100 * 2 ** (8 / 6)) ** -0.25
    np.testing.assert_allclose(
        scaled[:, 23, 1], [np.cos(angle), np.sin(angle)], rtol=1e-5
    )


def test_what_a_token_computes_one_by_one_depends_on_nothing_behind_it():
    scaling = RopeScaling("dynamic", 2.0, 4)
    few, many = (
        rotary(jnp.arange(count), 8, theta=100.0, scaling=scaling) for count in (6, 12)
    )
    np.testing.assert_array_equal(few, many[:, :6])
