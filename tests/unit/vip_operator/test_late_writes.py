"""An operator's write arrives when another operator has long gone on (docs/decisions/late-writes.md).

Any one write of the way from new VirtualIPs to served ones, and of a rollout; it arrives when its successor is done.
"""

import pytest
from vip_operator.plan.changes import ApplyStatus
from vip_operator.plan.daemonset import Template

from tests.operator_world import FakeCluster, manifest

VIPS = ("web", "db", "mail")
NODES = ("a", "b", "c")


def begun():
    cluster = FakeCluster(*NODES)
    for name in VIPS:
        cluster.add_vip(name)
    return cluster


def settle(cluster):
    for _ in range(10):
        if not cluster.step().changes:
            return
        unique(cluster)
    raise AssertionError("it does not settle")


def serve(cluster):
    settle(cluster)
    for name in cluster.vips:
        if cluster.vrid(name) is None:
            cluster.listened(name)
    settle(cluster)
    for name in cluster.vips:
        cluster.elect(name)
    settle(cluster)


def unique(cluster):
    given = [vrid for name in cluster.vips if (vrid := cluster.vrid(name)) is not None]
    assert len(given) == len(set(given)), given
    for name in cluster.vips:
        values = list(cluster.priorities(name).values())
        assert len(values) == len(set(values)), (name, values)


def outcome(cluster):
    """All but the order of the nodes: a priority that was given stays, also one that came late."""
    return {
        name: (
            cluster.vrid(name), sorted(cluster.priorities(name)),
            cluster.condition("Ready", name), cluster.condition("Accepted", name),
        )
        for name in cluster.vips
    }  # fmt: skip


def stages(cluster):
    """Where the operator that is held up may plan: before each, speakers and people have done something."""
    yield
    for name in VIPS:
        cluster.listened(name)
    yield
    for name in VIPS:
        cluster.elect(name)
    yield
    cluster.nodes["d"] = cluster.nodes["a"] | {"metadata": {"name": "d", "labels": {}}}
    cluster.add_pod("d")
    yield
    cluster.edit("web", maxNodes=1)
    yield
    cluster.template = Template(config_map="kube-vrrp-speaker", config_map_uid="cm", manifest=manifest("speaker:2"))
    yield


def held_up(write):
    """The cluster in which this write, by its number, did not arrive, and the write; None when there are not so many.

    What the operator planned after it has arrived: calls go out beside each other.
    """
    cluster, before = begun(), 0
    for _ in stages(cluster):
        for _ in range(10):
            changes = cluster.plan().changes
            if before + len(changes) > write:
                late = changes[write - before]
                for change in changes:
                    if change is not late:
                        cluster.carry_out(change)
                return cluster, late
            for change in changes:
                cluster.carry_out(change)
            before += len(changes)
            if not changes:
                break
    return None


def nothing(_cluster):
    pass


def a_node_is_lost(cluster):
    cluster.nodes.pop("b")
    cluster.pods.pop("b", None)


def a_node_comes(cluster):
    cluster.add_node("e")


def an_edit(cluster):
    cluster.edit("db", priority=100)


def a_vip_is_made_anew(cluster):
    del cluster.vips["mail"]
    cluster.add_vip("mail")


MEANWHILE = (nothing, a_node_is_lost, a_node_comes, an_edit, a_vip_is_made_anew)


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_no_vrid_or_priority_is_ever_twice_and_every_vip_is_served_in_the_end(meanwhile):
    write = 0
    while (held := held_up(write)) is not None:
        cluster, late = held
        meanwhile(cluster)
        serve(cluster)
        expected, given = outcome(cluster), {name: cluster.priorities(name) for name in VIPS}
        cluster.carry_out(late)
        unique(cluster)
        serve(cluster)
        assert outcome(cluster) == expected, (write, late)
        if meanwhile is nothing:
            assert {name: cluster.priorities(name) for name in VIPS} == given, (write, late)
        write += 1
    assert write >= 18
    assert cluster.plan().changes == ()


def test_a_vrid_that_somebody_else_was_given_meanwhile_is_twice_until_the_next_plan():
    """The exception: a document that came meanwhile and asks for exactly the one that the late write gives."""
    write = tried = 0
    while (held := held_up(write)) is not None:
        cluster, late = held
        write += 1
        if not isinstance(late, ApplyStatus) or cluster.vrid(late.vip) == late.status.get("virtualRouterID"):
            continue
        vrid = late.status["virtualRouterID"]
        cluster.add_vip("asks", virtualRouterID=vrid)
        serve(cluster)
        assert cluster.vrid("asks") == vrid
        other = cluster.vrid(late.vip)
        assert other not in (None, vrid)
        cluster.carry_out(late)
        assert cluster.vrid(late.vip) == vrid
        cluster.step()
        settle(cluster)
        unique(cluster)
        assert cluster.vrid("asks") == vrid, "a document that names it goes before one that does not"
        tried += 1
    assert tried == len(VIPS)
