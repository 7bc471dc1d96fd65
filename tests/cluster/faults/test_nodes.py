"""What becomes of nodes: their power, their labels, their objects, their coming and going, and how many take part."""

import time

import pytest

from tests.capture import settled as quiet
from tests.cluster.faults.witness import field_managers, holders, moves, priorities, serve_first, writes
from tests.netns import wait_for
from tests.probe import Probe
from tests.scene import DOUBLES, HANDING_OVER_MS
from tests.watch import Asker

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"
OTHER = "192.168.137.221"
LABEL = "kube-vrrp.test/edge"


@pytest.fixture
def labelled(product):
    """Gives nodes a label, and takes all of them away afterwards."""
    yield lambda node, value: product.cluster.kubectl("label", "node", node, f"{LABEL}={value}", "--overwrite")
    product.cluster.kubectl("label", "nodes", "--all", f"{LABEL}-")


@pytest.fixture
def add_node(product):
    """Adds a node and waits for its speaker; it is removed afterwards, unless the test did."""
    before = {node.name for node in product.cluster.nodes}

    def add():
        node = product.cluster.add_node()
        product.wait_for_speakers()
        return node.name

    yield add
    for node in {node.name for node in product.cluster.nodes} - before:
        product.cluster.remove_node(node)
        # Kubernetes' own garbage collection takes up to a minute, for which the next test would wait
        lost = ("pods", "--all-namespaces", f"--field-selector=spec.nodeName={node}")
        product.cluster.kubectl("delete", *lost, "--force", "--grace-period=0")


def next_node(product, priority):
    """The part of a document that prefers the node which is added next."""
    selector = {"matchLabels": {"kubernetes.io/hostname": f"node{len(product.cluster.nodes) + 1}"}}
    return {"priority": 200, "priorities": [{"nodeSelector": selector, "priority": priority}]}


def no_write_war(product, *, at_most):
    """Our accounts come to rest, and stay there."""
    quiet(lambda: len(writes(product)), quiet=2)
    before = len(writes(product))
    time.sleep(15)
    war = [(w["verb"], w["requestURI"]) for w in writes(product)[before:]]
    assert len(war) <= at_most, war


def owned_by(product, node):
    """The field managers of the node's speaker."""
    return [manager for manager in field_managers(product, "web") if manager.endswith(node)]


def served_by(product, name, *nodes):
    """Whether exactly these nodes take part, one as MASTER, and all is well."""
    entries = {e["node"]: e.get("state") for e in product.status(name).get("nodes", ())}
    states = ["BACKUP"] * (len(nodes) - 1) + ["MASTER"]
    return set(entries) == set(nodes) and sorted(map(str, entries.values())) == states and product.ready(name)


def handed_over(held):
    """As planned moves are: at no moment without a holder, and a short one with two, of which one is silent."""
    assert held.longest(holders=0) == 0, held.spells()
    assert held.longest(holders=2) <= HANDING_OVER_MS, held.spells()


def test_a_node_loses_its_power_and_comes_back(product):
    """kubelet, containerd, speaker and network at once: no question is answered twice but in the way back."""
    master = serve_first(product, "web", ADDRESS)
    with Asker(product.cluster.host("client"), ADDRESS) as asker:
        product.cluster.power_off(master)
        try:
            wait_for(lambda: product.master("web") not in ("", master), what="another master", timeout=30)
            second = product.master("web")
            # the API believes the dead node until its lease has expired: the status says which reports are old
            wait_for(
                lambda: {e["node"]: e["reporting"] for e in product.status("web")["nodes"]}[master] == "Unknown",
                what="the status says that the node does not report", timeout=90, poll=0.3,
            )  # fmt: skip
            assert product.ready("web")
            assert priorities(product.status("web"))[master] == 254
        finally:
            back_ns = time.monotonic_ns()
            product.cluster.power_on(master)
        product.cluster.wait_ready()
        product.wait_for_speakers()
        wait_for(lambda: product.master("web") == master, what="it takes the VIP back", timeout=120, poll=0.3)
    product.settled("web")
    assert second != master
    assert [when for when, _ in asker.doubles() if when < back_ns] == []
    assert len(asker.doubles(since_ns=back_ns)) <= DOUBLES["kube-vrrp"], "it is handed over"


def test_a_node_loses_the_label_that_a_virtual_ip_asks_for_and_hands_over(product, labelled):
    nodes = [n.name for n in product.cluster.nodes]
    for node in nodes:
        labelled(node, "yes")
    first = serve_first(product, "web", ADDRESS, nodeSelector={"matchLabels": {LABEL: "yes"}})
    with holders(product, ADDRESS) as held:
        labelled(first, "no")
        others = set(nodes) - {first}
        wait_for(lambda: served_by(product, "web", *others), what="the others serve", timeout=30, poll=0.1)
        wait_for(lambda: not owned_by(product, first), what="it owns nothing in the status any more", timeout=10)
        labelled(first, "yes")
        product.settled("web")
    handed_over(held)


