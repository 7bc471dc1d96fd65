"""The operator is killed between any two writes of a plan; the next one goes on from what there is."""

import pytest
from vip_operator.plan.changes import ApplyStatus

from tests.operator_world import FakeCluster

VIPS = ("web", "db", "mail")


def begun(*, explicit=None):
    cluster = FakeCluster("a", "b", "c")
    for name in VIPS:
        cluster.add_vip(name, **({"virtualRouterID": explicit} if explicit and name == "mail" else {}))
    return cluster


def run(cluster, killed_after=None):
    """From the first plan to VIPs that are served; the operator dies once, after that many writes in all. Whether it
    did.
    """
    left = killed_after

    def settle():
        nonlocal left
        for _ in range(10):
            planned = cluster.step(limit=left)
            unique(cluster)
            if left is not None and len(planned.changes) > left:
                left = None  # dead; the next operator knows only what the API has
                continue
            if left is not None:
                left -= len(planned.changes)
            if not planned.changes:
                return
        raise AssertionError("it does not settle")

    settle()
    for name in VIPS:
        cluster.listened(name)
    settle()
    for name in VIPS:
        cluster.elect(name)
    settle()
    return killed_after is not None and left is None


def unique(cluster):
    given = [cluster.vrid(name) for name in VIPS if cluster.vrid(name) is not None]
    assert len(given) == len(set(given)), given
    for name in VIPS:
        values = list(cluster.priorities(name).values())
        assert len(values) == len(set(values)), (name, values)


def outcome(cluster):
    return {
        name: (
            cluster.vrid(name), cluster.priorities(name), cluster.status(name)["master"],
            cluster.condition("Ready", name), cluster.condition("Accepted", name),
        )
        for name in VIPS
    }  # fmt: skip


@pytest.mark.parametrize("explicit", [None, 7])
def test_after_any_number_of_writes_the_next_operator_comes_to_the_same_end(explicit):
    whole = begun(explicit=explicit)
    run(whole)
    expected = outcome(whole)
    for writes in range(50):
        cluster = begun(explicit=explicit)
        if not run(cluster, killed_after=writes):
            break
        assert outcome(cluster) == expected, f"killed after {writes} writes"
        assert cluster.plan().changes == ()
    assert 8 <= writes < 50, "it was never killed in the midst of a plan"


def test_an_edit_that_was_carried_out_by_half_is_carried_out_by_the_next_one():
    expected = None
    for writes in range(4):
        cluster = begun()
        run(cluster)
        for name in VIPS:
            cluster.edit(name, maxNodes=2)
        planned = cluster.step(limit=writes)
        assert sum(isinstance(c, ApplyStatus) for c in planned.changes) == 3
        cluster.settle()
        result = {name: (cluster.vrid(name), cluster.priorities(name)) for name in VIPS}
        expected = expected or result
        assert result == expected
