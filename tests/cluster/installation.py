"""The chart on a test cluster, and what a user of it sees and does."""

import json
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from vip_operator.plan.daemonset import Template

from tests.cluster.embedded import Cluster, builder
from tests.cluster.embedded.command import REPOSITORY
from tests.cluster.embedded.node import Node
from tests.netns import wait_for

CHART = REPOSITORY / "charts" / "kube-vrrp"
NAMESPACE = "kube-vrrp"
SPEAKERS = "app.kubernetes.io/component=speaker"


class Installation:
    """Waits are generous: they are for conditions, not for figures."""

    def __init__(self, cluster: Cluster, images: dict[str, builder.Image], chart: Path = CHART) -> None:
        self.cluster = cluster
        self._chart = chart
        self._values: tuple[str, ...] | None = None  # what is installed, as far as this process knows
        self._images: list[str] = []
        for target, image in images.items():
            repository, _, tag = image.reference.rpartition(":")
            self._images += ["--set", f"{target}.image.repository={repository}"]
            self._images += ["--set-string", f"{target}.image.tag={tag}"]

    # -- the release

    def restore(self, *values: str) -> None:
        """Links up, API up, the chart with its default values or these options of helm, no VirtualIP."""
        for node in self.cluster.nodes:
            self.cluster.restore_link(node.name)
        self.cluster.wait_ready()
        if self._values != values:
            self.install(*values)
        self.delete_vips()
        self.wait_for_speakers()

    def install(self, *values: str) -> str:
        self._values = None
        told = self.cluster.helm(
            "upgrade", "--install", "kube-vrrp", str(self._chart), "--namespace", NAMESPACE, "--create-namespace",
            "--reset-values", "--wait", "--timeout", "3m", *self._images, *values,
        )  # fmt: skip
        self._values = values
        return told

    def rollback(self) -> str:
        """Back to what was installed before, as a user in trouble does it."""
        self._values = None
        return self.cluster.helm("rollback", "kube-vrrp", "--namespace", NAMESPACE, "--wait", "--timeout", "3m")

    def wait_for_speakers(self) -> None:
        """Until every node has a ready speaker of the template that is installed."""
        wait_for(self.speakers_current, what="every speaker is ready and new", timeout=180, poll=0.3)

    def uninstall(self, *options: str) -> str:
        self._values = None
        return self.cluster.helm("uninstall", "kube-vrrp", "--namespace", NAMESPACE, "--wait", *options)

    def lease_holder(self) -> str:
        """The operator that may write now, empty while none does."""
        lease = self.cluster.get("lease", "kube-vrrp-operator", "-n", NAMESPACE)
        return str(lease["spec"].get("holderIdentity") or "")

    def speakers(self) -> dict[str, dict[str, Any]]:
        """The speaker pods that have a node and are not ending, by node."""
        pods = self.cluster.get("pods", "-n", NAMESPACE, "-l", SPEAKERS)["items"]
        return {
            p["spec"]["nodeName"]: p
            for p in pods
            if "nodeName" in p["spec"] and "deletionTimestamp" not in p["metadata"]
        }

    def renew_speaker(self, node: str) -> None:
        """A new pod: a kubelet lets a container that ended wait, twice as long with each time within ten minutes."""
        before = self.speakers()[node]["metadata"]
        self.cluster.kubectl("delete", "pod", before["name"], "-n", NAMESPACE)
        self.wait_for_new_speaker(node, not_=before["uid"])

    def wait_for_new_speaker(self, node: str, *, not_: str) -> None:
        """Until a ready speaker other than the pod of that UID is there."""

        def is_new() -> bool:
            now = self.speakers().get(node)
            return now is not None and now["metadata"]["uid"] != not_ and is_ready(now)

        wait_for(is_new, what=f"a new speaker on {node}", timeout=120, poll=0.2)

    def speakers_current(self) -> bool:
        """Whether every node has a ready speaker of the template that the chart rendered last."""
        rendered = self.cluster.get("configmap", "kube-vrrp-speaker", "-n", NAMESPACE)
        manifest = yaml.safe_load(rendered["data"]["daemonset.yaml"])
        # not the DaemonSet's own word: right after an upgrade the operator has not applied it yet
        wanted = Template(config_map="", config_map_uid="", manifest=manifest).hash
        pods = self.speakers()
        return len(pods) == len(self.cluster.nodes) and all(
            p["metadata"]["annotations"]["kube-vrrp.io/template-hash"] == wanted and is_ready(p) for p in pods.values()
        )

    # -- VirtualIPs

    def apply(self, name: str, address: str, **spec: Any) -> None:
        self.cluster.apply(
            {
                "apiVersion": "kube-vrrp.io/v1alpha1",
                "kind": "VirtualIP",
                "metadata": {"name": name},
                "spec": {"addresses": [address], **spec},
            }
        )

    def serve(self, name: str, address: str, **spec: Any) -> str:
        """Apply and wait until every node takes part; the master."""
        self.apply(name, address, **spec)
        self.settled(name)
        return self.master(name)

    def settled(self, name: str) -> None:
        def all_take_part() -> bool:
            states = sorted(e.get("state", "") for e in self.status(name).get("nodes", ()))
            return states == ["BACKUP"] * (len(self.cluster.nodes) - 1) + ["MASTER"] and self.ready(name)

        wait_for(all_take_part, what=f"{name} has one MASTER and BACKUPs", timeout=60, poll=0.2)

    def status(self, name: str) -> dict[str, Any]:
        found = self.cluster.get("vip", name)
        status: dict[str, Any] = found.get("status", {})
        return status

    def master(self, name: str) -> str:
        return str(self.status(name).get("master", ""))

    def ready(self, name: str) -> bool:
        return self.condition(name, "Ready")[0] == "True"

    def condition(self, name: str, kind: str) -> tuple[str, str, str]:
        """Status, reason, message."""
        conditions = self.status(name).get("conditions", ())
        found = next((c for c in conditions if c["type"] == kind), {"status": "", "reason": "", "message": ""})
        return found["status"], found["reason"], found["message"]

    def delete_vips(self) -> None:
        self.cluster.kubectl("delete", "vip", "--all", "--ignore-not-found")
        wait_for(lambda: not self.all_holders(), what="no node holds a /32 of ours", timeout=30)

    # -- what is on the nodes

    def holders(self, address: str) -> list[str]:
        """The nodes whose link has the address: asked of the kernel, not of us."""
        return [n.name for n in self.cluster.nodes if address in addresses(n)]

    def all_holders(self) -> list[str]:
        """The nodes with any address beside their own."""
        return [n.name for n in self.cluster.nodes if addresses(n) - {n.address}]


