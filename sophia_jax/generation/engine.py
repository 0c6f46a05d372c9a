"""From requests to completions: buckets, batches, and work on both sides at once."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np

from sophia_jax.config import SamplingConfig
from sophia_jax.data.packing import bucket_size
from sophia_jax.data.prompts import IMAGE_CONTEXT, encode_prompt
from sophia_jax.generation.batches import Prompt, stack_prompts
from sophia_jax.generation.decode import Samples, sample_groups
from sophia_jax.generation.images import TILES_PER_CALL, ImageEncoder
from sophia_jax.models.model import Model
from sophia_jax.types import Completion, InputError, Request

__all__ = ["Engine", "generate"]

CPU_LANES = 2  # batches at once: one alone leaves cores idle at every small step
REQUESTS_READ_AHEAD = TILES_PER_CALL  # whose pictures are encoded together


class Engine:
    """A `GenerateFn` on this process's devices.

    Prompts are put into buckets by their own length, whatever stands beside them. A
    batch holds groups of one bucket; short batches are filled up, so that each bucket
    compiles once. While the device samples one batch, the host decodes the last one.

    Args:
      model: what is sampled.
      sampling: how.
      rows: sequences that are decoded together; rounded up to whole groups.
      bucket: prompts are padded to `bucket_size` tokens, with this step.

    Raises:
      ValueError: rows or bucket is not positive.
    """

    def __init__(
        self,
        model: Model,
        sampling: SamplingConfig,
        *,
        rows: int = 512,
        bucket: int = 16,
    ):
        for name, value in (("rows", rows), ("bucket", bucket)):
            if value < 1:
                raise ValueError(f"{name}: expected > 0, got {value}")
        self.model = model
        self.sampling = sampling
        self._rows = rows
        self._bucket = bucket
        self._lanes = CPU_LANES if jax.default_backend() == "cpu" else 1
        self._encode_images = ImageEncoder(model) if model.tiles is not None else None
        # A text-only model's tokenizer may know the placeholder as well.
        known = model.tokenizer.get_added_vocab().get(IMAGE_CONTEXT)
        self._banned_ids = tuple(sorted({known, model.config.image_token_id} - {None}))

    def __call__(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Sample every request; a group's completions come together.

        Raises:
          InputError: a picture cannot be read, or a prompt does not fit the model.
          ValueError: a group's name comes twice, or its seed or number of samples is
            out of range.
        """
        in_flight: deque[tuple[list[Prompt], Future[Samples]]] = deque()
        with ThreadPoolExecutor(self._lanes) as lanes:
            for prompts in self._batches(requests):
                in_flight.append((prompts, lanes.submit(self._sample, prompts)))
                if len(in_flight) > self._lanes:
                    yield from self._completions(*in_flight.popleft())
            while in_flight:
                yield from self._completions(*in_flight.popleft())

    def _batches(self, requests: Iterable[Request]) -> Iterator[list[Prompt]]:
        """Full batches as soon as a bucket fills, then what is left of each."""
        waiting: dict[tuple, list[Prompt]] = defaultdict(list)
        for prompt in self._prompts(requests):
            num_samples = prompt.request.num_samples
            key = (self._width(prompt), prompt.features is None, num_samples)
            waiting[key].append(prompt)
            if len(waiting[key]) == self._num_groups(num_samples):
                yield waiting.pop(key)
        yield from waiting.values()

    def _prompts(self, requests: Iterable[Request]) -> Iterator[Prompt]:
        requests = iter(requests)
        names: set[str] = set()
        while ahead := list(itertools.islice(requests, REQUESTS_READ_AHEAD)):
            for request in ahead:
                self._check(request, names)
                names.add(request.group)
            paths = [path for request in ahead for path in request.images]
            features = iter(self._encode_images(paths) if paths else ())
            for request in ahead:
                yield self._prompt(request, [next(features) for _ in request.images])

    def _check(self, request: Request, names: set[str]) -> None:
        where = f"request {request.group!r}"
        if request.group in names:
            raise ValueError(f"{where}: expected each group once, got it again")
        if request.num_samples < 1:
            raise ValueError(
                f"{where}: expected num_samples > 0, got {request.num_samples}"
            )
        if not 0 <= request.seed < 2**64:
            raise ValueError(
                f"{where}: expected a seed in [0, 2**64), got {request.seed}"
            )
        if request.images and self._encode_images is None:
            raise InputError(
                f"{where}: expected no pictures for a text-only model, got "
                f"{len(request.images)}"
            )

    def _prompt(self, request: Request, features: Sequence[np.ndarray]) -> Prompt:
        token_ids = encode_prompt(
            self.model.tokenizer,
            self.model.config,
            request.text,
            system=request.system,
            tiles_per_image=[len(tiles) for tiles in features],
            max_new_tokens=self.sampling.max_new_tokens,
        )
        return Prompt(
            request, token_ids, np.concatenate(features) if features else None
        )

    def _width(self, prompt: Prompt) -> int:
        return bucket_size(len(prompt.token_ids), self._bucket)

    def _num_groups(self, num_samples: int) -> int:
        return -(-self._rows // num_samples)

    def _sample(self, prompts: list[Prompt]) -> Samples:
        num_samples = prompts[0].request.num_samples
        batch = stack_prompts(
            prompts,
            self.model.config,
            num_groups=self._num_groups(num_samples),
            width=self._width(prompts[0]),
        )
        samples = sample_groups(
            self.model.graphdef,
            self.model.params,
            batch,
            num_samples=num_samples,
            sampling=self.sampling,
            end_id=self.model.tokenizer.eos_token_id,
            banned_ids=self._banned_ids,
        )
        return jax.device_get(samples)

    def _completions(
        self, prompts: list[Prompt], samples: Future[Samples]
    ) -> list[Completion]:
        """The batch's samples as text and records, when they are drawn."""
        drawn = samples.result()
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


def generate(
    model: Model,
    requests: Iterable[Request],
    *,
    sampling: SamplingConfig,
    rows: int = 512,
) -> Iterator[Completion]:
    """Sample every request: `Engine` for a single use.

    Args:
      model: what is sampled.
      requests: prompts with their pictures, seeds and numbers of samples.
      sampling: how.
      rows: sequences that are decoded together.

    Returns:
      Completions, as they finish.
    """
    return Engine(model, sampling, rows=rows)(requests)
