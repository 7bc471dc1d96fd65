"""A large cluster in one machine: a real API server and the real operator, nodes and pods as mere objects, and agents
whose own code runs in a few processes (`fleet_agents`). No kubelet and no controller runs: this is about what the API
carries, not about packets.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from vip_operator.plan.daemonset import TEMPLATE_HASH_ANNOTATION
from vip_operator.plan.virtualip import OPERATOR_ENTRY_FIELDS, OPERATOR_STATUS_FIELDS
from vip_speaker.agent.report import mastership

from tests.cluster.embedded import Cluster, remove_abandoned
from tests.cluster.embedded.certificates import Authority
from tests.cluster.embedded.command import REPOSITORY, say
from tests.cluster.embedded.control_plane import SECURE_PORT, ControlPlane
from tests.cluster.embedded.network import CONTROL_PLANE
from tests.cluster.installation import CHART, NAMESPACE
from tests.netns import wait_for
from tests.operator_world import FakeCluster, served

NODES, VIPS, PROCESSES = 250, 200, 2
VIP_PATH = "/apis/kube-vrrp.io/v1alpha1/virtualips"
APPLY = "application/apply-patch+yaml"
RESOURCE = ("kube-vrrp.io", "v1alpha1", "virtualips")
QUIET_S = 5.0
"""So long nothing may change until a cluster counts as settled."""


class ControlPlaneOnly(Cluster):
    """etcd and the API server, nothing else."""

    def _start(self) -> None:
        self.lan.up()
        self.lan.plug_in("control-plane", CONTROL_PLANE)
        authority = Authority(self._control.folder / "pki")
        address = self.lan.address(CONTROL_PLANE)
        control = ControlPlane(self._control, authority, address=address, port=self._settings["port"])
        self._control.power_on()
        control.prepare()
        server = f"https://127.0.0.1:{control.port}"
        authority.kubeconfig(self.kubeconfig, server=server, user="admin", group="system:masters")
        control.start_forwarder()
        control.start_api()

    @property
    def certificate(self) -> Path:
        """Of the authority."""
        return Authority(self._control.folder / "pki").certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """What one change led to, from its moment until the last write before things were quiet."""

    what: str
    concerned: int
    settled_s: float
    requests: dict[str, float]
    events_per_agent: float
    bytes_per_agent: float
    load: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything that was measured. `object_bytes` is the mean size of a VirtualIP as an event carries it."""

    nodes: int
    vips: int
    object_bytes: float
    start_s: float
    writes_after_start: int
    waves: tuple[Wave, ...]


def measure(nodes: int = NODES, vips: int = VIPS) -> Fleet:
    """Seed a cluster in which everything is up, start operator and agents, and lose a node."""
    remove_abandoned()
    world = served(vips, nodes)
    with ControlPlaneOnly(f"fleet-{secrets.token_hex(3)}", nodes=1) as cluster, contextlib.ExitStack() as stack:
        api = _Objects(cluster)
        api.install(world)
        seeded = _operator(cluster, api)
        with seeded:
            wait_for(lambda: api.daemon_set() is not None, what="the operator applied the DaemonSet", timeout=60)
        api.pods(world)
        say("writing the statuses of a cluster that is up")
        api.virtual_ips(world)
        object_bytes = len(json.dumps(api.raw(VIP_PATH)["items"])) / vips
        stack.enter_context(_operator(cluster, api))
        began, writes = time.monotonic(), api.writes()
        agents = stack.enter_context(_agents(cluster, api, world))
        wait_for(lambda: sum(a["listed"] for a in agents.counts()) == nodes, what="all agents listed", timeout=300)
        start_s = time.monotonic() - began
        api.quiet(agents)
        say(f"{nodes} agents watch {vips} VirtualIPs")
        after_start = api.writes() - writes
        waves = tuple(_lose(api, agents, world))
    return Fleet(
        nodes=nodes, vips=vips, object_bytes=object_bytes, start_s=start_s, writes_after_start=after_start, waves=waves
    )


