"""Weights go to their devices in pieces: equal values, little memory beside them."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.models import placing
from sophia_jax.models.folder import load_model, on_one_device
from sophia_jax.models.hf_config import config_from_hf
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.safetensors import read_json, write_tensors
from sophia_jax.models.weight_table import Weight
from sophia_jax.models.weights import row_runs, to_hf


@pytest.mark.parametrize("piece_bytes", [1, 100, 5000])
@pytest.mark.parametrize("variant", ["layer_norm", "rms_norm", "qwen3"])
def test_pieces_of_any_size_make_the_same_weights(
    variant, piece_bytes, folders, monkeypatch
):
    whole = load_model(folders[variant]).params
    monkeypatch.setattr(placing, "PIECE_BYTES", piece_bytes)
    jax.tree.map(
        np.testing.assert_array_equal, load_model(folders[variant]).params, whole
    )


def test_shares_on_devices_are_filled_as_those_on_a_host(folders, monkeypatch):
    on_host = load_model(folders["layer_norm"], dtype=jnp.bfloat16).params
    monkeypatch.setattr(placing, "_share", placing._Share)
    monkeypatch.setattr(placing, "PIECE_BYTES", 100)
    on_device = load_model(folders["layer_norm"], dtype=jnp.bfloat16).params
    jax.tree.map(np.testing.assert_array_equal, on_device, on_host)


def test_rows_of_a_packed_tensor_are_found_group_by_group():
    # Two groups of 2 + 1 rows: those of the first parameter are 0, 1, 3, 4 of six.
    weight = Weight("packed", ("query", "key"), "transposed", groups=2)
    assert list(row_runs(weight, 0, (4, 2), 0, 4)) == [(0, 0, 2), (2, 3, 2)]
    assert list(row_runs(weight, 0, (4, 2), 1, 3)) == [(1, 1, 1), (2, 3, 1)]
    assert list(row_runs(weight, 1, (4, 2), 0, 2)) == [(0, 2, 1), (1, 5, 1)]
    assert list(row_runs(weight, 1, (4, 2), 2, 4)) == []


def test_bytes_are_counted_in_the_dtype_of_the_weights(folders):
    counted = []

    def track(pieces, description, total, size_of):
        for piece in pieces:
            counted.append(size_of(piece))
            yield piece
        assert (description, sum(counted)) == ("weights", total)

    params = load_model(folders["tied"], dtype=jnp.bfloat16, track=track).params
    assert sum(counted) == sum(leaf.nbytes for leaf in jax.tree.leaves(params))


SHARDED = """
import json, sys
import jax, numpy as np
from sophia_jax.models.folder import load_model, save_model
from jax.sharding import NamedSharding, PartitionSpec as P

mesh = jax.make_mesh((2, 4), ("data", "tensor"))
def place(path, shape):
    if path.endswith("kernel") and "patch" not in path:  # [(layer) input output]
        return NamedSharding(mesh, P(*[None] * (len(shape) - 2), "data", "tensor"))
    if path.endswith("embedding"):
        return NamedSharding(mesh, P("tensor", "data"))
    return NamedSharding(mesh, P())

for folder in sys.argv[2:]:
    plain = load_model(folder)
    model = load_model(folder, place=place, vocab_multiple=4)
    rows = model.config.text.embedding_rows
    def check(path, ours, theirs):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        assert ours.sharding == place(name, ours.shape), name
        ours = np.asarray(ours)
        if name.endswith("embedding"):
            ours, padding = np.split(ours, [theirs.shape[0]])
            assert not padding.any()
        elif "lm_head" in name:
            ours = ours[:, : theirs.shape[1]]
        np.testing.assert_array_equal(ours, theirs)
    jax.tree_util.tree_map_with_path(check, model.params, plain.params)
    save_model(model, sys.argv[1] + "/" + folder.replace("/", "_"))
print(jax.device_count())
"""


def test_each_device_of_a_mesh_gets_its_share(folders, tmp_path):
    names = ["layer_norm", "rms_norm"]
    output = run(SHARDED, tmp_path, *(folders[name] for name in names), devices=8)
    assert output.strip() == "8"
    for name in names:
        saved = tmp_path / str(folders[name]).replace("/", "_")
        first, second = (load_model(place).params for place in (folders[name], saved))
        jax.tree.map(np.testing.assert_array_equal, first, second)


MEMORY = """
import json, sys, threading, time
import jax, jax.numpy as jnp
from sophia_jax.models.folder import load_model

def held():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if "RssAnon" in line)

load_model(sys.argv[1])  # compiles, and imports everything
folder, most, stop = sys.argv[2], [0], threading.Event()
before = held()
def watch():
    while not stop.is_set():
        most[0] = max(most[0], held())
        time.sleep(0.001)
thread = threading.Thread(target=watch)
thread.start()
model = load_model(folder, dtype=jnp.bfloat16)
stop.set(); thread.join()
weights = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
print(json.dumps({"beyond": most[0] - before - weights, "weights": weights}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_little_is_held_beside_the_weights(folders, copy, change_json, tmp_path):
    # An embedding of 120,000 x 1024 in bfloat16 is 246 MB, beside layers of 11 MB.
    folder = copy("untied")
    change_json(
        folder / "config.json",
        vocab_size=120_000,
        hidden_size=1024,
        intermediate_size=1024,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    write_random_weights(folder)
    measured = json.loads(run(MEMORY, folders["untied"], folder))
    largest = 120_000 * 1024 * 2
    assert measured["weights"] > largest
    assert measured["beyond"] < 1.1 * largest


def write_random_weights(folder):
    config = config_from_hf(read_json(folder / "config.json"), "")
    params = jax.tree.map(
        lambda leaf: np.ones(leaf.shape, jnp.bfloat16), abstract_params(config)
    )
    write_tensors(to_hf(params, config), folder)


def run(program, *arguments, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_mesh_the_default_device_holds_everything(folders):
    place = on_one_device()
    assert place("any", (2,)).device_set == {jnp.zeros(()).device}
