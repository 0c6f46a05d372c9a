"""From requests to completions: slots that are refilled, pages that are shared."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from flax import nnx

from sophia_jax.config import SamplingConfig
from sophia_jax.data.prompts import IMAGE_CONTEXT, answer_opening, encode_prompt
from sophia_jax.generation.decode import (
    Drawn,
    close_pages,
    decode_chunk,
    fill_prompts,
    gather_pages,
    keep_slots,
)
from sophia_jax.generation.images import TILES_PER_CALL, ImageEncoder
from sophia_jax.generation.layout import free_bytes, make_layout
from sophia_jax.generation.prompts import Prompt
from sophia_jax.generation.readers import Table, few_shapes
from sophia_jax.generation.samples import Finished
from sophia_jax.generation.scheduler import Scheduler, Work
from sophia_jax.models.model import Model
from sophia_jax.models.paged import Chains, Pages, Rows
from sophia_jax.types import Completion, InputError, Request

__all__ = ["Engine", "generate"]

CPU_LANES = 2  # halves of the slots that run at once, where steps leave cores idle
SMALL_LAYER = 2**18  # weights of one matrix, below which they do
FEWEST_SLOTS = 8  # of a lane
REQUESTS_READ_AHEAD = TILES_PER_CALL  # whose pictures are encoded together
MOST_UNSTACKED = 8  # layers that run one by one rather than in a scan
CHUNK = 8  # steps between two refills


class Engine:
    """A `GenerateFn` on this process's devices.

    A fixed number of slots decode together, a chunk of steps at a time; between chunks
    those that finished are refilled. A prompt is read once, into pages that all of its
    samples share, and that other prompts share as far as they begin alike. While the
    device decodes, the host and whoever asked work on what finished before.

    Args:
      model: what is sampled.
      sampling: how.
      slots: sequences that are decoded together.
      page: tokens of a cache page.
      bucket: prompts are padded to `bucket_size` tokens, with this step.
      cache_gib: GiB for all keys and values; None for 1, or for what two of the longest
        sequences and the slots need, where that is more.

    Raises:
      InputError: the cache does not fit; says what would.
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
        self._num_lanes = CPU_LANES if several else 1
        lanes = self._num_lanes
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
        self.layers = None
        if model.config.text.num_layers <= MOST_UNSTACKED:
            decoder = nnx.merge(model.graphdef, model.params).decoder
            self.layers = decoder.unstacked_layers()
        self.shapes = few_shapes(self.layout.sizes) if leaves_idle else {}
        self._idle_pages: list[Pages] = []
        self._encode_images = ImageEncoder(model) if model.tiles is not None else None
        # A text-only model's tokenizer may know the placeholder as well.
        known = model.tokenizer.get_added_vocab().get(IMAGE_CONTEXT)
        self.banned_ids = tuple(sorted({known, model.config.image_token_id} - {None}))
        self.opening = answer_opening(model.tokenizer)

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

    def limits(self, request: Request) -> np.ndarray:
        """The most tokens of each sample of a request."""
        return np.full(request.num_samples, self.sampling.max_new_tokens)

    def lanes(self, stops: dict[str, int]) -> list[Lane]:
        """Slots for one run; those of several lanes run at once."""
        return [Lane(self, stops) for _ in range(self._num_lanes)]

    def empty_open_pages(self, num_slots: int) -> Rows:
        """One page for each slot of a program."""
        return Rows.empty(
            self.model.config.text,
            num_slots,
            self.layout.page,
            self._dtype,
            stacked=self.layers is None,
        )

    def take_pages(self) -> Pages:
        """All pages of a lane: an earlier run's, whatever they hold, or new ones."""
        if self._idle_pages:
            return self._idle_pages.pop()
        config, layout = self.model.config.text, self.layout
        return Pages.empty(config, layout.num_pages, layout.page, self._dtype)

    def return_pages(self, pages: Pages) -> None:
        """Keep pages for the next run."""
        self._idle_pages.append(pages)

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


