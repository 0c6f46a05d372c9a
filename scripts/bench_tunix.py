"""The rollout benchmark's peer `tunix`: static batches of its own JAX `Sampler`."""

from __future__ import annotations

import dataclasses
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from bench_workload import END_ID, PAD_ID, Phase, Run, text_of
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.qwen2.model import ModelConfig as Qwen2Config
from tunix.models.qwen2.model import Qwen2

from sophia_jax.models.model import Model


class StopsAtLongest(Sampler):
    """Ends a batch with its longest member, as when every row drew its end there.

    The buffers keep one size, so that each batch size compiles once: the sampler alone
    would compile anew for every number of steps.
    """

    longest = 1  # tokens, of the batch that is sampled next

    def init_sample_state(self, all_input_ids, total_sampling_steps, **options):
        state = super().init_sample_state(
            all_input_ids, self.cache_config.cache_size, **options
        )
        # The first token comes from the prompt.
        last_step = all_input_ids.shape[1] + self.longest - 1
        return dataclasses.replace(state, total_sampling_steps=jnp.int32(last_step))


class TunixEngine:
    """Every row carries its own prompt; a batch runs until its longest member ends."""

    def __init__(self, model: Model, max_new_tokens: int):
        self._model = copy_model(model)
        self._tokenizer = model.tokenizer
        self._text = model.config.text
        self._max_new_tokens = max_new_tokens
        self._samplers: dict[int, StopsAtLongest] = {}

    def logits(self, token_ids: np.ndarray) -> np.ndarray:
        """Float32[batch token vocab] of whole sequences."""
        batch, token = token_ids.shape
        positions = jnp.broadcast_to(jnp.arange(token), (batch, token))
        seen = jnp.broadcast_to(
            jnp.tril(jnp.ones((token, token), bool)), (batch, token, token)
        )
        run = nnx.jit(lambda model, *inputs: model(*inputs)[0])
        return np.asarray(run(self._model, token_ids, positions, None, seen))

    def __call__(self, phase: Phase, rows: int) -> Run:
        """Sample a phase in batches of `rows` samples."""
        sampler = self._sampler(phase.prompt_length)
        places = [
            (g, n) for g, lengths in phase.lengths.items() for n in range(len(lengths))
        ]
        token_ids, steps = {}, Counter()
        for start in range(0, len(places), rows):
            batch = places[start : start + rows]
            lengths = [int(phase.lengths[group][n]) for group, n in batch]
            sampler.longest = max(lengths)
            drawn = sampler(
                [text_of(phase.prompts[group]) for group, _ in batch],
                max_generation_steps=self._max_new_tokens,
                max_prompt_length=phase.prompt_length,
                eos_tokens=[END_ID],
                forbidden_tokens=(PAD_ID, END_ID),
                temperature=1.0,
                top_p=1.0,
                seed=phase.seed + start,
            ).tokens
            steps[len(batch)] += sampler.longest
            for place, row, length in zip(batch, drawn, lengths, strict=True):
                token_ids[place] = row[:length][row[:length] != PAD_ID]
        return Run(token_ids, steps)

    def _sampler(self, prompt_length: int) -> StopsAtLongest:
        """One for each cache size, since it holds the compiled programs."""
        text = self._text
        cache = CacheConfig(
            cache_size=prompt_length + self._max_new_tokens,
            num_layers=text.num_layers,
            num_kv_heads=text.num_kv_heads,
            head_dim=text.head_dim,
        )
        if prompt_length not in self._samplers:
            sampler = StopsAtLongest(self._model, self._tokenizer, cache)
            self._samplers[prompt_length] = sampler
        return self._samplers[prompt_length]


def copy_model(model: Model) -> Qwen2:
    """The same model, with the same weights, for tunix."""
    text = model.config.text
    config = Qwen2Config(
        num_layers=text.num_layers,
        vocab_size=text.vocab_size,
        embed_dim=text.hidden_size,
        hidden_dim=text.mlp_size,
        num_heads=text.num_heads,
        head_dim=text.head_dim,
        num_kv_heads=text.num_kv_heads,
        rope_theta=int(text.rope_theta),
        norm_eps=text.norm_eps,
        use_tied_embedding=text.tied_head,
    )
    copied = Qwen2(config, rngs=nnx.Rngs(0))
    decoder = model.params["decoder"]
    put(copied.embedder.input_embedding, decoder["embedding"]["embedding"])
    put(copied.final_norm.w, decoder["norm"]["scale"])
    for index, layer in enumerate(copied.layers):
        copy_layer(layer, jax.tree.map(lambda x, i=index: x[i], decoder["layers"]))
    return copied


def copy_layer(layer: nnx.Module, ours: dict) -> None:
    put(layer.input_layernorm.w, ours["attention_norm"]["scale"])
    put(layer.post_attention_layernorm.w, ours["mlp_norm"]["scale"])
    for name in ("query", "key", "value"):
        put(getattr(layer.attn, f"{name[0]}_proj").w, ours[name]["kernel"])
        put(getattr(layer.attn, f"{name[0]}_bias"), ours[name]["bias"])
    put(layer.attn.o_proj.w, ours["out"]["kernel"])
    for name in ("gate", "up", "down"):
        put(getattr(layer.mlp, f"{name}_proj").kernel, ours[name]["kernel"])


def put(param: nnx.Param, value: jax.Array) -> None:
    """Heads are an axis of their own there."""
    param.value = value.reshape(param.value.shape)
