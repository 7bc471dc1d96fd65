"""What may move a VIP besides VRRP, with everything enabled in the chart: what nodes and the operator see."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.installation import NAMESPACE, Installation
from tests.netns import wait_for
from tests.probe import Probe
from tests.watch import Holders

pytestmark = pytest.mark.cluster

ADDRESS, OTHER = "192.168.137.220", "192.168.137.221"
FILES, SCRIPTS = "/run/checked", "/run/scripts"
VALUES = (
    "--set", "speaker.hostPID=true", "--set", f"speaker.hostFiles={{{FILES}}}",
    "--set", "speaker.scripts.enabled=true", "--set", f"speaker.scripts.hostPath={SCRIPTS}",
    "--set", "rbac.podNamespaces={default}",
)  # fmt: skip
# Fails while there is a file `broken` beside it, and says what rights it has.
SCRIPT = """#!/bin/sh
test ! -e /scripts/broken && exit 0
echo user $(id -u) $(grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status) secrets: $(ls /var/run/secrets 2>&1)
exit 1
"""
PORT = 7070
SERVER = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\nwhile s.accept(): pass"
ON_NODE = {
    "file": {"name": "number", "weight": -50, "file": {"path": f"{FILES}/number"}},
    "script": {"name": "look", "weight": -50, "script": {"name": "look", "interval": "200ms"}},
    "process": {"name": "served", "weight": -50, "process": {"name": "checked-daemon"}},
    "tcp": {
        "name": "port", "weight": -50,
        "tcp": {"host": "127.0.0.1", "port": PORT, "interval": "200ms", "allowLocal": True},
    },
}  # fmt: skip


@pytest.fixture
def checked(installation: Installation) -> Iterator[Installation]:
    """Every kind of check enabled, and on every node a script, a process and a port that are well."""
    installation.restore(*VALUES)
    for node in installation.cluster.nodes:
        node.exec("install", "-d", "-m", "755", FILES, SCRIPTS)
        node.exec("sh", "-c", f"cat >{SCRIPTS}/look <<'END'\n{SCRIPT}END\nchmod 755 {SCRIPTS}/look")
        node.exec("cp", "/bin/sleep", f"{FILES}/checked-daemon")
        for kind in ON_NODE:
            mend(installation, node.name, kind)
    yield installation
    installation.delete_vips()
    for node in installation.cluster.nodes:
        for program in ("checked-daemon", "checked-port"):
            if node.machine.running(program):
                node.machine.stop(program)


def spoil(product: Installation, name: str, kind: str) -> None:
    """Have that check fail on one node."""
    node = product.cluster.node(name)
    match kind:
        case "file":
            node.exec("sh", "-c", f"echo 1 >{FILES}/.new && mv {FILES}/.new {FILES}/number")
        case "script":
            node.exec("touch", f"{SCRIPTS}/broken")
        case "process":
            node.machine.stop("checked-daemon")
        case "tcp":
            node.machine.stop("checked-port")


def mend(product: Installation, name: str, kind: str) -> None:
    node = product.cluster.node(name)
    match kind:
        case "file":
            node.exec("rm", "-f", f"{FILES}/number")
        case "script":
            node.exec("rm", "-f", f"{SCRIPTS}/broken")
        case "process" if not node.machine.running("checked-daemon"):
            node.machine.start("checked-daemon", f"{FILES}/checked-daemon", "100000")
        case "tcp" if not node.machine.running("checked-port"):
            node.machine.start("checked-port", "python3", "-c", SERVER, str(PORT))


def serve(product: Installation, **spec: object) -> str:
    """A VirtualIP whose checks are all well; the master."""
    product.serve("web", ADDRESS, virtualRouterID=51, **spec)
    well(product)
    return product.master("web")


def well(product: Installation, *, less: int = 0) -> None:
    """Wait until checks take `less` away on every node, and the node of the highest priority is MASTER."""

    def is_well() -> bool:
        entries = product.status("web")["nodes"]
        best = max(entries, key=lambda e: int(e["priority"]))
        return best.get("state") == "MASTER" and all(
            e.get("effectivePriority") == e["priority"] - less for e in entries
        )

    wait_for(is_well, what="every check is well on every node", timeout=60, poll=0.2)


def moves_and_comes_back(product: Installation, master: str, kind: str) -> None:
    spoil(product, master, kind)
    wait_for(
        lambda: product.holders(ADDRESS) not in ([master], []),
        what=f"{kind}: another node has it",
        timeout=30,
        poll=0.1,
    )
    wait_for(lambda: master not in product.holders(ADDRESS), what=f"{kind}: it is let go of", timeout=10, poll=0.1)
    mend(product, master, kind)
    wait_for(lambda: product.holders(ADDRESS) == [master], what=f"{kind}: it is back", timeout=30, poll=0.1)


def entry(product: Installation, node: str) -> dict[str, Any]:
    return next(e for e in product.status("web")["nodes"] if e["node"] == node)


def facts(product: Installation, name: str) -> dict[str, Any]:
    """What the operator says of a check, by node."""
    entries = product.status("web")["nodes"]
    return {e["node"]: f["value"] for e in entries for f in e.get("facts", ()) if f["name"] == name}


def said(product: Installation, node: str) -> str:
    return str(entry(product, node).get("reason", ""))


def told(product: Installation, node: str, words: str) -> None:
    wait_for(lambda: words in said(product, node), what=f"{node} says {words}", timeout=20, poll=0.1)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("file", f"{FILES}/number holds 1: -50"),
        ("process", "checked-daemon not running: -50"),
        ("tcp", f"127.0.0.1 port {PORT}: Connection refused: -50"),
        ("script", "look ended with status 1: user 65533 Cap"),
    ],
)
def test_what_a_node_sees_moves_the_vip_and_the_status_says_why(checked, kind, reason):
    master = serve(checked, track=[ON_NODE[kind]])
    spoil(checked, master, kind)
    wait_for(lambda: checked.master("web") not in ("", master), what="another master", timeout=30, poll=0.1)
    told(checked, master, reason)
    if kind == "script":  # whose own words tell what it was allowed
        words = said(checked, master).replace("\t", " ")
        assert "CapEff: 0000000000000000" in words
        assert "CapBnd: 0000000000000000" in words
        assert "NoNewPrivs: 1" in words
        assert "No such file or directory" in words  # /var/run/secrets
    assert checked.condition("web", "Degraded")[0] == "False"
    mend(checked, master, kind)
    wait_for(lambda: checked.holders(ADDRESS) == [master], what="it is back", timeout=30, poll=0.1)


def processes(product: Installation, node: str, words: str) -> list[int]:
    """The processes (as this side counts) of the node's speaker whose command line contains these words."""
    uid = product.speakers()[node]["metadata"]["uid"].replace("-", "")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            group = (folder / "cgroup").read_text().replace("-", "").replace("_", "")
            command = (folder / "cmdline").read_text().replace("\0", " ")
            if uid in group and words in command:
                found.append(int(folder.name))
    return found


