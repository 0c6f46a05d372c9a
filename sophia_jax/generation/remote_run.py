"""Samples that a server is asked for: side by side, and until they are stopped."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sophia_jax.generation.journal import Journal
from sophia_jax.generation.replies import Reply
from sophia_jax.generation.server import Server
from sophia_jax.types import Completion

__all__ = ["RemoteRun", "Sample"]

NOT_IN_KEY = ("stream", "stream_options")  # which change how an answer comes, not what
CLOSING_SECONDS = 10.0


@dataclass(frozen=True)
class Sample:
    """One completion that is wanted, and all that is sent for it."""

    group: str
    number: int
    body: Mapping[str, Any]

    @property
    def key(self) -> str:
        asked = {k: v for k, v in self.body.items() if k not in NOT_IN_KEY}
        name = json.dumps([self.group, self.number, asked], sort_keys=True)
        return hashlib.sha256(name.encode()).hexdigest()


class RemoteRun:
    """The completions of some requests, as they are answered: a `Completions`.

    An event loop in a thread of its own asks. Nothing is asked before the first
    completion is wanted, nor while there are answers in the journal.

    Args:
      samples: what is asked, in this order.
      connect: gives the server, to be entered in the loop.
      journal: of its answers.
      concurrency: requests at a time.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        connect: Callable[[], Server],
        journal: Journal,
        *,
        concurrency: int,
    ):
        self._connect = connect
        self._journal = journal
        self._concurrency = concurrency
        keys = {sample.key: sample for sample in samples}
        known = journal.recall(keys.keys())
        self._known = deque((keys[key], reply) for key, reply in known.items())
        self._asked = [sample for key, sample in keys.items() if key not in known]
        self._num_left = len(samples)
        self._stops: dict[str, int] = {}
        # Completions, and the error that ends them.
        self._finished: queue.SimpleQueue[Completion | BaseException] = (
            queue.SimpleQueue()
        )
        self._running: dict[asyncio.Task[Reply], str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._main: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Completion]:
        return self

    def __next__(self) -> Completion:
        if not self._num_left:
            if self._thread is not None:
                self._thread.join()
            self._journal.flush()
            raise StopIteration
        self._num_left -= 1
        if self._known:
            return _completion(*self._known.popleft())
        try:
            return self._next_answer()
        except BaseException:
            self._num_left = 0
            self.close()
            raise

    def cancel(self, group: str, after: int = 0) -> None:
        """Stop a group: what is not asked yet never is, what is asked is dropped.

        How many tokens a server has written is not known before it ends, so only
        `after=0` stops anything.
        """
        self._stops[group] = after

    def close(self) -> None:
        """Stop everything; no more completions come."""
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._main.cancel)
            self._thread.join(CLOSING_SECONDS)
        self._journal.flush()

    def _next_answer(self) -> Completion:
        if self._thread is None:
            self._start()
        try:
            thing = self._finished.get_nowait()
        except queue.Empty:
            # All that has finished is known to who asked, and so are the groups that
            # it makes hopeless.
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._drop_stopped)
            thing = self._finished.get()
        if isinstance(thing, BaseException):
            raise thing
        return thing

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._main = self._loop.create_task(self._ask_all())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """The thread: whatever ends the asking early is told to who waits."""
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop):
                self._loop.run_until_complete(self._main)
        except (Exception, asyncio.CancelledError) as error:
            self._finished.put(error)

    async def _ask_all(self) -> None:
        async with self._connect() as server:
            waiting = iter(self._asked)
            number = min(self._concurrency, len(self._asked))
            workers = [
                asyncio.create_task(self._ask_in_turn(waiting, server))
                for _ in range(number)
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                tasks = (*workers, *self._running)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_in_turn(self, waiting: Iterator[Sample], server: Server) -> None:
        for sample in waiting:
            reply = Reply("", "cancelled", None, {})
            if not self._is_stopped(sample.group):
                reply = await self._ask(sample, server) or reply
            self._finished.put(_completion(sample, reply))

    async def _ask(self, sample: Sample, server: Server) -> Reply | None:
        """The answer; None where it was dropped."""
        task = asyncio.create_task(self._answer(sample, server))
        self._running[task] = sample.group
        await asyncio.wait([task])
        del self._running[task]
        if task.cancelled():
            self._journal.write({"dropped": 1})
            return None
        return task.result()

    async def _answer(self, sample: Sample, server: Server) -> Reply:
        """The answer, in the journal at once, where whatever ends the run leaves it."""
        reply = await server.ask(sample.body)
        self._journal.write(reply.counts, key=sample.key, reply=reply)
        return reply

    def _is_stopped(self, group: str) -> bool:
        return self._stops.get(group, 1) <= 0

    def _drop_stopped(self) -> None:
        for task, group in self._running.items():
            if self._is_stopped(group) and not task.done():
                task.cancel()


def _completion(sample: Sample, reply: Reply) -> Completion:
    log_probs = None
    if reply.log_probs is not None:
        log_probs = np.array(reply.log_probs, np.float32)
    return Completion(
        group=sample.group,
        sample=sample.number,
        text=reply.text,
        token_ids=np.zeros(0, np.int32),
        behavior_log_probs=log_probs,
        policy_log_probs=log_probs,
        finish_reason=reply.finish_reason,
        first_token=reply.first_token,
    )
