"""Options that say which devices a role runs on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sophia_jax.cli.settings import checked_options

if TYPE_CHECKING:
    from sophia_jax.sharding import Roles

__all__ = ["AllMeshes", "PolicyMesh", "SamplingMeshes", "UpdateMeshes", "roles_of"]


@dataclass(frozen=True)
class PolicyMesh:
    """Devices on which the policy is sampled."""

    policy_mesh: str | None = None
    """Devices that the policy is sampled on: tensor=4 for lanes of 4 devices of one
    host each, tensor=4@0:8 for those among the first 8. None for all devices of an
    accelerator, in lanes that its key-value heads can share; on a CPU for one."""


@dataclass(frozen=True)
class ReasonerMesh:
    """Devices on which a local reasoner is sampled."""

    reasoner_mesh: str | None = None
    """Devices of a local reasoner, as of --policy-mesh; both on the same take turns."""


@dataclass(frozen=True)
class LearningMesh:
    """Devices on which the policy learns."""

    update_mesh: str | None = None
    """Devices that the policy learns on: fsdp=16,tensor=4 for weights in 64 shares;
    data=2 for copies, context=2 for shares of each row's tokens. None for all devices
    of an accelerator along fsdp; on a CPU for one."""


@dataclass(frozen=True)
class SamplingMeshes(ReasonerMesh, PolicyMesh):
    """Devices of what is sampled."""


@dataclass(frozen=True)
class UpdateMeshes(LearningMesh, PolicyMesh):
    """Devices of the policy."""


@dataclass(frozen=True)
class AllMeshes(LearningMesh, ReasonerMesh, PolicyMesh):
    """Devices of every role."""


def roles_of(meshes: PolicyMesh) -> Roles:
    """The meshes that these options mean."""
    from sophia_jax.sharding import Roles, parse_mesh

    with checked_options():
        return Roles(
            **{
                name.removesuffix("_mesh"): None if mesh is None else parse_mesh(mesh)
                for name, mesh in asdict(meshes).items()
            }
        )