class Lane:
    """Slots of one run, and what the device holds for them.

    Args:
      engine: whose run it is.
      stops: of the run.
    """

    def __init__(self, engine: Engine, stops: dict[str, int]):
        self.scheduler = Scheduler(
            engine.layout, engine.model.end_ids, stops, engine.shapes
        )
        self._engine = engine
        self._pages = engine.take_pages()
        self._open_pages: Rows | None = None
        # Of each page, how often it was filled; the last is no page.
        self._times_filled = np.zeros(engine.layout.num_pages + 1, np.int32)
        self._gathered: dict[str, tuple[np.ndarray, Rows]] = {}

    def run(self, work: Work) -> Drawn:
        """Do what was planned; the results are on the host."""
        self.close_pages(work)
        self.read_prompts(work)
        return jax.device_get(self.decode(work))

    def close_pages(self, work: Work) -> None:
        """Put full open pages where they go, and have as many as the program needs."""
        if self._open_pages is None:
            self._open_pages = self._engine.empty_open_pages(work.num_slots)
        if work.closed is not None:
            self._pages = close_pages(self._pages, self._open_pages, work.closed)
            self._times_filled[work.closed] += 1
        if work.kept is not None:
            self._open_pages = keep_slots(self._open_pages, work.kept)

    def read_prompts(self, work: Work) -> None:
        """Fill the pages of new prompts."""
        model = self._engine.model
        for batch in work.prompts:
            self._pages = fill_prompts(model.graphdef, model.params, batch, self._pages)
            self._times_filled[batch.filled] += 1

    def decode(self, work: Work) -> Drawn:
        """Draw a chunk of tokens."""
        model = self._engine.model
        chains = tuple(self._chains(name, table) for name, table in work.tables.items())
        self._open_pages, drawn = decode_chunk(
            model.graphdef,
            model.params,
            self._pages,
            work.slots,
            chains,
            np.int32(work.place),
            layers=self._engine.layers,
            open_pages=self._open_pages,
            num_steps=self._engine.layout.chunk,
            sampling=self._engine.sampling,
            end_ids=model.end_ids,
            banned_ids=self._engine.banned_ids,
        )
        return drawn

    def _chains(self, name: str, table: Table) -> Chains:
        """A table with its first pages side by side: as before, if they still are."""
        if not table.gathered:
            self._gathered.pop(name, None)
            return table.chains
        numbers = table.chains.page[:, : table.gathered]
        content = np.stack([numbers, self._times_filled[numbers]])
        before, rows = self._gathered.pop(name, (None, None))
        if not np.array_equal(content, before):
            del rows  # first, so that there is room
            stacked = self._engine.layers is None
            rows = gather_pages(self._pages, numbers, stacked=stacked)
        self._gathered[name] = content, rows
        return table.chains.replace(first=rows)

    def close(self) -> None:
        """Leave the pages to the next run."""
        self._engine.return_pages(self._pages)


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
        self._engine = engine
        self._stops: dict[str, int] = {}
        self._lanes = engine.lanes(self._stops)
        self._completions = self._generate(engine.prompts(requests))

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

    def _generate(
        self, prompts: Iterator[tuple[Prompt, np.ndarray]]
    ) -> Iterator[Completion]:
        at_work: deque[tuple[Lane, Future[Drawn]]] = deque()
        with contextlib.ExitStack() as stack:
            for lane in self._lanes:
                stack.callback(lane.close)
            threads = stack.enter_context(ThreadPoolExecutor(len(self._lanes)))

            def go_on(lane: Lane) -> None:
                work = lane.scheduler.plan(prompts)
                if work is not None:
                    at_work.append((lane, threads.submit(lane.run, work)))

            for lane in self._lanes:
                go_on(lane)
            while at_work:
                lane, future = at_work.popleft()
                drawn = future.result()
                self.steps[drawn.token_ids.shape[1]] += int(drawn.num_steps)
                lane.scheduler.collect(drawn)
                go_on(lane)
                yield from self._spoken(lane.scheduler.finished())
        for lane in self._lanes:
            yield from self._spoken(lane.scheduler.finished())

    def _spoken(self, finished: Sequence[Finished]) -> list[Completion]:
        """Samples as text and records."""
        if not finished:
            return []
        said = [
            sample.drawn[0][: len(sample.drawn[0]) - (sample.finish_reason == "stop")]
            for sample in finished
        ]
        tokenizer = self._engine.model.tokenizer
        texts = tokenizer.batch_decode(said, skip_special_tokens=False)
        return [
            Completion(
                group=sample.prompt.request.group,
                sample=sample.number,
                text=self._engine.opening + text if len(sample.drawn[0]) else "",
                token_ids=sample.drawn[0],
                behavior_log_probs=sample.drawn[1],
                policy_log_probs=sample.drawn[2],
                finish_reason=sample.finish_reason,
            )
            for sample, text in zip(finished, texts, strict=True)
        ]


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
