"""Which nodes take part in a VirtualIP: rendezvous hash, at most `maxNodes`, and whoever takes part stays.

A node takes part from the moment it has an assignment. Nodes that cannot serve (not ready, without the link, or to be
left by `onCordon`) keep theirs, because unicast peers and a partitioned speaker still need it, but do not count towards
`maxNodes`.
"""

from __future__ import annotations

import hashlib
import heapq

from vip_api.model import OnCordon, VirtualIPSpec

from vip_operator.plan.facts import cordoned
from vip_operator.plan.virtualip import MASTER, Entry, Vip
from vip_operator.plan.world import World

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
    return node in world.admitted(spec.node_selector)


def lacks_link(entry: Entry | None) -> bool:
    """Whether the node's own speaker says that it has no link for the VIP."""
    return entry is not None and entry.report is not None and entry.report.reason_code == INTERFACE_MISSING


def participants(vip: Vip, spec: VirtualIPSpec, world: World) -> tuple[str, ...]:
    """The nodes that are to have an assignment, in no particular order of priority."""
    kept = [n for n, e in vip.entries.items() if e.priority is not None and admitted(n, spec, world)]
    able = [n for n in kept if world.reporting(n) and not lacks_link(vip.entries[n])]
    serving = [n for n in able if not _is_leaving(n, spec, world)]
    if len(serving) > spec.max_nodes:
        surplus = set(sorted(serving, key=lambda n: _worth(vip.entries[n]))[: len(serving) - spec.max_nodes])
        return tuple(n for n in kept if n not in surplus)[:MAX_ENTRIES]
    # an entry of a node that has to leave counts until its speaker has cleared it
    room = min(spec.max_nodes - len(serving), MAX_ENTRIES - len(vip.entries))
    if room <= 0:
        return tuple(kept)[:MAX_ENTRIES]  # what nearly every VirtualIP comes to, nearly always
    candidates = (world.admitted(spec.node_selector) & world.reporting_nodes).difference(kept)
    leaving = {n for n in candidates if _is_leaving(n, spec, world)}
    chosen = heapq.nsmallest(room, candidates - leaving, key=lambda n: rank(vip.name, n))
    # where there are too few others: one that is to be left is better than none
    room = min(spec.max_nodes - len(able), MAX_ENTRIES - len(vip.entries)) - len(chosen)
    chosen += heapq.nsmallest(max(0, room), leaving, key=lambda n: rank(vip.name, n))
    return tuple(kept + chosen)[:MAX_ENTRIES]


def _is_leaving(node: str, spec: VirtualIPSpec, world: World) -> bool:
    """Whether the VIP is to leave this node, because it is cordoned."""
    return spec.on_cordon is not OnCordon.KEEP and bool(cordoned(world.nodes[node])["value"])


def _worth(entry: Entry) -> tuple[bool, int]:
    """Who is kept when there are too many: a master, then the higher priority."""
    return entry.report is not None and entry.report.state == MASTER, entry.priority or 0
