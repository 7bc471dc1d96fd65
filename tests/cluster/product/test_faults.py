"""What dies on a node, one thing at a time: the pod, the router, its guard, the agent; and what is lost in the API."""

import os
import signal
from pathlib import Path

import pytest

from tests.cluster.installation import is_ready
from tests.netns import wait_for
from tests.watch import Holders

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"
COMMANDS = {"guard": "guard_program", "router": "-m vip_speaker.router", "agent": "vip-speaker agent"}


def process(product, node, part):
    """The process ID, as this side counts, of a part of the speaker on a node."""
    uid = product.speakers()[node]["metadata"]["uid"].replace("-", "")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            group = (entry / "cgroup").read_text().replace("-", "").replace("_", "")
            command = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        # the guard's command line names the router's, which it starts
        if uid in group and COMMANDS[part] in command and (part == "guard") == (COMMANDS["guard"] in command):
            return int(entry.name)
    return None


def restarts(product, node, container):
    statuses = product.speakers()[node]["status"]["containerStatuses"]
    return next(s["restartCount"] for s in statuses if s["name"] == container)


def holders(product):
    return Holders(ADDRESS, [product.cluster.host(n.name) for n in product.cluster.nodes])


def moves(held):
    """Who held the address, one after the other."""
    return [change.holders for change in held.changes]


def test_the_master_s_speaker_pod_is_deleted_and_its_successor_takes_over_and_hands_back(product):
    master = product.serve("web", ADDRESS)
    before = {n: p["metadata"]["uid"] for n, p in product.speakers().items()}
    pod = product.speakers()[master]["metadata"]
    with holders(product) as held:
        product.cluster.kubectl("delete", "pod", pod["name"], "-n", pod["namespace"], "--wait=false")
        wait_for(lambda: held.changes[-1].holders not in ({master}, set()), what="a successor", timeout=30)
        product.wait_for_new_speaker(master, not_=before[master])
        wait_for(lambda: product.holders(ADDRESS) == [master], what="the address is back", timeout=60, poll=0.1)
    assert all(moves(held)), "a planned move leaves no moment without a holder"
    product.settled("web")
    after = {n: p["metadata"]["uid"] for n, p in product.speakers().items()}
    assert {n for n in before if before[n] != after[n]} == {master}


def test_the_router_is_killed_and_its_guard_starts_another(product):
    master = product.serve("web", ADDRESS)
    old = process(product, master, "router")
    with holders(product) as held:
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: process(product, master, "router") not in (None, old), what="another router", timeout=30)
        product.settled("web")
        wait_for(lambda: product.holders(ADDRESS) == [master], what="the address is back", timeout=60, poll=0.1)
    assert any(change.holders - {master} for change in held.changes), "another node had it meanwhile"
    assert restarts(product, master, "router") == 0


def test_the_guard_is_killed_and_the_container_starts_anew(product):
    master = product.serve("web", ADDRESS)
    count = restarts(product, master, "router")
    with holders(product) as held:
        os.kill(process(product, master, "guard"), signal.SIGKILL)
        wait_for(lambda: held.changes[-1].holders - {master}, what="another holder", timeout=30)
        wait_for(
            lambda: restarts(product, master, "router") > count and is_ready(product.speakers()[master]),
            what="the container runs again", timeout=90, poll=0.2,
        )  # fmt: skip
        wait_for(lambda: product.holders(ADDRESS) == [master], what="the address is back", timeout=60, poll=0.1)
    product.settled("web")
    product.renew_speaker(master)


def test_the_agent_is_killed_and_nothing_moves(product):
    master = product.serve("web", ADDRESS)
    count = restarts(product, master, "agent")
    since = {e["node"]: e["since"] for e in product.status("web")["nodes"]}
    with holders(product) as held:
        os.kill(process(product, master, "agent"), signal.SIGKILL)
        wait_for(lambda: restarts(product, master, "agent") > count, what="the agent runs again", timeout=90, poll=0.2)
        product.apply("web", ADDRESS, preempt=False)  # it listens again
        wait_for(
            lambda: all(e["observedGeneration"] == 2 for e in product.status("web")["nodes"]),
            what="every node has the new document", timeout=30, poll=0.1,
        )  # fmt: skip
    assert moves(held) == [{master}]
    assert {e["node"]: e["since"] for e in product.status("web")["nodes"]} == since
    product.renew_speaker(master)


def test_a_status_that_was_wiped_is_adopted_from_the_speakers_and_nothing_moves(product):
    master = product.serve("web", ADDRESS)
    status = product.status("web")
    wipe = '[{"op": "remove", "path": "/status"}]'
    with holders(product) as held:
        product.cluster.kubectl("patch", "vip", "web", "--subresource=status", "--type=json", f"--patch={wipe}")
        wait_for(lambda: product.status("web").get("virtualRouterID"), what="a VRID is decided", timeout=60, poll=0.1)
        product.settled("web")
    again = product.status("web")
    assert again["virtualRouterID"] == status["virtualRouterID"]
    assert priorities(again) == priorities(status)
    assert moves(held) == [{master}]
    assert {e["node"]: e["since"] for e in again["nodes"]} == {e["node"]: e["since"] for e in status["nodes"]}


def priorities(status):
    return {e["node"]: e["priority"] for e in status["nodes"]}
