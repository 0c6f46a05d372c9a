"""`sophia-jax align`: f-DPO on preferences, a file's or mined from stored rollouts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sophia_jax.cli.meshes import UpdateMeshes, roles_of
from sophia_jax.cli.options import (
    AnyPath,
    LearningOptions,
    RunOptions,
    TraceOptions,
    checked_options,
    leave_page,
    model_path,
)
from sophia_jax.cli.tables import alignment_table
from sophia_jax.config import Dtype

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.recipes.align_config import AlignConfig, MinedFrom

__all__ = ["Align"]


@dataclass(frozen=True)
class PairOptions(LearningOptions):
    """How the decoder learns from pairs; the rest of the model is frozen."""

    batch_size: int | None = None
    """Pairs in an update; None for the f-DPO paper's 64, or all if fewer."""
    num_steps: int | None = None
    """Updates; None for one pass over the pairs, as in the paper."""
    learning_rate: float = 5e-7
    """At its highest, the paper's; a cosine takes it to a quarter. Adapters and small
    models need more."""
    warmup_steps: int = 0
    """Updates until the learning rate is at its highest; the paper's are 150."""


@dataclass(frozen=True)
class MiningOptions:
    """Which reasonings of --run become pairs."""

    pairs_per_question: int = 1
    """The most pairs of a question of --run: the shortest right reasoning against one
    of the wrong ones, the next shortest against another."""
    threshold: float | None = None
    """Share of right reasonings, in [0, 1], that a caption of --run must exceed; None
    for the run's own. A lower one finds more wrong ones, and so does a run that had
    --sample-all."""
    cut_off_is_wrong: bool = False
    """Reject reasonings of --run that reached the length limit, too; they are learnt
    from without an end token."""


@dataclass(frozen=True)
class Align:
    """Align a policy with preferences, chosen answers against rejected ones: f-DPO."""

    policy: str
    """Folder (or owner/name on the Hugging Face Hub) of the model that learns."""
    out: AnyPath
    """Folder of the run; must not exist, or see --resume and --force."""
    phase: Annotated[PairOptions, tyro.conf.OmitArgPrefixes]
    mining: Annotated[MiningOptions, tyro.conf.OmitArgPrefixes]
    data: str | None = None
    """Preferences: JSONL, Parquet, a folder that Hugging Face datasets saved, or
    tfds:NAME/SPLIT, with prompt, chosen, rejected and perhaps image; texts or chats."""
    run_folder: Annotated[AnyPath | None, tyro.conf.arg(name="run")] = None
    """Folder of collect, train or quickstart, instead of --data: its right reasonings
    are chosen, its wrong ones of the same question rejected."""
    limit: int | None = None
    """Take the first so many good rows of --data; None for all."""
    exclude: tuple[str, ...] = ()
    """Benchmarks, in any form of a data set: rows of --data with a question or a
    picture of theirs are left out, and listed in skipped.txt."""
    divergence: Literal["reverse-kl", "forward-kl", "js", "alpha"] = "reverse-kl"
    """Between policy and reference: reverse-kl is the original DPO."""
    alpha: float | None = None
    """Of --divergence alpha, in (0, 1), near 0 like reverse-kl and near 1 like
    forward-kl; the paper's are 0.1 to 0.9. TRL's f_alpha_divergence_coef runs the
    other way: it is 1 - alpha."""
    beta: float = 0.1
    """Price of the divergence, > 0. The paper's are 0.1, 0.3 and 0.9 for dialogues; for
    film reviews 0.1 with reverse-kl and js, 0.01 with alpha, 1e-5 with forward-kl."""
    reference: str | None = None
    """Folder (or owner/name) of the reference; None for the policy at its start."""
    held_out: float = 0.1
    """Share of the questions, in [0, 1), whose pairs are only looked at."""
    evaluate_every: int | None = None
    """Updates between looks at the held-out pairs; None for ten looks."""
    own_answers: int = 64
    """Answers that the policy samples at each look, to questions of held-out pairs:
    they tell divergences, entropy and distinct n-grams. 0 for none, which saves the
    memory of the reference's weights."""
    seed: int = 0
    """Of the mined pairs, of what is held out, and of the order."""
    dtype: Dtype = "float32"
    """Of the models' weights; bfloat16 takes half the memory. What learns in bfloat16
    has float32 copies, unless it is adapters, which are float32."""
    restart: Annotated[RunOptions, tyro.conf.OmitArgPrefixes] = RunOptions()
    trace: Annotated[TraceOptions, tyro.conf.OmitArgPrefixes] = TraceOptions()
    meshes: Annotated[UpdateMeshes, tyro.conf.OmitArgPrefixes] = UpdateMeshes()

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from sophia_jax.recipes.align import align

        summary = align(
            self.out,
            self._config(),
            **asdict(self.restart),
            track=display.track,
            say=display.say,
        )
        if summary["held_out_pairs"]:
            display.say(alignment_table(summary["held_out_pairs"]))
        display.say(f"model      {self.out / 'model'}")
        leave_page(self.out, display)

    def _config(self) -> AlignConfig:
        from sophia_jax.data.sources import resolve_source
        from sophia_jax.recipes.align_config import AlignConfig

        reference = self.reference
        with checked_options():
            return AlignConfig(
                policy=model_path(self.policy),
                preferences=self._preferences(),
                phase=self.phase.config(self.seed, self.dtype, roles_of(self.meshes)),
                divergence=self.divergence,
                alpha=self.alpha,
                beta=self.beta,
                reference=None if reference is None else model_path(reference),
                held_out=self.held_out,
                evaluate_every=self.evaluate_every,
                own_answers=self.own_answers,
                limit=self.limit,
                exclude=tuple(map(resolve_source, self.exclude)),
            )

    def _preferences(self) -> str | MinedFrom:
        from sophia_jax.data.sources import resolve_source
        from sophia_jax.recipes.align_config import MinedFrom

        if (self.data is None) == (self.run_folder is None):
            got = "neither" if self.data is None else "both"
            raise ValueError(f"--data, --run: expected one of them, got {got}")
        if self.data is not None:
            if self.mining != MiningOptions():
                raise ValueError(
                    "--run: expected a run to mine, got none, and options for it"
                )
            return resolve_source(self.data)
        if self.limit is not None or self.exclude:
            raise ValueError(
                "--limit, --exclude: expected them with --data, got them with --run"
            )
        return MinedFrom(
            run=resolve_source(self.run_folder),
            pairs_per_question=self.mining.pairs_per_question,
            threshold=self.mining.threshold,
            cut_off=self.mining.cut_off_is_wrong,
        )
