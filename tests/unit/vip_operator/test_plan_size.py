"""What a plan costs grows with the VirtualIPs and with the nodes, not with their product: function calls are counted,
which no busy machine changes.
"""

import sys
from dataclasses import replace
from types import FrameType

import pytest
from vip_operator.plan import World, plan

from tests.operator_world import FakeCluster, served

PER_VIP = 2000
"""Calls that one VirtualIP with eight nodes may cost. It took 540 when this was written."""


def calls(world: World) -> int:
    """How many functions, ours and built-in ones, one plan calls."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    fresh = replace(world)  # what a world keeps of what it was asked is not given away
    former = sys.getprofile()
    sys.setprofile(note)
    try:
        plan(fresh)
    finally:
        sys.setprofile(former)
    return count


@pytest.fixture(scope="module")
def small() -> FakeCluster:
    return served(50, 30)


def test_a_steady_cluster_costs_little_for_each_virtual_ip_and_less_for_each_node(small):
    cost = calls(small.world())
    assert cost / 50 < PER_VIP
    assert calls(served(200, 30).world()) < 5 * cost
    assert calls(served(50, 120).world()) < 1.5 * cost


def test_a_lost_node_costs_no_more_than_a_steady_cluster_but_for_its_own_virtual_ips(small):
    cost = calls(small.world())
    small.set_ready("node000", False)
    try:
        world = small.world()
        assert 0 < len(plan(world).changes) <= sum("node000" in v.entries for v in world.vips)
        assert calls(world) < 1.5 * cost
    finally:
        small.set_ready("node000", True)


def test_a_selector_that_many_share_is_asked_of_each_node_once():
    assert calls(served(50, 120, nodeSelector={"matchLabels": {}}).world()) / 50 < PER_VIP


def test_new_virtual_ips_rank_each_node_once_at_most():
    nodes, vips = 120, 50
    cluster = FakeCluster(*(f"node{number}" for number in range(nodes)))
    for number in range(vips):
        cluster.add_vip(f"vip{number}")
    # a rank is four calls: the function, its key, the hash and its digest
    assert calls(cluster.world()) < vips * (6 * nodes + PER_VIP)


def test_a_virtual_router_id_is_compared_only_with_those_that_have_the_same():
    cluster = served(200, 10)
    for number in range(50):
        cluster.add_vip(f"more{number}", interfaces=["eth0"])
    cluster.step()
    for number in range(50):
        cluster.listened(f"more{number}")
    # the last ones on a link have to try most of the 255 before they find a free one
    assert calls(cluster.world()) < 250 * PER_VIP + 50 * 255 * 10
