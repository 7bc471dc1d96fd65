"""The speaker DaemonSet, and the rollout of a new template, or of `kubectl rollout restart`: one node at a time,
masters last.

The DaemonSet is `OnDelete`, so the operator chooses when a node gets its new pod: only while every VIP that a
renewed node takes part in is served again. The router hands its VIPs over when its pod is deleted.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from vip_api.model import CORDON_FACT, OnCordon

from vip_operator.plan.changes import ApplyDaemonSet, DeletePod
from vip_operator.plan.daemonset import TEMPLATE_HASH_ANNOTATION, DaemonSet, SpeakerPod, Template
from vip_operator.plan.participation import lacks_link
from vip_operator.plan.virtualip import FAULT, MASTER, NO_PASSWORD, STOPPED, Entry, Report, Vip
from vip_operator.plan.world import World

LOOK_AGAIN = timedelta(seconds=10)
CLOCKS_DIFFER = timedelta(seconds=2)
"""Of one API server and the next, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What to do next, and what is in the way. `stalled_nodes` are those that have been so for too long."""

    delete: DeletePod | None = None
    stalled_nodes: frozenset[str] = frozenset()
    stalled: str | None = None
    recheck_after_s: float | None = None


def daemon_set(world: World) -> ApplyDaemonSet | None:
    """The apply that is needed, if one is. Without a template the DaemonSet is left as it is."""
    template, actual = world.template, world.daemon_set
    if template is None:
        return None
    wanted = (template.manifest["metadata"]["name"], template.config_map_uid)
    if actual is not None and (actual.name, actual.owner_uid) == wanted and _is_applied(template, actual):
        return None
    return ApplyDaemonSet(manifest=_manifest(template))


def _is_applied(template: Template, actual: DaemonSet) -> bool:
    """Whether its next pods are those of `template`. `kubectl rollout undo` changes nothing but what pods get."""
    return actual.template_hash == actual.pod_template_hash == template.hash


def _manifest(template: Template) -> dict[str, Any]:
    manifest: dict[str, Any] = copy.deepcopy(dict(template.manifest))
    manifest["metadata"].setdefault("annotations", {})[TEMPLATE_HASH_ANNOTATION] = template.hash
    manifest["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": template.config_map, "uid": template.config_map_uid}
    ]
    pod = manifest["spec"]["template"].setdefault("metadata", {})
    pod.setdefault("annotations", {})[TEMPLATE_HASH_ANNOTATION] = template.hash
    manifest["spec"]["updateStrategy"] = {"type": "OnDelete"}
    return manifest


def rollout(world: World) -> Rollout:
    """The next pod to replace. Nothing while the DaemonSet itself is behind, or a replaced node is not
    back.
    """
    template, owner = world.template, world.daemon_set
    if template is None or template.releasing or owner is None or not _is_applied(template, owner):
        return Rollout()
    outdated = [p for p in world.pods if not p.is_current(owner)]
    waiting = [p for p in outdated if not p.deleting]
    if not waiting:
        return Rollout()
    renewed = [p for p in world.pods if p.is_current(owner) and not p.deleting]
    blocked = {p.node: _why(p, lacks) for p in renewed if (lacks := _not_back(p, world))}
    blocked.update({p.node: "its old pod is terminating" for p in outdated if p.deleting and not _is_lost(p, world)})
    blocked.update(dict.fromkeys(_bare_nodes(world), "its new pod has not been created"))
    if blocked:
        left = {n: _time_left(n, template, world) for n in blocked}
        late = frozenset(n for n, time in left.items() if time <= timedelta(0))
        stalled = "; ".join(f"{n}: {blocked[n]}" for n in sorted(late)[:3])
        soonest = min((left[n] for n in blocked if n not in late), default=LOOK_AGAIN)
        return Rollout(
            stalled_nodes=late,
            stalled=f"the rollout of the speakers waits for {stalled}" if stalled else None,
            recheck_after_s=min(soonest, LOOK_AGAIN).total_seconds(),
        )
    pod = min(waiting, key=lambda p: (p.ready, _masterships(p.node, world), p.node))
    if needed := _needed_for(pod, renewed, world):
        patience = max(_time_left(p.node, template, world) for p in renewed)
        is_late = patience <= timedelta(0)
        return Rollout(
            stalled_nodes=frozenset({pod.node}) if is_late else frozenset(),
            stalled=f"the rollout of the speakers stops before {pod.node}: {needed}" if is_late else None,
            recheck_after_s=(LOOK_AGAIN if is_late else min(patience, LOOK_AGAIN)).total_seconds(),
        )
    return Rollout(delete=DeletePod(name=pod.name, uid=pod.uid, node=pod.node))


def _needed_for(pod: SpeakerPod, renewed: list[SpeakerPod], world: World) -> str:
    """What nobody would serve without this pod, because those that were renewed are in FAULT: not for want of a link,
    which no template brings.
    """
    for vip in world.vips:
        reports = {n: e.report for n, e in vip.entries.items() if e.report is not None and world.reporting(n)}
        able = {n for n, report in reports.items() if report.takes_part}
        in_fault = {n for n, report in reports.items() if report.state == FAULT and not lacks_link(vip.entries[n])}
        faulty = sorted(in_fault & {p.node for p in renewed})
        if able == {pod.node} and faulty:
            return f"it alone serves VirtualIP {vip.name}, which is in FAULT on {', '.join(faulty[:3])}"
    return ""


def _bare_nodes(world: World) -> list[str]:
    """Nodes that take part somewhere but have no speaker pod at the moment, and are to have one: a taint that came
    after the old pod keeps a new one away.
    """
    with_pod = {p.node for p in world.pods}
    known = world.daemon_set
    if known is not None and known.wanted is not None and len(with_pod) - known.misplaced >= known.wanted:
        return []
    return sorted(
        n
        for n in {n for v in world.vips for n, e in v.entries.items() if e.priority is not None} - with_pod
        if n in world.nodes and world.nodes[n].ready
    )


def _why(pod: SpeakerPod, lacks: str) -> str:
    """A container that ends again and again makes its pod ready and not ready in turn: then that is what is said."""
    return f"its new pod {pod.name} is not well: {pod.trouble}" if pod.trouble else lacks


def _not_back(pod: SpeakerPod, world: World) -> str | None:
    """Why a renewed pod's node is not yet what its predecessor was."""
    if _is_lost(pod, world):
        return None
    if not pod.ready:
        return f"its new pod {pod.name} is not ready"
    for vip in world.vips:
        entry = vip.entries.get(pod.node)
        if entry is None or entry.priority is None or vip.virtual_router_id is None or _is_released(vip, entry):
            continue
        if _is_without_password(vip, entry):
            continue
        report = _said_by(pod, entry)
        if report is None or (not report.takes_part and report.state != FAULT):
            return f"VirtualIP {vip.name} is not served by its new pod {pod.name}" + _said(entry)
        if _served_before(vip) and not _has_master(vip):
            return f"VirtualIP {vip.name} has no master"
    return None


