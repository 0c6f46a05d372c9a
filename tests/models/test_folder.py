"""Folders round-trip bit by bit; one that does not fit is refused in a line."""

import dataclasses
import json

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax import nnx

# Asked of `transformers` itself, some versions demand torchvision for it.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from sophia_jax.config import ModelConfig, RopeScaling, TextConfig, VisionConfig
from sophia_jax.models.checkpoint_folder import save_checkpoint
from sophia_jax.models.folder import load_model, on_one_device, save_model
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.placing import place_weights
from sophia_jax.models.safetensors import read_headers, read_tensor, write_tensors
from sophia_jax.models.weight_table import weight_table
from sophia_jax.models.weights import mismatches, to_hf
from sophia_jax.sharding import make_mesh
from sophia_jax.types import InputError

ALL = ("untied", "tied", "qwen3", "llama", "dynamic", "yarn", "layer_norm", "rms_norm")
ORIGINALS = ("internlm2", "qwen2", "internvit_6b")
CLASSES = {
    "untied": transformers.Qwen2ForCausalLM,
    "tied": transformers.Qwen2ForCausalLM,
    "qwen3": transformers.Qwen3ForCausalLM,
    "llama": transformers.LlamaForCausalLM,
    "dynamic": transformers.Qwen2ForCausalLM,
    "yarn": transformers.Qwen2ForCausalLM,
    "layer_norm": transformers.InternVLForConditionalGeneration,
    "rms_norm": transformers.InternVLForConditionalGeneration,
    **dict.fromkeys(ORIGINALS, transformers.InternVLForConditionalGeneration),
}


def read_all(folder):
    headers, problems, _ = read_headers(folder)
    assert not problems
    return {name: read_tensor(name, header) for name, header in headers.items()}


@pytest.mark.parametrize("variant", ALL)
def test_import_export_import_is_bit_equal(variant, folders, tmp_path):
    model = load_model(folders[variant])
    save_model(model, tmp_path / "deep" / "saved")
    again = load_model(tmp_path / "deep" / "saved")
    assert again.config == model.config
    assert again.tiles == model.tiles
    assert again.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert jax.tree.structure(again.params) == jax.tree.structure(model.params)
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    # The files' tensors are those that transformers wrote, name by name.
    first, second = read_all(folders[variant]), read_all(tmp_path / "deep" / "saved")
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name])


@pytest.mark.parametrize("variant", ALL + ORIGINALS)
def test_transformers_loads_what_is_saved_as_the_same_model(
    variant, folders, torch_models, tmp_path
):
    save_model(load_model(folders[variant]), tmp_path / "saved")
    loaded, report = CLASSES[variant].from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not any(report.values())
    token_ids = torch.arange(20)[None]
    with torch.no_grad():
        ours, theirs = loaded(token_ids).logits, torch_models[variant](token_ids).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id
    assert loaded.generation_config.pad_token_id == tokenizer.pad_token_id
    if variant in ("layer_norm", "rms_norm"):
        names = {"crop_to_patches", "min_patches", "max_patches", "size", "image_mean"}
        saved, original = (
            AutoImageProcessor.from_pretrained(place).to_dict()
            for place in (tmp_path / "saved", folders[variant])
        )
        assert saved == original
        assert names <= saved.keys()


@pytest.mark.parametrize("variant", ALL)
def test_the_table_names_every_parameter_once(variant, folders):
    config = load_model(folders[variant]).config
    paths = [path for weight in weight_table(config) for path in weight.paths]
    leaves, _ = jax.tree_util.tree_flatten_with_path(abstract_params(config))
    ours = sorted(".".join(key.key for key in path) for path, _ in leaves)
    assert sorted(paths) == ours


