"""The rollout benchmark's peer `transformers`: static batches of `generate`."""

from __future__ import annotations

import itertools
import os
from collections import Counter

import numpy as np
import torch
from bench_workload import END_ID, PAD_ID, Phase, Run
from transformers import LogitsProcessor, LogitsProcessorList, Qwen2Config
from transformers import Qwen2ForCausalLM as Qwen2

from sophia_jax.models.model import Model
from sophia_jax.models.weights import to_hf


class EndsAtLength(LogitsProcessor):
    """Forces the end token where a row reaches its length, and forbids it before."""

    def __init__(self, prompt_length: int, lengths: np.ndarray):
        self._prompt_length = prompt_length
        self._lengths = torch.from_numpy(lengths)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self._prompt_length
        ends = self._lengths == step + 1
        scores[:, END_ID] = -torch.inf
        scores[ends] = -torch.inf
        scores[ends, END_ID] = 0.0
        return scores


class TransformersEngine:
    """Whole groups fill a batch, which runs until its longest member ends."""

    def __init__(self, model: Model):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._model = copy_model(model)

    def logits(self, token_ids: np.ndarray) -> np.ndarray:
        """Float32[batch token vocab] of whole sequences."""
        with torch.inference_mode():
            return self._model(torch.from_numpy(token_ids).long()).logits.numpy()

    def __call__(self, phase: Phase, rows: int) -> Run:
        """Sample a phase in batches of `rows` samples, rounded down to whole groups."""
        torch.manual_seed(phase.seed)
        token_ids, steps = {}, Counter()
        num_samples = len(next(iter(phase.lengths.values())))
        for groups in batched(list(phase.prompts), max(1, rows // num_samples)):
            lengths = np.concatenate([phase.lengths[group] for group in groups])
            drawn = self._generate(phase, groups, lengths)
            steps[len(drawn)] += drawn.shape[1]
            places = [(group, n) for group in groups for n in range(num_samples)]
            for place, row, length in zip(places, drawn, lengths, strict=True):
                ended = row[length - 1] == END_ID and not np.any(
                    row[: length - 1] == END_ID
                )
                token_ids[place] = row[: length if ended else 0]
        return Run(token_ids, steps)

    def _generate(
        self, phase: Phase, groups: list[str], lengths: np.ndarray
    ) -> np.ndarray:
        """Int[row token], as long as the longest of the rows."""
        prompts = np.stack([phase.prompts[group] for group in groups])
        input_ids = torch.from_numpy(prompts).long()
        with torch.inference_mode():
            output = self._model.generate(
                input_ids,
                attention_mask=torch.ones_like(input_ids),
                do_sample=True,
                temperature=1.0,
                top_p=1.0,
                top_k=0,
                num_return_sequences=len(lengths) // len(groups),
                max_new_tokens=int(lengths.max()),
                logits_processor=LogitsProcessorList(
                    [EndsAtLength(phase.prompt_length, lengths)]
                ),
                eos_token_id=END_ID,
                pad_token_id=PAD_ID,
            )
        return output[:, phase.prompt_length :].numpy()


def copy_model(model: Model) -> Qwen2:
    """The same model, with the same weights, for torch."""
    text = model.config.text
    config = Qwen2Config(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        intermediate_size=text.mlp_size,
        num_hidden_layers=text.num_layers,
        num_attention_heads=text.num_heads,
        num_key_value_heads=text.num_kv_heads,
        head_dim=text.head_dim,
        max_position_embeddings=text.max_length,
        rms_norm_eps=text.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": text.rope_theta},
        tie_word_embeddings=text.tied_head,
    )
    copied = Qwen2(config).eval()
    tensors = dict(to_hf(model.params, model.config))
    weights = {name: torch.from_numpy(np.array(x)) for name, x in tensors.items()}
    copied.load_state_dict(weights, strict=False)
    copied.tie_weights()
    return copied


def batched(things: list, size: int) -> list[list]:
    starts = range(0, len(things), size)
    return [list(itertools.islice(things, start, start + size)) for start in starts]
