"""How fast a model folder is loaded, and how much memory that takes beside the weights.

    python scripts/bench_load.py

Writes random bfloat16 weights as InternVL's original folders hold them (vision tower of
300M, an InternLM2 decoder whose layers are those of InternVL2.5-2B, fewer of them), and
loads them: by `load_model`, straight to their place, and by `transformers`
`from_pretrained` from the same weights in its own layout. Each load is a process of its
own, so that its memory is its own; they take turns. The files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from bench_measure import cpu_model

from sophia_jax.recipes.machine import versions


def anonymous_bytes() -> int:
    """Memory of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if "RssAnon" in line)


def write_model(folder: Path, num_layers: int) -> None:
    """The same random weights in the original layout and in that of transformers."""
    import jax
    import jax.numpy as jnp

    from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
    from sophia_jax.models.folder import save_model
    from sophia_jax.models.internvl import abstract_params, model_graph
    from sophia_jax.models.model import Model
    from sophia_jax.models.tokenizer import IMAGE_CONTEXT, train_tokenizer
    from sophia_jax.tiles import TileGeometry

    tokenizer = train_tokenizer(["12 plus 34 is 46."], 290)
    text = TextConfig(
        92553, 2048, num_layers, 16, 8, 128, 8192, 32768, qkv_bias=False, norm_eps=1e-5
    )
    config = ModelConfig(
        text,
        VisionConfig(1024, 24, 16, 4096),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_CONTEXT),
    )
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(
            0.02 * random.standard_normal(leaf.shape, np.float32), jnp.bfloat16
        ),
        abstract_params(config),
    )
    tiles = TileGeometry(448, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    model = Model(config, model_graph(config), params, tokenizer, tiles)
    for layout in ("original", "transformers"):
        save_model(model, folder / layout, layout=layout)


def load_ours(folder: Path) -> tuple[float, int]:
    """Seconds, and bytes of the weights."""
    import jax
    import jax.numpy as jnp

    from sophia_jax.models.folder import load_model

    start = time.perf_counter()
    model = load_model(folder, dtype=jnp.bfloat16)
    seconds = time.perf_counter() - start
    return seconds, sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))


def load_theirs(folder: Path) -> tuple[float, int]:
    """The same; its weights stay in the files until they are used, so they are copied
    out of them."""
    import torch
    from transformers import InternVLForConditionalGeneration

    start = time.perf_counter()
    model = InternVLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.bfloat16
    )
    for weight in model.parameters():
        weight.data = weight.data.clone()
    seconds = time.perf_counter() - start
    return seconds, sum(w.numel() * w.element_size() for w in model.parameters())


ENGINES = {
    "sophia_jax, original layout": (load_ours, "original"),
    "sophia_jax, transformers' layout": (load_ours, "transformers"),
    "transformers": (load_theirs, "transformers"),
}


def load_in_this_process(engine: str, folder: Path) -> dict:
    """Load once, and watch the memory every few milliseconds meanwhile."""
    load, layout = ENGINES[engine]
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, anonymous_bytes())
            done.wait(0.003)

    before = anonymous_bytes()
    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds, weights = load(folder / layout)
    done.set()
    watcher.join()
    return {"seconds": seconds, "weights": weights, "beyond": most - before - weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=8, help="of the decoder")
    parser.add_argument("--repetitions", type=int, default=3, help="in turn")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(load_in_this_process(options.one[0], Path(options.one[1]))))
        return
    found: dict[str, list[dict]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), options.layers)
        for _ in range(options.repetitions):
            for engine in ENGINES:
                command = [sys.executable, __file__, "--one", engine, folder]
                said = subprocess.run(command, capture_output=True, text=True)
                if said.returncode:
                    raise RuntimeError(said.stderr)
                found[engine].append(json.loads(said.stdout.splitlines()[-1]))
    for engine, loads in found.items():
        seconds = float(np.median([each["seconds"] for each in loads]))
        beyond = max(each["beyond"] for each in loads)
        weights = loads[0]["weights"]
        print(
            f"{engine:34s} {weights / 1e9:.2f} GB in {seconds:5.2f} s, "
            f"{weights / seconds / 1e9:.2f} GB/s, {beyond / 1e9:.2f} GB beyond them"
        )
    print(
        f"largest tensor: {92553 * 2048 * 2 / 1e9:.2f} GB; {cpu_model()}; {versions()}"
    )


if __name__ == "__main__":
    main()
