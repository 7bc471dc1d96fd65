"""`plan`: from the world to the changes it needs. One VirtualIP that is wrong never holds up another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from vip_api.model import VirtualIPSpec

from vip_operator.plan import priorities, speakers, vrids
from vip_operator.plan.acceptance import Refusal, refusals
from vip_operator.plan.changes import ApplyStatus, Change, ClearEntry, Plan
from vip_operator.plan.conditions import Situation, events, judge, masters, stamped
from vip_operator.plan.conditions.degraded import CLAIM_LASTS, claim_is_new
from vip_operator.plan.conditions.words import in_a_line
from vip_operator.plan.facts import facts
from vip_operator.plan.participation import lacks_link, participants, rank
from vip_operator.plan.virtualip import BACKUP, INIT, Vip
from vip_operator.plan.vrids import Decision
from vip_operator.plan.world import World

AFTER_BUG_RECHECK_S = 60.0
"""What met a bug of ours is judged again then."""
LISTENING_RECHECK_S = 1.0
SEVERAL_MASTERS_RECHECK_S = 3.0
OTHERS_WITHIN = timedelta(seconds=1)
"""After a node became MASTER, the others say within this time what they are: one write for all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assignment:
    """The priorities of one VirtualIP, and the nodes for which none was left."""

    priorities: Mapping[str, int]
    unplaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What concerns several VirtualIPs at once."""

    refused: Mapping[str, Refusal]
    assignments: Mapping[str, _Assignment]
    vrids: Mapping[str, Decision]
    rollout: speakers.Rollout


def plan(world: World) -> Plan:
    """Everything that is to change now. Planning the world that results gives no further change.

    The oldest VirtualIP comes first: the youngest that waits speaks for all on a node, until it takes part itself.
    """
    if not world.nodes:
        return Plan(changes=())  # the operator itself runs on a node: this is not what the cluster is like
    world = replace(world, vips=tuple(_with_adopted_priorities(v, world) for v in world.vips))
    changes: list[Change] = []
    if (daemon_set := speakers.daemon_set(world)) is not None:
        changes.append(daemon_set)
    refused = refusals(world)
    assignments = _assignments(world, refused)
    accepted = {v.name: v.spec for v in world.vips if v.spec is not None and v.name not in refused}
    decided = _Decided(
        refused=refused,
        assignments=assignments,
        vrids=_decisions(world, accepted, assignments),
        rollout=speakers.rollout(world),
    )
    rechecks = [decided.rollout.recheck_after_s]
    bugs: dict[str, Exception] = {}
    for vip in sorted(world.vips, key=lambda v: v.seniority):
        try:
            needed, again_after_s = _changes_of(vip, world, decided)
        except Exception as bug:
            bugs[vip.name] = bug
            needed, again_after_s = [], [AFTER_BUG_RECHECK_S]
        changes.extend(needed)
        rechecks.extend(again_after_s)
    if decided.rollout.delete is not None:
        changes.append(decided.rollout.delete)
    recheck_after_s = min((r for r in rechecks if r is not None), default=None)
    return Plan(changes=tuple(changes), recheck_after_s=recheck_after_s, bugs=bugs)


def _changes_of(vip: Vip, world: World, decided: _Decided) -> tuple[list[Change], list[float]]:
    """What one VirtualIP needs, and in how many seconds it may need more although nothing else happens."""
    changes: list[Change] = []
    rechecks: list[float] = []
    assignment, stalled_nodes = decided.assignments[vip.name], decided.rollout.stalled_nodes
    prunings = _prunings(vip, assignment.priorities, world)
    seen = _without(vip, {p.node for p in prunings})
    situation = Situation(
        vip=seen,
        world=world,
        refusal=decided.refused.get(vip.name),
        assigned=assignment.priorities,
        unplaced=assignment.unplaced,
        vrid=decided.vrids[vip.name],
        masters=masters(seen),
        eligible=len(world.admitted(vip.spec.node_selector)) if vip.spec else 0,
        stalled=decided.rollout.stalled if stalled_nodes & assignment.priorities.keys() else None,
    )
    status = _status(situation)
    if status is not None and not status.urgent and _others_follow(situation):
        rechecks.append(OTHERS_WITHIN.total_seconds())
    elif status is not None:
        changes.append(status)
    changes.extend(prunings)
    if situation.vrid.listening and assignment.priorities:
        rechecks.append(LISTENING_RECHECK_S)
    if claim_is_new(situation):
        rechecks.append(CLAIM_LASTS.total_seconds())
    rechecks += [left.total_seconds() for n in situation.assigned if (left := situation.next_speaker_within(n))]
    if len(situation.masters) > 1:
        rechecks.append(SEVERAL_MASTERS_RECHECK_S)
    return changes, rechecks


def _with_adopted_priorities(vip: Vip, world: World) -> Vip:
    """A VIP that lost its status while its speakers run it: their priorities are the given ones."""
    if not vrids.is_adoptable(vip, world):
        return vip
    entries = {
        node: replace(entry, priority=entry.report.effective_priority)
        if entry.priority is not None and entry.report is not None and entry.report.takes_part
        else entry
        for node, entry in vip.entries.items()
    }
    return replace(vip, entries=entries)


def _assignments(world: World, refused: Mapping[str, Refusal]) -> dict[str, _Assignment]:
    """Who takes part where with which priority; older VirtualIPs choose first, and each avoids the others'
    first choice.
    """
    result: dict[str, _Assignment] = {}
    releasing = world.template is not None and world.template.releasing
    first_choices = Counter(top for v in world.vips if (top := _top(_given(v))) is not None)
    for vip in sorted(world.vips, key=lambda v: v.seniority):
        if releasing:
            result[vip.name] = _Assignment(priorities={})
        elif vip.name in refused or vip.spec is None:
            # What was carried out before goes on; a document that was never accepted starts nothing.
            result[vip.name] = _Assignment(priorities={n: p for n, p in _given(vip).items() if n in world.nodes})
        else:
            own = _top(_given(vip))
            if own is not None:
                first_choices[own] -= 1
            result[vip.name] = _assign(vip, vip.spec, world, first_choices)
            chosen = _top(result[vip.name].priorities)
            if chosen is not None:
                first_choices[chosen] += 1
    return result


def _assign(vip: Vip, spec: VirtualIPSpec, world: World, others: Mapping[str, int]) -> _Assignment:
    names = participants(vip, spec, world)

    def preference(node: str) -> tuple[object, ...]:
        return others.get(node, 0), rank(vip.name, node)

    given = priorities.assign(vip, spec, [world.nodes[n] for n in names], preference=preference)
    return _Assignment(priorities=given, unplaced=tuple(sorted(set(names) - given.keys())))


def _given(vip: Vip) -> dict[str, int]:
    return {n: e.priority for n, e in vip.entries.items() if e.priority is not None}


def _top(given: Mapping[str, int]) -> str | None:
    return max(given, key=lambda n: given[n]) if given else None


def _decisions(
    world: World, accepted: Mapping[str, VirtualIPSpec], assignments: Mapping[str, _Assignment]
) -> dict[str, Decision]:
    nodes = {name: frozenset(a.priorities) for name, a in assignments.items()}
    decided = vrids.decide(world, accepted, nodes)
    return {v.name: decided.get(v.name, Decision(vrid=v.virtual_router_id)) for v in world.vips}


def _status(s: Situation) -> ApplyStatus | None:
    """The operator's part of the status, if it differs from what is there."""
    vip, world = s.vip, s.world
    conditions = judge(s)
    master = s.masters[0].node if s.masters else None
    backups = [
        n
        for n in sorted(s.assigned, key=lambda n: -s.assigned[n])
        if (e := vip.entries.get(n)) and e.report and e.report.state == BACKUP and world.reporting(n)
    ]
    status: dict[str, Any] = {
        "observedGeneration": vip.generation,
        "conditions": stamped(conditions, vip, world.now),
        "nodes": [
            _entry(s, n)
            # the master first: the columns of `kubectl get` show the first entry that says MASTER
            for n in sorted(s.assigned, key=lambda n: (n != master, -s.assigned[n]))
        ],
    }
    version = s.in_force.version if s.in_force is not None else vip.owned_status.get("version")
    if version is not None:
        status["version"] = version
    if s.accepted_addresses:
        status["acceptedAddresses"] = [str(ip) for ip in s.accepted_addresses]
        status["addresses"] = in_a_line(s.accepted_addresses)
    if s.vrid.vrid is not None:
        status["virtualRouterID"] = s.vrid.vrid
    if master is not None:
        status["master"] = master
    if backups:
        status["backups"] = ", ".join(backups)[:MAX_BACKUPS_TEXT]
    if _same(status, vip.owned_status):
        return None
    return ApplyStatus(
        vip=vip.name,
        uid=vip.uid,
        status=status,
        events=events(conditions, vip, master),
        urgent=_for_nodes(status) != _for_nodes(vip.owned_status),
    )


