"""Options that several commands share, and the settings that they become."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sophia_jax.cli.servers import RoutingOptions, ServerOptions
from sophia_jax.cli.settings import AnyPath, checked_options, model_path
from sophia_jax.config import (
    Algorithm,
    Dtype,
    LoraConfig,
    LoraTarget,
    OptimizerConfig,
    Remat,
    SophiaConfig,
    StateDtype,
)

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.data.prompts import Prompts
    from sophia_jax.recipes.own_data import CollectConfig, WarmUp
    from sophia_jax.recipes.phases import MixPart, UpdateConfig
    from sophia_jax.sharding import Roles

__all__ = [
    "HostOptions",
    "LearningOptions",
    "AnyPath",
    "PromptSet",
    "RolloutOptions",
    "RunOptions",
    "TraceOptions",
    "UpdateOptions",
    "checked_options",
    "leave_page",
    "model_path",
    "prompt_set",
]

PromptSet = Literal["paper", "digits"]


@dataclass(frozen=True)
class RolloutOptions:
    """What is collected, and how."""

    policy: str
    """Folder (or owner/name on the Hugging Face Hub) of the vision-language model."""
    reasoner: str
    """Folder (or owner/name) of the frozen model that answers from captions, or
    openai:URL#MODEL on a server, as in openai:http://localhost:8000/v1#Qwen/QwQ-32B."""
    data: str
    """items.jsonl, Parquet, a folder that Hugging Face datasets saved, a TSV file of
    VLMEvalKit, or tfds:NAME/SPLIT; each row with question, answer and image."""
    limit: int | None = None
    """Take the first so many good rows; None for all."""
    exclude: tuple[str, ...] = ()
    """Benchmarks, in any form of --data: rows with a question or a picture of theirs
    are left out of all that is learnt from, and listed in skipped.txt."""
    prompts: PromptSet = "paper"
    """Long ones after the paper, or the short ones of the quickstart's small models."""
    num_captions: int = SophiaConfig.num_captions
    """K, captions of each question's pictures."""
    num_reasonings: int = SophiaConfig.num_reasonings
    """N, reasonings from each caption."""
    threshold: float = SophiaConfig.threshold
    """Share of right reasonings, in [0, 1], that a caption must exceed."""
    max_caption_tokens: int = 1024
    """Longest caption, in tokens of the policy."""
    max_answer_tokens: int = 4096
    """Longest reasoning, in tokens of the reasoner; the paper's is 32768."""
    temperature: float = 1.0
    """Of captions and reasonings; 0 is greedy."""
    top_p: float = 1.0
    """Nucleus of captions and reasonings, in (0, 1]."""
    sample_all: bool = False
    """Finish every reasoning, also those that cannot change what is kept."""
    questions_per_shard: int = 128
    """Questions in one file of each table; a killed run loses at most one file, and
    nothing that a server has answered."""
    slots: int = 256
    """Sequences that are sampled together; fewer need less memory."""
    cache_gib: float | None = None
    """Memory for keys and values, in GiB; None for 1, or for two of the longest
    sequences where that is more."""
    servers: Annotated[ServerOptions, tyro.conf.OmitArgPrefixes] = ServerOptions()
    routing: Annotated[RoutingOptions, tyro.conf.OmitArgPrefixes] = RoutingOptions()

    def config(
        self,
        seed: int,
        dtype: Dtype,
        roles: Roles,
        warm_up: WarmUp | None = None,
    ) -> CollectConfig:
        """The settings that these options mean."""
        from sophia_jax.config import SamplingConfig
        from sophia_jax.data.sources import resolve_source
        from sophia_jax.recipes.own_data import CollectConfig

        with checked_options():
            caption, answer = (
                SamplingConfig(length, temperature=self.temperature, top_p=self.top_p)
                for length in (self.max_caption_tokens, self.max_answer_tokens)
            )
            return CollectConfig(
                policy=model_path(self.policy),
                reasoner=model_path(self.reasoner),
                data=resolve_source(self.data),
                caption=caption,
                answer=answer,
                prompts=prompt_set(self.prompts),
                sophia=SophiaConfig(
                    num_captions=self.num_captions,
                    num_reasonings=self.num_reasonings,
                    threshold=self.threshold,
                    early_stopping=not self.sample_all,
                    seed=seed,
                ),
                limit=self.limit,
                questions_per_shard=self.questions_per_shard,
                slots=self.slots,
                cache_gib=self.cache_gib,
                warm_up=warm_up,
                server=self.servers.config(),
                **self.routing.config(self.servers),
                exclude=tuple(map(resolve_source, self.exclude)),
                dtype=dtype,
                roles=roles,
            )


