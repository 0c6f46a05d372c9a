"""`convert` takes a model through every kind of folder and loses no bit of it."""

import numpy as np
from safetensors.numpy import load_file

from sophia_jax.cli.main import main


def convert(source, out, kind, *options):
    return main(
        ["convert", "--model", str(source), "--out", str(out), "--to", kind, *options]
    )


def test_a_model_comes_back_as_it_was(folders, tmp_path, capsys):
    source = folders["layer_norm"]
    for earlier, later in [
        (source, "original"),
        (tmp_path / "original", "orbax"),
        (tmp_path / "orbax", "transformers"),
    ]:
        assert convert(earlier, tmp_path / later, later) == 0
        assert "GB/s" in capsys.readouterr().out or later == "transformers"
    first, last = (
        load_file(folder / "model.safetensors")
        for folder in (source, tmp_path / "transformers")
    )
    assert first.keys() == last.keys()
    for name, tensor in first.items():
        assert tensor.dtype == last[name].dtype
        np.testing.assert_array_equal(tensor, last[name])


def test_a_model_is_rounded_only_when_that_is_asked_for(folders, tmp_path):
    assert convert(folders["tied"], tmp_path / "a", "orbax", "--dtype", "bfloat16") == 0
    assert convert(tmp_path / "a", tmp_path / "b", "transformers") == 0
    dtypes = {
        str(t.dtype) for t in load_file(tmp_path / "b/model.safetensors").values()
    }
    assert dtypes == {"bfloat16"}


def test_only_a_model_is_replaced_and_only_by_force(folders, tmp_path, capsys):
    source = folders["untied"]
    out = tmp_path / "out"
    assert convert(source, out, "transformers") == 0
    assert convert(source, out, "orbax") == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert (out / "model.safetensors").exists()
    assert convert(source, out, "orbax", "--force") == 0
    assert (out / "model.json").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter").touch()
    assert convert(source, precious, "orbax", "--force") == 2
    assert (precious / "letter").exists()
    assert convert(out, out, "transformers", "--force") == 2
    assert (out / "model.json").exists()


def test_what_a_layout_cannot_say_is_refused_before_weights_are_read(
    folders, tmp_path, capsys
):
    assert convert(folders["qwen3"], tmp_path / "out", "original") == 2
    printed = capsys.readouterr()
    assert "qk_norm: expected False in the original layout" in printed.err
    assert "weights" not in printed.out
    assert not any(tmp_path.iterdir())
