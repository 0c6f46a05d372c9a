"""A whole run: every role compiled, bounded, and added up to chip-hours."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from sophia_jax.planning.advice import Tried as Advice
from sophia_jax.planning.advice import changes
from sophia_jax.planning.compiling import (
    Compiled,
    Program,
    compile_program,
    count_program,
    usable_hbm,
)
from sophia_jax.planning.role import Role
from sophia_jax.planning.roles import roles
from sophia_jax.planning.roofline import Roofline, roofline
from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.planning.search import MOST_TRIES, Tried, try_batches
from sophia_jax.types import InputError, Track, untracked

__all__ = ["PlanReport", "RoleReport", "make_plan", "versions"]


@dataclass(frozen=True)
class RoleReport:
    """What is known of one role; bytes, operations and seconds are of one chip.

    Attributes:
      name: of the role.
      chips: that run one copy of its program, of which `copies` fill the slice.
      batch: that the run takes, in `unit`s.
      largest_batch: that was seen to fit; None where none was looked for or found.
      held: bytes of weights, optimizer, cache, inputs.
      peak_bytes: of what the program needs at most, all that is held included.
      usable_bytes: that programs can have.
      counted_only: nothing was compiled; `peak_bytes` is counted as well.
      compile_seconds: of each compilation.
      flops, hbm_bytes, ici_bytes, dcn_bytes: of one step.
      bound: the least seconds of a step, by what takes them.
      steps: of each copy in the round.
      chip_hours: of the round, of all chips, at the bound.
      advice: changes that were tried, where it does not fit.
    """

    name: str
    chips: int
    copies: int
    unit: str
    batch: int
    largest_batch: int | None
    held: dict[str, int]
    peak_bytes: int
    usable_bytes: int
    counted_only: bool
    compile_seconds: tuple[float, ...]
    flops: float
    hbm_bytes: float
    ici_bytes: float
    dcn_bytes: float
    bound: Roofline
    steps: float
    chip_hours: float
    advice: tuple[Advice, ...] = ()

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.usable_bytes

    @property
    def activation_bytes(self) -> int:
        return max(0, self.peak_bytes - sum(self.held.values()))


@dataclass(frozen=True)
class PlanReport:
    """A plan and what came of it."""

    plan: RunPlan
    roles: tuple[RoleReport, ...]
    versions: dict[str, str]

    @property
    def fits(self) -> bool:
        return all(role.fits for role in self.roles)

    @property
    def chip_hours(self) -> float:
        return sum(role.chip_hours for role in self.roles)

    def to_json(self) -> dict:
        """As a JSON object; what it means is said with `RoleReport`."""
        target = self.plan.target
        return {
            "slice": {
                "accelerator_type": target.accelerator_type,
                "topology": target.topology_name,
                "chips": target.chips,
                "hosts": target.hosts,
                "num_slices": target.num_slices,
                "generation": asdict(target.generation),
            },
            "plan": asdict(self.plan),
            "fits": self.fits,
            "chip_hours": self.chip_hours,
            "roles": [_role_json(role) for role in self.roles],
            "versions": self.versions,
        }


def _role_json(role: RoleReport) -> dict:
    derived = {
        "fits": role.fits,
        "activation_bytes": role.activation_bytes,
        "seconds_per_step": role.bound.seconds,
        "limiter": role.bound.limiter,
    }
    return asdict(role) | derived


def make_plan(
    plan: RunPlan, *, search: bool = True, track: Track = untracked
) -> PlanReport:
    """Compile every role of a run and bound its time.

    Args:
      plan: of the run.
      search: look for the largest batches, and for what would fit where something does
        not; at most 4 compilations a role in all. Without, each is compiled once.
      track: shows the compilations of each role.

    Raises:
      InputError: a mesh does not divide a model, or libtpu is missing.
    """
    usable = usable_hbm(plan.target.generation)
    found = tuple(_report(plan, role, usable, search, track) for role in roles(plan))
    return PlanReport(plan, found, versions())


def _report(
    plan: RunPlan, role: Role, usable: int, search: bool, track: Track
) -> RoleReport:
    tries = MOST_TRIES if search else 1

    def compile_batch(batch: int) -> Compiled:
        return _asked(plan, role.program(batch), usable)

    tried: list[Tried] = []
    advice: list[Advice] = []

    def everything() -> Iterator[None]:
        most = role.first if not search else role.most
        for each in try_batches(
            compile_batch, role.first, step=role.step, most=most, tries=tries
        ):
            tried.append(each)
            yield
            if role.first == role.step and not each.compiled.fits:
                break
        if not any(each.compiled.fits for each in tried):
            for change in _advised(plan, role, usable, tries - len(tried)):
                advice.append(change)
                yield

    for _ in track(everything(), role.name, tries):
        pass
    return _summed_up(plan, role, tried, tuple(advice))


def _asked(plan: RunPlan, program: Program, usable: int) -> Compiled:
    """What the compiler says; of GPUs, what is counted."""
    ask = compile_program if plan.target.generation.is_tpu else count_program
    return ask(program, usable)


def _advised(plan: RunPlan, role: Role, usable: int, tries: int) -> Iterator[Advice]:
    """Changes until one fits; those that cannot are not compiled."""
    for change in changes(plan, role.name):
        if not tries:
            return
        try:
            changed = next(r for r in roles(change.plan) if r.name == role.name)
            program = changed.program(min(role.first, changed.first))
        except InputError:
            continue  # no such mesh for this model
        if sum(program.held.values()) > usable:
            yield Advice(change.words, None)
            continue
        tries -= 1
        compiled = _asked(plan, program, usable)
        yield Advice(change.words, compiled)
        if compiled.fits:
            return


def _summed_up(
    plan: RunPlan, role: Role, tried: list[Tried], advice: tuple[Advice, ...]
) -> RoleReport:
    fitting = [each for each in tried if each.compiled.fits]
    largest = max(fitting, key=lambda each: each.batch, default=None)
    taken = largest if role.largest_runs and largest else tried[0]
    batch, chip = taken.batch, plan.target.generation
    work, traffic = role.work(batch), role.traffic(batch)
    bound = roofline(work, traffic, chip)
    seconds = role.steps(batch) * bound.seconds + role.host_seconds
    copies = role.used_chips // role.chips
    return RoleReport(
        name=role.name,
        chips=role.chips,
        copies=copies,
        unit=role.unit,
        batch=batch,
        largest_batch=largest.batch if largest else None,
        held=dict(role.program(batch).held),
        peak_bytes=taken.compiled.peak_bytes,
        usable_bytes=taken.compiled.usable_bytes,
        counted_only=not chip.is_tpu,
        compile_seconds=tuple(each.compiled.seconds for each in tried),
        flops=work.flops,
        hbm_bytes=work.hbm_bytes,
        ici_bytes=traffic.ici_bytes,
        dcn_bytes=traffic.dcn_bytes,
        bound=bound,
        steps=role.steps(batch),
        chip_hours=seconds * plan.target.chips / 3600,
        advice=advice,
    )


def versions() -> dict[str, str]:
    """Of what decides the result."""
    found = {"python": platform.python_version()}
    for name in ("sophia-jax", "jax", "libtpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
