"""A cluster in memory for the tests of the plan: API objects, and server-side apply as far as the plan relies on it."""

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from vip_api.model import IPAddress
from vip_operator.plan import Plan, World, plan
from vip_operator.plan.changes import ApplyDaemonSet, ApplyStatus, Change, ClearEntry, DeletePod, Event
from vip_operator.plan.daemonset import TEMPLATE_HASH_ANNOTATION, DaemonSet, SpeakerPod, Template
from vip_operator.plan.node import Node
from vip_operator.plan.virtualip import (
    OPERATOR_ENTRY_FIELDS,
    OPERATOR_MANAGER,
    OPERATOR_STATUS_FIELDS,
    SPEAKER_MANAGER_PREFIX,
    Vip,
)
from vip_operator.plan.world import PodQuery
from vip_speaker.agent.report import mastership

START = datetime(2026, 1, 1, tzinfo=UTC)


def manifest(image: str = "speaker:1", **pod: Any) -> dict[str, Any]:
    """The DaemonSet as the chart renders it, in short."""
    return {
        "metadata": {"name": "kube-vrrp-speaker"},
        "spec": {"template": {"spec": {"containers": [{"name": "router", "image": image}], **pod}}},
    }


class FakeCluster:
    """Nodes with ready speakers, VirtualIPs as raw objects, and a wall clock that only the test moves."""

    def __init__(self, *nodes: str, uid: str = "cluster") -> None:
        self.uid = uid
        self.now = START
        self.nodes: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, SpeakerPod] = {}
        self.vips: dict[str, dict[str, Any]] = {}
        self.template: Template | None = Template(
            config_map="kube-vrrp-speaker", config_map_uid="cm", manifest=manifest()
        )
        self.daemon_set: DaemonSet | None = None
        self.renewed_at: dict[str, datetime] = {}
        self.ready_pods: dict[PodQuery, dict[str, int]] = {}
        self.pod_problems: dict[PodQuery, str] = {}
        self.api_server: frozenset[IPAddress] = frozenset()
        self.events: list[tuple[str, Event]] = []
        self.deleted_pods: list[str] = []
        self.has_bugs = False
        self._serial = 0
        for name in nodes:
            self.add_node(name)

    def add_node(self, name: str, *, ready: bool = True, pod: bool = True, **labels: str) -> None:
        conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
        self.nodes[name] = {"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}}
        if pod:
            self.add_pod(name)

    def set_addresses(self, name: str, *addresses: str) -> None:
        listed = [{"type": "InternalIP", "address": a} for a in addresses]
        self.nodes[name]["status"]["addresses"] = [*listed, {"type": "Hostname", "address": name}]

    def set_ready(self, name: str, ready: bool) -> None:
        self.nodes[name]["status"]["conditions"][0]["status"] = "True" if ready else "Unknown"

    def add_pod(self, node: str, *, ready: bool = True) -> None:
        self._serial += 1
        assert self.template is not None
        known = self.daemon_set
        self.pods[node] = SpeakerPod(
            name=f"speaker-{self._serial}",
            uid=f"pod-{self._serial}",
            node=node,
            ready=ready,
            template_hash=known.pod_template_hash if known is not None else self.template.hash,
            restarted_at=known.restarted_at if known is not None else None,
            created_at=self.now,
        )

    def add_vip(self, name: str = "web", /, **spec: Any) -> None:
        self._serial += 1
        self.vips[name] = {
            "apiVersion": "kube-vrrp.io/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {
                "name": name,
                "uid": f"vip-{self._serial}",
                "generation": 1,
                "creationTimestamp": self.now.isoformat(),
                "managedFields": [],
            },
            "spec": {"addresses": [f"192.168.{137 + len(self.vips) // 100}.{100 + len(self.vips) % 100}"], **spec},
        }

    def edit(self, name: str, **spec: Any) -> None:
        self.vips[name]["spec"].update(spec)
        self.vips[name]["metadata"]["generation"] += 1

    def world(self) -> World:
        return World(
            now=self.now,
            cluster_uid=self.uid,
            vips=tuple(Vip.from_object(copy.deepcopy(v)) for _, v in sorted(self.vips.items())),
            nodes={n: Node.from_object(b, renewed_at=self.renewed_at.get(n)) for n, b in self.nodes.items()},
            pods=tuple(self.pods.values()),
            template=self.template,
            daemon_set=self.daemon_set,
            ready_pods=self.ready_pods,
            pod_problems=self.pod_problems,
            api_server=self.api_server,
        )

    def plan(self) -> Plan:
        """An operator would go on without the VirtualIPs that a bug concerns; here bugs are to be found."""
        planned = plan(self.world())
        for bug in planned.bugs.values():
            if not self.has_bugs:
                raise bug
        return planned

    def step(self, *, limit: int | None = None) -> Plan:
        """Plan and carry out once; at most `limit` changes: the operator is killed then."""
        planned = self.plan()
        for change in planned.changes[:limit]:
            self.carry_out(change)
        return planned

    def carry_out(self, change: Change) -> None:
        """What the API server makes of one write, whenever it arrives: nothing where the object is another by now."""
        match change:
            case ApplyStatus():
                if change.vip in self.vips and self.vips[change.vip]["metadata"]["uid"] == change.uid:
                    self._apply_status(change)
            case ClearEntry():
                if change.vip in self.vips:
                    self._speaker_applies(change.vip, change.node, None)
            case ApplyDaemonSet():
                owner = change.manifest["metadata"]["ownerReferences"][0]["uid"]
                annotations = change.manifest["metadata"]["annotations"]
                pod = change.manifest["spec"]["template"]["metadata"]["annotations"]
                self.daemon_set = DaemonSet(
                    name=change.manifest["metadata"]["name"],
                    owner_uid=owner,
                    template_hash=annotations[TEMPLATE_HASH_ANNOTATION],
                    pod_template_hash=pod[TEMPLATE_HASH_ANNOTATION],
                    restarted_at=self.daemon_set.restarted_at if self.daemon_set is not None else None,
                )
            case DeletePod():
                if change.node in self.pods and self.pods[change.node].uid == change.uid:
                    del self.pods[change.node]
                    self.deleted_pods.append(change.node)

    def settle(self) -> None:
        """Until a plan has no changes; the plan of what a plan led to must have none at once."""
        self.step()
        again = self.plan()
        assert again.changes == (), again.changes

    def report(self, vip: str, node: str, state: str, **fields: Any) -> None:
        """What the speaker of a node applies."""
        self._speaker_applies(vip, node, {"state": state, "since": self.now.isoformat(), **fields})

    def listened(self, vip: str = "web", *, heard: tuple[int, ...] = ()) -> None:
        """Every node that is assigned reports its link."""
        for node in self.priorities(vip):
            self.report(vip, node, "INIT", link={"subnets": ["192.168.137.0/24"], "heard": list(heard)})

    def elect(self, vip: str = "web", *, interface: str = "eth0") -> str:
        """The node with the highest priority becomes MASTER, the others BACKUP."""
        priorities = self.priorities(vip)
        master = max(priorities, key=lambda n: priorities[n])
        for node, priority in priorities.items():
            self.report(
                vip, node, "MASTER" if node == master else "BACKUP",
                effectivePriority=priority, virtualRouterID=self.vrid(vip), interface=interface,
            )  # fmt: skip
        return master

    def up(self, vip: str = "web") -> str:
        """From nothing to a VIP that is served; returns its master."""
        self.settle()
        self.listened(vip)
        self.settle()
        master = self.elect(vip)
        self.settle()
        return master

    def status(self, vip: str = "web") -> dict[str, Any]:
        return self.vips[vip].get("status", {})

    def priorities(self, vip: str = "web") -> dict[str, int]:
        return {e["node"]: e["priority"] for e in self.status(vip).get("nodes", ()) if "priority" in e}

    def vrid(self, vip: str = "web") -> int | None:
        return self.status(vip).get("virtualRouterID")

    def condition(self, kind: str, vip: str = "web") -> tuple[str, str]:
        found = next(c for c in self.status(vip)["conditions"] if c["type"] == kind)
        return found["status"], found["reason"]

    def message(self, kind: str, vip: str = "web") -> str:
        return next(c["message"] for c in self.status(vip)["conditions"] if c["type"] == kind)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _apply_status(self, change: ApplyStatus) -> None:
        status = self.vips[change.vip].setdefault("status", {})
        if change.status.get("master", status.get("master")) != status.get("master"):
            self._take("master", change.vip)
        for key in OPERATOR_STATUS_FIELDS:
            if not self._owners(key, change.vip) - {OPERATOR_MANAGER}:
                status.pop(key, None)
        status.update({k: copy.deepcopy(v) for k, v in change.status.items() if k != "nodes"})
        entries = {e["node"]: dict(e) for e in status.get("nodes", ())}
        wanted = {e["node"]: e for e in change.status["nodes"]}
        for node, entry in list(entries.items()):
            for key in OPERATOR_ENTRY_FIELDS:
                entry.pop(key, None)
            if node not in wanted and set(entry) == {"node"}:
                del entries[node]
        for node, entry in wanted.items():
            entries.setdefault(node, {}).update(entry)
        status["nodes"] = list(entries.values())
        self._owns(change.vip, OPERATOR_MANAGER, {"f:master": {}} if "master" in change.status else {})
        self.events += [(change.vip, event) for event in change.events]

    def _speaker_applies(self, vip: str, node: str, fields: dict[str, Any] | None) -> None:
        status = self.vips[vip].setdefault("status", {})
        entries = {e["node"]: e for e in status.get("nodes", ())}
        kept = {k: v for k, v in entries.pop(node, {}).items() if k in OPERATOR_ENTRY_FIELDS}
        mine = mastership(node, fields or {})
        for key, value in mine.items():
            if value != status.get(key):
                self._take(key, vip)
        status.update(mine)
        owned: dict[str, Any] = {"f:nodes": {"k:" + json.dumps({"node": node}): {}}} if fields is not None else {}
        self._owns(vip, f"{SPEAKER_MANAGER_PREFIX}-{node}", owned | {f"f:{key}": {} for key in mine})
        if fields is not None or kept:
            entries[node] = {"node": node, **kept, **(fields or {})}
        status["nodes"] = list(entries.values())

    def _owns(self, vip: str, manager: str, fields: dict[str, Any]) -> None:
        """As the API server keeps it; what nobody owns any more is gone."""
        managers = self.vips[vip]["metadata"]["managedFields"]
        managers[:] = [m for m in managers if m["manager"] != manager]
        if fields:
            at = self.now.replace(microsecond=0).isoformat()
            managers.append({"manager": manager, "time": at, "fieldsV1": {"f:status": fields}})
        for key in ("master", "masterPriority"):
            if not self._owners(key, vip):
                self.vips[vip]["status"].pop(key, None)

    def _owners(self, key: str, vip: str) -> set[str]:
        managers = self.vips[vip]["metadata"]["managedFields"]
        return {m["manager"] for m in managers if f"f:{key}" in m["fieldsV1"]["f:status"]}

    def _take(self, key: str, vip: str) -> None:
        """A forced apply of another value: nobody who owned it does so any more."""
        for manager in self.vips[vip]["metadata"]["managedFields"]:
            manager["fieldsV1"]["f:status"].pop(f"f:{key}", None)


def served(vips: int, nodes: int, **spec: Any) -> FakeCluster:
    """A cluster in which so many VirtualIPs are up, 200 on each link: there are no more than 255 virtual router IDs."""
    cluster = FakeCluster(*(f"node{number:03}" for number in range(nodes)))
    for number in range(vips):
        cluster.add_vip(f"vip{number:04}", interfaces=[f"eth{number // 200}"], **spec)
    cluster.step()
    for name in cluster.vips:
        cluster.listened(name)
    cluster.step()
    for name, body in cluster.vips.items():
        cluster.elect(name, interface=body["spec"]["interfaces"][0])
    cluster.settle()
    return cluster