def _entry(s: Situation, node: str) -> dict[str, Any]:
    """The operator's part of a node's entry."""
    entry: dict[str, Any] = {
        "node": node,
        "priority": s.assigned[node],
        "reporting": "True" if s.world.reporting(node) else "Unknown",
    }
    if seen := facts(s.in_force, node, s.vip.entries.get(node), s.world):
        entry["facts"] = seen
    return entry


MAX_BACKUPS_TEXT = 1024
"""A column for people; 254 node names would not fit it."""


def _same(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
    """Equal but for the order of the lists that are maps to the API server."""
    return _sorted(wanted) == _sorted(actual)


def _sorted(status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **status,
        "conditions": sorted(status.get("conditions") or (), key=lambda c: str(c.get("type"))),
        "nodes": sorted((_with_sorted_facts(e) for e in status.get("nodes") or ()), key=lambda e: str(e.get("node"))),
    }


def _for_nodes(status: Mapping[str, Any]) -> dict[str, Any]:
    """What of the status speakers act on."""
    whole = _sorted(status)
    accepted = [c for c in whole["conditions"] if c.get("type") == "Accepted"]
    return {key: whole.get(key) for key in ("observedGeneration", "virtualRouterID", "nodes")} | {"accepted": accepted}


def _others_follow(s: Situation) -> bool:
    """Whether a node has just become MASTER and others have still to say what they became."""
    report = s.masters[0].report if s.masters else None
    if report is None or report.api_time is None or not timedelta() <= s.world.now - report.api_time < OTHERS_WITHIN:
        return False
    entries = [s.vip.entries.get(n) for n in s.assigned if s.world.reporting(n)]
    return any(e is None or e.report is None or e.report.state == INIT for e in entries if not lacks_link(e))


def _with_sorted_facts(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**entry, "facts": sorted(entry.get("facts") or (), key=lambda f: str(f.get("name")))}


def _without(vip: Vip, pruned: set[str]) -> Vip:
    """The VirtualIP as it is once these entries are gone: a node that no longer exists is not its master."""
    return replace(vip, entries={n: e for n, e in vip.entries.items() if n not in pruned}) if pruned else vip


def _prunings(vip: Vip, assigned: Mapping[str, int], world: World) -> list[ClearEntry]:
    """Entries of nodes that no longer take part and whose agent is not there to clear its part."""
    return [
        ClearEntry(vip=vip.name, node=node, field_manager=entry.manager)
        for node, entry in vip.entries.items()
        if node not in assigned and entry.manager is not None and not world.reporting(node)
    ]
