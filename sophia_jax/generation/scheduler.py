"""Which sample runs in which slot, on which pages: the host's half of the engine."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.data.packing import bucket_size
from sophia_jax.generation.decode import Drawn, PromptBatch, Slots
from sophia_jax.generation.layout import Layout
from sophia_jax.generation.pool import PagePool, page_names
from sophia_jax.generation.prompts import Piece, Prompt, stack_pieces
from sophia_jax.generation.readers import (
    Part,
    Shapes,
    Table,
    chain_shape,
    make_chains,
    rows_of,
)
from sophia_jax.generation.samples import Finished, Group, Sample
from sophia_jax.types import FinishReason

__all__ = ["Scheduler", "Work"]

GROUPS_AT_ONCE = (16, 4, 1)  # prompts that are read together: few sizes, few programs
GROUPS_READ_AHEAD = 8  # prompts that are read before a slot is free for them


@dataclass(frozen=True)
class Work:
    """What the device is to do next, in this order.

    Attributes:
      num_slots: of the program.
      kept: slots of the last program that go on as the first of this one; None for all.
      closed: Int32[slot], where full open pages go; None when they are not full.
      prompts: batches to be read.
      slots, tables, place: of the decoding chunk; who reads which `prompts`, and which
        filled pages of its `own`.
    """

    num_slots: int
    kept: np.ndarray | None
    closed: np.ndarray | None
    prompts: list[PromptBatch]
    slots: Slots
    tables: dict[str, Table]
    place: int


class Scheduler:
    """Keeps the slots busy: what finished makes room for what waits.

    Samples start in the order of their groups. A sample that runs out of pages is put
    back and later starts anew: its noise is its own, so it says the same again.

    Args:
      layout: sizes.
      end_ids: tokens that end an answer.
      stops: groups that are to stop once each unfinished sample has so many tokens;
        may change.
      shapes: that are known; grows.
    """

    def __init__(
        self,
        layout: Layout,
        end_ids: Sequence[int],
        stops: Mapping[str, int],
        shapes: Shapes,
    ):
        self._stops = stops
        self._layout = layout
        self._end_ids = list(end_ids)
        self._pool = PagePool(layout.num_pages)
        self._groups: dict[str, Group] = {}
        self._queue: deque[Group] = deque()  # groups with waiting samples
        self._slots: list[Sample | None] = [None] * layout.slots
        self._place = 0  # of the open pages, where the next token goes
        self._pieces: list[Piece] = []  # to be read before the next chunk
        self._done: list[Finished] = []
        self._has_decoded = False
        self._shapes = shapes

    def plan(self, prompts: Iterator[tuple[Prompt, np.ndarray]]) -> Work | None:
        """What the device does next; None when there is nothing to do.

        Args:
          prompts: with the most tokens of each sample; as many are taken as there are
            free slots for, and a few to be read with them.
        """
        for name in [name for name in self._groups if name in self._stops]:
            self._stop_where_due(self._groups[name])
        closed = self._close() if self._place == self._layout.page else None
        self._refill(prompts)
        if not any(self._slots):
            return None
        kept = None if self._queue else self._shrink()
        work = Work(
            num_slots=len(self._slots),
            kept=kept if self._has_decoded else None,
            closed=closed,
            prompts=self._prompt_batches(),
            slots=self._slot_arrays(),
            tables=self._tables(),
            place=self._place,
        )
        self._has_decoded = True
        return work

    def collect(self, drawn: Drawn) -> None:
        """Take in what the chunk drew."""
        self._place += self._layout.chunk
        num_steps = int(drawn.num_steps)
        is_end = np.isin(drawn.token_ids, self._end_ids)
        for slot, sample in enumerate(self._slots):
            if sample is None:
                continue
            left = sample.group.limits[sample.number] - sample.num_tokens
            ids = drawn.token_ids[: min(num_steps, left), slot]
            ends = np.flatnonzero(is_end[: len(ids), slot])
            num_tokens = ends[0] + 1 if ends.size else len(ids)
            sample.num_tokens += num_tokens
            sample.drawn.append(
                (
                    ids[:num_tokens],
                    drawn.behavior_log_probs[:num_tokens, slot],
                    drawn.policy_log_probs[:num_tokens, slot],
                )
            )
            if ends.size or num_tokens == left:
                self._finish(slot, "stop" if ends.size else "length")

    def finished(self) -> list[Finished]:
        """What was done with since the last call."""
        done, self._done = self._done, []
        return done

    # Pages and slots.

    def _close(self) -> np.ndarray:
        """Pages for the full open ones; where there are too few, samples make room."""
        page, self._place = self._layout.page, 0
        running = [slot for slot, sample in enumerate(self._slots) if sample]
        # Prompts that were read ahead go first, then what has the least to lose.
        for group in self._queue:
            if len(running) > self._pool.num_free and not group.num_running:
                self._forget(group)
        running.sort(key=lambda slot: -self._slots[slot].num_tokens)
        while len(running) > self._pool.num_free:
            self._put_back(running.pop())
        closed = np.full(len(self._slots), self._layout.num_pages, np.int32)
        closed[running] = self._pool.take([None] * len(running))
        for slot in running:
            sample = self._slots[slot]
            sample.parts.append(Part(int(closed[slot]), sample.start, page))
            sample.start = 0
        return closed

    def _refill(self, prompts: Iterator[tuple[Prompt, np.ndarray]]) -> None:
        while None in self._slots and (self._queue or self._add(prompts)):
            if not self._read(self._queue[0], prompts):
                break
            self._start(self._queue[0])

    def _add(self, prompts: Iterator[tuple[Prompt, np.ndarray]]) -> bool:
        """One more group, if there is one."""
        for prompt, limits in prompts:
            group = Group(prompt, limits, deque(range(len(limits))))
            self._groups[group.name] = group
            self._queue.append(group)
            self._stop_where_due(group)
            if group.waiting:
                return True
        return False

    def _read(self, group: Group, prompts: Iterator[tuple[Prompt, np.ndarray]]) -> bool:
        """See that a group's prompt is read, and some behind it together with it."""
        if group.pages is not None:
            return True
        if not self._plan_pieces(group):
            return False
        for number in range(1, GROUPS_READ_AHEAD):
            if len(self._queue) <= number and not self._add(prompts):
                break
            following = self._queue[number]
            if following.pages is None and not self._plan_pieces(following):
                break
        return True

    def _plan_pieces(self, group: Group) -> bool:
        """Pages for a prompt, and what of it is to be read; False if there is no room.

        Room is left for the next page of every running sample.
        """
        prompt, page = group.prompt, self._layout.page
        names = page_names(prompt, page)
        found = self._pool.find(names)
        missing = names[len(found) :]
        num_running = sum(sample is not None for sample in self._slots)
        needed = len(missing) + (num_running + 1 if num_running else 0)
        if needed > self._pool.num_free:
            self._pool.leave(found)
            return False
        group.pages = found + self._pool.take(missing)
        last = len(prompt.token_ids) - 1
        for start in range(len(found) * page, last, self._layout.piece):
            stop = min(start + self._layout.piece, last)
            first_page, last_page = start // page, -(-stop // page)
            self._pieces.append(
                Piece(
                    prompt,
                    start,
                    stop,
                    context=group.pages[:first_page],
                    filled=group.pages[first_page:last_page],
                )
            )
        return True

    def _start(self, group: Group) -> None:
        slot = self._slots.index(None)
        self._slots[slot] = Sample(group, group.waiting.popleft(), self._place)
        group.num_running += 1
        if not group.waiting:
            self._queue.remove(group)

    def _put_back(self, slot: int) -> None:
        sample = self._vacate(slot)
        group = sample.group
        group.waiting.appendleft(sample.number)
        if group not in self._queue:
            self._queue.appendleft(group)

    def _vacate(self, slot: int) -> Sample:
        sample = self._slots[slot]
        self._slots[slot] = None
        self._pool.leave([part.page for part in sample.parts])
        sample.group.num_running -= 1
        return sample

    def _finish(self, slot: int, reason: FinishReason) -> None:
        sample = self._vacate(slot)
        self._done.append(sample.finished(reason))
        self._end_if_empty(sample.group)

    def _stop_where_due(self, group: Group) -> None:
        """Stop a group, unless a sample of it can still end with too few tokens.

        Who says when to stop does not yet know of those that have just ended.
        """
        after = self._stops.get(group.name)
        if after is None:
            return
        just_ended = any(done.prompt is group.prompt for done in self._done)
        if after > 0 and (group.waiting or just_ended):
            return
        slots = [
            slot
            for slot, sample in enumerate(self._slots)
            if sample is not None and sample.group is group
        ]
        if any(self._slots[slot].num_tokens < after for slot in slots):
            return
        for slot in slots:
            self._done.append(self._vacate(slot).finished("cancelled"))
        for number in group.waiting:
            self._done.append(Sample(group, number, 0).finished("cancelled"))
        if group.waiting:
            group.waiting.clear()
            self._queue.remove(group)
        self._end_if_empty(group)

    def _end_if_empty(self, group: Group) -> None:
        if not group.num_running and not group.waiting:
            self._forget(group)
            del self._groups[group.name]

    def _forget(self, group: Group) -> None:
        """Leave the pages of a prompt."""
        if group.pages is not None:
            self._pool.leave(group.pages)
            group.pages = None

    def _shrink(self) -> np.ndarray | None:
        """As few slots as what runs needs, when nothing waits any more."""
        running = [slot for slot, sample in enumerate(self._slots) if sample]
        num_slots = min(size for size in self._layout.sizes if size >= len(running))
        if num_slots == len(self._slots):
            return None
        kept = np.zeros(num_slots, np.int32)
        kept[: len(running)] = running
        samples = [self._slots[slot] for slot in running]
        self._slots = samples + [None] * (num_slots - len(samples))
        return kept

    # Arrays for the device.

    def _prompt_batches(self) -> list[PromptBatch]:
        """All pieces, those after which others come first; few shapes."""
        level_of: dict[int, int] = {}  # of the pages that are filled now
        buckets: dict[tuple, list[Piece]] = defaultdict(list)
        for piece in self._pieces:
            level = 1 + max(
                (level_of.get(page, 0) for page in piece.context), default=0
            )
            level_of |= dict.fromkeys(piece.filled, level)
            width = bucket_size(piece.stop - piece.start, self._layout.bucket)
            width = min(width, self._layout.piece)
            buckets[level, width, piece.has_images].append(piece)
        self._pieces = []
        return [
            stack_pieces(
                some,
                num_groups=num_groups,
                width=width,
                page=self._layout.page,
                most_parts=self._layout.most_parts,
                no_page=self._layout.num_pages,
            )
            for (_, width, _), pieces in sorted(buckets.items(), key=lambda b: b[0][0])
            for num_groups, some in _in_groups(pieces)
        ]

    def _slot_arrays(self) -> Slots:
        num_slots = len(self._slots)
        names = ("latest", "position", "index", "limit", "sample", "start")
        arrays = {name: np.zeros(num_slots, np.int32) for name in names}
        running, seeds = np.zeros(num_slots, bool), np.zeros((num_slots, 2), np.uint32)
        for slot, sample in enumerate(self._slots):
            if sample is None:
                continue
            prompt = sample.group.prompt
            said = sample.drawn[-1][0] if sample.drawn else prompt.token_ids
            values = (
                said[-1],
                len(prompt.token_ids) - 1 + sample.num_tokens,
                sample.num_tokens,
                sample.group.limits[sample.number],
                sample.number,
                sample.start,
            )
            for name, value in zip(names, values, strict=True):
                arrays[name][slot] = value
            running[slot] = True
            seeds[slot] = divmod(prompt.request.seed, 2**32)
        return Slots(**arrays, running=running, seeds=seeds)

    def _tables(self) -> dict[str, Table]:
        running = {slot: sample for slot, sample in enumerate(self._slots) if sample}
        chains = {
            "prompts": {
                slot: self._prompt_parts(sample.group)
                for slot, sample in running.items()
            },
            "own": {slot: sample.parts for slot, sample in running.items()},
        }
        tables, room = {}, self._layout.gathered
        for name, chain_of in chains.items():
            rows = rows_of(chain_of)
            known = self._shapes.setdefault((name, len(self._slots)), [])
            shape = chain_shape(
                rows,
                num_slots=len(self._slots),
                most_gathered=room,
                known=known,
                spare=self._layout.spare,
            )
            if shape is None:
                continue
            if shape not in known:
                known.append(shape)
            room -= shape.rows * shape.gathered
            tables[name] = make_chains(
                rows,
                shape,
                num_slots=len(self._slots),
                most_parts=self._layout.most_parts,
            )
        return tables

    def _prompt_parts(self, group: Group) -> list[Part]:
        page, length = self._layout.page, len(group.prompt.token_ids) - 1
        return [
            Part(number, 0, min(page, length - index * page))
            for index, number in enumerate(group.pages)
        ]


def _in_groups(pieces: Sequence[Piece]) -> Iterator[tuple[int, Sequence[Piece]]]:
    """Batches of `GROUPS_AT_ONCE`; one that is nearly full is filled up."""
    rest = deque(pieces)
    for size in GROUPS_AT_ONCE:
        while len(rest) > size // 2:
            yield size, [rest.popleft() for _ in range(min(size, len(rest)))]