def _lose(api: _Objects, agents: _Agents, world: FakeCluster) -> Iterator[Wave]:
    """First the others notice that its advertisements are missing; much later Kubernetes says that it is not ready."""
    masters = [max(p := world.priorities(v), key=lambda n: p[n]) for v in world.vips]
    lost = max(sorted(set(masters)), key=masters.count)
    concerned = [v for v in world.vips if lost in world.priorities(v)]
    yield _wave(api, agents, "the node is gone", masters.count(lost), lambda: agents.lose(lost))
    assert not [v for v in api.raw(VIP_PATH)["items"] if v["status"].get("master") == lost], "a VIP has no new master"
    yield _wave(api, agents, "Kubernetes says so", len(concerned), lambda: api.not_ready(lost))
    for vip in api.raw(VIP_PATH)["items"]:
        reporting = [e for e in vip["status"]["nodes"] if e.get("reporting") == "True" and "state" in e]
        assert len(reporting) == 8, vip["status"]


def _wave(api: _Objects, agents: _Agents, what: str, concerned: int, act: Any) -> Wave:
    load = os.getloadavg()[0]
    before, counts = api.requests(), agents.counts()
    events, watched = _sum(counts, "events"), _sum(counts, "watched_bytes")
    began = time.time()
    act()
    api.quiet(agents, at_least_s=6)
    last = api.last_write(began)
    after, counts = api.requests(), agents.counts()
    number = sum(len(c["events"]) for c in counts)
    return Wave(
        what=what,
        concerned=concerned,
        settled_s=last - began,
        requests={k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)},
        events_per_agent=(_sum(counts, "events") - events) / number,
        bytes_per_agent=(_sum(counts, "watched_bytes") - watched) / number,
        load=load,
    )


def _sum(counts: list[dict[str, Any]], key: str) -> float:
    return sum(sum(one[key]) for one in counts)


