"""The facts that the operator hands to the speakers: node conditions, ready pods, cordoning."""

import pytest
from vip_api.model import CORDON_FACT, LabelRequirement, LabelSelector
from vip_operator.plan.facts import MAX_REASON, queries
from vip_operator.plan.selectors import as_query
from vip_operator.plan.world import PodQuery

from tests.operator_world import FakeCluster

PODS = {"name": "web", "weight": -20, "pods": {"namespace": "shop", "selector": {"matchLabels": {"app": "web"}}}}
QUERY = PodQuery(namespace="shop", selector=LabelSelector(match_labels=(("app", "web"),)))


def cluster_with(**spec) -> FakeCluster:
    cluster = FakeCluster("node1", "node2")
    cluster.add_vip(virtualRouterID=51, **spec)
    return cluster


def facts(cluster: FakeCluster, node: str) -> dict[str, dict]:
    entry = next(e for e in cluster.status()["nodes"] if e["node"] == node)
    return {f["name"]: f for f in entry.get("facts", ())}


def condition(cluster: FakeCluster, node: str, kind: str, status: str, message: str = "") -> None:
    conditions = cluster.nodes[node]["status"]["conditions"]
    conditions[:] = [c for c in conditions if c["type"] != kind]
    conditions.append({"type": kind, "status": status, "message": message})


def test_a_vip_that_asks_for_none_has_none():
    cluster = cluster_with(track=[{"name": "link", "interface": {"name": "eth9"}}])
    cluster.settle()
    assert all("facts" not in e for e in cluster.status()["nodes"])


@pytest.mark.parametrize(
    ("status", "value"), [("True", True), ("False", False), ("Unknown", False), (None, False)], ids=str
)
def test_a_node_condition_is_a_fact_about_each_node(status, value):
    cluster = cluster_with(track=[{"name": "disk", "reverse": True, "node": {"condition": "DiskPressure"}}])
    if status is not None:
        condition(cluster, "node1", "DiskPressure", status)
    condition(cluster, "node2", "DiskPressure", "False")
    cluster.settle()
    reason = f"DiskPressure is {status}" if status else "the node has no condition DiskPressure"
    assert facts(cluster, "node1") == {"disk": {"name": "disk", "value": value, "reason": reason}}
    assert not facts(cluster, "node2")["disk"]["value"]


def test_ready_pods_are_counted_on_each_node_and_against_the_minimum():
    cluster = cluster_with(track=[PODS, {**PODS, "name": "two", "pods": {**PODS["pods"], "minReady": 2}}])
    cluster.ready_pods[QUERY] = {"node1": 1}
    cluster.settle()
    assert facts(cluster, "node1")["web"] == {"name": "web", "value": True, "reason": "at least 1 ready"}
    assert facts(cluster, "node1")["two"] == {"name": "two", "value": False, "reason": "1 of 2 pods ready"}
    assert facts(cluster, "node2")["web"] == {"name": "web", "value": False, "reason": "0 of 1 pods ready"}
    cluster.ready_pods[QUERY] = {"node1": 7}
    cluster.settle()
    assert facts(cluster, "node1")["two"]["value"]
    cluster.ready_pods[QUERY] = {"node1": 8}
    assert cluster.plan().changes == (), "one pod more is no news"


def test_pods_that_cannot_be_listed_leave_the_last_fact_stale_and_the_condition_says_why():
    cluster = cluster_with(track=[PODS])
    cluster.pod_problems[QUERY] = "pods of namespace shop: the operator may not list them"
    cluster.settle()
    assert facts(cluster, "node1") == {}, "what was never known is no fact"
    assert cluster.condition("Degraded") == ("True", "PodsUnknown")
    assert "may not list" in cluster.message("Degraded")
    cluster.pod_problems.clear()
    cluster.ready_pods[QUERY] = {"node1": 1}
    cluster.settle()
    assert cluster.condition("Degraded")[0] == "False"
    del cluster.ready_pods[QUERY]
    cluster.settle()
    assert facts(cluster, "node1")["web"] == {
        "name": "web", "value": True, "reason": "at least 1 ready", "stale": True,
    }  # fmt: skip
    cluster.ready_pods[QUERY] = {"node1": 1}
    cluster.settle()
    assert "stale" not in facts(cluster, "node1")["web"]