def container(product: Installation, node: str, name: str) -> dict[str, Any]:
    statuses = product.speakers()[node]["status"]["containerStatuses"]
    return next(s for s in statuses if s["name"] == name)


def restarted(product: Installation, node: str, name: str, *, after: int) -> bool:
    status = container(product, node, name)
    return status["restartCount"] > after and status["ready"]


def test_what_runs_the_checks_is_killed_and_nothing_moves(checked):
    master = serve(checked, track=[ON_NODE["script"], ON_NODE["tcp"]])
    count = container(checked, master, "checks")["restartCount"]
    with Holders(ADDRESS, [checked.cluster.host(n.name) for n in checked.cluster.nodes]) as held:
        for pid in processes(checked, master, "vip-speaker checks"):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: restarted(checked, master, "checks", after=count), what="it runs again", timeout=60, poll=0.2)
    assert {change.holders for change in held.changes} == {frozenset({master})}
    moves_and_comes_back(checked, master, "script")  # so they are carried out again


def test_a_guard_that_is_not_the_first_process_is_killed_and_one_router_runs_again(checked):
    master = serve(checked)
    count = container(checked, master, "router")["restartCount"]
    (guard,) = processes(checked, master, "guard_program")
    os.kill(guard, signal.SIGKILL)
    wait_for(lambda: restarted(checked, master, "router", after=count), what="it runs again", timeout=60, poll=0.2)
    wait_for(lambda: checked.holders(ADDRESS) == [master], what="it is back", timeout=60, poll=0.1)
    checked.settled("web")
    # the guard's own command line names the router's, which it starts
    assert len(processes(checked, master, "-m vip_speaker.router")) == 2


