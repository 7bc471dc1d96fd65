"""VirtualIPs, read from API objects: what operator and speakers wrote, told apart, and nonsense left out."""

import json

from vip_operator.plan.virtualip import Entry, Link, Report, Vip

from tests.operator_world import START

SPEC = {"addresses": ["192.168.137.100"]}


def vip(status=None, *, managers=(), spec=SPEC, **metadata):
    return Vip.from_object(
        {
            "apiVersion": "kube-vrrp.io/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": "web", "uid": "u", "managedFields": list(managers), **metadata},
            "spec": spec,
            **({} if status is None else {"status": status}),
        }
    )


def manager(name, fields):
    return {"manager": name, "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:status": fields}}


def test_a_new_one_has_nothing_but_its_document():
    found = vip(generation=3)
    assert found.spec is not None
    assert (found.generation, found.observed_generation, found.entries) == (3, None, {})
    assert (found.owned_status, found.announced_master, found.accepted) == ({"nodes": []}, None, False)


def test_one_that_does_not_parse_says_why():
    found = vip(spec={"addresses": ["nonsense"]})
    assert found.spec is None
    assert [problem.path for problem in found.problems] == ["spec.addresses[0]"]


def test_an_entry_is_the_operators_part_and_the_speakers():
    writer = manager("kube-vrrp-speaker-a", {"f:nodes": {".": {}, "k:" + json.dumps({"node": "a"}): {}}})
    entry = {"node": "a", "priority": 250, "reporting": "True", "state": "MASTER", "effectivePriority": 200}
    found = vip({"nodes": [entry]}, managers=[writer])
    assert found.entries == {
        "a": Entry(
            node="a",
            priority=250,
            owned={"node": "a", "priority": 250, "reporting": "True"},
            report=Report(state="MASTER", effective_priority=200, api_time=START),
            manager="kube-vrrp-speaker-a",
        )
    }
    assert found.owned_status == {"nodes": [{"node": "a", "priority": 250, "reporting": "True"}]}


def test_who_else_writes_into_an_entry_is_not_its_speaker():
    stranger = manager("kubectl", {"f:nodes": {"k:" + json.dumps({"node": "a"}): {}}})
    entry = vip({"nodes": [{"node": "a", "state": "BACKUP"}]}, managers=[stranger]).entries["a"]
    assert (entry.manager, entry.priority, entry.owned) == (None, None, {})
    assert entry.report == Report(state="BACKUP")


def test_nonsense_of_a_speaker_is_left_out():
    link = {"subnets": ["10.0.0.0/24"], "heard": [7, "x"], "alsoFor": ["v"]}
    raw = {"node": "a", "state": "INIT", "effectivePriority": "high", "virtualRouterID": True, "since": "now"}
    linked, odd = vip({"nodes": [{**raw, "link": link}, {**raw, "node": "b", "link": "x"}]}).entries.values()
    assert linked.report == Report(
        state="INIT", link=Link(subnets=("10.0.0.0/24",), heard=frozenset({7}), also_for=("v",))
    )
    assert odd.report == Report(state="INIT")


def test_the_master_is_the_operators_until_a_node_names_itself():
    ours = manager("kube-vrrp-operator", {"f:master": {}})
    theirs = manager("kube-vrrp-speaker-a", {"f:master": {}})
    assert vip({"master": "a"}, managers=[ours, theirs]).announced_master == "a"
    assert vip({"master": "a"}, managers=[theirs]).announced_master is None


def test_the_reason_code_stands_before_the_colon():
    assert Report(state="MASTER", reason="AnotherMaster: 10.0.0.9 advertises").reason_code == "AnotherMaster"
    assert Report(state="BACKUP").reason_code == ""
