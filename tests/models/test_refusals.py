"""What does not fit is refused: in one line, with its place, and all of it at once."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

from sophia_jax.models import folder as folder_module
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.safetensors import read_headers, read_tensor, write_tensors
from sophia_jax.types import InputError


def test_every_mismatch_is_reported_at_once(copy, change_json, refusal):
    folder = copy("layer_norm")
    headers, _, _ = read_headers(folder)
    tensors = {name: read_tensor(name, header) for name, header in headers.items()}
    norm = "language_model.model.layers.1.input_layernorm.weight"
    query = "vision_tower.encoder.layer.0.attention.q_proj.weight"
    projector = "multi_modal_projector.linear_1.bias"
    del tensors[norm]
    tensors[query] = tensors[query][:8]
    tensors[projector] = tensors[projector].astype(np.int32)
    tensors["language_model.surprise"] = np.zeros(1, np.float32)
    write_tensors(tensors.items(), folder)
    change_json(folder / "config.json", image_token_id=7)
    size = {"height": 14, "width": 14}
    change_json(folder / "preprocessor_config.json", size=size)
    message = refusal(folder)
    for problem in (
        f"{norm} is missing",
        f"{query}: expected shape (32, 32), got (8, 32)",
        f"{projector}: expected F32 or BF16 or F16, got I32",
        "language_model.surprise is not expected",
        "image_token_id: expected the tokenizer's <IMG_CONTEXT>=",
        "size: expected image_size=28, got 14",
    ):
        assert problem in message
    assert message.count(";") == 5


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(copy, tokenizer, refusal):
    folder = copy("untied")
    larger = transformers.AutoTokenizer.from_pretrained(folder)
    larger.add_tokens([f"<extra {i}>" for i in range(30)])
    larger.save_pretrained(folder)
    rule = f"tokenizer: expected ids below vocab_size=300, got {len(tokenizer) + 29}"
    assert rule in refusal(folder)


@pytest.mark.parametrize(
    ("variant", "change", "message"),
    [
        ("untied", {"model_type": "gpt2"}, "model_type: expected 'internvl' or"),
        ("untied", {"model_type": None}, "model_type: expected 'internvl' or"),
        ("untied", {"quantization_config": {}}, "quantization_config: expected None"),
        ("untied", {"hidden_act": "gelu"}, "hidden_act: expected 'silu', got 'gelu'"),
        ("untied", {"hidden_size": None}, "hidden_size: expected a whole number"),
        ("untied", {"hidden_size": "32"}, "hidden_size: expected a whole number"),
        ("untied", {"num_attention_heads": 0}, "num_attention_heads: expected > 0"),
        ("untied", {"num_key_value_heads": 3}, "num_kv_heads: expected a divisor"),
        ("untied", {"rms_norm_eps": 0}, "rms_norm_eps: expected a number > 0"),
        ("untied", {"tie_word_embeddings": 1}, "tie_word_embeddings: expected true"),
        (
            "untied",
            {"rope_parameters__rope_type": "llama3"},
            "rope_parameters.rope_type: expected 'default' or 'linear' or 'dynamic' or",
        ),
        (
            "untied",
            {"rope_scaling": {"type": "linear"}, "rope_theta": 1e4},
            "rope_scaling.factor: expected a number > 0, got nothing",
        ),
        (
            "untied",
            {"rope_scaling": {"type": "dynamic", "factor": 0.5}, "rope_theta": 1e4},
            "rope factor: expected >= 1, got 0.5",
        ),
        ("untied", {"rope_parameters": None}, "rope_theta: expected a number > 0"),
        (
            "untied",
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types: expected full_attention in every layer",
        ),
        (
            "untied",
            {
                "layer_types": None,
                "use_sliding_window": True,
                "max_window_layers": 1,
                "sliding_window": 8,
            },
            "use_sliding_window: expected false",
        ),
        ("layer_norm", {"text_config": None}, "text_config: expected an object"),
        (
            "layer_norm",
            {"text_config__model_type": "gemma"},
            "text_config.model_type: expected 'qwen2' or 'qwen3' or 'llama', got 'gem",
        ),
        ("llama", {"attention_bias": True}, "attention_bias: expected False, got True"),
        ("llama", {"mlp_bias": True}, "mlp_bias: expected False, got True"),
        ("internlm2", {"ps_version": "v1"}, "ps_version: expected 'v2', got 'v1'"),
        ("internlm2", {"select_layer": -2}, "select_layer: expected -1, got -2"),
        ("internlm2", {"use_llm_lora": 16}, "use_llm_lora: expected 0, got 16"),
        (
            "internlm2",
            {"llm_config__bias": None},
            "llm_config.bias: expected False, got nothing",
        ),
        (
            "internlm2",
            {"llm_config__model_type": "llama"},
            "llm_config.model_type: expected 'qwen2' or 'internlm2', got 'llama'",
        ),
        ("layer_norm", {"downsample_ratio": 0.4}, "expected 1 over a whole number"),
        ("layer_norm", {"projector_hidden_act": "silu"}, "expected 'gelu', got 'silu'"),
        ("layer_norm", {"vision_feature_layer": -2}, "expected -1, got -2"),
        ("layer_norm", {"vision_feature_select_strategy": "full"}, "got 'full'"),
        ("untied", {"head_dim": 0}, "head_dim: expected an even number > 0, got 0"),
        ("untied", {"rms_norm_eps": float("nan")}, "rms_norm_eps: expected a number"),
        ("untied", {"layer_types": 3}, "layer_types: expected full_attention in every"),
        (
            "yarn",
            {"rope_parameters__partial_rotary_factor": 0.5},
            "rope_parameters.partial_rotary_factor: expected None or 1",
        ),
        (
            "layer_norm",
            {"vision_config__num_attention_heads": 0},
            "vision num_heads: expected a divisor of hidden_size=32, got 0",
        ),
        (
            "layer_norm",
            {"image_token_id": 300},
            "a token below vocab_size=300, got 300",
        ),
        (
            "layer_norm",
            {"vision_config__hidden_act": "gelu_pytorch_tanh"},
            "vision_config.hidden_act: expected 'gelu', got 'gelu_pytorch_tanh'",
        ),
        ("layer_norm", {"vision_config__use_mask_token": True}, "use_mask_token: exp"),
        (
            "layer_norm",
            {"vision_config__use_mean_pooling": False},
            "use_mean_pooling: expected True, got False",
        ),
        (
            "layer_norm",
            {"vision_config__use_absolute_position_embeddings": False},
            "use_absolute_position_embeddings: expected True, got False",
        ),
        (
            "layer_norm",
            {"vision_config__image_size": [28, 56]},
            "vision_config.image_size: expected a square of whole pixels, got [28, 56]",
        ),
        ("layer_norm", {"vision_config__patch_size": 5}, "a divisor of image_size=28"),
        ("layer_norm", {"vision_config__num_channels": 4}, "expected 3, got 4"),
        ("layer_norm", {"vision_config__norm_type": "none"}, "'layer_norm' or 'rms_no"),
    ],
)
def test_a_configuration_that_is_not_implemented_is_refused(
    variant, change, message, copy, change_json, refusal
):
    folder = copy(variant)
    change_json(folder / "config.json", **change)
    refused = refusal(folder)
    assert message in refused
    assert refused.startswith(f"{folder}/config.json: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, "'GotOcr2ImageProcessor'"),
        ({"resample": 2}, "resample: expected 3, got 2"),
        ({"do_rescale": False}, "do_rescale: expected True, got False"),
        ({"rescale_factor": 1.0}, "rescale_factor: expected 1 / 255"),
        ({"size": {"shortest_edge": 28}}, "size: expected a square of whole pixels"),
        ({"size": None}, "size: expected a square of whole pixels, got nothing"),
        ({"max_patches": None}, "max_patches: expected a whole number >= 0"),
        ({"max_patches": 0}, "max_tiles: expected >= min_tiles = 1, got 0"),
        ({"image_mean": None}, "image_mean: expected three numbers"),
        ({"image_std": [1, 1, "1"]}, "image_std: expected three numbers"),
        ({"crop_to_patches": "yes"}, "crop_to_patches: expected true or false"),
    ],
)
def test_tiles_that_are_not_implemented_are_refused(
    change, message, copy, change_json, refusal
):
    folder = copy("layer_norm")
    change_json(folder / "preprocessor_config.json", **change)
    refused = refusal(folder)
    assert message in refused
    assert refused.startswith(f"{folder}/preprocessor_config.json: ")


@pytest.mark.parametrize("kept", [0, 4, 50, -1])
def test_a_truncated_file_is_refused_by_name(kept, copy, refusal):
    file = copy("untied") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert str(file) in refusal(file.parent)


def test_damaged_files_of_several_are_refused_with_all_else(folders, copy, refusal):
    folder = copy("untied")
    headers, _, _ = read_headers(folder)
    tensors = [(name, read_tensor(name, header)) for name, header in headers.items()]
    tensors = [
        (name, tensor[:5] if "up_proj" in name else tensor) for name, tensor in tensors
    ]
    (folder / "model.safetensors").unlink()
    write_tensors(iter(tensors), folder, shard_bytes=20_000)
    first, second, *_ = sorted(folder.glob("model-*.safetensors"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    message = refusal(folder)
    assert f"{first.name}: expected a whole safetensors file" in message
    assert f"{second.name}: expected a whole safetensors file" in message
    assert (
        "layers.1.mlp.up_proj.weight: expected shape (48, 32), got (5, 32)" in message
    )
    # What stands in those files is not said to be missing as well.
    assert "is missing" not in message


def test_what_is_wrong_with_several_files_is_told_at_once(copy, change_json, refusal):
    folder = copy("layer_norm")
    change_json(folder / "config.json", text_config__hidden_act="relu")
    (folder / "preprocessor_config.json").unlink()
    (folder / "chat_template.jinja").unlink()
    (folder / "model.safetensors").write_bytes(b"short")
    (folder / "generation_config.json").write_text('{"eos_token_id": "<|im_end|>"}')
    message = refusal(folder)
    for problem in (
        "hidden_act: expected 'silu', got 'relu'",
        "preprocessor_config.json: expected a readable JSON file",
        "chat_template: expected one",
        "model.safetensors: expected a whole safetensors file",
    ):
        assert problem in message


def test_a_tensor_that_is_there_twice_is_refused(copy, refusal):
    folder = copy("layer_norm")
    headers, _, _ = read_headers(folder)
    tensors = {name: read_tensor(name, header) for name, header in headers.items()}
    head = tensors["language_model.lm_head.weight"]
    tensors["lm_head.weight"] = np.zeros_like(head)
    write_tensors(tensors.items(), folder)
    assert "lm_head.weight is there in another spelling too" in refusal(folder)


def test_a_tensor_in_two_files_is_refused(copy, refusal):
    folder = copy("untied")
    headers, _, _ = read_headers(folder)
    tensors = [(name, read_tensor(name, header)) for name, header in headers.items()]
    (folder / "model.safetensors").unlink()
    write_tensors(iter(tensors), folder, shard_bytes=20_000)
    first, *_, last = sorted(folder.glob("model-*.safetensors"))
    doubled = tensors[0][0]
    save_file(load_file(last) | {doubled: np.zeros(1, np.float32)}, last)
    assert f"{last.name}: {doubled} is in {first.name} too" in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_damaged_configuration_is_refused_by_name(text, copy, refusal):
    file = copy("untied") / "config.json"
    file.write_bytes(text.encode("latin-1"))
    assert str(file) in refusal(file.parent)


def test_pickled_weights_are_refused_unread(copy, refusal):
    folder = copy("untied")
    (folder / "model.safetensors").unlink()
    assert "expected model.safetensors or model.safetensors.index" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert "pickled weights only (pytorch_model.bin)" in refusal(folder)


def test_an_existing_target_is_left_alone(folders, tmp_path):
    model = load_model(folders["untied"])
    with pytest.raises(InputError, match="expected a folder that does not exist"):
        save_model(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing_behind(folders, tmp_path, monkeypatch):
    model = load_model(folders["untied"])

    def full(tensors, folder):
        write_tensors(itertools.islice(tensors, 2), folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "write_tensors", full)
    with pytest.raises(InputError, match=r"cannot be written .*No space left"):
        save_model(model, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        save_model(model, tmp_path / "file" / "saved")


def test_what_the_format_cannot_say_is_refused(folders, tmp_path):
    model = load_model(folders["layer_norm"])
    text = dataclasses.replace(model.config.text, qk_norm=True)
    config = dataclasses.replace(model.config, text=text)
    tiles = dataclasses.replace(model.tiles, use_thumbnail=False)
    for change, rule in [({"config": config}, "qkv_bias"), ({"tiles": tiles}, "thumb")]:
        with pytest.raises(InputError, match=rule):
            save_model(dataclasses.replace(model, **change), tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_neither_folder_nor_repository_is_refused(tmp_path, refusal):
    assert "expected a model folder or owner/name" in refusal(tmp_path / "none")


def test_whole_numbers_are_no_weights(folders):
    with pytest.raises(InputError, match="dtype: expected a floating type, got int32"):
        load_model(folders["untied"], dtype=jnp.int32)
