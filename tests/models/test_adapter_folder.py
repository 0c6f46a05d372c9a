"""Adapters in PEFT's layout: torch computes with them what we do."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file, save_file

from sophia_jax.config import LoraConfig
from sophia_jax.models.adapter_folder import load_adapters, save_adapters
from sophia_jax.models.adapters import add_adapters
from sophia_jax.models.folder import load_model
from sophia_jax.types import InputError

TOKENS = np.arange(1, 9)[None]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
SOME = ("query", "out", "down")


def random_adapters(model, lora):
    rng = np.random.default_rng(0)
    model = add_adapters(jax.random.key(0), model, lora)
    for adapter in model.params["adapters"].values():
        adapter["b"] = jnp.asarray(rng.normal(size=adapter["b"].shape) / 5, "f")
    return model


@pytest.fixture(scope="module")
def text(folders):
    return load_model(folders["untied"])


@pytest.fixture
def saved(text, tmp_path):
    save_adapters(random_adapters(text, LoraConfig(3, 6.0, SOME)), tmp_path / "saved")
    return tmp_path / "saved"


def torch_logits(model, folder):
    """With what PEFT adds at each module that a tensor names: (x A') B' alpha / r."""
    tensors = {name: torch.tensor(x) for name, x in load_file(folder / WEIGHTS).items()}
    settings = json.loads((folder / CONFIG).read_text())
    scale, hooks = settings["lora_alpha"] / settings["r"], []
    for name in tensors:
        module, found, _ = name.partition(".lora_A.weight")
        if found:
            a, b = tensors[name], tensors[f"{module}.lora_B.weight"]

            def add(_, inputs, out, a=a, b=b):
                return out + scale * (inputs[0] @ a.T) @ b.T

            module = model.get_submodule(module.removeprefix("base_model.model."))
            hooks.append(module.register_forward_hook(add))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(TOKENS)).logits.numpy()
    for hook in hooks:
        hook.remove()
    return logits, len(hooks)


def our_logits(model):
    ours = nnx.merge(model.graphdef, model.params)
    embeds = ours.embed(TOKENS, None, np.full_like(TOKENS, -1))
    hidden = ours.decoder(embeds, TOKENS - 1, np.ones_like(TOKENS))
    return np.asarray(hidden @ ours.decoder.head)


@pytest.mark.parametrize(
    ("variant", "targets"), [("untied", SOME), ("layer_norm", LoraConfig.targets)]
)
def test_torch_computes_with_the_folder_what_we_do(
    folders, torch_models, tmp_path, variant, targets
):
    model = random_adapters(load_model(folders[variant]), LoraConfig(3, 6.0, targets))
    save_adapters(model, tmp_path / "out", base="owner/name")
    logits, num_modules = torch_logits(torch_models[variant], tmp_path / "out")
    assert num_modules == 2 * len(targets)
    np.testing.assert_allclose(our_logits(model), logits, atol=1e-4)
    loaded = load_adapters(load_model(folders[variant]), tmp_path / "out")
    assert set(loaded.lora.targets) == set(targets)
    assert (loaded.lora.rank, loaded.lora.alpha) == (3, 6.0)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, model.params)


def test_names_and_settings_are_those_of_peft(saved):
    settings = json.loads((saved / CONFIG).read_text())
    assert settings["peft_type"] == "LORA"
    assert (settings["r"], settings["lora_alpha"]) == (3, 6.0)
    assert settings["target_modules"] == ["down_proj", "o_proj", "q_proj"]
    layer = "base_model.model.model.layers.1"
    shapes = {name: x.shape for name, x in load_file(saved / WEIGHTS).items()}
    assert len(shapes) == 2 * 2 * 3
    assert shapes[f"{layer}.mlp.down_proj.lora_A.weight"] == (3, 48)
    assert shapes[f"{layer}.mlp.down_proj.lora_B.weight"] == (32, 3)


def test_the_pattern_of_a_vision_model_leaves_its_tower_alone(
    folders, torch_models, tmp_path
):
    import re

    model = add_adapters(
        jax.random.key(0), load_model(folders["layer_norm"]), LoraConfig(2)
    )
    save_adapters(model, tmp_path / "out")
    pattern = json.loads((tmp_path / "out" / CONFIG).read_text())["target_modules"]
    names = [name for name, _ in torch_models["layer_norm"].named_modules()]
    chosen = {name for name in names if re.fullmatch(pattern, name)}
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert chosen == {
        name.removeprefix("base_model.model.").partition(".lora_")[0]
        for name in tensors
    }
    assert any("q_proj" in name for name in names if "vision" in name)


def refusal(model, folder):
    with pytest.raises(InputError) as caught:
        load_adapters(model, folder)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    return message


def test_all_that_does_not_fit_is_told_at_once(text, saved, change_json):
    change_json(saved / CONFIG, use_dora=True, lora_alpha="6")
    change_json(saved / CONFIG, init_lora_weights="pissa", alora_invocation_tokens=[1])
    tensors = load_file(saved / WEIGHTS)
    layer = "base_model.model.model.layers.0"
    name = f"{layer}.self_attn.q_proj.lora_A.weight"
    tensors[name] = tensors[name][:, :5].copy()
    del tensors[f"{layer}.mlp.down_proj.lora_B.weight"]
    tensors["base_model.model.lm_head.lora_A.weight"] = np.zeros((3, 32), "f")
    save_file(tensors, saved / WEIGHTS)
    message = refusal(text, saved)
    for said in (
        "use_dora: expected false, got True",
        "init_lora_weights: expected true or false or \"gaussian\", got 'pissa'",
        "alora_invocation_tokens: expected null, got [1]",
        "lora_alpha: expected a number > 0, got '6'",
        "model.layers.0.self_attn.q_proj.lora_A.weight: expected shape (3, 32), got",
        "model.layers.0.mlp.down_proj.lora_B.weight is missing",
        "base_model.model.lm_head.lora_A.weight is not expected",
    ):
        assert said in message


def test_how_plain_adapters_began_is_no_matter(text, saved, change_json):
    change_json(saved / CONFIG, init_lora_weights="gaussian")
    assert load_adapters(text, saved).lora.rank == 3


def test_a_folder_without_adapters_of_ours_is_refused(text, saved, change_json):
    change_json(saved / CONFIG, peft_type="IA3")
    save_file({}, saved / WEIGHTS)
    message = refusal(text, saved)
    assert "peft_type: expected LORA, got 'IA3'" in message
    assert "expected adapters of the decoder, got none" in message
    (saved / WEIGHTS).write_bytes(b"damaged")
    assert "expected a whole safetensors file" in refusal(text, saved)


def test_a_folder_is_not_written_over(text, saved):
    model = random_adapters(text, LoraConfig(3))
    with pytest.raises(InputError, match="expected a folder that does not exist"):
        save_adapters(model, saved)
    with pytest.raises(ValueError, match="with adapters, got one without"):
        save_adapters(text, saved / "new")
