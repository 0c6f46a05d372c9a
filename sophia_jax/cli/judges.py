"""Options of a judge of answers, and of what is chosen by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sophia_jax.cli.servers import ServerOptions
from sophia_jax.cli.settings import checked_options, model_path

if TYPE_CHECKING:
    from sophia_jax.recipes.judge_config import JudgeConfig

__all__ = ["JudgeOptions"]


@dataclass(frozen=True)
class JudgeOptions:
    """Choosing one of several answers, and a judge that scores them for it."""

    select: tuple[Literal["majority", "best-of-k", "reward-weighted"], ...] = ()
    """How one of k answers is chosen: by their vote, which is always shown; the one
    with the best score; or one drawn with weights exp(score / T). All three without."""
    select_temperature: tuple[float, ...] = (1.0,)
    """Each T of reward-weighted, >= 0, in units of the judge's scores (not that of the
    answers, which is --temperature)."""
    judge: str | None = None
    """Folder or owner/name of the model that scores the answers, or openai:URL#MODEL on
    a server; it is shown the pictures where it can see. None for no judge."""
    judge_kind: Literal["score", "yes", "pairs"] = "score"
    """What it is asked for: a number from 0 to 10; yes or no, of which the probability
    of yes is read from its logits; or which of two answers is better, in both orders,
    of which Bradley-Terry scores are made."""
    judge_max_new_tokens: int = 16
    """Longest reply, in tokens; more for a judge that thinks first. One that is cut off
    is asked for again."""
    judge_temperature: float = 0.0
    """Of its replies; 0 is greedy. Of kind yes nothing is sampled."""
    judge_retries: int = 2
    """Times that it is asked again where a reply cannot be read; then the score is
    missing."""
    judge_opponents: int | None = None
    """Others that an answer meets, of kind pairs, an even number; None for all, which
    are N (N - 1) questions to the judge for each of the data's."""
    judge_prompts: Literal["long", "short"] = "long"
    """What is asked: with care, or in the fewest words, for small models."""
    servers: Annotated[ServerOptions, tyro.conf.OmitArgPrefixes] = ServerOptions()

    def config(self, seed: int) -> dict[str, Any]:
        """The settings that these options mean: fields of an `EvaluateConfig`."""
        from sophia_jax.evaluation.judged import Selection
        from sophia_jax.types import InputError

        selection = Selection(
            self.select or ("majority", "best-of-k", "reward-weighted"),
            self.select_temperature,
        )
        if self.judge is None:
            if self.select and selection.needs_judge:
                raise InputError(
                    f"--select {' '.join(self.select)}: expected a --judge that scores "
                    "the answers, got none"
                )
            return {}
        if not selection.needs_judge:
            raise InputError(
                "--judge: expected a --select that goes by scores, got majority alone"
            )
        return {"selection": selection, "judge": self._judge(seed)}

    def _judge(self, seed: int) -> JudgeConfig:
        from sophia_jax.config import SamplingConfig
        from sophia_jax.recipes.judge_config import JudgeConfig

        with checked_options():
            return JudgeConfig(
                model=model_path(self.judge),
                kind=self.judge_kind,
                sampling=SamplingConfig(
                    self.judge_max_new_tokens, temperature=self.judge_temperature
                ),
                retries=self.judge_retries,
                opponents=self.judge_opponents,
                short_prompts=self.judge_prompts == "short",
                seed=seed,
                server=self.servers.config(),
            )