def addresses(node: Node) -> set[str]:
    """The IPv4 addresses on a node's link."""
    done = subprocess.run(
        ["ip", "-n", node.netns, "-j", "-4", "address", "show", "dev", "eth0"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {a["local"] for link in json.loads(done.stdout) for a in link.get("addr_info", ())}


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class StatusWatch:
    """Notes when each status of a VirtualIP reached a client that watches it: (Unix time, status)."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.seen: list[tuple[float, dict[str, Any]]] = []
        command = [str(cluster.binaries / "kubectl"), "--kubeconfig", str(cluster.kubeconfig)]
        self._process = subprocess.Popen(
            [*command, "get", "vip", name, "--watch", "--output=jsonpath={.status}{'\\n'}"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "StatusWatch":
        self._thread.start()
        wait_for(lambda: self.seen, what="the watch shows the present status", timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip():
                self.seen.append((time.time(), json.loads(line)))

    def delay_of_master(self, node: str) -> float:
        """Seconds from the change of `node` to MASTER to the status that named it as master."""
        for at, status in self.seen:
            entry: dict[str, Any] = next((e for e in status.get("nodes", ()) if e["node"] == node), {})
            if status.get("master") == node and entry.get("state") == "MASTER":
                return at - datetime.fromisoformat(entry["since"]).timestamp()
        raise AssertionError(f"the status never named {node}")
