"""An OpenAI-compatible server over HTTP: one request until it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from sophia_jax.config import ServerConfig
from sophia_jax.generation.address import Address, read_key
from sophia_jax.generation.replies import (
    BadReply,
    Reply,
    StreamedReply,
    load_object,
    read_reply,
)
from sophia_jax.types import InputError

if TYPE_CHECKING:
    import httpx2

__all__ = ["Server", "ServerError"]

RETRYABLE = (408, 409, 425, 429)  # and all from 500
FIRST_WAIT_SECONDS = 1.0  # doubled at each try
LONGEST_BACKOFF_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 900.0  # that a server may ask for
CONNECT_SECONDS = 30.0
MOST_BYTES = 2**26  # of a reply
SHORTEST_SECRET = 8  # characters
TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|maximum (prompt|input) length"
)
# What Azure, OpenAI and DashScope answer where their filter stops a prompt.
FILTERED = re.compile(
    r':\s*"(content_filter|content_policy_violation|data_?inspection_?failed)"'
)


class ServerError(RuntimeError):
    """A server has not answered, however often it was asked."""


class _Failure(Exception):
    """A try that may be repeated.

    Attributes:
      reason: one of few, to be counted.
      wait_seconds: that the server asks for, or None.
    """

    def __init__(self, reason: str, detail: str, wait_seconds: float | None = None):
        super().__init__(detail)
        self.reason = reason
        self.wait_seconds = wait_seconds


class Server:
    """One server, in an event loop of its own; used as an async context manager.

    Args:
      address: URL and model.
      config: patience and manners.
      count: is told of each try that failed.

    Raises:
      InputError: httpx2 is not installed, or the key is none.
    """

    def __init__(
        self,
        address: Address,
        config: ServerConfig,
        count: Callable[[Mapping[str, float]], None],
    ):
        self._url = f"{address.url}/chat/completions"
        self._config = config
        self._count = count
        self._key = read_key(config.key_variable)
        self._httpx = _load_httpx()
        self._client: httpx2.AsyncClient | None = None
        self._num_answered = 0
        self._opens_at = 0.0  # time.monotonic(); until then the server wants rest
        self._random = random.Random()

    async def __aenter__(self) -> Server:
        httpx2, timeout = self._httpx, self._config.timeout_seconds
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            limits=httpx2.Limits(max_connections=self._config.concurrency),
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._client.aclose()

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """Ask until there is an answer.

        Where the server limits the rate, failures add up only while nobody else is
        answered either: a queue is no failure.

        Args:
          body: of the request.

        Returns:
          The answer; "too_long" where the server says that the prompt is, and
          "refused" where a content filter stops it.

        Raises:
          InputError: the server will never answer this.
          ServerError: the last try has failed as well.
        """
        tries = failures = 0  # failures in a row, while nobody got on
        answered_before = self._num_answered
        while True:
            await self._until_open()
            start = time.monotonic()
            try:
                reply = await self._try(body)
            except _Failure as failure:
                self._count({"requests": 1, f"retries/{failure.reason}": 1})
                tries += 1
                others_get_on = self._num_answered > answered_before
                answered_before = self._num_answered
                is_limit = failure.reason == "HTTP 429"
                failures = 1 if is_limit and others_get_on else failures + 1
                self._give_up(failure, failures, tries)
                await self._rest(tries, failure.wait_seconds)
            else:
                self._num_answered += 1
                spent = {"request_seconds": time.monotonic() - start}
                spent |= {"requests": 1, "answers": 1}
                if body.get("logprobs") and reply.log_probs is None:
                    spent["answers_without_log_probs"] = 1
                return replace(reply, counts={**reply.counts, **spent})

    async def _try(self, body: Mapping[str, Any]) -> Reply:
        try:
            async with self._client.stream("POST", self._url, json=body) as response:
                if response.status_code != 200:
                    return self._refused(response, await self._text(response))
                if body.get("stream"):
                    return read_reply(await self._streamed(response))
                return read_reply(load_object(await self._text(response)))
        except BadReply as error:
            raise _Failure("bad reply", str(error)) from None
        except self._httpx.TimeoutException as error:
            raise _Failure("timeout", type(error).__name__) from None
        except self._httpx.RequestError as error:
            detail = f"{type(error).__name__} {str(error)!r:.200}"
            raise _Failure("connection", detail) from None

    def _refused(self, response: httpx2.Response, said: str) -> Reply:
        """What an HTTP status means."""
        status = response.status_code
        if status in (400, 413, 422) and TOO_LONG.search(said.lower()):
            return Reply("", "too_long", None, {"too_long": 1})
        if status == 400 and FILTERED.search(said.lower()):
            return Reply("", "refused", None, {"refused/content_filter": 1})
        what = f"HTTP {status} {said!r:.300}"
        if status in RETRYABLE or status >= 500:
            wait = _retry_after(response.headers.get("Retry-After"))
            raise _Failure(f"HTTP {status}", what, wait)
        hint = ""
        if status in (401, 403):
            known = "is set" if self._key else "is not set"
            hint = f" (the key stands in {self._config.key_variable}, which {known})"
        raise InputError(f"{self._url}: expected an answer, got {what}{hint}")

    def _give_up(self, failure: _Failure, failures: int, tries: int) -> None:
        wait = failure.wait_seconds or 0.0
        if failures <= self._config.retries and wait <= LONGEST_WAIT_SECONDS:
            return
        asked = f", which asks to wait {wait:.0f} s" if wait else ""
        last = self._without_key(str(failure))
        raise ServerError(
            f"{self._url}: expected an answer, got {last} at try {tries}"
            f"{asked}; --resume goes on with what was answered"
        ) from None

    async def _until_open(self) -> None:
        while (seconds := self._opens_at - time.monotonic()) > 0:
            await asyncio.sleep(seconds)

    async def _rest(self, tries: int, wait_seconds: float | None) -> None:
        """Longer after each try, and never in step with others; what the server
        asks for is asked of all."""
        longest = FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 10)
        own = min(longest, LONGEST_BACKOFF_SECONDS) * self._random.uniform(0.5, 1.0)
        asked = wait_seconds or 0.0
        self._opens_at = max(self._opens_at, time.monotonic() + asked)
        await asyncio.sleep(asked + own)

    async def _text(self, response: httpx2.Response) -> str:
        """The whole of a reply."""
        content = b"".join([piece async for piece in _pieces(response)])
        return self._without_key(content.decode("utf-8", "replace"))

    async def _streamed(self, response: httpx2.Response) -> dict[str, Any]:
        """The reply that came in the events of a stream."""
        reply = StreamedReply()
        async with contextlib.aclosing(_lines(response)) as lines:
            async for line in lines:
                name, _, value = self._without_key(line).partition(":")
                if value.strip() == "[DONE]":
                    break
                if name == "data":  # the others keep the connection alive
                    reply.add(load_object(value))
        return reply.whole()

    def _without_key(self, text: str) -> str:
        """What a server repeats of a secret ends here; a short key is a placeholder."""
        if self._key is None or len(self._key) < SHORTEST_SECRET:
            return text
        return text.replace(self._key, "***")


async def _pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    """What comes of a reply, of which a server cannot make too much."""
    size = 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > MOST_BYTES:
            raise BadReply(f"expected at most {MOST_BYTES} bytes, got more")
        yield piece


async def _lines(response: httpx2.Response) -> AsyncIterator[str]:
    rest = b""
    async for piece in _pieces(response):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    yield rest.decode("utf-8", "replace")


def _retry_after(value: str | None) -> float | None:
    """Seconds, given as such or as an HTTP date; None where there is neither."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    with contextlib.suppress(ValueError):
        date = parsedate_to_datetime(value)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max((date - datetime.now(UTC)).total_seconds(), 0.0)
    return None


def _load_httpx() -> Any:
    try:
        import httpx2
    except ImportError:
        raise InputError(
            "reasoner: a server needs httpx2: pip install 'sophia-jax[server]'"
        ) from None
    return httpx2
