"""Tiny models of transformers with random weights, and a tokenizer that fits them."""

import json
import shutil

import pytest
import torch
import transformers

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
    "layer_norm": {"norm_type": "layer_norm", "attention_bias": True},
    "rms_norm": {"norm_type": "rms_norm", "use_qk_norm": True, "image_size": 56},
}
TEXT_VARIANTS = ("untied", "tied")
IMAGE_VARIANTS = ("layer_norm", "rms_norm")


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(["12 plus 34 is 46, and 7 is a prime."] * 3, 290)


def make_torch_model(variant, tokenizer):
    """Every weight is random, also those that usually start at 0 or 1."""
    change = VARIANTS[variant]
    if variant in TEXT_VARIANTS:
        config = transformers.Qwen2Config(**TEXT, **change)
        model = transformers.Qwen2ForCausalLM(config)
    else:
        config = transformers.InternVLConfig(
            text_config=dict(TEXT),
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
    return {variant: make_torch_model(variant, tokenizer) for variant in VARIANTS}


@pytest.fixture(scope="session")
def folders(torch_models, tokenizer, tmp_path_factory):
    """What transformers saves of each model; not to be written to."""
    folders = {}
    for variant, model in torch_models.items():
        folder = tmp_path_factory.mktemp("models") / variant
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
        folders[variant] = folder
    return folders


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
