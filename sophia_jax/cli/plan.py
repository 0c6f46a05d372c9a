"""`sophia-jax plan`: will a run fit on a slice, and how fast can it be?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.meshes import AllMeshes, roles_of
from sophia_jax.config import Algorithm, Remat, StateDtype

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.planning.plan import PlanReport
    from sophia_jax.planning.run_plan import RoundSizes, RunPlan

__all__ = ["Plan"]

DEFAULTS = {"policy": "internvl3-38b", "reasoner": "qwq-32b"}
PLAIN = (
    *("policy", "reasoner", "caption_slots", "reasoning_slots", "tiles", "max_length"),
    *("batch_size", "rows", "remat", "algorithm", "optimizer_state"),
)


@dataclass(frozen=True)
class SizeOptions:
    """Sizes of the round; None for the run file's, or for the paper's."""

    questions: int | None = None
    """Of the round; the paper's are 80000."""
    captions: int | None = None
    """K, of each question; the paper's are 8."""
    reasonings: int | None = None
    """N, of each caption; the paper's are 8."""
    mean_tiles: float | None = None
    """Of a question's pictures; 7 are assumed."""
    question_tokens: int | None = None
    """Mean tokens of a question with its system prompt; 600 are assumed."""
    caption_tokens: int | None = None
    """Mean tokens of a caption; 400 are assumed."""
    reasoning_tokens: int | None = None
    """Mean tokens of a reasoning; 4000 are assumed."""
    kept_share: float | None = None
    """Share of the questions that are learnt from, in (0, 1]; 0.5 is assumed."""
    read_gb_per_second: float | None = None
    """What each host reads from storage, in GB a second; 1 is assumed."""

    def changed(self, sizes: RoundSizes) -> RoundSizes:
        """The sizes with what was asked for."""
        from dataclasses import replace

        given = dict(vars(self))
        rate = given.pop("read_gb_per_second")
        given["tiles"] = given.pop("mean_tiles")
        given["read_rate"] = None if rate is None else rate * 1e9
        return replace(sizes, **{k: v for k, v in given.items() if v is not None})


@dataclass(frozen=True)
class Plan:
    """Compile a run for a TPU slice without it: does it fit, how fast can it be?"""

    slice: str | None = None
    """Accelerator type (v5p-128 are 64 chips, v6e-64 are 64 chips), topology
    (v5p:4x4x4) or GPUs (h100-1, counted only); several as 2*v6e-64."""
    config: Path | None = None
    """Run file, as in tpu_configs/; the options given beside it take precedence. It is
    Python, and is run."""
    policy: str | None = None
    """internvl2.5-8b, internvl2.5-38b, internvl3-8b, internvl3-38b, or a model folder,
    whose weights are not read; None for internvl3-38b."""
    reasoner: str | None = None
    """qwq-32b, a model folder, or none where a server elsewhere answers; None for
    qwq-32b."""
    num_slices: int | None = None
    """Equal slices that the data-centre network joins; None for 1."""
    caption_slots: int | None = None
    """Captions that a lane decodes together; None for as many as fit
    while their answers are of mean length."""
    reasoning_slots: int | None = None
    """Reasonings that a lane decodes together; None for as many as fit
    while their answers are of mean length."""
    tiles: int | None = None
    """Of the largest picture; None for the paper's 13."""
    max_length: int | None = None
    """Tokens of the longest sequence, prompt and answer; None for the paper's 32768."""
    batch_size: int | None = None
    """Trajectories in an update; None for the paper's 512."""
    rows: int | None = None
    """Rows of the longest sequence that a share of the mesh holds at a time; None for
    1."""
    remat: Remat | None = None
    """What the backward pass forms again; None for block."""
    algorithm: Algorithm | None = None
    """Of the optimizer; None for adamw."""
    optimizer_state: StateDtype | None = None
    """Of AdamW's moments; None for float32."""
    lora_rank: int | None = None
    """Of adapters that learn in the decoder's stead; None for all of the decoder."""
    once: bool = False
    """Compile each program once: no largest batches, and no advice."""
    json: Path | None = None
    """File for the result, as JSON; replaced if it exists."""
    html: Path | None = None
    """File for the result, as a page; replaced if it exists."""
    meshes: Annotated[AllMeshes, tyro.conf.OmitArgPrefixes] = AllMeshes()
    sizes: Annotated[SizeOptions, tyro.conf.OmitArgPrefixes] = SizeOptions()

    @property
    def folder(self) -> None:
        return None

    def run(self, display: Display) -> None:
        import jax

        # Before JAX looks for a TPU, as it would with libtpu installed.
        jax.config.update("jax_platforms", "cpu")
        from sophia_jax.cli.plan_tables import say_plan
        from sophia_jax.planning.plan import make_plan

        plan = self.plan()
        if not plan.target.generation.is_tpu and plan.target.chips > 1:
            # They stand in for GPUs, for which nothing is compiled.
            jax.config.update("jax_num_cpu_devices", plan.target.chips)
        display.say(f"slice      {plan.target}")
        report = make_plan(plan, search=not self.once, track=display.track)
        say_plan(report, display)
        self._leave(report, display)

    def plan(self) -> RunPlan:
        """What is asked for: the run file's plan, or the defaults, with the options.

        Raises:
          InputError: an option is out of range, or no slice is named.
        """
        import dataclasses

        from sophia_jax.cli.settings import checked_options
        from sophia_jax.planning.run_plan import RoundSizes, RunPlan
        from sophia_jax.planning.slices import parse_slice
        from sophia_jax.types import InputError

        base = self._base()
        name = self.slice or (base.slice if base else None)
        if name is None:
            raise InputError("slice: expected --slice or --config, got neither")
        target = parse_slice(name, self.num_slices)
        with checked_options():
            given = self._given(base) | {"slice": target.name}
            sizes = base.sizes if base else RoundSizes()
            given["sizes"] = self.sizes.changed(sizes)
            if base is not None:
                return dataclasses.replace(base, **given)
            return RunPlan(**DEFAULTS | given)

    def _given(self, base: RunPlan | None) -> dict:
        """The plan's fields that options say."""
        from dataclasses import replace

        from sophia_jax.config import LoraConfig
        from sophia_jax.sharding import Roles

        given = {name: getattr(self, name) for name in PLAIN}
        given = {name: value for name, value in given.items() if value is not None}
        if self.reasoner == "none":
            given["reasoner"] = None
        if self.lora_rank is not None:
            given["lora"] = LoraConfig(rank=self.lora_rank)
        asked = {name: mesh for name, mesh in vars(self.meshes).items() if mesh}
        if asked:
            roles = base.roles if base else Roles()
            found = vars(roles_of(self.meshes))
            named = {name.removesuffix("_mesh") for name in asked}
            given["roles"] = replace(roles, **{name: found[name] for name in named})
        return given

    def _base(self) -> RunPlan | None:
        from sophia_jax.planning.run_file import read_run_file

        return None if self.config is None else read_run_file(self.config)

    def _leave(self, report: PlanReport, display: Display) -> None:
        import json

        from sophia_jax.planning.run_file import replace_text

        if self.json is not None:
            replace_text(self.json, json.dumps(report.to_json(), indent=2) + "\n")
            display.say(f"json       {self.json}")
        if self.html is not None:
            from sophia_jax.viz.plan_page import plan_page

            replace_text(self.html, plan_page(report))
            display.say(f"page       {self.html}")
