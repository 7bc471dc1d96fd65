"""Which VirtualIPs may be carried out as they are written.

What a single document shows is refused by the CRD; here is what only shows beside other objects, and what a
client got past the schema. Speakers carry out a document only once it is accepted; until then they go on with
the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

from vip_operator.plan.priorities import group_top
from vip_operator.plan.virtualip import Vip
from vip_operator.plan.world import World

OWNER = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a VirtualIP is not accepted: a constant and a sentence."""

    reason: str
    message: str


def is_current(vip: Vip) -> bool:
    """Whether exactly this generation was accepted before."""
    condition = vip.conditions.get("Accepted", {})
    return condition.get("status") == "True" and condition.get("observedGeneration") == vip.generation


def refusals(world: World) -> dict[str, Refusal]:
    """The VirtualIPs that are not accepted. Of two that claim one address the one that has it keeps it, else
    the older.
    """
    result: dict[str, Refusal] = {}
    claimed: dict[object, str] = {}
    for vip in sorted(world.vips, key=lambda v: (not is_current(v), *v.seniority)):
        refusal = _alone(vip, world)
        if refusal is None and vip.spec is not None:
            ips = [a.ip for a in vip.spec.addresses]
            taken = next((ip for ip in ips if ip in claimed), None)
            if taken is None:
                claimed.update(dict.fromkeys(ips, vip.name))
            else:
                refusal = Refusal(reason="AddressConflict", message=f"{taken} belongs to VirtualIP {claimed[taken]}")
        if refusal is not None:
            result[vip.name] = refusal
    return result


def _alone(vip: Vip, world: World) -> Refusal | None:
    spec = vip.spec
    if spec is None:
        return Refusal(reason="Invalid", message="; ".join(str(p) for p in vip.problems)[:1024])
    if OWNER not in (spec.priority, *(p.priority for p in spec.priorities)):
        return None
    eligible = (world.nodes[name] for name in world.admitted(spec.node_selector))
    owners = [n for n in eligible if group_top(spec, n) == OWNER]
    if len(owners) > 1:
        names = ", ".join(sorted(n.name for n in owners)[:3])
        return Refusal(
            reason="OwnerNotUnique",
            message=f"priority 255 is for the one node that owns the addresses, but {len(owners)} nodes are eligible "
            f"({names}); narrow it down with nodeSelector or priorities",
        )
    return None
