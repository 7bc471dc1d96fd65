"""Distinct priorities for the nodes of a VirtualIP, which stay as they are once a node was MASTER.

`spec.priorities` and `spec.priority` fix the top of a group of nodes, otherwise it is derived: 254 less all
that checks may add, so that no sum of contributions exceeds 254. The nodes of a group count down from its
top in steps of 2 (of 1 where there is no room): then the first BACKUP has next to no skew (RFC 9568 section
6.1).

Before that nothing can be moved, and all nodes are ordered anew whenever one comes: the speakers of a cluster begin
within seconds of each other, and the first of them is not to be the first choice of every VirtualIP for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vip_api.model import VirtualIPSpec

from vip_operator.plan.node import Node
from vip_operator.plan.selectors import matches
from vip_operator.plan.virtualip import MASTER, Vip

HIGHEST = 254
"""The highest priority of a router that does not own the addresses (RFC 9568 section 5.2.4)."""

MANY_NODES = 100
"""Above this many nodes steps of 2 would run out of values."""

Preference = Callable[[str], tuple[object, ...]]
"""Orders nodes that have no priority yet; the smallest gets the highest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Nodes that count down from one `top`; values at or below `floor` belong to the next group."""

    top: int
    floor: int
    nodes: tuple[str, ...]


def derived_top(spec: VirtualIPSpec) -> int:
    """The highest priority where the document names none."""
    # a reversed check adds the amount of a negative weight, and takes away a positive one
    return max(1, HIGHEST - sum(abs(t.weight) for t in spec.track if (t.weight > 0) != t.reverse))


def group_top(spec: VirtualIPSpec, node: Node | None) -> int:
    """The priority that the nodes like `node` count down from."""
    for entry in spec.priorities:
        if node is not None and matches(entry.node_selector, node.labels):
            return entry.priority
    return spec.priority if spec.priority is not None else derived_top(spec)


def assign(vip: Vip, spec: VirtualIPSpec, nodes: Sequence[Node], *, preference: Preference) -> dict[str, int]:
    """A priority for each node, no value twice. Nodes for which no value is left are missing from the result.

    Priorities that were given stay, unless the document or the node's labels changed what they count down
    from; then they move together and keep their order. While nobody serves the VirtualIP a node that comes has all
    ordered by `preference` again.
    """
    result = _beside_given(vip, spec, nodes, preference)
    if vip.entries and any(_given(vip, node) is None for node in result) and _is_open(vip):
        return _beside_given(replace(vip, entries={}), spec, nodes, preference)
    return result


def _beside_given(vip: Vip, spec: VirtualIPSpec, nodes: Sequence[Node], preference: Preference) -> dict[str, int]:
    """As `assign`, with what was given in force."""
    edited = not vip.is_current
    groups = _groups(spec, nodes)
    result: dict[str, int] = {}
    pending: list[tuple[_Group, list[str]]] = []
    for group in groups:
        former = {n: p for n in group.nodes if (p := _given(vip, n)) is not None}
        kept = {n: p for n, p in former.items() if group.floor < p <= group.top and p not in result.values()}
        if kept and edited and max(kept.values()) != group.top:
            kept = {}
        result.update(_without_doubles(kept))
        order = sorted(
            (n for n in group.nodes if n not in result),
            key=lambda n, former=former: (-former.get(n, 0), preference(n)),  # type: ignore[misc]
        )
        pending.append((group, order))
    for group, order in pending:
        if order and not any(n in result for n in group.nodes) and group.top not in result.values():
            result[order.pop(0)] = group.top  # before a higher group counts down into it
    step = 1 if len(nodes) > MANY_NODES else 2
    for group, order in pending:
        for node in order:
            value = _free(result, group, step)
            if value is not None:
                result[node] = value
    return result


def _given(vip: Vip, node: str) -> int | None:
    entry = vip.entries.get(node)
    return None if entry is None else entry.priority


def _is_open(vip: Vip) -> bool:
    """Whether no order of its nodes counts yet. Speakers that run it though its status was lost are to be adopted."""
    reports = [entry.report for entry in vip.entries.values() if entry.report is not None]
    if vip.virtual_router_id is None:
        return not any(report.takes_part for report in reports)
    return not any(report.state == MASTER for report in reports)


def _groups(spec: VirtualIPSpec, nodes: Sequence[Node]) -> list[_Group]:
    tops: dict[int, list[str]] = {}
    for node in nodes:
        tops.setdefault(group_top(spec, node), []).append(node.name)
    ordered = sorted(tops, reverse=True)
    return [
        _Group(top=top, floor=floor, nodes=tuple(tops[top]))
        for top, floor in zip(ordered, [*ordered[1:], 0], strict=False)
    ]


def _without_doubles(priorities: dict[str, int]) -> dict[str, int]:
    """Two nodes with one value (an entry that a person restored): the first by name keeps it."""
    seen: dict[int, str] = {}
    for node in sorted(priorities):
        seen.setdefault(priorities[node], node)
    return {node: value for value, node in seen.items()}


def _free(used: dict[str, int], group: _Group, step: int) -> int | None:
    """The next value below those that the group's nodes have; failing that, the lowest free one up to its
    top.
    """
    taken = set(used.values())
    own = [used[n] for n in group.nodes if n in used]
    value = min(own) - step if own else group.top
    needed = len(group.nodes) - len(own)
    if value - step * (needed - 1) <= group.floor:
        value = min(own) - 1 if own else group.top
    while value >= 1:
        if value not in taken:
            return value
        value -= 1
    return next((v for v in range(1, group.top + 1) if v not in taken), None)
