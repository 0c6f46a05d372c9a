"""`sophia-jax evaluate`: scores of a model on a question file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.judges import JudgeOptions
from sophia_jax.cli.meshes import PolicyMesh, roles_of
from sophia_jax.cli.options import (
    AnyPath,
    HostOptions,
    PromptSet,
    RunOptions,
    TraceOptions,
    checked_options,
    leave_page,
    model_path,
    prompt_set,
)
from sophia_jax.cli.tables import answers_line, evaluation_table, judge_line
from sophia_jax.config import Dtype
from sophia_jax.rewards.rules import RuleName

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.recipes.evaluate_config import EvaluateConfig

__all__ = ["Evaluate"]


@dataclass(frozen=True)
class Evaluate:
    """Ask questions and score the answers; the defaults are the paper's protocol."""

    model: str
    """Folder (or owner/name on the Hugging Face Hub) of the vision-language model."""
    data: str
    """items.jsonl, Parquet, a folder that Hugging Face datasets saved, a TSV file of
    VLMEvalKit, or tfds:NAME/SPLIT; each row with question, answer and image."""
    out: AnyPath
    """Folder of the results; must not exist, or see --resume and --force."""
    num_samples: Annotated[int, tyro.conf.arg(aliases=["--samples"])] = 1
    """N, answers to each question; the paper's is 1."""
    pass_k: tuple[int, ...] = ()
    """Each k, 1 to N, of pass@k (one of k answers is right), majority@k (their vote is)
    and of what is chosen by a judge; without, 1, 2, 4, ... and N."""
    rule: RuleName = "math"
    """How answers are judged: with units and algebra, or by MATH-Vision's own rule."""
    limit: int | None = None
    """Take the first so many good rows; None for all."""
    temperature: float = 1.0
    """Of the answers; 0 is greedy, the paper's is 1.0."""
    top_p: float = 0.8
    """Nucleus of the answers, in (0, 1]; the paper's is 0.8."""
    max_new_tokens: int = 16384
    """Longest answer, in tokens; the paper's is 16384. A longer one is cut off and
    counts as wrong."""
    prompts: PromptSet = "paper"
    """Long ones after the paper, or the short ones of the quickstart's small models."""
    system_prompt: str | None = None
    """Another system prompt, or the word none; None for that of --prompts."""
    caption_prompt: str | None = None
    """Another caption prompt; None for that of --prompts."""
    max_caption_tokens: int = 1024
    """Longest caption, in tokens; asked for where a row has a true caption."""
    slots: int = 256
    """Sequences that are sampled together; fewer need less memory."""
    cache_gib: float | None = None
    """Memory for keys and values, in GiB; None for 1, or for two of the longest
    sequences where that is more."""
    questions_per_shard: int | None = None
    """Questions between two savings, which are what a killed evaluation loses; None
    for as many as fill the slots four times, and 128 at least."""
    seed: int = 0
    """Of all samples, and of the resamples of the intervals."""
    dtype: Dtype = "float32"
    """Of the model's weights; bfloat16 takes half the memory."""
    judging: Annotated[JudgeOptions, tyro.conf.OmitArgPrefixes] = JudgeOptions()
    restart: Annotated[RunOptions, tyro.conf.OmitArgPrefixes] = RunOptions()
    trace: Annotated[TraceOptions, tyro.conf.OmitArgPrefixes] = TraceOptions()
    meshes: Annotated[PolicyMesh, tyro.conf.OmitArgPrefixes] = PolicyMesh()
    hosts: Annotated[HostOptions, tyro.conf.OmitArgPrefixes] = HostOptions()

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from sophia_jax.recipes.evaluate import evaluate

        summary = evaluate(
            self.out,
            self._config(),
            **asdict(self.restart),
            track=display.track,
            say=display.say,
        )
        display.say(evaluation_table(Path(self.model).name, summary))
        display.say(answers_line(summary, self.max_new_tokens))
        if "judge" in summary:
            display.say(judge_line(summary["judge"]))
        if summary["skipped"]:
            display.say(
                f"{summary['skipped']} rows skipped, see {self.out / 'skipped.txt'}"
            )
        display.say(f"results    {self.out}")
        leave_page(self.out, display)

    def _config(self) -> EvaluateConfig:
        from sophia_jax.config import SamplingConfig
        from sophia_jax.data.sources import resolve_source
        from sophia_jax.evaluation.summary import usual_pass_k
        from sophia_jax.recipes.evaluate_config import EvaluateConfig

        prompts = prompt_set(self.prompts)
        system = prompts.system if self.system_prompt is None else self.system_prompt
        with checked_options():
            answer, caption = (
                SamplingConfig(length, temperature=self.temperature, top_p=self.top_p)
                for length in (self.max_new_tokens, self.max_caption_tokens)
            )
            return EvaluateConfig(
                model=model_path(self.model),
                data=resolve_source(self.data),
                answer=answer,
                caption=caption,
                system=None if system == "none" else system,
                caption_prompt=self.caption_prompt or prompts.caption,
                num_samples=self.num_samples,
                pass_k=self.pass_k or usual_pass_k(self.num_samples),
                rule=self.rule,
                questions_per_shard=self.questions_per_shard,
                seed=self.seed,
                dtype=self.dtype,
                limit=self.limit,
                slots=self.slots,
                cache_gib=self.cache_gib,
                mesh=roles_of(self.meshes).policy,
                **self.judging.config(self.seed),
            )