@dataclass(frozen=True)
class LearningOptions:
    """How the decoder learns; the rest of the model is frozen, as in the paper."""

    num_steps: int | None = None
    """Updates; None for one pass over what is learnt."""
    batch_size: int | None = None
    """Trajectories in an update; None for the paper's 512, or all if fewer."""
    row_length: int | None = None
    """Most tokens in a packed row; None for 2048, or the longest trajectory's."""
    micro_batches: int = 1
    """Equal parts of an update that are held in memory one at a time."""
    learning_rate: float = OptimizerConfig.learning_rate
    """At its highest; a cosine takes it to a quarter."""
    weight_decay: float = OptimizerConfig.weight_decay
    """AdamW's weight decay: each update takes learning rate x this off every matrix."""
    algorithm: Algorithm = OptimizerConfig.algorithm
    """The optimizer; adafactor keeps next to nothing beside the weights, muon is for
    models that start from nothing."""
    optimizer_state: StateDtype = OptimizerConfig.state
    """Of the two moments of --algorithm adamw, which int8 needs: 8 bytes a parameter,
    or 2 1/8 with int8."""
    lora_rank: int | None = None
    """Columns of low-rank adapters that learn in the decoder's stead; the run's model/
    has them merged, its adapters/ is for PEFT. None: all of the decoder learns."""
    lora_alpha: float | None = None
    """What adapters add is multiplied by alpha / rank; None for twice the rank."""
    lora_targets: tuple[LoraTarget, ...] = LoraConfig.targets
    """Matrices of each layer that get adapters."""
    warmup_steps: int = OptimizerConfig.warmup_steps
    """Updates until the learning rate is at its highest."""
    checkpoint_every: int = 100
    """Updates between checkpoints; a killed run loses at most so many."""
    keep_checkpoints: int = 2
    """The newest checkpoints that stay on the disk."""
    keep_best: Literal["loss", "gradient_norm", "mean_log_prob"] | None = None
    """Metric of which the best checkpoint stays too: the lowest loss or gradient norm,
    the highest log-probability, as means over the updates since the one before."""
    remat: Remat = "none"
    """Activations that are computed twice, to save memory: none, those of each block,
    or all of them but its projections and attention."""

    def config(self, seed: int, dtype: Dtype, roles: Roles) -> UpdateConfig:
        """The settings that these options mean."""
        from sophia_jax.recipes.phases import UpdateConfig

        with checked_options():
            options = asdict(self) | self._mixed_in()
            for name in ("lora_rank", "lora_alpha", "lora_targets"):
                del options[name]
            return UpdateConfig(
                seed=seed, dtype=dtype, roles=roles, lora=self._lora(), **options
            )

    def _mixed_in(self) -> dict:
        """What is learnt beside the examples."""
        return {}

    def _lora(self) -> LoraConfig | None:
        rank, alpha = self.lora_rank, self.lora_alpha
        if rank is None:
            if alpha is not None or self.lora_targets != LoraConfig.targets:
                raise ValueError("lora_rank: expected a number for adapters, got none")
            return None
        return LoraConfig(
            rank, 2.0 * rank if alpha is None else alpha, self.lora_targets
        )


@dataclass(frozen=True)
class UpdateOptions(LearningOptions):
    """How the decoder learns from trajectories, and from what is mixed in."""

    mix: tuple[str, ...] = ()
    """SOURCE=WEIGHT of texts to learn beside the trajectories, in any form of --data;
    their answers are learnt as they stand, and they need no image."""
    trajectory_weight: int = 1
    """Trajectories beside WEIGHT rows of a source of --mix; shares are exact."""

    def _mixed_in(self) -> dict:
        return {"mix": tuple(map(_mix_part, self.mix))}


@dataclass(frozen=True)
class RunOptions:
    """What becomes of bad rows, and of what an earlier run left."""

    skip_bad_rows: bool = False
    """Leave out what is unreadable or too long, and list it in skipped.txt."""
    resume: bool = False
    """Go on with a run of the same settings."""
    force: bool = False
    """Delete what an earlier run of this command left in the folder."""


@dataclass(frozen=True)
class TraceOptions:
    """What is written down of the device's work."""

    profile_seconds: float = 0.0
    """Seconds of the run that are traced to OUT/profile, for XProf or Perfetto."""
    profile_after_seconds: float = 60.0
    """Seconds until the trace begins: by then most programs are compiled."""


@dataclass(frozen=True)
class HostOptions:
    """Several processes that run the same command together.

    Each is started with the same options; a TPU slice, srun and a GKE JobSet tell them
    apart by themselves.
    """

    coordinator: str | None = None
    """Address of process 0 as HOST:PORT; None to look in the environment."""
    num_processes: int | None = None
    """Of the whole run; 1 alone means no others, whatever the environment says."""
    process_id: int | None = None
    """Of this process, from 0."""


def _mix_part(given: str) -> MixPart:
    from sophia_jax.data.sources import resolve_source
    from sophia_jax.recipes.phases import MixPart
    from sophia_jax.types import InputError

    source, _, weight = given.rpartition("=")
    if not source or not weight.isdecimal():
        raise InputError(f"--mix: expected SOURCE=WEIGHT, a whole number, got {given}")
    return MixPart(resolve_source(source), int(weight))


def prompt_set(name: PromptSet) -> Prompts:
    """The prompts of that name."""
    from sophia_jax.data.prompts import DIGITS, PAPER

    return {"paper": PAPER, "digits": DIGITS}[name]


def leave_page(run: Path, display: Display) -> None:
    """Write `report.html` and say where, or what is missing for it."""
    from sophia_jax.sharding.together import is_first

    if not is_first():
        return
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        display.say(
            "report     not written without matplotlib: pip install "
            f"'sophia-jax[viz]', then sophia-jax report {run}"
        )
        return
    from sophia_jax.viz.pages import write_page

    display.say(f"report     {write_page(run)}")
