"""From requests to completions: buckets, batches, and work on both sides at once."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from sophia_jax.config import SamplingConfig
from sophia_jax.data.prompts import encode_prompt
from sophia_jax.generation.decode import PromptBatch, Samples, sample_groups
from sophia_jax.generation.images import ImageEncoder
from sophia_jax.models.model import Model
from sophia_jax.types import Completion, Request

__all__ = ["Engine"]


@dataclass(frozen=True)
class Prompt:
    """A request in token ids, with its pictures' features."""

    request: Request
    token_ids: np.ndarray
    features: np.ndarray | None

    @property
    def num_tiles(self) -> int:
        return 0 if self.features is None else len(self.features)


class Engine:
    """A `GenerateFn` on this process's devices.

    Prompts are put into buckets by their own length, whatever stands beside them. A
    batch holds groups of one bucket; short batches are filled up, so that each bucket
    compiles once. While the device samples one batch, the host decodes the last one.

    Args:
      model: what is sampled.
      sampling: how.
      rows: sequences that are decoded together; rounded up to whole groups.
      bucket: prompt lengths (tokens) and numbers of tiles are rounded up to this.
    """

    def __init__(
        self,
        model: Model,
        sampling: SamplingConfig,
        *,
        rows: int = 512,
        bucket: int = 16,
    ):
        self.model = model
        self.sampling = sampling
        self._rows = rows
        self._bucket = bucket
        self._encode_images = ImageEncoder(model) if model.tiles is not None else None
        banned = () if model.config.vision is None else (model.config.image_token_id,)
        self._sample = jax.jit(
            functools.partial(
                sample_groups,
                model.graphdef,
                sampling=sampling,
                end_id=model.tokenizer.eos_token_id,
                banned_ids=banned,
            ),
            static_argnames="num_samples",
        )

    def __call__(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Sample every request; a group's completions come together."""
        in_flight: Callable[[], list[Completion]] | None = None
        for prompts in self._batches(requests):
            dispatched = self._dispatch(prompts)
            if in_flight is not None:
                yield from in_flight()
            in_flight = dispatched
        if in_flight is not None:
            yield from in_flight()

    def _batches(self, requests: Iterable[Request]) -> Iterator[list[Prompt]]:
        """Full batches as soon as a bucket fills, then what is left of each."""
        waiting: dict[tuple, list[Prompt]] = defaultdict(list)
        for request in requests:
            prompt = self._encode(request)
            key = (
                _round_up(len(prompt.token_ids), self._bucket),
                prompt.num_tiles,
                request.num_samples,
            )
            waiting[key].append(prompt)
            if len(waiting[key]) == self._groups(request.num_samples):
                yield waiting.pop(key)
        yield from waiting.values()

    def _groups(self, num_samples: int) -> int:
        return -(-self._rows // num_samples)

    def _encode(self, request: Request) -> Prompt:
        features = [] if not request.images else self._encode_images(request.images)
        token_ids = encode_prompt(
            self.model.tokenizer,
            self.model.config,
            request.text,
            system=request.system,
            tiles_per_image=[len(f) for f in features],
            max_new_tokens=self.sampling.max_new_tokens,
        )
        return Prompt(
            request, token_ids, np.concatenate(features) if features else None
        )

    def _dispatch(self, prompts: list[Prompt]) -> Callable[[], list[Completion]]:
        """Start sampling; the returned function waits for the result."""
        num_samples = prompts[0].request.num_samples
        batch = self._batch(prompts, self._groups(num_samples))
        samples = self._sample(self.model.params, batch, num_samples=num_samples)
        return lambda: self._completions(prompts, jax.device_get(samples))

    def _batch(self, prompts: list[Prompt], num_groups: int) -> PromptBatch:
        width = _round_up(max(len(p.token_ids) for p in prompts), self._bucket)
        token_ids = np.zeros((num_groups, width), np.int32)
        image_index = np.full((num_groups, width), -1, np.int32)
        length = np.zeros(num_groups, np.int32)
        seeds = np.zeros((num_groups, 2), np.uint32)
        tiles, tokens_per_tile = prompts[0].num_tiles, self.model.config.tokens_per_tile
        for row, prompt in enumerate(prompts):
            length[row] = len(prompt.token_ids)
            token_ids[row, : length[row]] = prompt.token_ids
            seeds[row] = divmod(prompt.request.seed, 2**32)
            if tiles:
                is_image = token_ids[row] == self.model.config.image_token_id
                first = row * tiles * tokens_per_tile
                image_index[row, is_image] = first + np.arange(is_image.sum())
        features = None
        if tiles:
            features = np.concatenate([p.features for p in prompts])
            missing = num_groups * tiles - len(features)
            features = np.pad(features, [(0, missing), (0, 0), (0, 0)])
        return PromptBatch(
            token_ids=token_ids,
            length=length,
            image_index=image_index,
            features=features,
            seeds=seeds,
        )

    def _completions(self, prompts: list[Prompt], drawn: Samples) -> list[Completion]:
        """The batch's samples as text and records."""
        num_samples = drawn.length.shape[1]
        places = [(g, n) for g in range(len(prompts)) for n in range(num_samples)]
        token_ids = [drawn.token_ids[g, n, : drawn.length[g, n]] for g, n in places]
        spoken = [
            ids[: len(ids) - int(drawn.stopped[place])]
            for ids, place in zip(token_ids, places, strict=True)
        ]
        texts = self.model.tokenizer.batch_decode(spoken, skip_special_tokens=False)
        return [
            Completion(
                group=prompts[g].request.group,
                sample=n,
                text=text,
                token_ids=ids,
                behavior_log_probs=drawn.behavior_log_probs[g, n, : len(ids)],
                policy_log_probs=drawn.policy_log_probs[g, n, : len(ids)],
                finish_reason="stop" if drawn.stopped[g, n] else "length",
            )
            for (g, n), ids, text in zip(places, token_ids, texts, strict=True)
        ]


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