def _said_by(pod: SpeakerPod, entry: Entry) -> Report | None:
    """What the pod itself says, not one before it that was killed before its last word."""
    report = entry.report
    if report is None or report.api_time is None or pod.created_at is None:
        return report
    return report if report.api_time >= pod.created_at - CLOCKS_DIFFER else None


def _is_lost(pod: SpeakerPod, world: World) -> bool:
    """Whether the pod's node is not there to do anything about it; a rollout does not wait for such a node."""
    return pod.node in world.nodes and not world.nodes[pod.node].ready


def _said(entry: Entry) -> str:
    """What the node's agent says about it."""
    report = entry.report
    return "" if report is None else f": {report.state}" + (f", {report.reason}" if report.reason else "")


def _is_released(vip: Vip, entry: Entry) -> bool:
    """Whether the node is not to serve this VIP, because it is cordoned."""
    facts = {f.get("name"): f.get("value") for f in entry.owned.get("facts") or ()}
    return vip.spec is not None and vip.spec.on_cordon is OnCordon.RELEASE and bool(facts.get(CORDON_FACT))


def _is_without_password(vip: Vip, entry: Entry) -> bool:
    """Whether no speaker serves this VIP, because its Secret is wrong: an upgrade does not wait for that."""
    said = entry.report is not None and any(entry.report.clause(code) for code in NO_PASSWORD)
    return said and not _served_before(vip)


def _served_before(vip: Vip) -> bool:
    return vip.conditions.get("Ready", {}).get("status") == "True"


def _has_master(vip: Vip) -> bool:
    return any(e.report is not None and e.report.state == MASTER for e in vip.entries.values())


def _time_left(node: str, template: Template, world: World) -> timedelta:
    """Until the new pod has taken too long, or the old one to end, or none has come for too long since that."""
    pods = {p.deleting: p for p in world.pods if p.node == node}
    began: datetime | None
    if (pod := pods.get(False)) is not None:
        began = pod.created_at
    elif (pod := pods.get(True)) is not None:
        began = pod.ends_by
    else:
        reports = [e.report for v in world.vips if (e := v.entries.get(node)) is not None and e.report is not None]
        began = max((r.api_time for r in reports if r.reason_code == STOPPED and r.api_time), default=None)
    return template.progress_deadline if began is None else began + template.progress_deadline - world.now


def _masterships(node: str, world: World) -> int:
    return sum(
        1 for v in world.vips if (e := v.entries.get(node)) and e.report is not None and e.report.state == MASTER
    )
