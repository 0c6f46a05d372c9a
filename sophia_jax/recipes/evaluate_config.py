"""Everything that an evaluation depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sophia_jax.config import Dtype, SamplingConfig
from sophia_jax.evaluation.judged import Selection
from sophia_jax.evaluation.summary import check_pass_k
from sophia_jax.recipes.judge_config import JudgeConfig
from sophia_jax.rewards.rules import RuleName
from sophia_jax.sharding import MeshConfig

__all__ = ["EvaluateConfig"]

FILLS_OF_SLOTS = 4  # by a shard: when its last answers end, slots are left empty
FEWEST_QUESTIONS = 128  # of a shard
MOST_SAMPLES = 1000  # as in `majority_at_k`


@dataclass(frozen=True)
class EvaluateConfig:
    """Everything that an evaluation depends on.

    Attributes:
      model: folder or repository.
      data: a source of questions, as of `read_source`.
      answer: how answers are sampled.
      caption: how captions are sampled, where the true ones are known.
      system: the system prompt of the answers, or None.
      caption_prompt: asks for a caption.
      num_samples: answers to each question, in [1, 1000].
      pass_k: each k of pass@k and majority@k, in [1, num_samples].
      rule: by which answers are judged, as of `AnswerVerifier`.
      seed: of the samples, and of the resamples of intervals.
      dtype: of the model's weights.
      limit: how many questions are taken at most; None for all.
      questions_per_shard: what is sampled between two savings; None for as many as
        fill the slots four times, and 128 at least.
      slots: sequences that are sampled together.
      cache_gib: memory for keys and values, as in `Engine`.
      mesh: the model's devices, as of `Roles.policy`; a local judge's, too.
      selection: how one of k answers is chosen by a judge; None for no judge.
      judge: who scores the answers; None for nobody.
    """

    model: str
    data: str
    answer: SamplingConfig
    caption: SamplingConfig
    system: str | None
    caption_prompt: str
    num_samples: int = 1
    pass_k: tuple[int, ...] = (1,)
    rule: RuleName = "math"
    seed: int = 0
    dtype: Dtype = "float32"
    limit: int | None = None
    questions_per_shard: int | None = None
    slots: int = 256
    cache_gib: float | None = None
    mesh: MeshConfig | None = None
    selection: Selection | None = None
    judge: JudgeConfig | None = None

    def __post_init__(self) -> None:
        if (self.selection is not None) != (self.judge is not None):
            raise ValueError(
                "select, judge: expected a judge and what is chosen by it, got one of "
                "the two"
            )
        for name in ("slots", "questions_per_shard"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected >= 1, got {value}")
        if not 1 <= self.num_samples <= MOST_SAMPLES:
            raise ValueError(
                f"num_samples: expected 1 to {MOST_SAMPLES}, got {self.num_samples}"
            )
        check_pass_k(self.pass_k, self.num_samples)

    @property
    def shard_size(self) -> int:
        """Questions in a shard."""
        enough = -(-FILLS_OF_SLOTS * self.slots // self.num_samples)
        return self.questions_per_shard or max(FEWEST_QUESTIONS, enough)

    def settings(self) -> dict[str, Any]:
        """All that decides the results; where it runs does not."""
        settings = asdict(self)
        del settings["mesh"]
        if self.judge is not None:
            settings["judge"] = self.judge.settings()
        return settings
