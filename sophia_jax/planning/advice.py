"""What to change so that a role fits: the least harmful changes that do, compiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sophia_jax.config import LoraConfig
from sophia_jax.planning.compiling import Compiled
from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.sharding import MeshConfig

__all__ = ["Change", "Tried", "changes"]


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
        plan = replace(plan, **fields)
        yield Change(", ".join(words), plan)


def _update_steps(plan: RunPlan) -> Iterator[tuple[str, dict]]:
    if plan.remat != "block":
        yield "remat block", {"remat": "block"}
    slices, mesh = plan.target.num_slices, plan.mesh
    fsdp = mesh.fsdp * mesh.data // slices
    if fsdp > mesh.fsdp:
        sizes = vars(mesh) | {"data": slices, "fsdp": fsdp}
        update = MeshConfig(**sizes)
        yield f"fsdp={fsdp}", {"roles": replace(plan.roles, update=update)}
    if plan.rows > 1:
        yield "1 row in each share at a time", {"rows": 1}
    if plan.lora is not None:
        return
    if plan.algorithm == "adamw" and plan.optimizer_state != "int8":
        yield "an 8-bit optimizer state", {"optimizer_state": "int8"}
    lora = LoraConfig()
    words = f"LoRA of rank {lora.rank}"
    yield words, {"lora": lora, "optimizer_state": "float32"}


def _lane_steps(plan: RunPlan) -> Iterator[tuple[str, dict]]:
    tensor = 2
    while plan.target.chips_per_host % tensor == 0:
        roles = {
            name: replace(getattr(plan.roles, name) or MeshConfig(), tensor=tensor)
            for name in ("policy", "reasoner")
        }
        yield f"tensor={tensor} for each lane", {"roles": replace(plan.roles, **roles)}
        tensor *= 2
