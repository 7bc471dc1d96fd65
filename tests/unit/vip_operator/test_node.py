"""Nodes, read from API objects."""

import pytest
from vip_operator.plan.node import Node

from tests.operator_world import START


def node(*conditions, **spec):
    status = {"conditions": [{"type": kind, "status": value, **more} for kind, value, more in conditions]}
    return Node.from_object({"metadata": {"name": "a"}, "spec": spec, "status": status}, renewed_at=START)


def test_a_node_of_which_nothing_is_said_is_not_ready():
    found = Node.from_object({"metadata": {"name": "a"}})
    assert found == Node(name="a", ready=False)


def test_conditions_taints_and_the_lease():
    found = node(("Ready", "True", {}), ("DiskPressure", "False", {}), unschedulable=True, taints=[{"key": "k"}])
    assert found == Node(
        name="a",
        conditions={"Ready": "True", "DiskPressure": "False"},
        taints=("k",),
        unschedulable=True,
        renewed_at=START,
    )


@pytest.mark.parametrize(
    ("status", "message", "leaves"),
    [
        ("False", "node is shutting down", True),
        ("False", "container runtime is down", False),
        ("Unknown", "node is shutting down", False),  # the last word of a kubelet that is gone
        ("True", "node is shutting down", False),
    ],
)
def test_the_kubelet_says_in_words_that_its_node_shuts_down(status, message, leaves):
    assert node(("Ready", status, {"message": message})).shutting_down is leaves
