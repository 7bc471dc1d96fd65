"""Addresses that are no virtual ones: a node's own, and the API server's; and what is in force stays accepted."""

from ipaddress import ip_address

import pytest

from tests.operator_world import FakeCluster

OWN = {"node1": "192.168.137.21", "node2": "192.168.137.22", "node3": "192.168.137.23"}


def cluster(*nodes: str) -> FakeCluster:
    made = FakeCluster(*(nodes or OWN))
    for name in made.nodes:
        made.set_addresses(name, OWN[name])
    return made


def only(*names: str):
    return {"matchExpressions": [{"key": "name", "operator": "In", "values": list(names)}]}


def labelled() -> FakeCluster:
    made = cluster()
    for name in made.nodes:
        made.nodes[name]["metadata"]["labels"] = {"name": name}
    return made


def up(made: FakeCluster, **spec) -> str:
    made.add_vip(virtualRouterID=51, **spec)
    made.settle()
    master = made.elect()
    made.settle()
    return master


def test_an_address_of_a_node_is_not_a_virtual_one():
    made = cluster()
    made.add_vip(addresses=["192.168.137.200", "192.168.137.22/24"], virtualRouterID=51)
    made.settle()
    assert made.condition("Accepted") == ("False", "NodeAddress")
    assert made.condition("Ready") == ("False", "NodeAddress")
    assert "192.168.137.22 is the address of node node2;" in made.message("Accepted")
    assert made.priorities() == {}


def test_of_a_node_count_the_addresses_that_it_is_reached_at():
    made = cluster()
    made.nodes["node1"]["status"]["addresses"] = [
        {"type": "ExternalIP", "address": "203.0.113.7"},
        {"type": "Hostname", "address": "192.168.137.21"},
        {"type": "InternalIP", "address": "what is this"},
        {"type": "InternalIP"},
    ]
    made.add_vip("external", addresses=["203.0.113.7"])
    made.add_vip("named", addresses=["192.168.137.21"])
    made.settle()
    assert made.condition("Accepted", "external") == ("False", "NodeAddress")
    assert made.condition("Accepted", "named") == ("True", "Accepted")


def test_the_api_server_s_address_is_not_a_virtual_one():
    made = cluster()
    made.api_server = frozenset({ip_address("192.168.137.1")})
    made.add_vip(addresses=["192.168.137.1"])
    made.add_vip("plane", addresses=["192.168.137.100"])
    made.settle()
    assert made.condition("Accepted") == ("False", "APIServerAddress")
    assert made.condition("Accepted", "plane") == ("True", "Accepted"), "what a control plane is called by"


@pytest.mark.parametrize("where", ["nodeSelector", "priorities"])
def test_the_owner_of_an_address_may_serve_it(where):
    made = labelled()
    if where == "nodeSelector":
        spec = {"priority": 255, "nodeSelector": only("node1")}
    else:
        spec = {"priorities": [{"nodeSelector": only("node1"), "priority": 255}]}
    made.add_vip(addresses=[OWN["node1"]], virtualRouterID=51, **spec)
    made.settle()
    assert made.condition("Accepted") == ("True", "Accepted")
    assert made.condition("Degraded")[0] == "False"
    assert made.priorities()["node1"] == 255


def test_who_is_told_255_must_be_the_one_that_has_the_address():
    made = labelled()
    made.add_vip(addresses=[OWN["node1"]], priority=255, nodeSelector=only("node2"))
    made.add_vip("nobody", addresses=[OWN["node3"]], priority=255, nodeSelector=only("node9"))
    made.settle()
    assert made.condition("Accepted") == ("False", "NodeAddress")
    assert made.condition("Accepted", "nobody") == ("False", "NodeAddress")


def test_an_edit_to_a_node_s_address_leaves_the_document_before_in_force():
    made = cluster()
    up(made, addresses=["192.168.137.200"])
    before = made.priorities()
    made.edit("web", addresses=["192.168.137.21"])
    made.settle()
    assert made.condition("Accepted") == ("False", "NodeAddress")
    assert made.condition("Degraded") == ("True", "NodeAddress")
    assert made.condition("Ready")[0] == "True"
    assert made.priorities() == before
    assert made.status()["acceptedAddresses"] == ["192.168.137.200"]


def test_what_is_still_held_by_the_document_before_is_nobody_else_s():
    made = cluster()
    up(made, addresses=["192.168.137.200"])
    made.edit("web", addresses=["192.168.137.21"])
    made.settle()
    made.advance(1)
    made.add_vip("young", addresses=["192.168.137.200"])
    made.settle()
    assert made.condition("Accepted", "young") == ("False", "AddressConflict")
    made.edit("web", addresses=["192.168.137.201"])
    made.settle()
    assert made.condition("Accepted", "web") == ("True", "Accepted")
    assert made.condition("Accepted", "young") == ("True", "Accepted")


