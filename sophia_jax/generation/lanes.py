"""Lanes: slots that decode together, and what their devices hold for them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax import nnx

from sophia_jax.generation.decode import (
    Drawn,
    close_pages,
    decode_chunk,
    fill_prompts,
    gather_pages,
    keep_slots,
)
from sophia_jax.generation.layout import Layout
from sophia_jax.generation.readers import Table
from sophia_jax.generation.scheduler import Scheduler, Work
from sophia_jax.models.model import Model
from sophia_jax.models.paged import Chains, Pages, Rows, cache_sharding
from sophia_jax.sharding.order import in_order

if TYPE_CHECKING:
    from sophia_jax.generation.engine import Engine

__all__ = ["Lane", "Place"]

MOST_UNSTACKED = 8  # layers that run one by one rather than in a scan


class Place:
    """Devices that hold a whole model, and the pages that no run is using.

    Args:
      model: on one device, or on a mesh with no axis but `tensor`.
    """

    def __init__(self, model: Model):
        self.dtype = model.dtype
        self._idle_pages: list[Pages] = []
        self._pages_at_work = 0
        self.hold(model)

    @property
    def is_at_work(self) -> bool:
        """Whether a run has pages of it."""
        return self._pages_at_work > 0

    def hold(self, model: Model) -> None:
        """Sample with these weights from now on.

        Pages stay: no run reads what another left in them.
        """
        self.model: Model | None = model
        self.layers = None
        if model.config.text.num_layers <= MOST_UNSTACKED:
            self.layers = _unstacked(model.graphdef, model.params)

    def let_go(self) -> None:
        """Hold no weights, until there are others."""
        self.model = self.layers = None

    def empty_open_pages(self, num_slots: int, page: int) -> Rows:
        """One page for each slot of a program."""
        rows = Rows.empty(
            self.model.config.text,
            num_slots,
            page,
            self.dtype,
            stacked=self.layers is None,
        )
        return self._laid_out(rows)

    def take_pages(self, layout: Layout) -> Pages:
        """All pages of a lane: an earlier run's, whatever they hold, or new ones."""
        self._pages_at_work += 1
        if self._idle_pages:
            return self._idle_pages.pop()
        config = self.model.config.text
        pages = Pages.empty(config, layout.num_pages, layout.page, self.dtype)
        return self._laid_out(pages)

    def return_pages(self, pages: Pages) -> None:
        """Keep pages for the next run."""
        self._pages_at_work -= 1
        self._idle_pages.append(pages)

    def give_up(self) -> None:
        """Delete weights and pages."""
        params = None if self.model is None else self.model.params
        for array in jax.tree.leaves((params, self.layers, self._idle_pages)):
            array.delete()
        self._idle_pages.clear()

    def _laid_out(self, cache: Pages | Rows) -> Pages | Rows:
        """A cache whose heads lie where the weights that make them do."""
        partition = self.model.partition
        if partition is None:
            return cache
        return jax.tree.map(
            lambda x: jax.device_put(x, cache_sharding(partition, x.ndim)), cache
        )


@functools.partial(jax.jit, static_argnums=0)
def _unstacked(graphdef: nnx.GraphDef, params: dict) -> list[nnx.State]:
    """One program rather than one for each slice: weights may change at each step."""
    return nnx.merge(graphdef, params).decoder.unstacked_layers()


class Lane:
    """Slots of one run, and what the devices hold for them.

    Args:
      engine: whose run it is.
      place: where it runs.
      stops: of the run.
    """

    def __init__(self, engine: Engine, place: Place, stops: dict[str, int]):
        self.scheduler = Scheduler(
            engine.layout, engine.model.end_ids, stops, engine.shapes
        )
        self._engine = engine
        self._place = place
        self._pages = place.take_pages(engine.layout)
        self._open_pages: Rows | None = None
        # Of each page, how often it was filled; the last is no page.
        self._times_filled = np.zeros(engine.layout.num_pages + 1, np.int32)
        self._gathered: dict[str, tuple[np.ndarray, Rows]] = {}

    def run(self, work: Work) -> Drawn:
        """Do what was planned; the results are on the host."""
        with in_order(self._place.model.partition):
            self.close_pages(work)
            self.read_prompts(work)
            drawn = self.decode(work)
        return jax.device_get(drawn)

    def close_pages(self, work: Work) -> None:
        """Put full open pages where they go, and have as many as the program needs."""
        if self._open_pages is None:
            page = self._engine.layout.page
            self._open_pages = self._place.empty_open_pages(work.num_slots, page)
        if work.closed is not None:
            self._pages = close_pages(self._pages, self._open_pages, work.closed)
            self._times_filled[work.closed] += 1
        if work.kept is not None:
            self._open_pages = keep_slots(self._open_pages, work.kept)

    def read_prompts(self, work: Work) -> None:
        """Fill the pages of new prompts."""
        model = self._place.model
        for batch in work.prompts:
            self._pages = fill_prompts(model.graphdef, model.params, batch, self._pages)
            self._times_filled[batch.filled] += 1

    def decode(self, work: Work) -> Drawn:
        """Draw a chunk of tokens."""
        model = self._place.model
        chains = tuple(self._chains(name, table) for name, table in work.tables.items())
        self._open_pages, drawn = decode_chunk(
            model.graphdef,
            model.params,
            self._pages,
            work.slots,
            chains,
            np.int32(work.place),
            layers=self._place.layers,
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
            stacked = self._place.layers is None
            rows = gather_pages(self._pages, numbers, stacked=stacked)
        self._gathered[name] = content, rows
        return table.chains.replace(first=rows)

    def close(self) -> None:
        """Leave the pages to the next run."""
        self._place.return_pages(self._pages)
