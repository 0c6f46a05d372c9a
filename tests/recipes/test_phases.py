"""Phases of updates: what learns in them, and what is left behind."""

import dataclasses

import jax
import numpy as np
import pytest

from sophia_jax.config import LoraConfig
from sophia_jax.recipes import phases
from sophia_jax.recipes.phases import UpdateConfig
from sophia_jax.recipes.sizes import QuickstartConfig, with_steps
from sophia_jax.types import Item

LORA = LoraConfig(2, targets=("up",))


def test_a_warm_up_of_adapters_ends_with_a_plain_model(
    vision_model, tmp_path, monkeypatch
):
    seen = []

    def learn_b(model, examples, loss_fn, training, folder, **options):
        seen.append((model.lora, training.trainable, len(examples)))
        up = model.params["adapters"]["up"]
        adapters = {"up": up | {"b": up["b"] + 1}}
        return dataclasses.replace(model, params=model.params | {"adapters": adapters})

    monkeypatch.setattr(phases, "train", learn_b)
    items = [Item(str(n), f"{n} + {n}?", f"{2 * n}", ()) for n in range(2)]
    warm = phases.imitate(vision_model, items, UpdateConfig(lora=LORA), tmp_path)
    assert seen == [(LORA, ("adapters",), 2)]
    assert (warm.lora, warm.graphdef) == (None, vision_model.graphdef)

    def name_if_changed(path, before, after):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return name if np.any(before != after) else None

    changed = jax.tree_util.tree_map_with_path(
        name_if_changed, vision_model.params, warm.params
    )
    assert jax.tree.leaves(changed) == ["decoder/layers/up/kernel"]


def test_settings_decide_what_learns_and_in_how_many_bits():
    adapters = UpdateConfig(lora=LORA, dtype="bfloat16", optimizer_state="int8")
    phase = adapters.sized(100, 8)
    assert phase.trainable == ("adapters",)
    assert (phase.optimizer.master, phase.optimizer.state) == (False, "int8")
    whole = UpdateConfig(dtype="bfloat16", algorithm="adafactor").sized(100, 8)
    assert whole.trainable == ("decoder",)
    assert (whole.optimizer.master, whole.optimizer.algorithm) == (True, "adafactor")
    assert not UpdateConfig().sized(100, 8).optimizer.master
    with pytest.raises(ValueError, match="state: expected float32, or int8 of adamw"):
        UpdateConfig(algorithm="muon", optimizer_state="int8")


def test_a_phase_with_fewer_updates_warms_up_for_a_tenth_of_them():
    phase = QuickstartConfig().base  # warms up for 50
    assert with_steps(phase, 100).optimizer.warmup_steps == 10
    assert with_steps(phase, 2000).optimizer.warmup_steps == 50
    short = with_steps(phase, 5)
    assert (short.optimizer.num_steps, short.optimizer.warmup_steps) == (5, 0)
    assert short.batch_size == phase.batch_size
    assert with_steps(phase, 5, batch_size=3).batch_size == 3
