"""Everything a plan is made from, as values: what the operator has seen of the cluster.

`from_object` functions take API objects as plain mappings. They never raise on content: whatever the API
server let through, or a speaker wrote, becomes a value or is left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from vip_api.model import LabelSelector, Problem, VirtualIP, VirtualIPSpec
from vip_api.parse import parse_document

from vip_operator.plan.selectors import matches

RELEASE_ANNOTATION = "kube-vrrp.io/release"
TEMPLATE_HASH_ANNOTATION = "kube-vrrp.io/template-hash"
PROGRESS_DEADLINE_ANNOTATION = "kube-vrrp.io/progress-deadline-seconds"
OPERATOR_MANAGER = "kube-vrrp-operator"
SPEAKER_MANAGER_PREFIX = "kube-vrrp-speaker"

MASTER = "MASTER"
BACKUP = "BACKUP"
INIT = "INIT"
FAULT = "FAULT"


def parse_time(text: object) -> datetime | None:
    """An RFC 3339 time of the API (seconds or microseconds), or None."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the cluster: `conditions` are statuses by type, `taints` keys. `renewed_at` is its lease's renewal,
    where the operator looked it up.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True
    conditions: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    unschedulable: bool = False
    shutting_down: bool = False
    renewed_at: datetime | None = None

    @classmethod
    def from_object(cls, body: Mapping[str, Any], *, renewed_at: datetime | None = None) -> Node:
        """From the API's Node."""
        spec = _mapping(body.get("spec"))
        listed = _mapping(body.get("status")).get("conditions") or ()
        conditions = {str(c.get("type")): str(c.get("status")) for c in listed}
        messages = {c.get("type"): str(c.get("message", "")) for c in listed}
        return cls(
            name=body["metadata"]["name"],
            labels=dict(_mapping(body["metadata"].get("labels"))),
            ready=conditions.get("Ready") == "True",
            conditions=conditions,
            taints=tuple(str(t.get("key")) for t in spec.get("taints") or ()),
            unschedulable=bool(spec.get("unschedulable")),
            # the kubelet says so in words only (graceful node shutdown)
            shutting_down=conditions.get("Ready") == "False" and "shutting down" in messages.get("Ready", ""),
            renewed_at=renewed_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerPod:
    """A pod of the speaker DaemonSet, also one that found no room on its node. `trouble` is what keeps it from
    running, or did, where Kubernetes says so.
    """

    name: str
    uid: str
    node: str
    ready: bool = True
    deleting: bool = False
    template_hash: str | None = None
    created_at: datetime | None = None
    trouble: str = ""

    @classmethod
    def from_object(cls, body: Mapping[str, Any]) -> SpeakerPod | None:
        """None while the pod is meant for no node."""
        metadata, spec, status = body["metadata"], _mapping(body.get("spec")), _mapping(body.get("status"))
        node = _string(spec.get("nodeName")) or _meant_for(spec)
        if node is None:
            return None
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            node=node,
            ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ()),
            deleting="deletionTimestamp" in metadata,
            template_hash=_mapping(metadata.get("annotations")).get(TEMPLATE_HASH_ANNOTATION),
            created_at=parse_time(metadata.get("creationTimestamp")),
            trouble=_trouble(status),
        )


