"""Updates on a CPU: this project's training step beside transformers and torch.

    python scripts/bench_train.py --json runs/train.json

Both start from the same random weights, see the same examples in the same order and
minimise the same loss with AdamW, in turn within each repetition. Only real tokens are
counted. Needs the test extra: python -m pip install '.[test]'
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from sophia_jax.config import ModelConfig, OptimizerConfig, TextConfig  # noqa: E402
from sophia_jax.data.packing import Example, PackedBatch, pack_parts  # noqa: E402
from sophia_jax.losses import (  # noqa: E402
    chunked_token_log_probs,
    sft_loss,
    token_log_probs,
)
from sophia_jax.models.internvl import init_params, model_graph  # noqa: E402
from sophia_jax.models.model import Model  # noqa: E402
from sophia_jax.models.weights import to_hf  # noqa: E402
from sophia_jax.training.optimizer import adamw  # noqa: E402
from sophia_jax.training.step import init_state, train_step  # noqa: E402

TEXT = TextConfig(
    vocab_size=4096,
    hidden_size=512,
    num_layers=8,
    num_heads=8,
    num_kv_heads=2,
    head_dim=64,
    mlp_size=1408,
    max_length=1024,
    tied_head=True,
)
OPTIMIZER = OptimizerConfig(num_steps=1000, final_fraction=1.0)
LARGE_HEAD = (8192, 512, 151_674)  # tokens, embed, vocab: of the compile-only figure

Update = Callable[[Sequence[Example]], float]  # one update; its loss


@dataclass(frozen=True)
class Benchmark:
    """Compare updates on prompts with answers of lognormal lengths."""

    batch_size: int = 32
    """Examples in an update."""
    micro_batches: int = 4
    """Parts of an update, one at a time in memory, for this project."""
    row_length: int = 2560
    """Most tokens in a packed row."""
    torch_micro_batches: tuple[int, ...] = (1, 4)
    """Parts of an update for torch; the fastest in the warm-up is measured."""
    repetitions: int = 5
    """Timed updates of each, every one on new examples."""
    prompt_tokens: int = 160
    """Tokens in each prompt."""
    median_answer: float = 96.0
    """Median of an answer's tokens."""
    sigma: float = 0.7
    """Standard deviation of the logarithm of an answer's tokens."""
    longest_answer: int = 384
    """Most tokens in an answer."""
    threads: int = 2
    """Of torch; JAX takes every core that the process may use."""
    seed: int = 0
    """Of weights and examples."""
    json: Path | None = None
    """File for all figures."""


@dataclass
class Series:
    """What was measured of one engine: of each timed update its seconds and loss."""

    parts: int
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def make_examples(options: Benchmark, vocab_size: int) -> list[list[Example]]:
    """One batch for the warm-up, and one for each repetition."""
    rng = np.random.default_rng(options.seed)

    def example() -> Example:
        length = rng.lognormal(np.log(options.median_answer), options.sigma)
        answer = int(np.clip(length, 1, options.longest_answer))
        prompt_ids, target_ids = (
            rng.integers(0, vocab_size, size).astype(np.int32)
            for size in (options.prompt_tokens, answer)
        )
        return Example(prompt_ids, target_ids)

    return [
        [example() for _ in range(options.batch_size)]
        for _ in range(options.repetitions + 1)
    ]


def random_model(config: ModelConfig, seed: int) -> Model:
    params = jax.jit(init_params, static_argnums=1)(jax.random.key(seed), config)
    return Model(config, model_graph(config), params, None)


def imitation(log_probs, mask, reward):
    """Every answer counts alike."""
    return sft_loss(log_probs, mask)


def pack(examples: Sequence[Example], options: Benchmark) -> PackedBatch:
    return pack_parts(
        examples,
        ModelConfig(TEXT),
        num_parts=options.micro_batches,
        row_length=options.row_length,
    )


def our_updates(model: Model, options: Benchmark) -> Update:
    """This project's update; packing counts as a part of it."""
    state = init_state(model, adamw(OPTIMIZER), loss_fn=imitation)

    def update(examples: Sequence[Example]) -> float:
        nonlocal state
        state, metrics = train_step(state, pack(examples, options))
        jax.block_until_ready(state.params)
        return float(metrics["loss"])

    return update


