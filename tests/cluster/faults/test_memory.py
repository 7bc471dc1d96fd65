"""An agent at the limit of its memory."""

from pathlib import Path

import pytest

from tests.cluster.faults.witness import holders, moves, serve_first
from tests.netns import wait_for

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"


def agent(product, node):
    """The process ID of the agent on a node, as this side counts."""
    uid = product.speakers()[node]["metadata"]["uid"].replace("-", "")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            group = (entry / "cgroup").read_text().replace("-", "").replace("_", "")
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if uid in group and b"agent" in command:
            return int(entry.name)
    raise AssertionError(f"no agent on {node}")


def tighten(pid):
    """Lower the memory limit of a process' group to what it cannot do without."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    version1 = next((path for _, controllers, path in lines if "memory" in controllers.split(",")), None)
    if version1 is None:
        limit = Path(f"/sys/fs/cgroup{lines[0][2]}/memory.max")
    else:
        limit = Path(f"/sys/fs/cgroup/memory{version1}/memory.limit_in_bytes")
    size = 64 << 20
    for step in (1 << 20, 1 << 16):
        try:
            while size > step:
                limit.write_text(str(size - step))
                size -= step
        except OSError:
            continue  # so much less cannot be reclaimed


def ballast(number):
    """A VirtualIP that no node serves, and that every agent keeps in its memory."""
    return {
        "apiVersion": "kube-vrrp.io/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": f"ballast-{number}", "annotations": {"fill": "x" * 100_000}},
        "spec": {"addresses": [f"10.9.0.{number}"], "nodeSelector": {"matchLabels": {"no": "node"}}},
    }


def last_end(product, node):
    statuses = product.speakers()[node]["status"]["containerStatuses"]
    own = next(s for s in statuses if s["name"] == "agent")
    return own["restartCount"], own.get("lastState", {}).get("terminated", {}).get("reason")


def test_the_agent_is_killed_for_its_memory_and_nothing_changes_on_the_wire(product):
    master = serve_first(product, "web", ADDRESS)
    count, _ = last_end(product, master)
    since = {e["node"]: e["since"] for e in product.status("web")["nodes"]}
    with holders(product, ADDRESS) as held:
        tighten(agent(product, master))
        turn = 0

        def killed():
            nonlocal turn
            turn += 1
            product.cluster.apply(ballast(turn))
            return last_end(product, master)[0] > count

        wait_for(killed, what="the kernel ended it", timeout=60, poll=0.2)
        assert last_end(product, master)[1] == "OOMKilled"
        product.apply("web", ADDRESS, preemptDelay="1s")
        generation = product.cluster.get("vip", "web")["metadata"]["generation"]
        wait_for(
            lambda: all(e.get("observedGeneration") == generation for e in product.status("web")["nodes"]),
            what="its successor carries out the edit", timeout=90, poll=0.2,
        )  # fmt: skip
    assert moves(held) == [{master}]
    assert {e["node"]: e["since"] for e in product.status("web")["nodes"]} == since
    product.renew_speaker(master)
