"""From requests to completions: slots that are refilled, pages that are shared."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from sophia_jax.config import SamplingConfig
from sophia_jax.data.prompts import IMAGE_CONTEXT, answer_opening, encode_prompt
from sophia_jax.generation.decode import (
    Drawn,
)
from sophia_jax.generation.images import TILES_PER_CALL, ImageEncoder
from sophia_jax.generation.lanes import Lane, Place
from sophia_jax.generation.layout import free_bytes, make_layout
from sophia_jax.generation.prompts import Prompt
from sophia_jax.generation.readers import few_shapes
from sophia_jax.generation.samples import Finished
from sophia_jax.models.model import Model
from sophia_jax.models.moving import lane_models
from sophia_jax.types import Completion, InputError, Request

__all__ = ["Engine", "generate"]

CPU_LANES = 2  # halves of the slots that run at once, where steps leave cores idle
SMALL_LAYER = 2**18  # weights of one matrix, below which they do
FEWEST_SLOTS = 8  # of a lane
REQUESTS_READ_AHEAD = TILES_PER_CALL  # whose pictures are encoded together
CHUNK = 8  # steps between two refills


class Engine:
    """A `GenerateFn` on this process's devices.

    Of a mesh, each group of devices along `tensor` is a lane by itself, with its share
    of the slots and a cache of its own; lanes run at once and ask nothing of each
    other.

    A fixed number of slots decode together, a chunk of steps at a time; between chunks
    those that finished are refilled. A prompt is read once, into pages that all of its
    samples share, and that other prompts share as far as they begin alike. While the
    device decodes, the host and whoever asked work on what finished before.

    Args:
      model: what is sampled; on a mesh, with the rules for decoding.
      sampling: how.
      slots: sequences that are decoded together, on all lanes.
      page: tokens of a cache page.
      bucket: prompts are padded to `bucket_size` tokens, with this step.
      cache_gib: GiB for all keys and values; None for 1, or for what two of the longest
        sequences and the slots need, where that is more.

    Raises:
      InputError: the cache does not fit; says what would. Or a lane's devices do not
        hold a whole model.
      ValueError: a size is not positive.
    """

    def __init__(
        self,
        model: Model,
        sampling: SamplingConfig,
        *,
        slots: int = 256,
        page: int = 64,
        bucket: int = 32,
        cache_gib: float | None = None,
    ):
        self.model = model
        self._dtype = model.dtype
        self.sampling = sampling
        text = model.config.text
        leaves_idle = text.hidden_size * text.mlp_size < SMALL_LAYER
        on_cpu = jax.default_backend() == "cpu"
        several = on_cpu and leaves_idle and slots >= CPU_LANES * FEWEST_SLOTS
        shares = CPU_LANES if several and model.partition is None else 1
        self._places = [Place(each) for each in lane_models(model)] * shares
        lanes = len(self._places)
        self.layout = make_layout(
            model.config.text,
            self._dtype,
            slots=-(-slots // lanes),
            page=page,
            chunk=min(CHUNK, page),
            bucket=bucket,
            few_programs=leaves_idle,
            cache_bytes=None if cache_gib is None else int(cache_gib * 2**30) // lanes,
            available_bytes=free_bytes(),
        )
        self.shapes = few_shapes(self.layout.sizes) if leaves_idle else {}
        self._encode_images = ImageEncoder(model) if model.tiles is not None else None
        # A text-only model's tokenizer may know the placeholder as well.
        known = model.tokenizer.get_added_vocab().get(IMAGE_CONTEXT)
        self.banned_ids = tuple(sorted({known, model.config.image_token_id} - {None}))
        self.opening = answer_opening(model.tokenizer)
        self._shapes = {part: _shapes(model.params[part]) for part in model.params}

    def __call__(self, requests: Iterable[Request]) -> Run:
        """Sample every request.

        Returns:
          Completions, as they finish; its `cancel` stops a group.

        Raises:
          InputError: a picture cannot be read, or a prompt does not fit the model.
          ValueError: a group's name comes twice, or its seed or number of samples is
            out of range.
        """
        return Run(self, requests)

    def give_up(self) -> None:
        """Delete the model's weights and the cache, so that there is room for others.

        Neither engine nor model can be used again.
        """
        for place in self._places:
            place.give_up()
        for array in jax.tree.leaves(self.model.params):
            array.delete()

    def renew(self, params: Mapping[str, Any]) -> None:
        """Sample with other weights from now on; no program is compiled anew.

        Nothing is copied but the layers of a model that has few. What was sampled is
        not read again, since each run reads its prompts itself.

        Args:
          params: the parts that are other ones, of the same shapes, and in the places
            of the model's own.

        Raises:
          ValueError: a part is unknown, is one that pictures are encoded with, or has
            other shapes; or a run is under way.
        """
        for part in params:
            if part in ("vision", "projector") or part not in self._shapes:
                known = sorted(self._shapes.keys() - {"vision", "projector"})
                raise ValueError(f"params: expected parts of {known}, got {part!r}")
            if _shapes(params[part]) != self._shapes[part]:
                raise ValueError(
                    f"params: expected {part} in the shapes and dtypes that the engine "
                    "began with, got others"
                )
        self._check_idle()
        model = dataclasses.replace(self.model, params=self.model.params | params)
        # Several lanes may share a place: the first ones are all that there are.
        for place, lane in zip(self._places, lane_models(model), strict=False):
            place.hold(lane)
        self.model = model

    def release(self, parts: Collection[str]) -> dict:
        """Let go of parts of the weights, which an update may then donate.

        Args:
          parts: of which `renew` must give others before anything is sampled.

        Returns:
          The parts.

        Raises:
          ValueError: a run is under way.
        """
        self._check_idle()
        rest = dict(self.model.params)
        released = {part: rest.pop(part) for part in parts}
        for place in self._places:
            place.let_go()
        self.model = dataclasses.replace(self.model, params=rest)
        return released

    def _check_idle(self) -> None:
        if any(place.is_at_work for place in self._places):
            raise ValueError("weights: expected no run under way, got one")

    def limits(self, request: Request) -> np.ndarray:
        """The most tokens of each sample of a request."""
        return np.full(request.num_samples, self.sampling.max_new_tokens)

    def lanes(self, stops: dict[str, int]) -> list[Lane]:
        """Slots for one run; those of several lanes run at once.

        Raises:
          ValueError: the engine has let go of its weights.
        """
        if missing := sorted(self._shapes.keys() - self.model.params.keys()):
            raise ValueError(f"weights: expected all, got none of {missing}; see renew")
        return [Lane(self, place, stops) for place in self._places]

    def prompts(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[Prompt, np.ndarray]]:
        """Requests in token ids, with the most tokens of each sample."""
        requests = iter(requests)
        names: set[str] = set()
        while ahead := list(itertools.islice(requests, REQUESTS_READ_AHEAD)):
            for request in ahead:
                self._check(request, names)
                names.add(request.group)
            features = [[] for _ in ahead]
            if self._encode_images is not None:
                features = self._encode_images([request.images for request in ahead])
            for request, tiles in zip(ahead, features, strict=True):
                yield self._prompt(request, tiles), self.limits(request)

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
        # The last token is each sample's first input, as a token of text.
        image_token_id = self.model.config.image_token_id
        if not len(token_ids) or token_ids[-1] == image_token_id:
            raise InputError(
                f"request {request.group!r}: expected a prompt that ends with text, "
                f"got {len(token_ids)} tokens"
            )
        return Prompt(
            request=request,
            token_ids=token_ids,
            is_image=token_ids == self.model.config.image_token_id,
            image_embeds=np.concatenate(
                [tiles.reshape(-1, tiles.shape[-1]) for tiles in features]
            )
            if features
            else None,
        )


class Run:
    """The completions of some requests, as they finish: a `Completions`.

    Args:
      engine: that samples.
      requests: what is asked.

    Attributes:
      steps: decoded so far, by the slots of their program, idle ones included.
    """

    def __init__(self, engine: Engine, requests: Iterable[Request]):
        self.steps: Counter[int] = Counter()
        self._stops: dict[str, int] = {}
        lanes = engine.lanes(self._stops)
        # It does not know the run, so that one that is dropped halfway ends there.
        self._completions = _complete(
            engine, lanes, engine.prompts(requests), self.steps
        )

    def __iter__(self) -> Run:
        return self

    def __next__(self) -> Completion:
        return next(self._completions)

    def close(self) -> None:
        """Stop everything; no more completions come."""
        self._completions.close()

    def cancel(self, group: str, after: int = 0) -> None:
        """Stop a group once each of its unfinished samples has `after` tokens."""
        self._stops[group] = after


def _complete(
    engine: Engine,
    lanes: Sequence[Lane],
    prompts: Iterator[tuple[Prompt, np.ndarray]],
    steps: Counter[int],
) -> Iterator[Completion]:
    """Keep every lane at work until all prompts are answered; counts the steps."""
    at_work: deque[tuple[Lane, Future[Drawn]]] = deque()
    with contextlib.ExitStack() as stack:
        for lane in lanes:
            stack.callback(lane.close)
        threads = stack.enter_context(ThreadPoolExecutor(len(lanes)))

        def go_on(lane: Lane) -> None:
            work = lane.scheduler.plan(prompts)
            if work is not None:
                at_work.append((lane, threads.submit(lane.run, work)))

        for lane in lanes:
            go_on(lane)
        while at_work:
            lane, future = at_work.popleft()
            drawn = future.result()
            steps[drawn.token_ids.shape[1]] += int(drawn.num_steps)
            lane.scheduler.collect(drawn)
            go_on(lane)
            yield from _spoken(engine, lane.scheduler.finished())
    for lane in lanes:
        yield from _spoken(engine, lane.scheduler.finished())


def _spoken(engine: Engine, finished: Sequence[Finished]) -> list[Completion]:
    """Samples as text and records."""
    if not finished:
        return []
    said = [
        sample.drawn[0][: len(sample.drawn[0]) - (sample.finish_reason == "stop")]
        for sample in finished
    ]
    tokenizer = engine.model.tokenizer
    texts = tokenizer.batch_decode(said, skip_special_tokens=False)
    return [
        Completion(
            group=sample.prompt.request.group,
            sample=sample.number,
            text=engine.opening + text if len(sample.drawn[0]) else "",
            token_ids=sample.drawn[0],
            behavior_log_probs=sample.drawn[1],
            policy_log_probs=sample.drawn[2],
            finish_reason=sample.finish_reason,
        )
        for sample, text in zip(finished, texts, strict=True)
    ]


def _shapes(params: dict) -> dict:
    return jax.tree.map(lambda array: (array.shape, array.dtype), params)


def generate(
    model: Model,
    requests: Iterable[Request],
    *,
    sampling: SamplingConfig,
    slots: int = 256,
) -> Run:
    """Sample every request: `Engine` for a single use.

    Args:
      model: what is sampled.
      requests: prompts with their pictures, seeds and numbers of samples.
      sampling: how.
      slots: sequences that are decoded together.

    Returns:
      Completions, as they finish; its `cancel` stops a group.
    """
    return Engine(model, sampling, slots=slots)(requests)