def pad_right(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Right-padded ids, their mask, and labels that are -100 but for the answers."""
    longest = max(example.length + 1 for example in examples)
    input_ids = np.zeros((len(examples), longest), np.int64)
    attention_mask, labels = np.zeros_like(input_ids), np.full_like(input_ids, -100)
    for row, example in enumerate(examples):
        prompt, end = len(example.prompt_ids), example.length + 1
        input_ids[row, :prompt] = example.prompt_ids
        input_ids[row, prompt:end] = example.target_ids
        attention_mask[row, :end] = 1
        labels[row, prompt:end] = example.target_ids
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def split_by_length(examples: Sequence[Example], parts: int) -> list[list[Example]]:
    """Neighbours in length together, so that little is padding."""
    order = sorted(examples, key=lambda example: example.length)
    bounds = np.linspace(0, len(order), parts + 1).round().astype(int)
    return [order[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True) if b > a]


def torch_model(model: Model):
    """The same weights in transformers' Qwen2ForCausalLM, float32."""
    import torch
    import transformers

    text = model.config.text
    config = transformers.Qwen2Config(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        num_hidden_layers=text.num_layers,
        num_attention_heads=text.num_heads,
        num_key_value_heads=text.num_kv_heads,
        intermediate_size=text.mlp_size,
        max_position_embeddings=text.max_length,
        rms_norm_eps=text.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": text.rope_theta},
        tie_word_embeddings=text.tied_head,
    )
    theirs = transformers.Qwen2ForCausalLM(config).to(torch.float32).train()
    arrays = to_hf(jax.device_get(model.params), model.config)
    weights = {name: torch.tensor(np.array(array)) for name, array in arrays.items()}
    _, unexpected = theirs.load_state_dict(weights, strict=False)
    if unexpected:
        raise ValueError(f"weights: expected those of Qwen2, got {unexpected}")
    theirs.tie_weights()
    return theirs


def torch_updates(model: Model, options: Benchmark, parts: int) -> Update:
    """torch's update; logits are formed for the answers alone, as ours are."""
    import torch

    torch.set_num_threads(options.threads)
    theirs = torch_model(model)
    optimizer = torch.optim.AdamW(
        theirs.parameters(),
        lr=OPTIMIZER.learning_rate,
        betas=(OPTIMIZER.beta1, OPTIMIZER.beta2),
        weight_decay=OPTIMIZER.weight_decay,
        fused=True,
    )

    def loss(part: Sequence[Example]):
        batch = {name: torch.tensor(x) for name, x in pad_right(part).items()}
        hidden = theirs.model(
            batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        ).last_hidden_state[:, :-1]
        labels = batch["labels"][:, 1:]
        logits = theirs.lm_head(hidden[labels >= 0])
        return torch.nn.functional.cross_entropy(
            logits, labels[labels >= 0], reduction="sum"
        )

    def update(examples: Sequence[Example]) -> float:
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in split_by_length(examples, parts):
            mean = loss(part) / len(examples)
            mean.backward()
            total += mean.item()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), OPTIMIZER.clip_norm)
        optimizer.step()
        return total

    return update


def seconds_of(update: Update, examples: Sequence[Example]) -> tuple[float, float]:
    """How long an update takes, and its loss."""
    start = time.perf_counter()
    loss = update(examples)
    return time.perf_counter() - start, loss


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
    }


