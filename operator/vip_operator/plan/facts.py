"""What only the operator sees and a speaker needs: node conditions, ready pods, cordoning. `nodes[].facts`.

A fact is about its check as written: `reverse` and weights are the router's to apply. While pods cannot be listed the
last fact about them stays, marked stale; before the first list there is none, which the router takes for unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vip_api.model import CORDON_FACT, OnCordon, Track, VirtualIPSpec

from vip_operator.plan.node import Node
from vip_operator.plan.selectors import from_mapping
from vip_operator.plan.virtualip import Entry
from vip_operator.plan.world import PodQuery, World

LEAVING_TAINTS = frozenset({"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"})
"""Put on a node before it is drained and removed."""

MAX_REASON = 256
"""As in the schema."""


def queries(specs: Iterable[VirtualIPSpec]) -> frozenset[PodQuery]:
    """The pods that some check looks at."""
    return frozenset(query_of(t) for spec in specs for t in spec.track if t.kind == "pods")


def query_of(track: Track) -> PodQuery:
    """Which pods a check of the kind `pods` counts."""
    check = dict(track.check)
    return PodQuery(namespace=str(check["namespace"]), selector=from_mapping(check["selector"]))


def problems(spec: VirtualIPSpec, world: World) -> list[str]:
    """Why facts about pods are missing or stale."""
    found = {world.pod_problems.get(query): None for query in (query_of(t) for t in spec.track if t.kind == "pods")}
    return [problem for problem in found if problem]


def facts(spec: VirtualIPSpec | None, node: str, entry: Entry | None, world: World) -> list[dict[str, Any]]:
    """The facts of one VirtualIP for one node, in the order of its checks; empty where it asks for none. Without `spec`
    the document before is carried out: what it looks at is no longer known, but for cordoning, so the last facts stay.
    """
    written = list(entry.owned.get("facts") or ()) if entry is not None else []
    known = world.nodes.get(node)
    if known is None:
        return written
    if spec is None:
        return [cordoned(known) if f.get("name") == CORDON_FACT else f for f in written]
    former = {str(f.get("name")): f for f in written}
    found: list[dict[str, Any]] = []
    for track in spec.track:
        if track.kind == "node":
            found.append(_condition(track, known))
        elif track.kind == "pods" and (fact := _pods(track, node, former.get(track.name), world)) is not None:
            found.append(fact)
    if spec.on_cordon is not OnCordon.KEEP:  # other VIPs need no write
        found.append(cordoned(known))
    return found


def _condition(track: Track, node: Node) -> dict[str, Any]:
    kind = str(dict(track.check)["condition"])
    status = node.conditions.get(kind)
    reason = f"the node has no condition {kind}" if status is None else f"{kind} is {status}"
    return _fact(track.name, status == "True", reason)


def _pods(track: Track, node: str, former: Mapping[str, Any] | None, world: World) -> dict[str, Any] | None:
    counted = world.ready_pods.get(query_of(track))
    if counted is None:
        return {**former, "stale": True} if former is not None else None
    needed = dict(track.check)["minReady"]
    assert isinstance(needed, int)
    ready = counted.get(node, 0)
    if ready >= needed:  # without the number: one pod more is not worth a write
        return _fact(track.name, True, f"at least {needed} ready")
    return _fact(track.name, False, f"{ready} of {needed} pods ready")


def cordoned(node: Node) -> dict[str, Any]:
    """Whether the node is to be left, and why."""
    taint = next((t for t in node.taints if t in LEAVING_TAINTS), None)
    if node.unschedulable:
        return _fact(CORDON_FACT, True, "the node is cordoned")
    if node.shutting_down:
        return _fact(CORDON_FACT, True, "the node is shutting down")
    if taint is not None:
        return _fact(CORDON_FACT, True, f"the node is about to be removed ({taint})")
    return _fact(CORDON_FACT, False, "the node takes new pods")


def _fact(name: str, value: bool, reason: str) -> dict[str, Any]:
    return {"name": name, "value": value, "reason": reason[:MAX_REASON]}
