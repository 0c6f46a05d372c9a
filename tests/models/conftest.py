"""Tiny models of transformers with random weights, and a tokenizer that fits them."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.numpy import save_file

from sophia_jax.models.folder import load_model
from sophia_jax.models.tokenizer import IMAGE_CONTEXT, train_tokenizer
from sophia_jax.types import InputError

torch.set_num_threads(1)

VOCAB_SIZE = 300
TEXT = {
    "model_type": "qwen2",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 28,
    "patch_size": 7,
}
VARIANTS = {
    "untied": {"tie_word_embeddings": False},
    "tied": {"tie_word_embeddings": True, "head_dim": 16},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "llama": {"model_type": "llama"},
    "dynamic": {
        "max_position_embeddings": 8,
        "rope_parameters": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 1e4},
    },
    "yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": 8.0,
            "original_max_position_embeddings": 8,
            "rope_theta": 1e4,
        },
    },
    "layer_norm": {"norm_type": "layer_norm", "attention_bias": True},
    "rms_norm": {"norm_type": "rms_norm", "use_qk_norm": True, "image_size": 56},
}
# In the layout of the original code, with dynamic rotary scaling for 8 tokens and eight
# heads on two, so that groups, heads and halves all differ in size.
ORIGINAL_TEXT = TEXT | {
    "num_attention_heads": 8,
    "max_position_embeddings": 8,
    "rope_parameters": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 1e4},
}
ORIGINALS = {
    "internlm2": ("llama", {"attention_bias": True}),
    "qwen2": ("qwen2", {"attention_bias": True}),
    "internvit_6b": (
        "qwen2",
        {"norm_type": "rms_norm", "use_qk_norm": True, "image_size": 56},
    ),
}
TEXT_VARIANTS = ("untied", "tied", "qwen3", "llama", "dynamic", "yarn")
IMAGE_VARIANTS = ("layer_norm", "rms_norm")


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(["12 plus 34 is 46, and 7 is a prime."] * 3, 290)


def make_torch_model(variant, tokenizer):
    """Every weight is random, also those that usually start at 0 or 1."""
    kind, change = ORIGINALS.get(variant) or ("qwen2", VARIANTS[variant])
    text = TEXT if variant in VARIANTS else ORIGINAL_TEXT
    if variant in TEXT_VARIANTS:
        config = transformers.AutoConfig.for_model(**TEXT | change)
        model = transformers.AutoModelForCausalLM.from_config(config)
    else:
        config = transformers.InternVLConfig(
            text_config=text | {"model_type": kind},
            vision_config=VISION | change,
            image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_CONTEXT),
            tie_word_embeddings=variant == "rms_norm",
        )
        model = transformers.InternVLForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="session")
def torch_models(tokenizer):
    variants = [*VARIANTS, *ORIGINALS]
    return {variant: make_torch_model(variant, tokenizer) for variant in variants}


@pytest.fixture(scope="session")
def folders(torch_models, tokenizer, tmp_path_factory):
    """What transformers saves of each model; not to be written to."""
    folders = {}
    for variant, model in torch_models.items():
        folder = tmp_path_factory.mktemp("models") / variant
        folders[variant] = folder
        if variant in ORIGINALS:
            write_original(folder, model, variant)
            tokenizer.save_pretrained(folder)
            continue
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if variant in IMAGE_VARIANTS:
            processor = transformers.GotOcr2ImageProcessorPil(
                crop_to_patches=True,
                max_patches=4,
                size={"height": 1, "width": 1},
                image_mean=[0.4, 0.5, 0.6],
                image_std=[0.2, 0.3, 0.4],
            )
            processor.save_pretrained(folder)
            file = folder / "preprocessor_config.json"
            side = model.config.vision_config.image_size[0]
            size = {"size": {"height": side, "width": side}}
            file.write_text(json.dumps(json.loads(file.read_text()) | size))
    return folders


def write_original(folder, model, variant):
    """The folder of the original code, its tensors renamed and joined by torch."""
    kind = "internlm2" if variant == "internlm2" else "qwen2"
    vision = model.config.vision_config
    values = {
        "model_type": "internvl_chat",
        "architectures": ["InternVLChatModel"],
        # To be ignored: it names code.
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": vision.image_size[0],
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 4,
        "use_thumbnail": True,
        "ps_version": "v2",
        "template": "internvl2_5",
        "select_layer": -1,
        "llm_config": {
            **ORIGINAL_TEXT,
            "model_type": kind,
            "rope_parameters": None,
            "rope_theta": 1e4,
            "rope_scaling": {"type": "dynamic", "factor": 8.0},
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": model.config.tie_word_embeddings,
            "bias": False,
        },
        "vision_config": {
            **VISION,
            "image_size": vision.image_size[0],
            "norm_type": vision.norm_type,
            "qkv_bias": vision.attention_bias,
            "qk_normalization": vision.use_qk_norm,
            "hidden_act": "gelu",
            "layer_norm_eps": vision.layer_norm_eps,
            "initializer_factor": 0.1,
        },
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(values))
    tensors = original_tensors(model.state_dict(), model.config)
    if kind == "internlm2":
        tensors = internlm2_tensors(tensors, model.config.text_config)
    tensors = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
    if model.config.tie_word_embeddings:
        del tensors["language_model.lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")


def original_tensors(state, config):
    renamed = {}
    for name, value in state.items():
        for old, new in (
            ("model.vision_tower.", "vision_model."),
            ("model.multi_modal_projector.layer_norm.", "mlp1.0."),
            ("model.multi_modal_projector.linear_1.", "mlp1.1."),
            ("model.multi_modal_projector.linear_2.", "mlp1.3."),
            ("model.language_model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
            ("embeddings.cls_token", "embeddings.class_embedding"),
            ("embeddings.position_embeddings", "embeddings.position_embedding"),
            ("patch_embeddings.projection.", "patch_embedding."),
            ("encoder.layer.", "encoder.layers."),
            (".attention.projection_layer.", ".attn.proj."),
            (".attention.q_norm.", ".attn.q_norm."),
            (".attention.k_norm.", ".attn.k_norm."),
            (".layernorm_before.", ".norm1."),
            (".layernorm_after.", ".norm2."),
            (".lambda_1", ".ls1"),
            (".lambda_2", ".ls2"),
        ):
            name = name.replace(old, new)
        renamed[name] = value
    for layer in range(config.vision_config.num_hidden_layers):
        at = f"vision_model.encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            names = [f"{at}.attention.{part}_proj.{kind}" for part in "qkv"]
            if names[0] in renamed:
                parts = [renamed.pop(name) for name in names]
                renamed[f"{at}.attn.qkv.{kind}"] = torch.cat(parts)
    return renamed


def internlm2_tensors(state, config):
    prefix = "language_model.model"
    renamed = {}
    for name, value in state.items():
        for old, new in (
            ("language_model.lm_head.", "language_model.output."),
            (f"{prefix}.embed_tokens.", f"{prefix}.tok_embeddings."),
            (".self_attn.o_proj.", ".attention.wo."),
            (".mlp.gate_proj.", ".feed_forward.w1."),
            (".mlp.up_proj.", ".feed_forward.w3."),
            (".mlp.down_proj.", ".feed_forward.w2."),
            (".input_layernorm.", ".attention_norm."),
            (".post_attention_layernorm.", ".ffn_norm."),
        ):
            name = name.replace(old, new) if name.startswith("language") else name
        renamed[name] = value
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    size, each = config.hidden_size // heads, heads // kv_heads
    for layer in range(config.num_hidden_layers):
        at = f"{prefix}.layers.{layer}"
        q, k, v = (renamed.pop(f"{at}.self_attn.{p}_proj.weight") for p in "qkv")
        rows = []
        for kv_head in range(kv_heads):
            for head in range(kv_head * each, (kv_head + 1) * each):
                rows.append(q[head * size : (head + 1) * size])
            rows.append(k[kv_head * size : (kv_head + 1) * size])
            rows.append(v[kv_head * size : (kv_head + 1) * size])
        renamed[f"{at}.attention.wqkv.weight"] = torch.cat(rows)
    return renamed


@pytest.fixture
def copy(folders, tmp_path):
    """A folder that the test may spoil."""

    def copied(variant):
        return shutil.copytree(folders[variant], tmp_path / "copy")

    return copied


@pytest.fixture(scope="session")
def change_json():
    """Sets fields of a JSON file; a__b is b within a, and None removes a field."""

    def change(file, **change):
        values = json.loads(file.read_text())
        for name, value in change.items():
            *sections, last = name.split("__")
            section = values
            for key in sections:
                section = section[key]
            if value is None:
                section.pop(last)
            else:
                section[last] = value
        file.write_text(json.dumps(values))

    return change


@pytest.fixture(scope="session")
def refusal():
    """The one line with which a folder is refused."""

    def refused(folder):
        with pytest.raises(InputError) as caught:
            load_model(folder)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(str(folder))
        return message

    return refused