def test_an_8b_model_has_the_published_number_of_tensors():
    # Text: 28 layers of 7 matrices, 3 biases, 2 norms, and embedding, norm, head: 339.
    # Vision: 24 layers of 6 matrices, 6 biases, 2 norms of 2, 2 scales, and 4: 436.
    # The projector: 3 layers of 2.
    text = TextConfig(151674, 3584, 28, 28, 4, 128, 18944, 32768)
    vision = VisionConfig(1024, 24, 16, 4096)
    config = ModelConfig(text, vision, image_token_id=151667)
    assert config.tokens_per_tile == 256
    assert len(mismatches(config, {})) == 339 + 436 + 6
    # Bytes of the published file, of 2 bytes a number.
    sizes = [leaf.size for leaf in jax.tree.leaves(abstract_params(config))]
    assert 2 * sum(sizes) == 15_888_747_520


def test_random_parameters_survive_the_table_in_bfloat16(folders):
    config = load_model(folders["layer_norm"]).config
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: random.normal(size=leaf.shape).astype(jnp.bfloat16),
        abstract_params(config),
    )
    tensors = dict(to_hf(params, config))
    again = place_weights(
        lambda name, rows: tensors[name][rows],
        config,
        on_one_device(),
        dtype=jnp.bfloat16,
    )
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_the_names_in_memory_are_read_as_well(folders, copy):
    folder, model = copy("layer_norm"), load_model(folders["layer_norm"])
    old = ("vision_tower.", "multi_modal_projector.", "language_model.model.")
    new = (
        "model.vision_tower.",
        "model.multi_modal_projector.",
        "model.language_model.",
    )

    def renamed(name):
        for before, after in zip(old, new, strict=True):
            if name.startswith(before):
                return after + name.removeprefix(before)
        assert name == "language_model.lm_head.weight"
        return "lm_head.weight"

    tensors = {renamed(name): tensor for name, tensor in read_all(folder).items()}
    write_tensors(tensors.items(), folder)
    again = load_model(folder)
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)