def test_the_api_server_is_down_and_checks_still_move_the_vip_while_facts_stay(checked):
    pods = {"name": "pods", "weight": -20, "pods": {"namespace": "default", "selector": {"matchLabels": {"app": "no"}}}}
    checked.serve("web", ADDRESS, virtualRouterID=51, track=[*ON_NODE.values(), pods], onCordon="Demote")
    well(checked, less=20)
    said_by_all(checked, "0 of 1 pods ready")
    master = checked.master("web")
    checked.cluster.stop_api()
    try:
        for kind in ON_NODE:
            moves_and_comes_back(checked, master, kind)
        said_by_all(checked, "0 of 1 pods ready (stale)")
        assert checked.holders(ADDRESS) == [master]
    finally:
        checked.cluster.start_api()
    checked.cluster.wait_ready()
    checked.settled("web")
    said_by_all(checked, "0 of 1 pods ready")
    assert checked.master("web") == master


def said_by_all(product: Installation, reason: str) -> None:
    """Wait until the router of every node says exactly this about the check `pods`."""

    def all_say() -> bool:
        return {parts(product, node.name).get("pods") for node in product.cluster.nodes} == {reason}

    wait_for(all_say, what=f"every router says {reason}", timeout=60, poll=0.5)


def parts(product: Installation, name: str) -> dict[str, str]:
    """What each check says on a node, by the router's own state file: the API server may be away."""
    node = product.cluster.node(name)
    find = "cat /var/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir/state/*.json 2>/dev/null || true"
    found: dict[str, str] = {}
    decoder, text = json.JSONDecoder(), node.exec("sh", "-c", find).strip()
    while text:
        document, end = decoder.raw_decode(text)
        text = text[end:].strip()
        if document.get("name") == "web":
            contributions = (document.get("priorityParts") or {}).get("contributions", ())
            found = {c["name"]: c["reason"] for c in contributions}
    return found


def served_pods(product: Installation) -> list[dict[str, Any]]:
    container = {"name": "it", "image": "localhost/busybox:1"}
    return [
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": f"served-{node.name}", "labels": {"app": "served"}},
            "spec": {"nodeName": node.name, "terminationGracePeriodSeconds": 0, "containers": [container]},
        }
        for node in product.cluster.nodes
    ]  # fmt: skip


def test_the_last_ready_pod_leaves_the_node_and_so_does_the_vip(checked):
    pods = {"namespace": "default", "selector": {"matchLabels": {"app": "served"}}}
    checked.cluster.apply(*served_pods(checked))
    try:
        track = [{"name": "served", "weight": -50, "pods": pods}]
        checked.apply("web", ADDRESS, virtualRouterID=51, track=track)
        checked.settled("web")
        everywhere = {n.name: True for n in checked.cluster.nodes}
        wait_for(
            lambda: facts(checked, "served") == everywhere, what="every node has a ready pod", timeout=60, poll=0.3
        )
        well(checked)
        master = checked.master("web")
        checked.cluster.kubectl("delete", "pod", f"served-{master}", "--now", "--wait=false")
        wait_for(lambda: checked.master("web") not in ("", master), what="the VIP leaves", timeout=30, poll=0.1)
        assert facts(checked, "served")[checked.master("web")]
        told(checked, master, "0 of 1 pods ready: -50")
    finally:
        checked.cluster.kubectl("delete", "pod", "-l", "app=served", "--now", "--ignore-not-found")


def set_condition(product: Installation, node: str, status: str) -> None:
    condition = {"type": "Checked", "status": status, "reason": "Test", "message": ""}
    patch = json.dumps({"status": {"conditions": [condition]}})
    product.cluster.kubectl("patch", "node", node, "--subresource=status", "--type=strategic", f"--patch={patch}")


def test_a_condition_of_the_node_moves_the_vip(checked):
    for node in checked.cluster.nodes:
        set_condition(checked, node.name, "True")
    master = serve(checked, track=[{"name": "own", "weight": -50, "node": {"condition": "Checked"}}])
    set_condition(checked, master, "False")
    wait_for(lambda: checked.master("web") not in ("", master), what="the VIP leaves", timeout=30, poll=0.1)
    told(checked, master, "Checked is False: -50")
    set_condition(checked, master, "True")
    wait_for(lambda: checked.holders(ADDRESS) == [master], what="it is back", timeout=30, poll=0.1)


@contextlib.contextmanager
def cordoned(product: Installation, *command: str) -> Iterator[None]:
    """Between `kubectl cordon` (or another command) and `kubectl uncordon`; the node is the command's last word."""
    product.cluster.kubectl(*command)
    try:
        yield
    finally:
        product.cluster.kubectl("uncordon", command[-1])