def measure(options: Benchmark) -> dict:
    """Both engines in turn, from the same weights."""
    model = random_model(ModelConfig(TEXT), options.seed)
    warm_up, *batches = make_examples(options, TEXT.vocab_size)
    ours, theirs = our_updates(model, options), {}
    for parts in options.torch_micro_batches:
        theirs[parts] = torch_updates(model, options, parts)
    first = {"ours": ours(warm_up)}
    times = {parts: seconds_of(update, warm_up) for parts, update in theirs.items()}
    best = min(times, key=lambda parts: times[parts][0])
    first["torch"] = times[best][1]
    for batch in batches:  # compile every shape; the timed updates then compile none
        ours(batch)
    programs = train_step._cache_size()
    series = {"ours": Series(options.micro_batches), "torch": Series(best)}
    rates = []
    for number, batch in enumerate(batches):
        turn = [("ours", ours), ("torch", theirs[best])]
        for name, update in turn[:: 1 if number % 2 else -1]:
            seconds, loss = seconds_of(update, batch)
            series[name].seconds.append(seconds)
            series[name].losses.append(loss)
            print(f"{number} {name}: {seconds:.2f} s", flush=True)
        rates.append(product_rate(TEXT, pack(batch, options).token_ids[0].size))
    return {
        "first_loss": first,
        "programs": programs,
        "programs_while_timed": train_step._cache_size() - programs,
        "torch_warm_up_seconds": {parts: t for parts, (t, _) in times.items()},
        **compare(series, batches, rates, options),
    }


def compare(
    series: dict[str, Series],
    batches: Sequence[Sequence[Example]],
    rates: Sequence[float],
    options: Benchmark,
) -> dict:
    """Real tokens a second, their ratio, and the shares of padding and of the limit."""
    tokens = [sum(example.length for example in batch) for batch in batches]
    speeds = {
        name: [count / s for count, s in zip(tokens, found.seconds, strict=True)]
        for name, found in series.items()
    }
    pairs = zip(speeds["ours"], speeds["torch"], strict=True)
    flop = 3 * 2 * num_weights(TEXT)
    limits = zip(speeds["ours"], rates, strict=True)
    return {
        "series": {name: asdict(found) for name, found in series.items()},
        "tokens_per_second": {name: spread(speed) for name, speed in speeds.items()},
        "ours_over_torch": spread([ours / theirs for ours, theirs in pairs]),
        "fill": {
            "ours": spread([our_fill(batch, options) for batch in batches]),
            "torch": spread(
                [padded_fill(batch, series["torch"].parts) for batch in batches]
            ),
        },
        "gflop_per_second": spread([rate / 1e9 for rate in rates]),
        "share_of_products": spread([speed * flop / rate for speed, rate in limits]),
    }


def our_fill(examples: Sequence[Example], options: Benchmark) -> float:
    """The share of the packed tokens that is real."""
    return float(np.mean(pack(examples, options).segment_ids > 0))


def padded_fill(examples: Sequence[Example], parts: int) -> float:
    """The share of the right-padded tokens that is real."""
    split = split_by_length(examples, parts)
    padded = sum(pad_right(part)["input_ids"].size for part in split)
    return sum(example.length + 1 for example in examples) / padded


def kernel_shapes(text: TextConfig) -> list[tuple[int, int]]:
    """In and out of a layer's products."""
    embed, heads = text.hidden_size, text.num_heads * text.head_dim
    keys = text.num_kv_heads * text.head_dim
    mlp = [(embed, text.mlp_size), (embed, text.mlp_size), (text.mlp_size, embed)]
    return [(embed, heads), (embed, keys), (embed, keys), (heads, embed), *mlp]


def num_weights(text: TextConfig) -> int:
    """Entries of the matrices that a token is multiplied with, the head included."""
    layer = sum(ins * outs for ins, outs in kernel_shapes(text))
    return text.num_layers * layer + text.hidden_size * text.vocab_size


def product_rate(text: TextConfig, tokens: int) -> float:
    """FLOP/s of a layer's products over so many tokens, forward and backward."""

    @jax.jit
    def products(inputs, kernels):
        outputs = [x @ w for x, w in zip(inputs, kernels, strict=True)]
        into_inputs = [y @ w.T for y, w in zip(outputs, kernels, strict=True)]
        into_kernels = [x.T @ y for x, y in zip(inputs, outputs, strict=True)]
        return into_inputs, into_kernels

    shapes = kernel_shapes(text)
    inputs = [jnp.ones((tokens, ins)) for ins, _ in shapes]
    kernels = [jnp.ones(shape) for shape in shapes]
    jax.block_until_ready(products(inputs, kernels))
    start = time.perf_counter()
    for _ in range(3):
        jax.block_until_ready(products(inputs, kernels))
    flop = 3 * 2 * tokens * sum(ins * outs for ins, outs in shapes)
    return 3 * flop / (time.perf_counter() - start)


