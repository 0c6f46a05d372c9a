"""A local reasoner is stopped as an engine is, and never asked what does not fit."""

import dataclasses

from sophia_jax.config import SamplingConfig, SophiaConfig
from sophia_jax.data.prompts import DIGITS
from sophia_jax.generation.engine import Engine
from sophia_jax.recipes import reasoners
from sophia_jax.recipes.own_data import CollectConfig
from sophia_jax.types import Request

CONFIG = CollectConfig(
    policy="",
    reasoner="",
    data="",
    caption=SamplingConfig(8),
    answer=SamplingConfig(32),
    prompts=DIGITS,
    sophia=SophiaConfig(),
    slots=8,
)
REQUESTS = [
    Request("asked", "1 + 1", num_samples=2, seed=3),
    Request("too long", "a" * 250, num_samples=2),
    Request("stopped", "2 + 2", num_samples=2),
]


def test_a_local_reasoner_can_be_stopped_and_skips_what_is_too_long(text_model):
    happened = []

    def load():
        happened.append("loaded")
        return text_model

    described = dataclasses.replace(text_model, params={})
    generate = reasoners._when_asked(
        described, load, CONFIG, lambda: happened.append("made room")
    )
    assert happened == []
    run = generate(REQUESTS)
    assert happened == ["made room", "loaded"]
    run.cancel("stopped")
    said = {(each.group, each.sample): each for each in run}
    assert len(said) == 6
    reasons = {group: said[group, 1].finish_reason for group, _ in said}
    assert reasons["too long"] == "too_long"
    assert reasons["stopped"] == "cancelled"
    alone = Engine(text_model, CONFIG.answer, slots=8)([REQUESTS[0]])
    for completion in alone:
        assert said["asked", completion.sample].text == completion.text