def test_a_node_that_comes_with_the_address_of_a_vip_takes_it_from_nobody():
    made = cluster("node1", "node2")
    up(made, addresses=["192.168.137.23"])
    made.add_node("node3")
    made.set_addresses("node3", "192.168.137.23")
    made.settle()
    assert made.condition("Accepted") == ("True", "Accepted")
    assert made.condition("Degraded") == ("True", "NodeAddress")
    assert "192.168.137.23 is the only IPv4 address that node node3 gives as its own" in made.message("Degraded")


def test_a_node_that_gives_the_address_that_it_holds_as_its_own_does_not_make_it_refused():
    """Some cloud providers list every address that they find on a node."""
    made = cluster()
    master = up(made, addresses=["192.168.137.200", "192.168.137.201"])
    made.set_addresses(master, OWN[master], "192.168.137.200", "192.168.137.201")
    made.settle()
    assert made.condition("Degraded") == ("False", "AllNodesWell")
    made.edit("web", preempt=False, addresses=["192.168.137.200"])
    made.settle()
    assert made.condition("Accepted") == ("True", "Accepted")
    made.edit("web", addresses=["192.168.137.200", "192.168.137.201"])
    made.settle()
    assert made.condition("Accepted") == ("False", "NodeAddress"), "it is not in force any more"


def test_what_an_operator_accepted_that_knew_nothing_of_this_stays_accepted():
    made = cluster()
    for name in made.nodes:
        made.set_addresses(name)
    up(made, addresses=["192.168.137.21"])
    del made.vips["web"]["status"]["acceptedAddresses"]
    made.set_addresses("node1", "192.168.137.21")
    made.settle()
    assert made.condition("Accepted") == ("True", "Accepted")
    assert made.condition("Ready")[0] == "True"
    assert made.status()["acceptedAddresses"] == ["192.168.137.21"]


def test_a_status_that_was_lost_refuses_nothing_that_nodes_carry_out():
    made = cluster()
    master = up(made, addresses=["192.168.137.200"])
    made.vips["web"]["status"] = {}
    made.report("web", master, "MASTER", virtualRouterID=51, observedGeneration=1)
    made.set_addresses(master, "192.168.137.200")
    made.settle()
    assert made.condition("Accepted") == ("True", "Accepted")


def test_what_a_refused_one_still_holds_is_not_given_to_an_older_one_either():
    made = cluster()
    for vrid, (name, address) in enumerate({"old": "201", "other": "202", "young": "203"}.items(), start=1):
        made.add_vip(name, addresses=[f"192.168.137.{address}"], virtualRouterID=vrid)
        made.up(name)
        made.advance(1)
    made.edit("young", addresses=["192.168.137.202"])
    made.settle()
    made.edit("old", addresses=["192.168.137.203"])
    made.settle()
    assert made.condition("Accepted", "young") == ("False", "AddressConflict")
    assert made.condition("Accepted", "old") == ("False", "AddressConflict")
    assert made.status("old")["acceptedAddresses"] == ["192.168.137.201"]
    made.edit("young", addresses=["192.168.137.204"])
    made.settle()
    assert made.condition("Accepted", "young") == ("True", "Accepted")
    assert made.condition("Accepted", "old") == ("True", "Accepted")


def test_two_may_swap_their_addresses_at_once():
    made = cluster()
    made.add_vip("one", addresses=["192.168.137.201"], virtualRouterID=1)
    made.add_vip("two", addresses=["192.168.137.202"], virtualRouterID=2)
    made.settle()
    made.edit("one", addresses=["192.168.137.202"])
    made.edit("two", addresses=["192.168.137.201"])
    made.settle()
    assert made.condition("Accepted", "one") == made.condition("Accepted", "two") == ("True", "Accepted")


def test_who_is_named_as_the_owner_of_an_address_stays_the_same():
    """The plan after it has no change, though the youngest is current by then."""
    made = cluster()
    for name, addresses in {"a": ("53",), "b": ("50", "53"), "c": ("50",)}.items():
        made.add_vip(name, addresses=[f"192.168.137.{last}" for last in addresses])
        made.advance(1)
    made.settle()
    assert made.message("Accepted", "b") == "192.168.137.53 belongs to VirtualIP a"


def test_an_edit_of_something_else_does_not_put_the_addresses_up():
    """With one that asks for them by mistake both came in one commit."""
    made = FakeCluster("node1", "node2")
    made.add_vip("api", addresses=["192.168.137.10"])
    made.advance(10)
    made.add_vip("web", addresses=["192.168.137.20"])
    made.settle()
    for name in ("api", "web"):
        made.listened(name)
    made.settle()
    for name in ("api", "web"):
        made.elect(name)
    made.settle()
    made.edit("web", preempt=False)
    made.edit("api", addresses=["192.168.137.10", "192.168.137.20"])
    made.settle()
    assert made.condition("Accepted", "api") == ("False", "AddressConflict")
    assert made.condition("Accepted", "web") == ("True", "Accepted")
