"""`sophia-jax grpo`: on-policy learning, on one's own model and questions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.meshes import UpdateMeshes, roles_of
from sophia_jax.cli.options import (
    AnyPath,
    LearningOptions,
    PromptSet,
    RunOptions,
    TraceOptions,
    checked_options,
    leave_page,
    model_path,
    prompt_set,
)
from sophia_jax.cli.tables import on_policy_line
from sophia_jax.config import AdvantageName, Dtype, GrpoConfig, NormalizationName

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.recipes.grpo import GrpoRunConfig

__all__ = ["Grpo"]


@dataclass(frozen=True)
class AnswerOptions:
    """What is asked, and how answers are sampled and compared."""

    num_questions: int = GrpoConfig.num_questions
    """Questions in a step; the paper's are 64."""
    num_answers: int = GrpoConfig.num_answers
    """N, answers to each question in a step; the paper's are 8."""
    max_new_tokens: int = 16384
    """Longest answer, in tokens; the paper's is 16384. A longer one is cut off and
    counts as wrong."""
    temperature: float = 1.0
    """Of the answers, > 0. What is learnt is the policy at 1: at another temperature
    each token is weighted by how much likelier it is there, and clipped."""
    top_p: float = 1.0
    """Nucleus of the answers, in (0, 1]. Below 1 nothing is learnt of what is cut off,
    and ratios are too small by its share."""
    advantage: AdvantageName = "group"
    """How answers to a question are compared: group, with their mean in their standard
    deviations, as in GRPO; group-centred, with their mean alone, as in Dr. GRPO;
    leave-one-out, with the mean of the others."""
    normalization: NormalizationName = "sequence"
    """Over what the loss is a mean: each answer's own tokens, as in GRPO; all tokens of
    the update, as in DAPO; the length --max-new-tokens, as in Dr. GRPO."""
    clip_low: float = 0.2
    """A token's ratio below 1 - this earns no more from falling."""
    clip_high: float = 0.2
    """A token's ratio above 1 + this earns no more from rising; DAPO's is 0.28."""
    kl: float = 0.0
    """Price of the distance from the policy at its start; with any, that stays in
    memory. The paper's is 0."""
    passes: int = GrpoConfig.passes
    """Over the answers of a step, each in updates of --batch-size."""
    keep_equal_groups: bool = False
    """Count questions whose answers all earned the same in the means of an update; the
    paper drops them."""


@dataclass(frozen=True)
class StepOptions(LearningOptions):
    """How the decoder learns from its own answers; the rest of the model is frozen."""

    num_steps: int = GrpoConfig.num_steps
    """Steps of sampling and learning; the paper's table takes its model after 100."""
    batch_size: int | None = None
    """Answers in an update; None for all of a step, which is then one update."""
    learning_rate: float = 5e-7
    """At its highest, the paper's; a cosine takes it to a quarter. Adapters and small
    models need more."""
    checkpoint_every: int = 10
    """Steps between checkpoints; a killed run loses at most so many."""


@dataclass(frozen=True)
class Grpo:
    """Learn from one's own answers, step after step, as GRPO does; leaves OUT/model."""

    policy: str
    """Folder (or owner/name on the Hugging Face Hub) of the vision-language model."""
    data: str
    """items.jsonl, Parquet, a folder that Hugging Face datasets saved, a TSV file of
    VLMEvalKit, or tfds:NAME/SPLIT; each row with question, answer and image."""
    out: AnyPath
    """Folder of the run; must not exist, or see --resume and --force."""
    answers: Annotated[AnswerOptions, tyro.conf.OmitArgPrefixes]
    phase: Annotated[StepOptions, tyro.conf.OmitArgPrefixes]
    limit: int | None = None
    """Take the first so many good rows; None for all."""
    exclude: tuple[str, ...] = ()
    """Benchmarks, in any form of --data: rows with a question or a picture of theirs
    are left out, and listed in skipped.txt."""
    prompts: PromptSet = "paper"
    """Whose system prompt is given: one after the paper, or none for the quickstart's
    small models."""
    system_prompt: str | None = None
    """Another system prompt, or the word none; None for that of --prompts."""
    slots: int = 256
    """Sequences that are sampled together; fewer need less memory."""
    cache_gib: float | None = None
    """Memory for keys and values, in GiB, also during updates; None for 1, or for two
    of the longest sequences where that is more."""
    seed: int = 0
    """Of all samples and orders."""
    dtype: Dtype = "float32"
    """Of the model's weights; bfloat16 takes half the memory. What learns in bfloat16
    has float32 copies, unless it is adapters, which are float32."""
    restart: Annotated[RunOptions, tyro.conf.OmitArgPrefixes] = RunOptions()
    trace: Annotated[TraceOptions, tyro.conf.OmitArgPrefixes] = TraceOptions()
    meshes: Annotated[UpdateMeshes, tyro.conf.OmitArgPrefixes] = UpdateMeshes()

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from sophia_jax.recipes.grpo import grpo

        summary = grpo(
            self.out,
            self._config(),
            **asdict(self.restart),
            track=display.track,
            say=display.say,
        )
        display.say(on_policy_line(summary["grpo"]))
        display.say(f"model      {self.out / 'model'}")
        leave_page(self.out, display)

    def _config(self) -> GrpoRunConfig:
        from sophia_jax.config import SamplingConfig
        from sophia_jax.data.sources import resolve_source
        from sophia_jax.recipes.grpo import GrpoRunConfig

        asked, prompts = self.answers, prompt_set(self.prompts)
        system = prompts.system if self.system_prompt is None else self.system_prompt
        with checked_options():
            return GrpoRunConfig(
                policy=model_path(self.policy),
                data=resolve_source(self.data),
                answer=SamplingConfig(
                    asked.max_new_tokens,
                    temperature=asked.temperature,
                    top_p=asked.top_p,
                ),
                sizes=GrpoConfig(
                    num_steps=self.phase.num_steps,
                    num_questions=asked.num_questions,
                    num_answers=asked.num_answers,
                    passes=asked.passes,
                    keep_equal_groups=asked.keep_equal_groups,
                    system=None if system == "none" else system,
                    seed=self.seed,
                ),
                phase=self.phase.config(self.seed, self.dtype, roles_of(self.meshes)),
                advantage=asked.advantage,
                normalization=asked.normalization,
                clip_low=asked.clip_low,
                clip_high=asked.clip_high,
                kl_coefficient=asked.kl,
                limit=self.limit,
                exclude=tuple(map(resolve_source, self.exclude)),
                slots=self.slots,
                cache_gib=self.cache_gib,
            )