def test_two_virtual_ips_whose_nodes_swap(product, labelled):
    one, two = product.cluster.nodes[0].name, product.cluster.nodes[1].name
    labelled(one, "a")
    labelled(two, "b")
    product.apply("web", ADDRESS, nodeSelector={"matchLabels": {LABEL: "a"}})
    product.apply("db", OTHER, nodeSelector={"matchLabels": {LABEL: "b"}})
    wait_for(lambda: served_by(product, "web", one) and served_by(product, "db", two), what="both are up", timeout=60)
    vrids = [product.status(name)["virtualRouterID"] for name in ("web", "db")]
    with holders(product, ADDRESS) as web, holders(product, OTHER) as db:
        product.cluster.kubectl("label", "node", one, f"{LABEL}=b", "--overwrite")
        product.cluster.kubectl("label", "node", two, f"{LABEL}=a", "--overwrite")
        wait_for(lambda: served_by(product, "web", two) and served_by(product, "db", one), what="swapped", timeout=60)
        wait_for(lambda: (web.now, db.now) == ({two}, {one}), what="each has the other's node", timeout=30)
    assert [product.status(name)["virtualRouterID"] for name in ("web", "db")] == vrids
    assert len(set(vrids)) == 2
    assert max(web.longest(holders=2), db.longest(holders=2)) <= HANDING_OVER_MS


def test_more_nodes_than_max_nodes_and_a_change_of_it_moves_nothing(product):
    product.apply("web", ADDRESS, maxNodes=1)
    wait_for(lambda: len(product.status("web").get("nodes", ())) == 1 and product.ready("web"), what="one", timeout=60)
    master = product.master("web")
    with holders(product, ADDRESS) as held:
        product.apply("web", ADDRESS, maxNodes=3)
        product.settled("web")
        product.apply("web", ADDRESS, maxNodes=2)
        wait_for(lambda: len(product.status("web")["nodes"]) == 2 and product.ready("web"), what="two", timeout=30)
    assert moves(held) == [{master}]
    assert product.master("web") == master


def test_the_node_object_is_deleted_under_a_live_speaker_and_there_is_no_write_war(product):
    master = serve_first(product, "web", ADDRESS)
    others = {n.name for n in product.cluster.nodes} - {master}
    node = product.cluster.node(master)
    try:
        with holders(product, ADDRESS) as held:
            product.cluster.kubectl("delete", "node", master)
            wait_for(lambda: served_by(product, "web", *others), what="the others serve", timeout=60, poll=0.1)
            no_write_war(product, at_most=4)  # its pod is taken away in the meantime
        handed_over(held)
    finally:
        for program in ("kubelet", "kube-proxy"):
            node.machine.stop(program)
        node.start()  # it registers again
        product.cluster.wait_ready()
        product.wait_for_speakers()
    product.settled("web")


def test_a_node_that_is_added_takes_part_below_the_others_and_nothing_moves(product, add_node):
    master = serve_first(product, "web", ADDRESS)
    product.apply("few", OTHER, maxNodes=2)
    wait_for(lambda: len(product.status("few").get("nodes", ())) == 2 and product.ready("few"), what="two", timeout=60)
    before = {name: product.status(name) for name in ("web", "few")}
    with holders(product, ADDRESS) as held, holders(product, OTHER) as few:
        node = add_node()
        product.settled("web")
    given = priorities(before["web"])
    assert priorities(product.status("web")) == {**given, node: min(given.values()) - 2}
    assert priorities(product.status("few")) == priorities(before["few"]), "two is what maxNodes says"
    for name, status in before.items():
        assert product.status(name)["virtualRouterID"] == status["virtualRouterID"]
        assert product.master(name) == status["master"]
    assert moves(held) == [{master}]
    assert moves(few) == [{before["few"]["master"]}]
    assert product.holders(ADDRESS) == [master]


def test_a_node_that_is_added_with_the_best_priority_takes_over_without_a_lost_packet(product, add_node):
    serve_first(product, "web", ADDRESS, **next_node(product, 250))
    before = product.status("web")
    with Probe(product.cluster.host("client"), ADDRESS) as probe:
        node = add_node()
        wait_for(lambda: product.holders(ADDRESS) == [node], what="it has taken over", timeout=60, poll=0.1)
        product.settled("web")
    assert product.master("web") == node
    assert priorities(product.status("web")) == {**priorities(before), node: 250}
    assert product.status("web")["virtualRouterID"] == before["virtualRouterID"]
    assert probe.sent > 1000
    assert probe.lost == 0, f"{probe.lost} of {probe.sent} lost, silence {probe.silence_ms:.0f} ms"


@pytest.mark.parametrize("policy", ["Demote", "Release", "Keep"])
def test_a_node_is_drained_and_removed_without_a_lost_packet_and_leaves_nothing(product, add_node, policy):
    wanted = next_node(product, 250)
    node = add_node()
    others = {n.name for n in product.cluster.nodes} - {node}
    assert serve_first(product, "web", ADDRESS, onCordon=policy, **wanted) == node
    before = product.status("web")
    assert owned_by(product, node)
    with Probe(product.cluster.host("client"), ADDRESS) as probe:
        product.cluster.kubectl("drain", "--ignore-daemonsets", "--delete-emptydir-data", "--force", node)
        if policy == "Keep":
            assert product.holders(ADDRESS) == [node]
            product.cluster.kubectl("delete", "node", node)  # which ends its pod
        wait_for(lambda: set(product.holders(ADDRESS)) <= others, what="it is handed over", timeout=60, poll=0.1)
        product.cluster.remove_node(node)
        wait_for(lambda: served_by(product, "web", *others), what="the others serve", timeout=60, poll=0.1)
    assert probe.sent > 1000
    assert probe.lost == 0, f"{probe.lost} of {probe.sent} lost, silence {probe.silence_ms:.0f} ms"
    assert priorities(product.status("web")) == {n: p for n, p in priorities(before).items() if n != node}
    assert product.status("web")["virtualRouterID"] == before["virtualRouterID"]
    no_write_war(product, at_most=0)
    assert owned_by(product, node) == []