class _Objects:
    """What is in the API server, as the administrator makes and sees it."""

    def __init__(self, cluster: ControlPlaneOnly) -> None:
        self.cluster = cluster
        self._client = config.new_client_from_config(str(cluster.kubeconfig))
        self._core = client.CoreV1Api(self._client)
        self._pool = ThreadPoolExecutor(max_workers=8)

    def raw(self, path: str, *, method: str = "GET", body: Any = None, content_type: str = "application/json") -> Any:
        """One call with JSON both ways."""
        response = self._client.call_api(
            *self._client.param_serialize(
                method=method,
                resource_path=path,
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
            )
        )
        data = response.read()
        assert 200 <= response.status < 300, data
        return json.loads(data)

    def install(self, world: FakeCluster) -> None:
        """The definition, the chart's objects and the nodes."""
        cluster = self.cluster
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds" / "virtualip.yaml"))
        cluster.kubectl("wait", "--for=condition=Established", "crd/virtualips.kube-vrrp.io")
        text = cluster.helm("template", "kube-vrrp", str(CHART), "--namespace", NAMESPACE, "--no-hooks")
        objects = [
            o for o in yaml.safe_load_all(text) if o and o["kind"] not in ("Deployment", "CustomResourceDefinition")
        ]
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))

        def add(name: str) -> None:
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            self.raw("/api/v1/nodes", method="POST", body=node)
            self._node_ready(name, "True")

        list(self._pool.map(add, world.nodes))

    def _node_ready(self, name: str, status: str) -> None:
        conditions = [{"type": "Ready", "status": status, "reason": "Played", "message": ""}]
        self._patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": conditions}})

    def not_ready(self, name: str) -> None:
        """What the node lifecycle controller would write after 40 s."""
        self._node_ready(name, "Unknown")

    def _patch(self, path: str, body: Any) -> None:
        self.raw(path, method="PATCH", body=body, content_type="application/strategic-merge-patch+json")

    def daemon_set(self) -> dict[str, Any] | None:
        """The speakers' one."""
        items = self.raw(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets")["items"]
        return items[0] if items else None

    def pods(self, world: FakeCluster) -> None:
        """A ready speaker on each node."""
        owner = self.daemon_set()
        assert owner is not None
        metadata = owner["metadata"]
        template = owner["spec"]["template"]
        controller = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": metadata["name"], "uid": metadata["uid"]}

        def add(node: str) -> None:
            account = template["spec"]["serviceAccountName"]
            container = {"name": "agent", "image": "none"}
            pod = {
                "metadata": {
                    "name": f"speaker-{node}",
                    "labels": template["metadata"]["labels"],
                    "annotations": {TEMPLATE_HASH_ANNOTATION: metadata["annotations"][TEMPLATE_HASH_ANNOTATION]},
                    "ownerReferences": [{**controller, "controller": True}],
                },
                "spec": {"nodeName": node, "serviceAccountName": account, "containers": [container]},
            }
            self.raw(f"/api/v1/namespaces/{NAMESPACE}/pods", method="POST", body=pod)
            ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
            self._patch(f"/api/v1/namespaces/{NAMESPACE}/pods/speaker-{node}/status", ready)

        list(self._pool.map(add, world.nodes))

    def virtual_ips(self, world: FakeCluster) -> None:
        """All of them with the status that operator and speakers would have written, each under its own name."""

        def add(name: str) -> None:
            body = copy.deepcopy(world.vips[name])
            status = body.pop("status")
            body["metadata"] = {"name": name}
            self.raw(VIP_PATH, method="POST", body=body)
            own = {k: v for k, v in status.items() if k in OPERATOR_STATUS_FIELDS}
            entries = [{k: e[k] for k in ("node", *OPERATOR_ENTRY_FIELDS) if k in e} for e in status["nodes"]]
            self._apply(name, {**own, "nodes": entries}, "kube-vrrp-operator")
            for entry in status["nodes"]:
                told = {k: v for k, v in entry.items() if k not in OPERATOR_ENTRY_FIELDS}
                told_status = {"nodes": [told], **mastership(entry["node"], told)}
                self._apply(name, told_status, f"kube-vrrp-speaker-{entry['node']}")

        list(self._pool.map(add, world.vips))

    def _apply(self, name: str, status: Any, manager: str) -> None:
        body = {
            "apiVersion": "kube-vrrp.io/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": name},
            "status": status,
        }
        path = f"{VIP_PATH}/{name}/status?fieldManager={manager}&force=true"
        self.raw(path, method="PATCH", body=body, content_type=APPLY)

    def token(self, account: str, pod: str | None = None) -> str:
        """Of a service account, bound to a pod where one is named, as the kubelet asks for it."""
        bound = None
        if pod is not None:
            metadata = self._core.read_namespaced_pod(pod, NAMESPACE).metadata
            assert metadata is not None
            uid = metadata.uid
            bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
        spec = {"expirationSeconds": 7200, **({"boundObjectRef": bound} if bound else {})}
        return str(self.raw(path, method="POST", body={"spec": spec})["status"]["token"])

    def tokens(self, pods: list[str]) -> list[str]:
        """Of the speakers in these pods."""
        return list(self._pool.map(lambda pod: self.token("kube-vrrp-speaker", pod), pods))

    # -- what happened

    def writes(self) -> int:
        """Of operator and speakers, by the audit log."""
        return sum(1 for _ in self._ours())

    def last_write(self, since: float) -> float:
        """Unix time of the last write of ours, `since` without any."""
        times = [datetime.fromisoformat(e["stageTimestamp"].replace("Z", "+00:00")).timestamp() for e in self._ours()]
        return max([since, *(t for t in times if t > since)])

    def _ours(self) -> Iterator[dict[str, Any]]:
        ours = f"system:serviceaccount:{NAMESPACE}:"
        lease = "leases"
        for event in self.cluster.audit_events():
            if event["user"].get("username", "").startswith(ours) and event["objectRef"]["resource"] != lease:
                yield event

    def requests(self) -> dict[str, float]:
        """What was asked of the API server so far, by verb and resource, without watches and our own questions."""
        response = self._client.call_api(*self._client.param_serialize(method="GET", resource_path="/metrics"))
        pattern = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
        found: dict[str, float] = {}
        for match in pattern.finditer(response.read().decode()):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
            if labels["resource"] in ("virtualips", "events", "leases", "nodes") and labels["verb"] != "WATCH":
                key = f"{labels['verb']} {labels['resource']}"
                found[key] = found.get(key, 0) + float(match["value"])
        return found

    def _writes(self) -> float:
        reading = ("GET", "LIST")
        return sum(v for k, v in self.requests().items() if k.split()[0] not in reading and "leases" not in k)

    def quiet(self, agents: _Agents, *, at_least_s: float = 0) -> None:
        """Wait until nothing was written for a while, and no agent has anything left to do."""
        time.sleep(at_least_s)
        last, since, end = -1, time.monotonic(), time.monotonic() + 300
        while time.monotonic() - since < QUIET_S:
            assert time.monotonic() < end, "it never gets quiet"
            time.sleep(1)
            if (now := self._writes() + sum(c["pending"] for c in agents.counts())) != last:
                last, since = now, time.monotonic()