def head_bytes(tokens: int, embed: int, vocab: int, *, chunk: int) -> dict[str, int]:
    """Temporary bytes of value and gradient, compiled and not run."""
    hidden = jax.ShapeDtypeStruct((1, tokens, embed), jnp.float32)
    head = jax.ShapeDtypeStruct((embed, vocab), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, tokens), jnp.int32)

    def chunked(hidden, head, ids):
        return chunked_token_log_probs(hidden, head, ids, chunk=chunk).sum()

    def full(hidden, head, ids):
        return token_log_probs(jnp.einsum("btd,dv->btv", hidden, head), ids).sum()

    def temp_bytes(total: Callable) -> int:
        compiled = jax.jit(jax.value_and_grad(total, (0, 1))).lower(hidden, head, ids)
        return compiled.compile().memory_analysis().temp_size_in_bytes

    return {"chunked": temp_bytes(chunked), "full": temp_bytes(full)}


def peak_gib(engine: str, parts: int, options: Benchmark) -> float:
    """Peak memory of a process that makes two updates with one engine alone."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_gib_here, (engine, parts, options))


def _peak_gib_here(engine: str, parts: int, options: Benchmark) -> float:
    model = random_model(ModelConfig(TEXT), options.seed)
    make = {
        "ours": our_updates,
        "torch": functools.partial(torch_updates, parts=parts),
    }[engine]
    update = make(model, options)
    for batch in make_examples(options, TEXT.vocab_size)[:2]:
        update(batch)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def surroundings() -> dict:
    """Versions, the processor's name and its cores."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    found = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return {
        "versions": {p: version(p) for p in ("jax", "flax", "torch", "transformers")},
        "processor": found[0] if found else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
    }


def table(figures: dict) -> list[str]:
    """What is printed."""
    speed, fill = figures["tokens_per_second"], figures["fill"]
    memory, head = figures["peak_gib"], figures["head_bytes"]
    losses, ratio = figures["first_loss"], figures["ours_over_torch"]
    apart = abs(losses["ours"] / losses["torch"] - 1)
    rows = [
        f"{'':8}{'tokens/s':>10}{'least':>8}{'most':>8}{'real':>8}{'peak GiB':>10}",
        *(
            f"{name:8}{speed[name]['median']:>10.0f}{speed[name]['least']:>8.0f}"
            f"{speed[name]['most']:>8.0f}{fill[name]['median']:>8.1%}"
            f"{memory[name]:>10.2f}"
            for name in ("ours", "torch")
        ),
        f"ours / torch: {ratio['median']:.2f} ({ratio['least']:.2f} to "
        f"{ratio['most']:.2f})",
        f"least share of real tokens in an update: {fill['ours']['least']:.1%}",
        f"loss of the first update: {losses['ours']:.4f} and {losses['torch']:.4f}, "
        f"{apart:.1e} apart",
        f"share of what matrix products alone allow: "
        f"{figures['share_of_products']['median']:.0%} of "
        f"{figures['gflop_per_second']['median']:.0f} GFLOP/s",
        f"programs compiled: {figures['programs']}, while timed: "
        f"{figures['programs_while_timed']}",
        "head of {1} x {2} over {0} tokens, MiB: ".format(*LARGE_HEAD)
        + f"{head['chunked'] / 2**20:.0f} in chunks, {head['full'] / 2**20:.0f} whole",
        f"{figures['processor']}, {figures['cores']} cores; "
        + ", ".join(f"{name} {v}" for name, v in figures["versions"].items()),
    ]
    return rows


def main() -> None:
    options = tyro.cli(Benchmark, description=__doc__)
    if options.repetitions < 1:
        raise SystemExit(f"repetitions: expected > 0, got {options.repetitions}")
    figures = surroundings() | {"options": asdict(options) | {"json": None}}
    figures |= measure(options)
    figures["head_bytes"] = head_bytes(*LARGE_HEAD, chunk=256)
    figures["peak_gib"] = {
        name: peak_gib(name, figures["series"][name]["parts"], options)
        for name in ("ours", "torch")
    }
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print("\n".join(table(figures)))


if __name__ == "__main__":
    main()
