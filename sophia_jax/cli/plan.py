"""`sophia-jax plan`: will a run fit on a slice, and how fast can it be?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.planning.collectives import MeshShape
    from sophia_jax.planning.plan import PlanReport
    from sophia_jax.planning.run_plan import RoundSizes, RunPlan

__all__ = ["Plan"]


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
class MeshOptions:
    """Chips along each axis of the update's mesh; None for the run file's, or for a
    default."""

    data: int | None = None
    """Copies of the weights; None for one in each slice."""
    fsdp: int | None = None
    """Chips that share weights and rows; None for those that are left."""
    tensor: int | None = None
    """Chips that share each matrix; None for 1."""
    context: int | None = None
    """Chips that share the tokens of a row; None for 4, or fewer where there are fewer
    chips."""

    @property
    def given(self) -> bool:
        return any(value is not None for value in vars(self).values())

    def shape(self, chips: int, num_slices: int) -> MeshShape:
        """A mesh of so many chips."""
        from sophia_jax.planning.collectives import MeshShape
        from sophia_jax.types import InputError

        data, tensor = self.data or num_slices, self.tensor or 1
        per_copy = chips // data
        context = self.context or min(4, max(1, per_copy // tensor))
        fsdp = self.fsdp or max(1, per_copy // (tensor * context))
        shape = MeshShape(data=data, fsdp=fsdp, tensor=tensor, context=context)
        if shape.chips != chips:
            raise InputError(
                f"mesh: expected axes that multiply to {chips} chips, got {shape}"
            )
        return shape


@dataclass(frozen=True)
class Plan:
    """Will a run fit on a slice, and how fast can it be? Every program of the run is
    compiled for the slice, on this machine, without it."""

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
    lane: int | None = None
    """Chips of a host that decode together, with a copy of each model; None for 4."""
    apart: bool = False
    """While one model collects, the other one's weights are not on the chips."""
    caption_slots: int | None = None
    """Captions that a lane decodes together; None for as many as fit."""
    reasoning_slots: int | None = None
    """Reasonings that a lane decodes together; None for as many as fit."""
    tiles: int | None = None
    """Of the largest picture; None for the paper's 13."""
    max_length: int | None = None
    """Tokens of the longest sequence, prompt and answer; None for the paper's 32768."""
    batch_size: int | None = None
    """Trajectories in an update; None for the paper's 512."""
    rows: int | None = None
    """Rows of the longest sequence that a share of the mesh holds at a time; None for
    1."""
    remat: Literal["none", "projections", "block"] | None = None
    """What the backward pass forms again; None for block."""
    optimizer: Literal["float32", "int8", "adafactor"] | None = None
    """Kind of the optimizer's state; None for float32."""
    lora_rank: int | None = None
    """Of adapters that learn in the decoder's stead; None or 0 for none."""
    once: bool = False
    """Compile each program once: no largest batches, and no advice."""
    json: Path | None = None
    """File for the result, as JSON; replaced if it exists."""
    html: Path | None = None
    """File for the result, as a page; replaced if it exists."""
    mesh: Annotated[MeshOptions, tyro.conf.OmitArgPrefixes] = MeshOptions()
    sizes: Annotated[SizeOptions, tyro.conf.OmitArgPrefixes] = SizeOptions()

    @property
    def folder(self) -> None:
        return None

    def run(self, display: Display) -> None:
        # Before JAX looks for a TPU: with libtpu installed, it would wait for one.
        os.environ["JAX_PLATFORMS"] = "cpu"
        from sophia_jax.cli.plan_tables import say_plan
        from sophia_jax.planning.plan import make_plan

        plan = self.plan()
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
        given = {
            key: getattr(self, key)
            for key in RunPlan.__dataclass_fields__
            if key not in ("slice", "mesh", "sizes") and getattr(self, key, None)
        }
        if self.reasoner == "none":
            given["reasoner"] = None
        if self.apart:
            given["shared"] = False
        given["slice"] = f"{target.num_slices}*{target.topology_name}"
        if not target.generation.is_tpu:
            given["slice"] = target.accelerator_type
        if base is None or self.mesh.given or target != base.target:
            given["mesh"] = self.mesh.shape(target.chips, target.num_slices)
        with checked_options():
            given["sizes"] = self.sizes.changed(base.sizes if base else RoundSizes())
            if base is not None:
                return dataclasses.replace(base, **given)
            models = {"policy": "internvl3-38b", "reasoner": "qwq-32b"}
            lane = {"lane": min(4, target.chips_per_host)}
            return RunPlan(**models | lane | given)

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
