"""Options of reasoners on servers, and of two reasoners."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from sophia_jax.cli.settings import checked_options, model_path
from sophia_jax.config import RoutingConfig, ServerConfig

__all__ = ["RoutingOptions", "ServerOptions"]

Prices = tuple[float, float, float]


@dataclass(frozen=True)
class ServerOptions:
    """How a reasoner on a server is asked; the key is read from the environment."""

    server_concurrency: int = ServerConfig.concurrency
    """Requests at a time."""
    server_timeout_seconds: float = ServerConfig.timeout_seconds
    """Longest silence of the server; without --server-stream, of a whole answer."""
    server_retries: int = ServerConfig.retries
    """Tries of a request after the first, with growing waits between them."""
    server_stream: bool = False
    """Read answers while they are written: a stall is noticed sooner."""
    server_log_probs: bool = False
    """Ask for log-probabilities, and store those that come; they are of what was
    sampled if the server adds no limits of its own (see --server-fields)."""
    server_fields: str = "{}"
    """JSON object of further fields of each request, all of them kept in config.json;
    null leaves one out: '{"max_tokens": null, "max_completion_tokens": 4096}'. What no
    field says is as the server has it: vLLM takes top_k and penalties from the model's
    generation_config.json, where '{"top_k": 0, "repetition_penalty": 1}' does not."""
    server_key_variable: str = ServerConfig.key_variable
    """Environment variable that holds the key; if it is not set, none is sent."""
    server_prices: Prices | None = None
    """Of a million tokens of prompts, of cached prompts, and of answers; for the cost
    in summary.json."""

    def config(self) -> ServerConfig:
        """The settings that these options mean."""
        with checked_options():
            return ServerConfig(
                concurrency=self.server_concurrency,
                timeout_seconds=self.server_timeout_seconds,
                retries=self.server_retries,
                stream=self.server_stream,
                log_probs=self.server_log_probs,
                fields=_json_object(self.server_fields),
                key_variable=self.server_key_variable,
                prices=self.server_prices,
            )


@dataclass(frozen=True)
class RoutingOptions:
    """A second reasoner, for questions that the policy itself seldom solves."""

    hard_reasoner: str | None = None
    """Folder, owner/name or openai:URL#MODEL; None asks --reasoner all questions."""
    hard_server_key_variable: str | None = None
    """Environment variable with the key of its server; None means that of
    --server-key-variable. All else is as --server-... says."""
    hard_server_prices: Prices | None = None
    """Of a million of its tokens; None means those of --server-prices."""
    route_samples: int = RoutingConfig.num_samples
    """Answers of the policy to each question, to see how hard it is."""
    easy_above: float = RoutingConfig.easy_above
    """Share of them, in [0, 1], that must be exceeded by right ones of an easy one."""

    def config(self, servers: ServerOptions) -> dict[str, Any]:
        """The settings that these options mean: fields of a `CollectConfig`."""
        hard = self.hard_reasoner
        own = {
            "server_key_variable": self.hard_server_key_variable,
            "server_prices": self.hard_server_prices,
        }
        given = {name: value for name, value in own.items() if value is not None}
        manner = replace(servers, **given)
        with checked_options():
            return {
                "hard_reasoner": None if hard is None else model_path(hard),
                "hard_server": manner.config(),
                "routing": RoutingConfig(self.route_samples, self.easy_above),
            }


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"server_fields: expected JSON, got {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"server_fields: expected a JSON object, got {text[:80]!r}")
    return value
