"""What to change so that a role fits: the least harmful changes that do, compiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from sophia_jax.planning.collectives import MeshShape
from sophia_jax.planning.compiling import Compiled
from sophia_jax.planning.run_plan import RunPlan

__all__ = ["Change", "Tried", "changes"]

LORA_RANK = 16


@dataclass(frozen=True)
class Change:
    """A plan that needs less memory.

    Attributes:
      words: what is different.
      plan: with it, and with all that is less harmful.
    """

    words: str
    plan: RunPlan


@dataclass(frozen=True)
class Tried:
    """What became of a change.

    Attributes:
      words: what is different from the plan that was asked for.
      compiled: what the compiler said; None where the weights and states alone are more
        than a chip holds.
    """

    words: str
    compiled: Compiled | None

    @property
    def fits(self) -> bool:
        return self.compiled is not None and self.compiled.fits


def changes(plan: RunPlan, role: str) -> Iterator[Change]:
    """Changes in the order of their harm, each on top of those before it.

    Of the update: recomputation costs time alone; more shares cost gathers; smaller
    micro-batches more of them; an 8-bit state some precision; adapters learn less. Of
    the other roles: a model may leave the chips while the other one is at work, and
    more chips may share it.
    """
    steps = _update_steps if role == "policy update" else _lane_steps
    words: list[str] = []
    for what, fields in steps(plan):
        words.append(what)
        plan = dataclasses.replace(plan, **fields)
        yield Change(", ".join(words), plan)


def _update_steps(plan: RunPlan) -> Iterator[tuple[str, dict]]:
    if plan.remat != "block":
        yield "remat block", {"remat": "block"}
    mesh = plan.mesh
    copies = mesh.data // plan.target.num_slices
    if copies > 1:
        fields = {"data": plan.target.num_slices, "fsdp": mesh.fsdp * copies}
        yield f"fsdp {fields['fsdp']}", {"mesh": MeshShape(**vars(mesh) | fields)}
    if plan.rows > 1:
        yield "1 row in each share at a time", {"rows": 1}
    if plan.lora_rank == 0:
        if plan.optimizer == "float32":
            yield "an 8-bit optimizer state", {"optimizer": "int8"}
        words = f"LoRA of rank {LORA_RANK}"
        yield words, {"lora_rank": LORA_RANK, "optimizer": "float32"}


def _lane_steps(plan: RunPlan) -> Iterator[tuple[str, dict]]:
    if plan.shared and plan.reasoner is not None:
        yield "the other model off the chips meanwhile", {"shared": False}
    lane = plan.lane * 2
    while plan.target.chips_per_host % lane == 0:
        yield f"{lane} chips for each lane", {"lane": lane}
        lane *= 2