@pytest.mark.parametrize("policy", ["Demote", "Release"])
def test_cordon_drain_shutdown_and_removal_are_one_fact(policy):
    cluster = cluster_with(onCordon=policy)
    cluster.settle()
    assert facts(cluster, "node1") == {
        CORDON_FACT: {"name": CORDON_FACT, "value": False, "reason": "the node takes new pods"}
    }
    cluster.nodes["node1"]["spec"] = {"unschedulable": True}
    cluster.settle()
    assert facts(cluster, "node1")[CORDON_FACT]["value"]
    assert not facts(cluster, "node2")[CORDON_FACT]["value"]
    cluster.nodes["node1"]["spec"] = {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}
    cluster.settle()
    assert "about to be removed" in facts(cluster, "node1")[CORDON_FACT]["reason"]
    cluster.nodes["node1"]["spec"] = {"taints": [{"key": "example.com/mine", "effect": "NoSchedule"}]}
    cluster.settle()
    assert not facts(cluster, "node1")[CORDON_FACT]["value"]
    condition(cluster, "node1", "Ready", "False", message="node is shutting down")
    cluster.settle()
    assert facts(cluster, "node1")[CORDON_FACT]["reason"] == "the node is shutting down"


def test_cordoning_is_no_fact_where_it_is_to_change_nothing():
    cluster = cluster_with()
    cluster.settle()
    cluster.nodes["node1"]["spec"] = {"unschedulable": True}
    assert cluster.plan().changes == ()


def test_a_check_that_is_called_cordoned_and_the_cordon_are_two_facts():
    cluster = cluster_with(onCordon="Demote", track=[{"name": "cordoned", "node": {"condition": "Ready"}}])
    cluster.nodes["node1"]["spec"] = {"unschedulable": True}
    cluster.settle()
    assert facts(cluster, "node1")["cordoned"]["reason"] == "Ready is True"
    assert facts(cluster, "node1")[CORDON_FACT]["reason"] == "the node is cordoned"


def test_no_check_can_have_the_name_of_the_cordon():
    cluster = cluster_with(onCordon="Demote", track=[{"name": CORDON_FACT, "node": {"condition": "Ready"}}])
    cluster.settle()
    assert cluster.condition("Accepted") == ("False", "Invalid")


def test_a_document_that_does_not_parse_keeps_the_facts_of_the_one_before():
    cluster = cluster_with(onCordon="Demote")
    cluster.settle()
    before = facts(cluster, "node1")
    cluster.edit("web", addresses=["nonsense"])
    cluster.settle()
    assert facts(cluster, "node1") == before


def test_a_refused_edit_keeps_the_facts_of_the_document_before_and_cordoning_goes_on():
    cluster = cluster_with(track=[PODS], onCordon="Release")
    cluster.add_vip("other", addresses=["192.168.137.250"])
    cluster.ready_pods = {QUERY: {"node1": 1}}
    cluster.settle()
    before = facts(cluster, "node2")
    assert not before["web"]["value"]
    cluster.edit("web", addresses=["192.168.137.250"], track=[], onCordon="Keep")
    cluster.nodes["node2"]["spec"] = {"unschedulable": True}
    cluster.settle()
    assert cluster.condition("Accepted") == ("False", "AddressConflict")
    assert facts(cluster, "node2")["web"] == before["web"]
    assert facts(cluster, "node2")[CORDON_FACT]["value"]


def test_a_fact_ends_with_its_check():
    cluster = cluster_with(track=[{"name": "disk", "node": {"condition": "Ready"}}])
    cluster.settle()
    cluster.edit("web", track=[])
    cluster.settle()
    assert facts(cluster, "node1") == {}


def test_reasons_fit_the_schema():
    cluster = cluster_with(track=[{"name": "long", "node": {"condition": f"{'a' * 250}/{'b' * 60}"}}])
    cluster.settle()
    assert len(facts(cluster, "node1")["long"]["reason"]) == MAX_REASON


def test_equal_selectors_are_one_query():
    cluster = cluster_with(track=[PODS, {**PODS, "name": "again"}, {"name": "n", "node": {"condition": "Ready"}}])
    cluster.add_vip("other", track=[PODS])
    assert queries(v.spec for v in cluster.world().vips if v.spec is not None) == {QUERY}


def test_a_selector_as_the_api_takes_it():
    expressions = [("a", "In", ("x", "y")), ("b", "NotIn", ("z",)), ("c", "Exists", ()), ("d", "DoesNotExist", ())]
    selector = LabelSelector(
        match_labels=(("app", "web"),),
        match_expressions=tuple(LabelRequirement(key=k, operator=o, values=v) for k, o, v in expressions),
    )
    assert as_query(selector) == "app=web,a in (x,y),b notin (z),c,!d"
    assert as_query(LabelSelector()) == ""
