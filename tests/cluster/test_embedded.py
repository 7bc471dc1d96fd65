"""The test cluster itself: what it must be able to do for the other tests, and that it leaves nothing behind."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.embedded import Cluster, cgroups, remove_abandoned
from tests.cluster.embedded.command import CommandFailedError, run, succeeds
from tests.cluster.embedded.node import Node, pod_range
from tests.netns import wait_for

pytestmark = pytest.mark.cluster


def deployment(name: str, **pod: object) -> dict[str, object]:
    labels = {"app": name}
    web = {
        "name": "web",
        "image": "localhost/busybox:1",
        "command": ["sh", "-c", "hostname >/tmp/index.html; echo serving; exec httpd -f -p 8080 -h /tmp"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "resources": {"limits": {"cpu": "200m", "memory": "32Mi"}},
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [web], **pod},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }


def service(name: str) -> dict[str, object]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def pods(cluster: Cluster, selector: str) -> list[dict]:
    return cluster.get("pods", "-l", selector)["items"]


def fetch(node: Node, url: str) -> str:
    """What a program on the node's own network gets there."""
    script = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
    try:
        return node.exec(sys.executable, "-I", "-c", script, url).strip()
    except CommandFailedError:
        return ""


@pytest.fixture
def web(cluster):
    cluster.apply(deployment("web"), service("web"))
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=240s")
    yield cluster.get("service", "web")["spec"]["clusterIP"]
    cluster.kubectl("delete", "deployment,service", "web", "--wait=false")


def test_every_node_is_ready_under_its_address(cluster):
    nodes = cluster.get("nodes")["items"]
    addresses = {
        node["metadata"]["name"]: each["address"]
        for node in nodes
        for each in node["status"]["addresses"]
        if each["type"] == "InternalIP"
    }
    assert addresses == {"node1": "192.168.137.201", "node2": "192.168.137.202", "node3": "192.168.137.203"}
    assert addresses == {node.name: node.address for node in cluster.nodes}


def test_pods_answer_through_their_service_from_every_node_and_from_a_pod(cluster, web):
    names = {pod["metadata"]["name"] for pod in pods(cluster, "app=web")}
    for node in cluster.nodes:
        # kube-proxy writes its rules up to a second after the pods are ready
        wait_for(lambda node=node: fetch(node, f"http://{web}/") in names, what=f"an answer on {node.name}", timeout=30)
    assert cluster.kubectl("exec", "deployment/web", "--", "wget", "-qO-", f"http://{web}/").strip() in names
    assert "serving" in cluster.kubectl("logs", "deployment/web")


def test_a_host_network_pod_has_two_capabilities_and_the_node_s_addresses(cluster):
    container = {
        "name": "router",
        "image": "localhost/busybox:1",
        "command": ["sh", "-c", "ip -4 -o addr show eth0; ip addr add 192.0.2.1/32 dev eth0 && echo added; "
                    "ip addr del 192.0.2.1/32 dev eth0; cat /proc/self/status; sleep 1000"],
        "securityContext": {
            "runAsUser": 0, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
        },
    }  # fmt: skip
    spec = {
        "selector": {"matchLabels": {"app": "router"}},
        "updateStrategy": {"type": "OnDelete"},
        "template": {
            "metadata": {"labels": {"app": "router"}},
            "spec": {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [container]},
        },
    }
    cluster.apply({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "router"}, "spec": spec})
    try:

        def running() -> list[dict]:
            found = pods(cluster, "app=router")
            ready = [pod for pod in found if pod["status"].get("containerStatuses", [{}])[0].get("ready")]
            return ready if len(ready) == len(cluster.nodes) else []

        wait_for(running, what="a pod on every node", timeout=120)
        for pod in running():
            log = cluster.kubectl("logs", pod["metadata"]["name"])
            assert cluster.node(pod["spec"]["nodeName"]).address in log
            assert "added" in log
            assert "CapEff:\t0000000000003000" in log  # NET_ADMIN and NET_RAW, nothing else
    finally:
        cluster.kubectl("delete", "daemonset", "router", "--wait=false")


def test_the_client_reaches_a_node_until_its_link_is_cut(cluster):
    node = cluster.nodes[2]

    def answers() -> bool:
        return succeeds("ip", "netns", "exec", cluster.client_namespace, "ping", "-c1", "-W1", node.address)

    assert answers()
    assert succeeds("ip", "netns", "exec", cluster.client_namespace, "ping", "-6", "-c1", "-W2", node.address6)
    try:
        for silently in (False, True):
            cluster.cut_link(node.name, silently=silently)
            assert ("NO-CARRIER" in run("ip", "-n", node.netns, "link", "show", "eth0")) == (not silently)
            assert not answers()
            cluster.restore_link(node.name)
            wait_for(answers, what="the node answers again")
    finally:
        cluster.restore_link(node.name)
    cluster.wait_ready()


def test_pods_live_on_while_the_api_server_is_down(cluster, web):
    wait_for(lambda: fetch(cluster.nodes[0], f"http://{web}/"), what="an answer of the service", timeout=30)
    cluster.stop_api()
    try:
        with pytest.raises(CommandFailedError):
            cluster.kubectl("get", "nodes", "--request-timeout=3s")
        wait_for(lambda: fetch(cluster.nodes[0], f"http://{web}/"), what="an answer without the API server", timeout=30)
    finally:
        cluster.start_api()
    cluster.wait_ready()


