"""Logits and image features equal those of transformers for the same folder."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from sophia_jax.config import SamplingConfig
from sophia_jax.data.prompts import encode_prompt
from sophia_jax.generation.engine import Engine
from sophia_jax.models.folder import load_model
from sophia_jax.types import Request

TEXT_VARIANTS = ("untied", "tied")
# The last three are in the layout of the original code, and scaled as the next.
IMAGE_VARIANTS = ("layer_norm", "rms_norm", "internlm2", "qwen2", "internvit_6b")
# The last two have rotary scaling for 8 tokens.
OTHER_VARIANTS = ("qwen3", "llama", "dynamic", "yarn")
LENGTH = 12
QUESTION = "9"  # to which no answer of these models is short


def our_logits(model, token_ids, mask, positions, tiles=None):
    module = nnx.merge(model.graphdef, model.params)
    features = None if tiles is None else module.encode_images(jnp.asarray(tiles))
    # The placeholders take the image tokens in order, row after row.
    is_image = token_ids == model.config.image_token_id
    order = np.cumsum(is_image.reshape(-1)).reshape(token_ids.shape) - 1
    image_index = jnp.asarray(np.where(is_image, order, -1))
    embeds = module.embed(jnp.asarray(token_ids), features, image_index)
    hidden = module.decoder(embeds, jnp.asarray(positions), jnp.asarray(mask))
    return np.asarray(hidden @ module.decoder.head)


def their_logits(model, token_ids, mask, positions, tiles=None):
    images = {}
    if tiles is not None:
        images["pixel_values"] = torch.tensor(tiles).permute(0, 3, 1, 2)
    with torch.no_grad():
        # Under dynamic scaling it keeps the base of the longest sequence that it has
        # seen, until one is shorter than the original length.
        model(input_ids=torch.tensor([[1]]))
        output = model(
            input_ids=torch.tensor(token_ids),
            attention_mask=torch.tensor(mask),
            position_ids=torch.tensor(positions),
            **images,
        )
    return output.logits.numpy()


def random_tokens(seed, batch=2):
    """Token ids below 256: bytes, and never the image placeholder."""
    return np.random.default_rng(seed).integers(0, 256, (batch, LENGTH))


def random_tiles(model, number):
    side = model.config.vision.image_size
    return (
        np.random.default_rng(1).normal(size=(number, side, side, 3)).astype(np.float32)
    )


def whole(token_ids):
    positions = np.broadcast_to(np.arange(LENGTH), token_ids.shape)
    return np.ones_like(token_ids), np.ascontiguousarray(positions)


@pytest.mark.parametrize("variant", TEXT_VARIANTS + OTHER_VARIANTS + IMAGE_VARIANTS)
def test_logits_of_text_equal_those_of_transformers(variant, folders, torch_models):
    model = load_model(folders[variant])
    token_ids = random_tokens(0)
    inputs = (token_ids, *whole(token_ids))
    theirs = their_logits(torch_models[variant], *inputs)
    assert np.std(theirs) > 0.1  # the models do say something
    np.testing.assert_allclose(our_logits(model, *inputs), theirs, atol=1e-4)


@pytest.mark.parametrize("variant", TEXT_VARIANTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_logits(variant, side, folders, torch_models):
    # The second sequence has 7 tokens, on either side of its padding.
    model = load_model(folders[variant])
    token_ids, mask = random_tokens(2), np.ones((2, LENGTH), int)
    padding = slice(0, LENGTH - 7) if side == "left" else slice(7, LENGTH)
    mask[1, padding] = 0
    token_ids[1, padding] = 0
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    ours = our_logits(model, token_ids, mask, positions)
    theirs = their_logits(torch_models[variant], token_ids, mask, positions)
    np.testing.assert_allclose(ours[mask > 0], theirs[mask > 0], atol=1e-4)
    alone = our_logits(
        model, token_ids[1:][:, mask[1] > 0], np.ones((1, 7), int), np.arange(7)[None]
    )
    np.testing.assert_allclose(ours[1, mask[1] > 0], alone[0], atol=1e-5)


@pytest.mark.parametrize("variant", IMAGE_VARIANTS)
def test_logits_with_pictures_equal_those_of_transformers(
    variant, folders, torch_models
):
    # One tile is (side / 7 / 2)^2 image tokens: 4 of 28 pixels, 16 of 56.
    model = load_model(folders[variant])
    tokens = model.config.tokens_per_tile
    assert tokens == {"rms_norm": 16, "internvit_6b": 16}.get(variant, 4)
    token_ids = np.pad(random_tokens(3), [(0, 0), (0, tokens)], constant_values=0)
    token_ids[:, 2 : 2 + tokens] = model.config.image_token_id
    mask = np.ones_like(token_ids)
    if model.config.text.rope_scaling is None:  # or theirs is the longest's of a batch
        mask[1, -3:] = 0
    positions = np.tile(np.arange(token_ids.shape[1]), (2, 1))
    inputs = (token_ids, mask, positions, random_tiles(model, 2))
    ours, theirs = (
        our_logits(model, *inputs),
        their_logits(torch_models[variant], *inputs),
    )
    np.testing.assert_allclose(ours[mask > 0], theirs[mask > 0], atol=1e-4)


@pytest.mark.parametrize("variant", IMAGE_VARIANTS)
def test_image_features_equal_those_of_transformers(variant, folders, torch_models):
    model = load_model(folders[variant])
    tiles = random_tiles(model, 3)
    ours = nnx.merge(model.graphdef, model.params).encode_images(jnp.asarray(tiles))
    pixels = torch.tensor(tiles).permute(0, 3, 1, 2)
    with torch.no_grad():
        theirs = torch_models[variant].get_image_features(pixels).pooler_output.numpy()
    assert np.std(theirs) > 0.1
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-4)


def test_bfloat16_weights_give_nearly_the_same_logits(folders):
    token_ids = random_tokens(4)
    inputs = (token_ids, *whole(token_ids))
    exact = our_logits(load_model(folders["untied"]), *inputs)
    model = load_model(folders["untied"], dtype=jnp.bfloat16)
    assert model.params["decoder"]["norm"]["scale"].dtype == jnp.bfloat16
    rough = our_logits(model, *inputs).astype(np.float32)
    # bfloat16 has 8 bits: a part in 256 per operation, over some ten of them.
    assert np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("variant", ["qwen3", "llama", "dynamic", "yarn"])
def test_greedy_decoding_equals_that_of_transformers(variant, folders, torch_models):
    # Under dynamic scaling it begins within the 8 original tokens and ends far beyond,
    # and each key stays as its own token turned it.
    model = load_model(folders[variant])
    engine = Engine(model, SamplingConfig(24, temperature=0.0), slots=4, page=8)
    [ours] = engine([Request(group="q", text=QUESTION)])
    prompt = encode_prompt(model.tokenizer, model.config, QUESTION)
    assert len(prompt) < 8
    with torch.no_grad():
        torch_models[variant](input_ids=torch.tensor([[1]]))  # forgets a longer base
        theirs = torch_models[variant].generate(
            torch.tensor(prompt)[None],
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=model.tokenizer.eos_token_id,
            pad_token_id=0,
            suppress_tokens=list(engine.banned_ids) or None,
        )[0, len(prompt) :]
    assert ours.token_ids.tolist() == theirs.tolist()
    assert len(prompt) + len(theirs) > 12


def test_an_answer_ends_at_any_of_its_end_tokens(folders):
    model = load_model(folders["qwen3"])
    sampling = SamplingConfig(24, temperature=0.0)
    request = Request(group="q", text=QUESTION)
    [long] = Engine(model, sampling, slots=4, page=8)([request])
    assert len(long.token_ids) > 4
    ending = dataclasses.replace(model, other_end_ids=(int(long.token_ids[3]),))
    [short] = Engine(ending, sampling, slots=4, page=8)([request])
    first = long.token_ids.tolist().index(long.token_ids[3])
    assert short.token_ids.tolist() == long.token_ids[: first + 1].tolist()
    assert short.finish_reason == "stop"


def test_a_padded_vocabulary_samples_the_same_tokens(folders):
    sampling = SamplingConfig(16, temperature=1.5)
    request = Request(group="q", text=QUESTION, num_samples=4, seed=3)
    plain, padded = (
        sorted(
            (completion.sample, completion.text, *completion.policy_log_probs.tolist())
            for completion in Engine(model, sampling, slots=4, page=8)([request])
        )
        for model in (
            load_model(folders["untied"]),
            load_model(folders["untied"], vocab_multiple=128),
        )
    )
    assert plain == padded
