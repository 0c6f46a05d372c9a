"""A model with adapters is sampled as it computes, without being merged."""

import dataclasses

import jax
import numpy as np

from sophia_jax.config import LoraConfig, SamplingConfig
from sophia_jax.generation.engine import Engine
from sophia_jax.models.adapters import add_adapters, merge_adapters
from sophia_jax.types import Request


def test_an_engine_samples_with_the_adapters(text_model):
    model = add_adapters(jax.random.key(0), text_model, LoraConfig(4))
    adapters = jax.tree.map(lambda x: x + 0.05, model.params["adapters"])
    model = dataclasses.replace(model, params=model.params | {"adapters": adapters})

    def sampled(model):
        engine = Engine(model, SamplingConfig(8), slots=8, page=8, bucket=8)
        request = Request("sum", "12 + 34 = ?", num_samples=4, seed=5)
        answers = sorted(engine([request]), key=lambda answer: answer.sample)
        tokens = [answer.token_ids.tolist() for answer in answers]
        return tokens, np.concatenate([answer.policy_log_probs for answer in answers])

    tokens, log_probs = sampled(model)
    same, expected = sampled(merge_adapters(model))
    assert tokens == same
    np.testing.assert_allclose(log_probs, expected, atol=1e-4)
    assert tokens != sampled(text_model)[0]
