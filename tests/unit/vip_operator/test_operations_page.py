"""What docs/operations.md and docs/quickstart.md have people apply is taken, and does what the pages say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from vip_api.parse import parse_document

from tests.documents import whole
from tests.operator_world import FakeCluster

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "operations.md").read_text()
ADDRESSES = ["192.168.137.200"]


def patched(spec: dict[str, Any], number: int) -> dict[str, Any]:
    """The spec after the page's merge patch of this number."""
    patch = json.loads(re.findall(r"^kubectl patch vip web --type=merge -p '(.*)'$", PAGE, re.M)[number])["spec"]
    merged = {k: v for k, v in {**spec, **patch}.items() if v is not None}
    assert not isinstance(parse_document(whole(merged)), list)
    return merged


def a_cluster(*names: str) -> FakeCluster:
    """With the label by which the page chooses nodes."""
    cluster = FakeCluster()
    for name in names:
        cluster.add_node(name, **{"kubernetes.io/hostname": name})
    return cluster


def write(cluster: FakeCluster, spec: dict[str, Any]) -> dict[str, int]:
    """The priorities that follow."""
    if not cluster.vips:
        cluster.add_vip()
    cluster.vips["web"]["spec"] = {}
    cluster.edit("web", **spec)
    cluster.settle()
    return cluster.priorities()


def test_on_cordon_is_as_the_page_has_it():
    assert patched({"addresses": ADDRESSES}, 0) == {"addresses": ADDRESSES, "onCordon": "Demote"}


@pytest.mark.parametrize("others", [("node1", "node3"), ("a", "b", "c", "z")])
def test_a_preferred_node_is_the_first_and_stays_it_when_the_preference_is_taken_back(others):
    cluster, plain = a_cluster("node2", *others), {"addresses": ADDRESSES}
    write(cluster, plain)
    spec = patched(plain, 1)
    given = write(cluster, spec)
    assert given.pop("node2") == 250
    assert max(given.values()) == 200
    assert patched(spec, 2) == plain
    given = write(cluster, plain)
    assert given.pop("node2") == 254 > max(given.values())


def test_without_a_priority_the_nodes_that_no_entry_selects_stand_above_it():
    spec = patched({"addresses": ADDRESSES}, 1)
    del spec["priority"]
    given = write(a_cluster("node1", "node2", "node3"), spec)
    assert given.pop("node2") == 250
    assert sorted(given.values()) == [252, 254]


def tutorial() -> dict[str, Any]:
    """The spec of keepalived's two hosts in the quickstart."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", (DOCS / "quickstart.md").read_text(), re.M | re.S)
    document = yaml.safe_load(text)
    assert not isinstance(parse_document(document), list)
    spec: dict[str, Any] = document["spec"]
    assert not isinstance(parse_document(whole({**spec, "preempt": False, "interfaces": ["eth0"]})), list)
    return spec


def test_the_two_hosts_of_the_tutorial_are_two_whatever_else_is_in_the_cluster():
    assert write(a_cluster("node1", "node2", "node3"), tutorial()) == {"node1": 210, "node2": 200}


def test_without_a_selector_the_other_nodes_stand_above_or_where_priority_says():
    spec = tutorial()
    del spec["nodeSelector"]
    assert write(a_cluster("node1", "node2", "node3"), spec) == {"node1": 210, "node2": 200, "node3": 254}
    spec["priority"] = 100
    assert write(a_cluster("node1", "node2", "node3"), spec) == {"node1": 210, "node2": 200, "node3": 100}


def test_among_many_nodes_only_a_selector_makes_sure_of_two():
    many = [f"node{i}" for i in range(1, 41)]
    spec = tutorial()
    assert write(a_cluster(*many), spec).keys() == {"node1", "node2"}
    del spec["nodeSelector"]
    without = write(a_cluster(*many), spec)
    assert len(without) == 8
    assert not {"node1", "node2"} <= without.keys()