def test_half_precision_files_are_read_and_written(folders, tmp_path):
    for dtype in (jnp.bfloat16, jnp.float16):
        model = load_model(folders["layer_norm"], dtype=dtype)
        name = jnp.dtype(dtype).name
        save_model(model, tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["dtype"] == name
        again = load_model(tmp_path / name, dtype=dtype)
        jax.tree.map(np.testing.assert_array_equal, again.params, model.params)


def test_shards_with_an_index_are_read_as_one(folders, copy, change_json, refusal):
    folder, model = copy("untied"), load_model(folders["untied"])
    tensors = read_all(folder)
    (folder / "model.safetensors").unlink()
    write_tensors(tensors.items(), folder, shard_bytes=20_000)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    again = load_model(folder)
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    # transformers reads our index too.
    transformers.Qwen2ForCausalLM.from_pretrained(folder)
    change_json(folder / "model.safetensors.index.json", weight_map={"a": "../a"})
    assert "expected files of this folder, got '../a'" in refusal(folder)


def test_without_cropping_there_is_exactly_one_tile(folders, copy, change_json):
    tiles = load_model(folders["layer_norm"]).tiles
    assert (tiles.tile_size, tiles.min_tiles, tiles.max_tiles) == (28, 1, 4)
    assert (tiles.mean, tiles.std) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    folder = copy("layer_norm")
    change_json(folder / "preprocessor_config.json", crop_to_patches=False)
    single = load_model(folder).tiles
    assert single == dataclasses.replace(tiles, max_tiles=1)


def test_a_processor_file_stands_in_for_the_preprocessor_file(folders, copy, refusal):
    folder = copy("layer_norm")
    values = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json: expected a readable JSON" in refusal(folder)
    processor = folder / "processor_config.json"
    processor.write_text(json.dumps({"image_processor": values}))
    assert load_model(folder).tiles == load_model(folders["layer_norm"]).tiles
    processor.write_text("{}")
    assert "image_processor: expected an object" in refusal(folder)


def test_both_spellings_of_the_rotary_base_are_read(folders, copy, change_json):
    config = load_model(folders["untied"]).config
    assert config.text.rope_theta == 1e4
    folder = copy("untied")
    older = {"rope_parameters": None, "rope_theta": 5e5}
    change_json(folder / "config.json", **older)
    assert load_model(folder).config.text.rope_theta == 5e5
    # As in the published InternVL3, and in InternVL2.5.
    for spelling in ("rope_type", "type"):
        scaling = {spelling: "dynamic", "factor": 2.0}
        change_json(folder / "config.json", rope_scaling=scaling)
        text = load_model(folder).config.text
        assert (text.rope_theta, text.max_length) == (5e5, 2 * 64)
        assert text.rope_scaling == RopeScaling("dynamic", 2.0, 64)


def test_a_silent_internvl_folder_is_tied_unless_it_stores_a_head(
    copy, folders, change_json
):
    untied = load_model(folders["layer_norm"])
    folder = copy("layer_norm")
    change_json(folder / "config.json", tie_word_embeddings=None)
    assert load_model(folder).config == untied.config
    tensors = read_all(folder)
    del tensors["language_model.lm_head.weight"]
    write_tensors(tensors.items(), folder)
    assert load_model(folder).config.text.tied_head


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(copy, folders, refusal):
    folder, model = copy("tied"), load_model(folders["tied"])
    tensors = read_all(folder)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    write_tensors(tensors.items(), folder)
    jax.tree.map(np.testing.assert_array_equal, load_model(folder).params, model.params)
    tensors["lm_head.weight"][0, 0] += 1
    write_tensors(tensors.items(), folder)
    rule = "lm_head.weight: expected model.embed_tokens.weight, since tie_word"
    assert rule in refusal(folder)


def test_a_saved_folder_has_the_usual_permissions(folders, tmp_path):
    save_model(load_model(folders["untied"]), tmp_path / "saved")
    modes = {file.stat().st_mode for file in (tmp_path / "saved").iterdir()}
    (tmp_path / "file").touch()
    assert modes == {(tmp_path / "file").stat().st_mode}


def test_copies_along_data_hold_every_weight_on_each_device(folders):
    model = load_model(folders["untied"], mesh=make_mesh(data=2))
    for leaf in jax.tree.leaves(model.params):
        assert leaf.sharding.is_fully_replicated
        assert leaf.sharding.num_devices == 2


def test_a_repository_is_downloaded_without_its_code(folders, monkeypatch):
    asked = {}

    def download(repo, allow_patterns):
        asked[repo] = allow_patterns
        return str(folders["untied"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    load_model("owner/name-1.5")
    (patterns,) = asked.values()
    assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in patterns)

    def fail(repo, allow_patterns):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no\nconnection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(InputError, match=r"owner/name: .*Hub \(no connection\)"):
        load_model("owner/name")


def test_tables_of_angles_in_old_files_are_passed_over(folders, copy):
    folder = copy("llama")
    tensors = read_all(folder)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
    write_tensors(tensors.items(), folder)
    jax.tree.map(
        np.testing.assert_array_equal,
        load_model(folder).params,
        load_model(folders["llama"]).params,
    )


def test_every_end_token_is_known_and_kept(folders, copy, tmp_path):
    folder = copy("untied")
    ends = [load_model(folder).tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    settings = {"eos_token_id": [*ends, 7, load_model(folder).tokenizer.eos_token_id]}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    model = load_model(folder)
    # The template's comes first; 7 is a byte, and can end nothing.
    assert model.end_ids == (model.tokenizer.eos_token_id, *ends)
    save_model(model, tmp_path / "saved")
    assert load_model(tmp_path / "saved").end_ids == model.end_ids
    save_checkpoint(model, tmp_path / "checkpoint")
    assert load_model(tmp_path / "checkpoint").end_ids == model.end_ids


def test_a_processors_chat_template_goes_before_the_tokenizers(folders, copy):
    folder = copy("layer_norm")
    template = load_model(folder).tokenizer.chat_template
    (folder / "chat_template.jinja").rename(tmp := folder / "elsewhere")
    tmp.unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert load_model(folder).tokenizer.chat_template == template


def test_the_vision_tower_computes_in_the_weights_dtype(folders):
    model = load_model(folders["layer_norm"], dtype=jnp.bfloat16)
    module = nnx.merge(model.graphdef, model.params)
    assert module.encode_images(jnp.zeros((1, 28, 28, 3))).dtype == jnp.bfloat16