def _meant_for(spec: Mapping[str, Any]) -> str | None:
    """The node that the DaemonSet controller made a pod for, before the scheduler has put it there."""
    affinity = _mapping(_mapping(spec.get("affinity")).get("nodeAffinity"))
    required = _mapping(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    for term in required.get("nodeSelectorTerms") or ():
        for field_ in term.get("matchFields") or ():
            if field_.get("key") == "metadata.name" and len(field_.get("values") or ()) == 1:
                return _string(field_["values"][0])
    return None


def _trouble(status: Mapping[str, Any]) -> str:
    """In words that stay the same from one attempt of the kubelet to the next: each change would be written into the
    status of every VirtualIP.
    """
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason')}: {condition.get('message')}"
    containers = status.get("containerStatuses") or ()
    for container in containers:
        state, last = _mapping(container.get("state")), _mapping(container.get("lastState"))
        if ended := _mapping(state.get("terminated") or last.get("terminated")):
            why = f" ({ended['reason']})" if ended.get("reason") not in (None, "Error") else ""
            return f"its container {container.get('name')} ended with status {ended.get('exitCode')}{why}"
    for container in containers:
        if waits := _mapping(_mapping(container.get("state")).get("waiting")).get("reason"):
            # the kubelet says the one while it tries, the other between
            waits = "ImagePullBackOff" if waits == "ErrImagePull" else waits
            return f"its container {container.get('name')} waits: {waits}, image {container.get('image')}"
    return ""


DEFAULT_PROGRESS_DEADLINE = timedelta(seconds=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The DaemonSet that the chart rendered into a ConfigMap, which is to own it. `progress_deadline` is how long a
    renewed node may take to serve its VIPs before the rollout is said to be stalled.
    """

    config_map: str
    config_map_uid: str
    manifest: Mapping[str, Any]
    releasing: bool = False
    progress_deadline: timedelta = DEFAULT_PROGRESS_DEADLINE

    @property
    def hash(self) -> str:
        """Of the whole manifest; short enough to read in an annotation."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def node_selector(self) -> Mapping[str, str]:
        """The nodes that the DaemonSet admits by label."""
        return _mapping(self.manifest["spec"]["template"]["spec"].get("nodeSelector"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSet:
    """The speaker DaemonSet as the API has it. `refusal` is why its pods are refused (pod security), if they
    are.
    """

    name: str
    owner_uid: str | None
    template_hash: str | None
    refusal: str | None = None

    @classmethod
    def from_object(cls, body: Mapping[str, Any], *, refusal: str | None = None) -> DaemonSet:
        """From the API's DaemonSet."""
        metadata = body["metadata"]
        owners = metadata.get("ownerReferences") or ()
        return cls(
            name=metadata["name"],
            owner_uid=next((o.get("uid") for o in owners if o.get("kind") == "ConfigMap"), None),
            template_hash=_mapping(metadata.get("annotations")).get(TEMPLATE_HASH_ANNOTATION),
            refusal=refusal,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a listening speaker found: the subnets of its link, and the VRIDs that others use there. `also_for`: uids of
    other VirtualIPs for which it says the same.
    """

    subnets: tuple[str, ...] = ()
    heard: frozenset[int] = frozenset()
    also_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a speaker says about its node. `api_time` is when the API server took it (whole seconds)."""

    state: str
    effective_priority: int | None = None
    interface: str | None = None
    primary_address: str | None = None
    virtual_router_id: int | None = None
    observed_generation: int | None = None
    since: datetime | None = None
    reason: str = ""
    link: Link | None = None
    api_time: datetime | None = None

    @property
    def reason_code(self) -> str:
        """The constant in front of the colon: `AnotherMaster: 10.0.0.9 advertises` gives `AnotherMaster`."""
        return self.reason.partition(":")[0].strip()

    @property
    def takes_part(self) -> bool:
        """In the election, or holding addresses."""
        return self.state in (MASTER, BACKUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One of `status.nodes`: the operator's part (`owned`, as it was written) and the speaker's
    (`report`).
    """

    node: str
    priority: int | None = None
    owned: Mapping[str, Any] = field(default_factory=dict)
    report: Report | None = None
    manager: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """A VirtualIP as observed. `spec` is None when it does not parse; then `problems` says why."""

    name: str
    uid: str
    created_at: datetime
    generation: int
    spec: VirtualIPSpec | None
    problems: tuple[Problem, ...] = ()
    deleting: bool = False
    observed_generation: int | None = None
    virtual_router_id: int | None = None
    entries: Mapping[str, Entry] = field(default_factory=dict)
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    owned_status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def announced_master(self) -> str | None:
        """The master that the operator wrote last; None since a node has named itself."""
        return _string(self.owned_status.get("master"))

    @property
    def seniority(self) -> tuple[datetime, str]:
        """Who wins when two objects claim the same: the older, then the first by name."""
        return self.created_at, self.name

    @property
    def accepted(self) -> bool:
        """Whether some generation of this document was accepted."""
        return self.conditions.get("Accepted", {}).get("status") == "True"

    @classmethod
    def from_object(cls, body: Mapping[str, Any]) -> Vip:
        """From the API's VirtualIP."""
        metadata, status = body["metadata"], _mapping(body.get("status"))
        parsed = parse_document(body)
        spec = parsed.spec if isinstance(parsed, VirtualIP) else None
        managed_fields = metadata.get("managedFields") or ()
        entries = _entries(status, managed_fields)
        owned = {key: status[key] for key in OPERATOR_STATUS_FIELDS if key in status}
        if not _master_is_the_operators(managed_fields):
            owned.pop("master", None)
        owned["nodes"] = [dict(e.owned) for e in entries.values() if e.owned]
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            created_at=parse_time(metadata.get("creationTimestamp")) or datetime.max.replace(tzinfo=UTC),
            generation=metadata.get("generation", 1),
            spec=spec,
            problems=() if isinstance(parsed, VirtualIP) else tuple(parsed),
            deleting="deletionTimestamp" in metadata,
            observed_generation=_integer(status.get("observedGeneration")),
            virtual_router_id=_integer(status.get("virtualRouterID")),
            entries=entries,
            conditions={c["type"]: c for c in status.get("conditions") or () if "type" in c},
            owned_status=owned,
        )


OPERATOR_STATUS_FIELDS = ("observedGeneration", "virtualRouterID", "master", "backups", "conditions")
OPERATOR_ENTRY_FIELDS = ("priority", "reporting", "facts")


def _master_is_the_operators(managed_fields: Any) -> bool:
    """Whether the operator is among those who say who is master: a node that becomes it says so first."""
    return any(
        manager.get("manager") == OPERATOR_MANAGER
        and "f:master" in _mapping(_mapping(manager.get("fieldsV1")).get("f:status"))
        for manager in managed_fields
    )


def _entries(status: Mapping[str, Any], managed_fields: Any) -> dict[str, Entry]:
    writers = {}
    for manager in managed_fields:
        if not str(manager.get("manager", "")).startswith(SPEAKER_MANAGER_PREFIX):
            continue
        nodes = _mapping(_mapping(_mapping(manager.get("fieldsV1")).get("f:status")).get("f:nodes"))
        for key in nodes:
            if key.startswith("k:"):
                writers[json.loads(key[2:]).get("node")] = manager
    entries = {}
    for raw in status.get("nodes") or ():
        node, writer = raw["node"], _mapping(writers.get(raw["node"]))
        owned = {key: raw[key] for key in OPERATOR_ENTRY_FIELDS if key in raw}
        entries[node] = Entry(
            node=node,
            priority=_integer(raw.get("priority")),
            owned={"node": node, **owned} if owned else {},
            report=_report(raw, parse_time(writer.get("time"))) if "state" in raw else None,
            manager=_string(writer.get("manager")),
        )
    return entries


def _report(raw: Mapping[str, Any], api_time: datetime | None) -> Report:
    link = raw.get("link")
    return Report(
        state=str(raw["state"]),
        effective_priority=_integer(raw.get("effectivePriority")),
        interface=_string(raw.get("interface")),
        primary_address=_string(raw.get("primaryAddress")),
        virtual_router_id=_integer(raw.get("virtualRouterID")),
        observed_generation=_integer(raw.get("observedGeneration")),
        since=parse_time(raw.get("since")),
        reason=str(raw.get("reason", "")),
        link=Link(
            subnets=tuple(str(s) for s in link.get("subnets") or ()),
            heard=frozenset(v for v in link.get("heard") or () if isinstance(v, int)),
            also_for=tuple(str(uid) for uid in link.get("alsoFor") or ()),
        )
        if isinstance(link, Mapping)
        else None,
        api_time=api_time,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PodQuery:
    """The pods that a check of the kind `pods` counts."""

    namespace: str
    selector: LabelSelector


@dataclass(frozen=True, kw_only=True)  # without slots: what a plan asks for again and again is kept
class World:
    """Everything a plan is made from. `now` is wall-clock time; `cluster_uid` tells two clusters on one LAN
    apart; `ready_pods` are numbers by node, missing where the pods could not be listed: `pod_problems` say why.
    """

    now: datetime
    cluster_uid: str
    vips: tuple[Vip, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    pods: tuple[SpeakerPod, ...] = ()
    template: Template | None = None
    daemon_set: DaemonSet | None = None
    ready_pods: Mapping[PodQuery, Mapping[str, int]] = field(default_factory=dict)
    pod_problems: Mapping[PodQuery, str] = field(default_factory=dict)

    def reporting(self, node: str) -> bool:
        """Whether what `node` reported last can be believed: the node is Ready and its speaker runs."""
        return node in self.reporting_nodes

    @cached_property
    def reporting_nodes(self) -> frozenset[str]:
        """The nodes that are `reporting`."""
        served = {p.node for p in self.pods if p.ready and not p.deleting}
        return frozenset(name for name, node in self.nodes.items() if node.ready and name in served)

    @cached_property
    def heard(self) -> Mapping[str, Mapping[str, frozenset[int]]]:
        """By uid of a VirtualIP: the nodes that listened on its link without running it, and the VRIDs heard there."""
        result: dict[str, dict[str, frozenset[int]]] = {}
        for vip in self.vips:
            for node, entry in vip.entries.items():
                if entry.report is not None and (link := entry.report.link) is not None:
                    for uid in (vip.uid, *link.also_for):
                        nodes = result.setdefault(uid, {})
                        nodes[node] = nodes.get(node, frozenset()) | link.heard
        return result

    def admitted(self, selector: LabelSelector | None) -> frozenset[str]:
        """The nodes that both this selector and the DaemonSet's node selector choose."""
        known = self._admitted.get(selector)
        if known is None:
            known = frozenset(
                name
                for name in self._admitted[None]
                if selector is not None and matches(selector, self.nodes[name].labels)
            )
            self._admitted[selector] = known
        return known

    @cached_property
    def _admitted(self) -> dict[LabelSelector | None, frozenset[str]]:
        """By selector, each asked of every node once: most VirtualIPs share theirs, or have none."""
        chart = self.template.node_selector.items() if self.template else ()
        everywhere = (n for n, node in self.nodes.items() if all(node.labels.get(k) == v for k, v in chart))
        return {None: frozenset(everywhere)}
