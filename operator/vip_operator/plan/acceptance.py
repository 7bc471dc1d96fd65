"""Which VirtualIPs may be carried out as they are written.

What a single document shows is refused by the CRD; here is what only shows beside other objects, and what a
client got past the schema. Speakers carry out a document only once it is accepted; until then they go on with
the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vip_api.model import IPAddress, VirtualIPSpec

from vip_operator.plan.priorities import group_top
from vip_operator.plan.virtualip import Vip
from vip_operator.plan.world import World

OWNER = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a VirtualIP is not accepted: a constant and a sentence."""

    reason: str
    message: str


def refusals(world: World) -> dict[str, Refusal]:
    """The VirtualIPs that are not accepted. Of two that claim one address the one that has it keeps it, else
    the older.
    """
    result = {v.name: refusal for v in world.vips if (refusal := _alone(v, world)) is not None}
    while further := _in_conflict(world, result):  # who is refused keeps what it had, which others may have asked for
        result |= further
    return result


def _in_conflict(world: World, refused: Mapping[str, Refusal]) -> dict[str, Refusal]:
    """Those beside `refused` that claim what is another's: of one that is current, or was before it was refused, or
    else of an older one.
    """
    result: dict[str, Refusal] = {}
    claimed: dict[IPAddress, Vip] = {}
    for vip in sorted(world.vips, key=lambda v: (not _asks_for_no_more(v), v.name not in refused, *v.seniority)):
        if vip.name in refused or vip.spec is None:
            for ip in vip.accepted_addresses:  # the document before is still carried out
                claimed.setdefault(ip, vip)
            continue
        ips = [a.ip for a in vip.spec.addresses]
        taken = min((ip for ip in ips if ip in claimed), key=lambda ip: claimed[ip].seniority, default=None)
        if taken is None:
            claimed.update(dict.fromkeys(ips, vip))
        else:
            message = f"{taken} belongs to VirtualIP {claimed[taken].name}"
            result[vip.name] = Refusal(reason="AddressConflict", message=message)
    return result


def _asks_for_no_more(vip: Vip) -> bool:
    """Whether its addresses are among those that it has: an edit of something else does not put them up."""
    asked = () if vip.spec is None else (a.ip for a in vip.spec.addresses)
    return vip.is_current or (bool(vip.accepted_addresses) and set(asked) <= set(vip.accepted_addresses))


def _alone(vip: Vip, world: World) -> Refusal | None:
    spec = vip.spec
    if spec is None:
        return Refusal(reason="Invalid", message="; ".join(str(p) for p in vip.problems)[:1024])
    owners = _owners(spec, world)
    if len(owners) > 1:
        names = ", ".join(sorted(owners)[:3])
        return Refusal(
            reason="OwnerNotUnique",
            message=f"priority 255 is for the one node that owns the addresses, but {len(owners)} nodes are eligible "
            f"({names}); narrow it down with nodeSelector or priorities",
        )
    return _taken_elsewhere(vip, spec, world, owners)


def _owners(spec: VirtualIPSpec, world: World) -> frozenset[str]:
    """The nodes to which the document gives the priority of a router whose own address it is."""
    if OWNER not in (spec.priority, *(p.priority for p in spec.priorities)):
        return frozenset()
    return frozenset(n for n in world.admitted(spec.node_selector) if group_top(spec, world.nodes[n]) == OWNER)


def _in_force(vip: Vip) -> frozenset[IPAddress]:
    """The addresses that nodes hold already. A node that holds one may give it as its own: some cloud providers list
    every address that they find on it, and a kubelet without `--node-ip` takes the first.
    """
    reports = (e.report for e in vip.entries.values() if e.report is not None)
    carried_out = vip.is_current or any(r.takes_part and r.observed_generation == vip.generation for r in reports)
    written = tuple(a.ip for a in vip.spec.addresses) if carried_out and vip.spec is not None else ()
    return frozenset((*vip.accepted_addresses, *written))


def _taken_elsewhere(vip: Vip, spec: VirtualIPSpec, world: World, owners: frozenset[str]) -> Refusal | None:
    """Why an address cannot be a virtual one: whoever has it as its own would lose it, and with the API server's
    nothing could be undone.
    """
    doubtful = [a.ip for a in spec.addresses if a.ip in world.nodes_at or a.ip in world.api_server]
    in_force = _in_force(vip) if doubtful else frozenset()
    for ip in doubtful:
        nodes = world.nodes_at.get(ip, frozenset())
        if ip in in_force:
            continue
        if nodes and nodes != owners:
            return Refusal(
                reason="NodeAddress",
                message=f"{ip} is the address of node {', '.join(sorted(nodes)[:3])}; take one that no host has "
                "(priority 255 would make that node its owner)",
            )
        if not nodes:
            return Refusal(
                reason="APIServerAddress", message=f"{ip} is the address of the API server; take one that no host has"
            )
    return None


def of_a_node(spec: VirtualIPSpec, world: World) -> str:
    """What is odd about an address that is in force: a node has no other. Who lists it beside its own holds it."""
    owners = _owners(spec, world)
    for ip in (a.ip for a in spec.addresses):
        nodes = world.nodes_at.get(ip, frozenset())
        only = [
            n for n in sorted(nodes) if not any(o != ip and o.version == ip.version for o in world.nodes[n].addresses)
        ]
        if only and nodes != owners:
            return f"{ip} is the only IPv{ip.version} address that node {', '.join(only[:3])} gives as its own"
    return ""