@pytest.mark.parametrize(("policy", "state"), [("Demote", "BACKUP"), ("Release", "INIT")])
def test_a_cordoned_master_gives_the_vip_up_by_its_policy_and_takes_it_back(checked, policy, state):
    master = serve(checked, onCordon=policy)
    with Holders(ADDRESS, [checked.cluster.host(n.name) for n in checked.cluster.nodes]) as held:
        with cordoned(checked, "cordon", master):
            wait_for(lambda: entry(checked, master).get("state") == state, what=f"it is {state}", timeout=30, poll=0.1)
            told(checked, master, "the node is cordoned")
            wait_for(lambda: checked.master("web") not in ("", master), what="another master", timeout=10, poll=0.1)
        wait_for(lambda: checked.holders(ADDRESS) == [master], what="it is back", timeout=30, poll=0.1)
    assert all(change.holders for change in held.changes), "a planned move leaves no moment without a holder"
    checked.settled("web")


def test_a_cordoned_master_keeps_the_vip_unless_told_otherwise(checked):
    master = serve(checked)
    first = [{"nodeSelector": {"matchLabels": {"kubernetes.io/hostname": master}}, "priority": 250}]
    checked.apply("told", OTHER, virtualRouterID=52, onCordon="Release", priority=200, priorities=first)
    checked.settled("told")
    wait_for(lambda: checked.master("told") == master, what="told is on the same node", timeout=30, poll=0.1)
    hosts = [checked.cluster.host(n.name) for n in checked.cluster.nodes]
    with Holders(ADDRESS, hosts) as held, cordoned(checked, "cordon", master):
        # the other VIP shows when the cordon has come through
        wait_for(lambda: master not in checked.holders(OTHER), what="told moves", timeout=30, poll=0.1)
    assert {change.holders for change in held.changes} == {frozenset({master})}
    assert "facts" not in entry(checked, master)


def test_a_drained_master_loses_no_packet(checked):
    master = serve(checked, onCordon="Demote")
    drain = ("drain", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s", master)
    with Probe(checked.cluster.host("client"), ADDRESS) as probe:
        time.sleep(0.5)  # to have something before the move
        with cordoned(checked, *drain):
            wait_for(
                lambda: checked.holders(ADDRESS) not in ([master], []), what="another holder", timeout=30, poll=0.1
            )
            wait_for(lambda: master not in checked.holders(ADDRESS), what="it is let go of", timeout=10, poll=0.1)
        wait_for(lambda: checked.holders(ADDRESS) == [master], what="it is back", timeout=30, poll=0.1)
        time.sleep(0.5)
    assert probe.sent > 1000
    assert probe.lost == 0


def test_a_node_that_is_to_serve_nobody_from_outside_hands_over_where_that_is_asked_for(checked):
    label = "node.kubernetes.io/exclude-from-external-load-balancers"
    selector = {"matchExpressions": [{"key": label, "operator": "DoesNotExist"}]}
    master = serve(checked, nodeSelector=selector)
    with Holders(ADDRESS, [checked.cluster.host(n.name) for n in checked.cluster.nodes]) as held:
        checked.cluster.kubectl("label", "node", master, f"{label}=")
        try:
            wait_for(lambda: checked.master("web") not in ("", master), what="another master", timeout=30, poll=0.1)
            wait_for(lambda: len(checked.status("web")["nodes"]) == 2, what="two take part", timeout=30, poll=0.1)
        finally:
            checked.cluster.kubectl("label", "node", master, f"{label}-")
        checked.settled("web")
    assert all(change.holders for change in held.changes), "a planned move leaves no moment without a holder"


def test_scripts_may_come_from_a_configmap(installation):
    script = {"look": "#!/bin/sh\necho as $(id -u)\n"}
    metadata = {"name": "scripts", "namespace": NAMESPACE}
    installation.cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": script},
    )
    try:
        installation.restore("--set", "speaker.scripts.enabled=true", "--set", "speaker.scripts.configMap=scripts")
        # above 0 a weight is added by a run that succeeded, and by nothing else
        installation.serve("web", ADDRESS, virtualRouterID=51, track=[ON_NODE["script"] | {"weight": 50}])
        well(installation, less=-50)
        missing = {"name": "other", "weight": -20, "script": {"name": "other", "interval": "200ms"}}
        installation.apply("web", ADDRESS, virtualRouterID=51, track=[missing])
        for node in installation.cluster.nodes:
            told(installation, node.name, "there is no other in /scripts: -20")
    finally:
        installation.delete_vips()
        installation.cluster.kubectl("delete", "configmap", "scripts", "-n", NAMESPACE)
