"""Which nodes take part in a VirtualIP: rendezvous hash, at most `maxNodes`, and whoever takes part stays.

A node takes part from the moment it has an assignment. Nodes that cannot serve (not ready, or without the
link) keep theirs, because unicast peers and a partitioned speaker still need it, but do not count towards
`maxNodes`.
"""

from __future__ import annotations

import hashlib

from vip_api.model import VirtualIPSpec

from vip_operator.plan.selectors import matches
from vip_operator.plan.world import MASTER, Entry, Vip, World

INTERFACE_MISSING = "InterfaceMissing"
"""The reason code of a speaker whose node has no link for the VIP."""

MAX_ENTRIES = 254
"""`status.nodes` holds no more (maxItems of the CRD), and there are no more distinct priorities."""


def rank(vip: str, node: str) -> bytes:
    """The rendezvous hash: every VIP orders the nodes in its own way, and a node more or less reorders no
    others.
    """
    return hashlib.sha256(f"{vip}/{node}".encode()).digest()


def admitted(node: str, spec: VirtualIPSpec, world: World) -> bool:
    """Whether `node` exists and both the VIP's selector and the DaemonSet's node selector choose it."""
    known = world.nodes.get(node)
    if known is None:
        return False
    chart = world.template.node_selector if world.template else {}
    return all(known.labels.get(k) == v for k, v in chart.items()) and (
        spec.node_selector is None or matches(spec.node_selector, known.labels)
    )


def lacks_link(entry: Entry | None) -> bool:
    """Whether the node's own speaker says that it has no link for the VIP."""
    return entry is not None and entry.report is not None and entry.report.reason_code == INTERFACE_MISSING


def participants(vip: Vip, spec: VirtualIPSpec, world: World) -> tuple[str, ...]:
    """The nodes that are to have an assignment, in no particular order of priority."""
    kept = [n for n, e in vip.entries.items() if e.priority is not None and admitted(n, spec, world)]
    serving = [n for n in kept if world.reporting(n) and not lacks_link(vip.entries[n])]
    if len(serving) > spec.max_nodes:
        surplus = set(sorted(serving, key=lambda n: _worth(vip.entries[n]))[: len(serving) - spec.max_nodes])
        return tuple(n for n in kept if n not in surplus)[:MAX_ENTRIES]
    candidates = sorted(
        (n for n in {p.node for p in world.pods} if n not in kept and _can_start(n, spec, world)),
        key=lambda n: rank(vip.name, n),
    )
    return tuple(kept + candidates[: spec.max_nodes - len(serving)])[:MAX_ENTRIES]


def _can_start(node: str, spec: VirtualIPSpec, world: World) -> bool:
    return world.reporting(node) and admitted(node, spec, world)


def _worth(entry: Entry) -> tuple[bool, int]:
    """Who is kept when there are too many: a master, then the higher priority."""
    return entry.report is not None and entry.report.state == MASTER, entry.priority or 0
