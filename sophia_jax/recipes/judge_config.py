"""Who judges answers, and how."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from sophia_jax.config import SamplingConfig, ServerConfig
from sophia_jax.generation.address import parse_address
from sophia_jax.rewards.pair_judge import check_opponents
from sophia_jax.types import InputError

__all__ = ["JudgeConfig", "JudgeKind"]

JudgeKind = Literal["score", "yes", "pairs"]


@dataclass(frozen=True)
class JudgeConfig:
    """Who judges, and how.

    Attributes:
      model: folder, repository, or `openai:URL#MODEL`.
      kind: "score", a number from 0 to 10; "yes", how likely it says that an answer is
        right; "pairs", preferences between the answers to a question.
      sampling: of replies; "yes" samples none.
      retries: how often it is asked again where a reply cannot be read.
      opponents: others that an answer meets, of "pairs"; None for all.
      short_prompts: whether it is asked in the fewest words.
      seed: of the samples.
      server: how a server is asked.
    """

    model: str
    kind: JudgeKind = "score"
    sampling: SamplingConfig = field(
        default_factory=lambda: SamplingConfig(16, temperature=0.0)
    )
    retries: int = 2
    opponents: int | None = None
    short_prompts: bool = False
    seed: int = 0
    server: ServerConfig = field(default_factory=ServerConfig)

    def __post_init__(self) -> None:
        if self.kind not in get_args(JudgeKind):
            raise InputError(
                f"judge_kind: expected score, yes or pairs, got {self.kind}"
            )
        if self.retries < 0:
            raise InputError(f"judge_retries: expected >= 0, got {self.retries}")
        if self.opponents is not None and self.kind != "pairs":
            raise InputError(
                f"judge_opponents: expected none but of kind pairs, got "
                f"{self.opponents} of kind {self.kind}"
            )
        check_opponents(self.opponents)

    def settings(self) -> dict[str, Any]:
        """All that decides the scores: a server may be found elsewhere next time, and
        be asked in another manner."""
        settings = asdict(self)
        server = settings.pop("server")
        address = parse_address(self.model, field="judge")
        if address is not None:
            settings["model"] = f"openai:#{address.model}"
            settings["server_fields"] = server["fields"]
        return settings