# -- processes


@contextlib.contextmanager
def _operator(cluster: ControlPlaneOnly, api: _Objects) -> Iterator[None]:
    """The operator's own process, with its own account."""
    server = f"https://{cluster.lan.address(CONTROL_PLANE)}:{SECURE_PORT}"
    file = cluster.folder / "operator.kubeconfig"
    user = {"name": "operator", "user": {"token": api.token("kube-vrrp-operator")}}
    context = {"name": "here", "context": {"cluster": "here", "user": "operator"}}
    place = {"name": "here", "cluster": {"server": server, "certificate-authority": str(cluster.certificate)}}
    settings = {"apiVersion": "v1", "kind": "Config", "current-context": "here"}
    file.write_text(json.dumps({**settings, "clusters": [place], "users": [user], "contexts": [context]}))
    arguments = ["--namespace", NAMESPACE, "--metrics-port", "0", "--health-port", "0"]
    with (cluster.folder / "operator.log").open("a") as log:
        process = _start(cluster, "vip_operator", *arguments, env={"KUBECONFIG": str(file)}, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def _start(cluster: ControlPlaneOnly, module: str, *arguments: str, env: dict[str, str], **pipes: Any) -> Any:
    path = os.pathsep.join(str(REPOSITORY / part) for part in (".", "crds", "speaker", "operator"))
    return subprocess.Popen(
        ["ip", "netns", "exec", cluster.lan.netns_of("control-plane"), sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path, **env},
        text=True,
        **pipes,
    )


class _Agents:
    """The processes of the agents."""

    def __init__(self, processes: list[Any]) -> None:
        self._processes = processes

    def counts(self) -> list[dict[str, Any]]:
        """What each process says."""
        return self._ask("count")

    def lose(self, node: str) -> None:
        """This node is silent from here on."""
        self._ask(f"lose {node}")

    def _ask(self, command: str) -> list[dict[str, Any]]:
        for process in self._processes:
            process.stdin.write(command + "\n")
            process.stdin.flush()
        return [json.loads(process.stdout.readline()) for process in self._processes]


@contextlib.contextmanager
def _agents(cluster: ControlPlaneOnly, api: _Objects, world: FakeCluster) -> Iterator[_Agents]:
    server = {
        "host": f"https://{cluster.lan.address(CONTROL_PLANE)}:{SECURE_PORT}", "authority": str(cluster.certificate),
    }  # fmt: skip
    states: dict[str, dict[str, Any]] = {node: {} for node in world.nodes}
    for name, body in world.vips.items():
        for entry in body["status"]["nodes"]:
            told = {k: v for k, v in entry.items() if k not in ("node", *OPERATOR_ENTRY_FIELDS)}
            states[entry["node"]][name] = told
    nodes = list(world.nodes)
    tokens = api.tokens([f"speaker-{node}" for node in nodes])
    folder = cluster.folder / "agents"
    folder.mkdir()
    given = [
        {"node": node, "token": token, "folder": str(folder / node), "states": states[node]}
        for node, token in zip(nodes, tokens, strict=True)
    ]
    processes = []
    with contextlib.ExitStack() as stack:
        for number in range(PROCESSES):
            file = folder / f"{number}.json"
            file.write_text(json.dumps({"server": server, "agents": given[number::PROCESSES]}))
            process = _start(
                cluster, "benchmarks.fleet_agents", str(file), env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            processes.append(process)
        yield _Agents(processes)


if __name__ == "__main__":
    print(measure(*(int(a) for a in sys.argv[1:])))
