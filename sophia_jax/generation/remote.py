"""A model on an OpenAI-compatible server: vLLM, SGLang, LMDeploy, a hosted one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sophia_jax.config import SamplingConfig, ServerConfig
from sophia_jax.generation.address import Address
from sophia_jax.generation.journal import Journal
from sophia_jax.generation.remote_run import RemoteRun, Sample
from sophia_jax.generation.server import Server
from sophia_jax.generation.usage import usage_summary
from sophia_jax.seeds import sample_seed
from sophia_jax.types import InputError, Request

__all__ = ["RemoteModel"]

CHECK_RETRIES = 2


class RemoteModel:
    """A `GenerateFn` on a server.

    Each sample is a request of its own, with its own seed, in the order in which they
    are asked for: those of one prompt go side by side, so that the server's prefix
    cache reads it once. A request for several at a time (`n`) would begin those that
    early stopping leaves out, lose all of them with one connection, and ask again for
    those that were answered; and not every server takes it, or seeds them apart.

    Args:
      address: URL and name of the model.
      sampling: how; sent with each request.
      server: patience, manners, and further fields of the requests.
      journal: a file that keeps every answer until it is stored elsewhere, so that a
        killed run asks nothing twice; None for none.
      find_earlier: of other journals that may hold some answers, as of `Journal`.

    Raises:
      InputError: httpx2 is not installed, the key is none, or log-probabilities are
        asked of a distribution that each server would take for another one.
    """

    def __init__(
        self,
        address: Address,
        sampling: SamplingConfig,
        server: ServerConfig | None = None,
        *,
        journal: Path | None = None,
        find_earlier: Callable[[], Iterable[Path]] = tuple,
    ):
        self.address = address
        self.sampling = sampling
        self.server = server or ServerConfig()
        self.journal = Journal(journal, find_earlier=find_earlier)
        plain = (sampling.temperature, sampling.top_p, sampling.top_k) == (1.0, 1.0, 0)
        if self.server.log_probs and not plain:
            # Before or after temperature and top-p? Servers differ, and do not say.
            raise InputError(
                "log_probs: expected temperature 1 and no top-p or top-k, got "
                f"{sampling.temperature}, {sampling.top_p}, {sampling.top_k}"
            )
        self.connect()  # so that what is wrong with it comes out now

    def __call__(self, requests: Iterable[Request]) -> RemoteRun:
        """Sample every request.

        Returns:
          Completions, as they finish; its `cancel` stops a group.

        Raises:
          InputError: a request has pictures, or the server will never answer one.
          ServerError: the server does not answer, however often it is asked.
          ValueError: a group's name comes twice, or its number of samples is out of
            range.
        """
        return RemoteRun(
            self._samples(requests),
            self.connect,
            self.journal,
            concurrency=self.server.concurrency,
        )

    def connect(self) -> Server:
        """The server, to be entered in an event loop."""
        return Server(self.address, self.server, self.journal.write)

    def check(self) -> None:
        """Ask something small, to see that there is a server that takes our requests.

        Raises:
          InputError, ServerError: there is none; or the longest answer leaves no room
            for any prompt.
        """
        retries = min(self.server.retries, CHECK_RETRIES)
        server = replace(self.server, retries=retries)
        model = RemoteModel(self.address, self.sampling, server)
        [completion] = model([Request("check", "Say yes.")])
        if completion.finish_reason == "too_long":
            raise InputError(
                f"{self.address.url}: expected room for a prompt beside an answer of "
                f"{self.sampling.max_new_tokens} tokens, got none: the context of "
                f"{self.address.model} is shorter"
            )

    def usage(self) -> dict:
        """What the server has been asked so far, also by killed runs."""
        return usage_summary(self.journal.counts(), self.server.prices)

    def _samples(self, requests: Iterable[Request]) -> list[Sample]:
        samples: list[Sample] = []
        names: set[str] = set()
        for request in requests:
            where = f"request {request.group!r}"
            if request.group in names:
                raise ValueError(f"{where}: expected each group once, got it again")
            if request.num_samples < 1:
                raise ValueError(
                    f"{where}: expected num_samples > 0, got {request.num_samples}"
                )
            if request.images:
                raise InputError(
                    f"{where}: expected no pictures for a text-only model, got "
                    f"{len(request.images)}"
                )
            names.add(request.group)
            samples += (
                Sample(request.group, number, self._body(request, number))
                for number in range(request.num_samples)
            )
        return samples

    def _body(self, request: Request, number: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": request.text}]
        if request.system is not None:
            messages.insert(0, {"role": "system", "content": request.system})
        body = {
            "model": self.address.model,
            "messages": messages,
            "max_tokens": self.sampling.max_new_tokens,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "top_k": self.sampling.top_k or None,
            "seed": sample_seed(request.seed, number),
            "logprobs": self.server.log_probs or None,
        }
        if self.server.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        body |= self.server.fields
        return {name: value for name, value in body.items() if value is not None}