def test_the_audit_log_names_who_wrote_what(cluster):
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note"}, "data": {"a": "b"}})
    cluster.kubectl("delete", "configmap", "note")
    verbs = [
        event["verb"]
        for event in cluster.audit_events()
        if event.get("objectRef", {}).get("name") == "note" and event["user"].get("username") == "admin"
    ]
    assert verbs[-1] == "delete"
    assert len(verbs) >= 2


def test_a_node_that_lost_power_is_noticed_and_comes_back_with_its_pods(cluster):
    node = cluster.nodes[1]
    cluster.apply(deployment("stay", nodeName=node.name))
    cluster.kubectl("rollout", "status", "deployment/stay", "--timeout=240s")
    try:
        cluster.power_off(node.name)
        assert not cgroups.exists(node.cgroup)
        assert not succeeds("ip", "netns", "exec", cluster.client_namespace, "ping", "-c1", "-W1", node.address)
        cluster.kubectl("wait", "--for=condition=Ready=Unknown", f"node/{node.name}", "--timeout=240s")
    finally:
        cluster.power_on(node.name)
    cluster.wait_ready()
    cluster.kubectl("rollout", "status", "deployment/stay", "--timeout=240s")
    cluster.kubectl("delete", "deployment", "stay", "--wait=false")


def test_a_node_is_added_and_removed_while_the_cluster_runs(cluster):
    before = {node.name for node in cluster.nodes}
    node = cluster.add_node()
    try:
        assert {n["metadata"]["name"] for n in cluster.get("nodes")["items"]} == before | {node.name}
        cluster.apply(deployment("far", nodeName=node.name), service("far"))
        cluster.kubectl("rollout", "status", "deployment/far", "--timeout=240s")
        url = f"http://{pods(cluster, 'app=far')[0]['status']['podIP']}:8080/"
        for other in cluster.nodes:
            wait_for(lambda other=other: fetch(other, url), what=f"{other.name} reaches a pod there", timeout=30)
        assert "serving" in cluster.kubectl("logs", "deployment/far")
        assert cgroups.exists(node.cgroup)
    finally:
        cluster.kubectl("delete", "deployment,service", "far", "--ignore-not-found", "--wait=false")
        cluster.remove_node(node.name)
    assert {n["metadata"]["name"] for n in cluster.get("nodes")["items"]} == before
    assert not cgroups.exists(node.cgroup)
    assert not [each for values in traces().values() for each in values if node.netns in each or node.cgroup in each]
    assert node.name not in run("ip", "-n", cluster.lan.netns, "-o", "link")
    for netns in cluster.lan.namespaces():
        assert pod_range(node.index) not in run("ip", "-n", netns, "route", "show")
    assert not node.machine.folder.exists()


FOLDERS_OF_KUBERNETES = (
    "/var/lib/kubelet", "/var/lib/cni", "/var/lib/containerd", "/run/containerd", "/var/log/pods",
    "/var/log/containers", "/opt/containerd", "/run/xtables.lock",
)  # fmt: skip
KERNEL_SETTINGS = ("vm/overcommit_memory", "kernel/panic", "net/ipv4/ip_forward")


def traces() -> dict[str, set[str]]:
    """What a cluster could leave on this machine, without what other clusters and tests of it own."""
    processes = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            processes.add(entry.read_text().replace("\0", " "))
        except OSError:
            continue
    return {
        "namespaces": {path.name for path in Path("/run/netns").glob("*")},
        "mounts": {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()},
        "cgroups": {str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if path.is_dir()},
        "processes": processes,
        "links": set(run("ip", "-o", "link").splitlines()),
        "folders": {path for path in FOLDERS_OF_KUBERNETES if Path(path).exists()},
        "settings": {f"{name}={Path('/proc/sys', name).read_text()}" for name in KERNEL_SETTINGS},
    }


def left_of(name: str, folder: Path, before: dict[str, set[str]]) -> dict[str, set[str]]:
    after = traces()
    left = {kind: after[kind] - before[kind] for kind in after}
    # other tests run on this machine at the same time: only what names this cluster is ours,
    # but settings, folders and links of the host are nobody's to change
    ours = ("namespaces", "mounts", "cgroups", "processes")
    return {
        kind: found
        for kind, values in left.items()
        if (found := {value for value in values if kind not in ours or name in value or str(folder) in value})
    }


def test_nothing_is_left_after_a_cluster():
    name = f"test-{secrets.token_hex(3)}"
    before = traces()
    with Cluster(name, nodes=1) as cluster:
        cluster.apply(deployment("web"))
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=240s")
        assert set(left_of(name, cluster.folder, before)) == {"namespaces", "mounts", "cgroups", "processes"}
    assert left_of(name, cluster.folder, before) == {}
    assert not cluster.folder.exists()


def test_nothing_is_left_of_a_cluster_whose_owner_was_killed():
    name = f"test-{secrets.token_hex(3)}"
    before = traces()
    script = (
        f"from tests.cluster.embedded import Cluster; Cluster({name!r}, nodes=1).up().add_node(); "
        "print('up', flush=True); input()"
    )
    repository = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository,
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        assert any(line.strip() == "up" for line in owner.stdout)
        owner.kill()
    cluster = Cluster(name)
    assert cluster.exists
    assert [node.name for node in cluster.nodes] == ["node1", "node2"]
    assert left_of(name, cluster.folder, before)
    remove_abandoned()
    assert not cluster.folder.exists()
    assert left_of(name, cluster.folder, before) == {}
