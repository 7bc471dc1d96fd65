"""Documents to values: what the model holds, which problems are told at once, and that nothing raises."""

import json
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_api.document import parse_remarked
from vip_api.fields import MAX_PROBLEMS
from vip_api.model import (
    Announcements,
    Assignment,
    Fact,
    LabelRequirement,
    LabelSelector,
    NodePriority,
    OnCordon,
    Peer,
    Problem,
    SecretKeyRef,
    Track,
    Transport,
    VirtualAddress,
    VirtualIP,
    VirtualIPSpec,
)
from vip_api.parse import document_name, load_documents, parse_document
from vip_api.spec import SPEC
from vip_api.track import KINDS

from tests.documents import whole


def parsed(spec: dict[str, Any], *, lone: bool = False, **top: Any) -> VirtualIP:
    vip = parse_document(whole(spec) | top, lone=lone)
    assert isinstance(vip, VirtualIP), vip
    return vip


def refused(document: object, *, lone: bool = False) -> dict[str, str]:
    problems = parse_document(document, lone=lone)
    assert isinstance(problems, list)
    assert problems
    return {problem.path: problem.message for problem in problems}


def test_the_shortest_document_gets_every_default():
    assert parsed({"addresses": ["192.168.137.200"]}) == VirtualIP(
        name="web", spec=VirtualIPSpec(addresses=(VirtualAddress(ip=IPv4Address("192.168.137.200")),))
    )


def test_every_field_arrives():
    selector = {
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [{"key": "c", "operator": "In", "values": ["x"]}, {"key": "d", "operator": "Exists"}],
    }
    vip = parsed(
        {
            "addresses": ["10.0.0.7/24", "fe80::7"],
            "interfaces": ["eth0", "en*"],
            "virtualRouterID": 51.0,
            "advertisementInterval": "1.25s",
            "priority": 200,
            "priorities": [{"nodeSelector": selector, "priority": 100}],
            "preempt": True,
            "preemptDelay": "1.005s",
            "nodeSelector": {},
            "maxNodes": 3,
            "transport": "Unicast",
            "virtualMAC": True,
            "announcements": {"repeat": 1, "delay": "10ms", "refresh": "0s"},
            "track": [{"name": "a", "weight": -5, "reverse": True, "file": {"path": "/a"}}],
            "onCordon": "Release",
        }
    )
    expected = LabelSelector(
        match_labels=(("a", "1"), ("b", "2")),
        match_expressions=(
            LabelRequirement(key="c", operator="In", values=("x",)),
            LabelRequirement(key="d", operator="Exists"),
        ),
    )
    assert vip.spec == VirtualIPSpec(
        addresses=(
            VirtualAddress(ip=IPv4Address("10.0.0.7"), prefix_length=24),
            VirtualAddress(ip=IPv6Address("fe80::7")),
        ),
        interfaces=("eth0", "en*"),
        virtual_router_id=51,
        advertisement_interval_ms=1250,
        priority=200,
        priorities=(NodePriority(node_selector=expected, priority=100),),
        preempt_delay_ms=1005,
        node_selector=LabelSelector(),
        max_nodes=3,
        transport=Transport.UNICAST,
        virtual_mac=True,
        announcements=Announcements(repeat=1, delay_ms=10, refresh_ms=0),
        track=(Track(name="a", kind="file", check=(("path", "/a"), ("exists", False)), weight=-5, reverse=True),),
        on_cordon=OnCordon.RELEASE,
    )
    assert [str(address) for address in vip.spec.addresses] == ["10.0.0.7/24", "fe80::7"]


def test_generation_and_uid_are_kept():
    metadata = {"name": "web", "generation": 7, "uid": "u-1", "managedFields": [{}]}
    vip = parsed({"addresses": ["10.0.0.7"]}, metadata=metadata, status={"anything": [1]})
    assert (vip.generation, vip.uid) == (7, "u-1")


def test_authentication_makes_it_version_2():
    vip = parsed({"addresses": ["10.0.0.7"], "authentication": {"passwordSecretRef": {"name": "a", "key": "b"}}})
    assert vip.spec.version == 2
    assert vip.spec.authentication is not None
    assert vip.spec.authentication.password_secret_ref == SecretKeyRef(name="a", key="b")


def test_a_password_does_not_show():
    vip = parsed({"addresses": ["10.0.0.7"], "authentication": {"password": "sesame"}})
    assert "sesame" not in repr(vip)
    problems = refused(whole({"addresses": ["10.0.0.7"], "authentication": {"password": "sesame-open"}}))
    assert "sesame" not in repr(problems)


def test_the_agents_assignment():
    assignment = {
        "priority": 254,
        "virtualRouterID": 51,
        "password": "1111",
        "peers": [
            {"node": "node2", "priority": 252, "address": "10.0.0.2", "effectivePriority": 202},
            {"node": "node3", "priority": 250},
        ],
        "facts": [{"name": "a", "value": True}, {"name": "b", "value": False, "reason": "gone", "stale": True}],
    }
    assert parsed({"addresses": ["10.0.0.7"]}, assignment=assignment).assignment == Assignment(
        priority=254,
        virtual_router_id=51,
        password="1111",
        peers=(
            Peer(node="node2", priority=252, address=IPv4Address("10.0.0.2"), effective_priority=202),
            Peer(node="node3", priority=250),
        ),
        facts=(Fact(name="a", value=True), Fact(name="b", value=False, reason="gone", stale=True)),
    )
    assert parsed({"addresses": ["10.0.0.7"]}, assignment={}).assignment == Assignment()


def test_a_field_of_a_newer_version_in_what_an_operator_accepted_is_a_remark_and_no_problem():
    document = whole({"addresses": ["10.0.0.7"], "colour": "red", "announcements": {"loud": True}})
    assert set(refused(document)) == {"spec.colour", "spec.announcements.loud"}
    document |= {"assignment": {"priority": 254, "x": 1}, "more": {}}
    parsed, remarks = parse_remarked(document)
    assert parsed == parse_document(whole({"addresses": ["10.0.0.7"]}) | {"assignment": {"priority": 254}})
    assert {r.path for r in remarks} == {"spec.colour", "spec.announcements.loud", "assignment.x", "more"}
    (loaded,) = load_documents(json.dumps(document), source="a")
    assert (loaded.vip, loaded.problems) == (parsed, tuple(remarks))


def test_what_else_is_wrong_stays_wrong_beside_a_field_of_a_newer_version():
    unknown_kind = {"name": "a", "newKind": {}}
    document = whole({"addresses": ["10.0.0.7"], "track": [unknown_kind]}) | {"assignment": {"priority": 254}}
    assert set(refused(document)) == {"spec.track[0]"}
    (loaded,) = load_documents(json.dumps(document), source="a")
    assert loaded.vip is None
    assert [str(p).partition(":")[0] for p in loaded.problems] == ["spec.track[0].newKind", "spec.track[0]"]


def test_a_bad_assignment_is_told():
    document = whole({"addresses": ["10.0.0.7"]}) | {"assignment": {"priority": 256, "peers": [{"node": "a"}], "x": 1}}
    assert refused(document) == {
        "assignment.priority": "must be between 1 and 255",
        "assignment.peers[0].priority": "is required",
    }


LONE_ONLY = [
    ({"transport": "Unicast", "unicastPeers": ["10.0.0.1", "10.0.0.2"]}, "spec.unicastPeers"),
    ({"authentication": {"passwordFile": "/etc/password"}}, "spec.authentication.passwordFile"),
]
CLUSTER_ONLY = [
    ({"nodeSelector": {}}, "spec.nodeSelector"),
    ({"priorities": []}, "spec.priorities"),
    ({"authentication": {"passwordSecretRef": {"name": "a", "key": "b"}}}, "spec.authentication.passwordSecretRef"),
    ({"track": [{"name": "a", "node": {"condition": "Ready"}}]}, "spec.track[0].node"),
    ({"track": [{"name": "a", "pods": {"namespace": "a", "selector": {}}}]}, "spec.track[0].pods"),
]


@pytest.mark.parametrize(("fields", "path"), LONE_ONLY)
def test_what_only_a_lone_router_takes(fields, path):
    spec = {"addresses": ["10.0.0.7"]} | fields
    assert parsed(spec, lone=True)
    (found,) = refused(whole(spec)).items()
    assert found == (path, "unknown field: only a router on its own, outside a cluster, takes this")


@pytest.mark.parametrize(("fields", "path"), CLUSTER_ONLY)
def test_what_only_an_operator_acts_on(fields, path):
    spec = {"addresses": ["10.0.0.7"]} | fields
    assert parsed(spec)
    (found,) = refused(whole(spec), lone=True).items()
    assert found[0] == path
    assert found[1].startswith("only an operator in a cluster acts on this")


@pytest.mark.parametrize(("fields", "path"), CLUSTER_ONLY)
def test_an_assignment_makes_it_a_document_of_the_cluster(fields, path):
    assert parsed({"addresses": ["10.0.0.7"]} | fields, lone=True, assignment={})


def test_peers_of_a_lone_router():
    spec = {"addresses": ["10.0.0.7"], "transport": "Unicast", "unicastPeers": ["10.0.0.1", "10.0.0.2"]}
    assert parsed(spec, lone=True).spec.unicast_peers == (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"))
    assert refused(whole(spec | {"transport": "Multicast"}), lone=True) == {
        "spec.unicastPeers": "go with transport: Unicast only"
    }
    assert refused(whole(spec | {"unicastPeers": ["10.0.0.1/24", "10.0.0.2"]}), lone=True) == {
        "spec.unicastPeers[0]": '"10.0.0.1/24": must be an IPv4 or IPv6 address'
    }
    assert refused(whole(spec | {"unicastPeers": []}), lone=True) == {
        "spec.unicastPeers": "must have between 1 and 254 entries"
    }


def test_unicast_without_peers():
    spec = {"addresses": ["10.0.0.7"], "transport": "Unicast"}
    assert parsed(spec).spec.unicast_peers is None
    assert list(refused(whole(spec), lone=True)) == ["spec.unicastPeers"]


def test_peers_of_the_other_family():
    spec = {"addresses": ["fe80::7"], "transport": "Unicast", "unicastPeers": ["fe80::1", "10.0.0.1"]}
    (found,) = refused(whole(spec), lone=True).items()
    assert found == ("spec.unicastPeers[1]", "must be of the family of the first address, in which the election runs")


def test_a_password_file_beside_a_password():
    spec = {"addresses": ["10.0.0.7"], "authentication": {"password": "a", "passwordFile": "/a"}}
    assert list(refused(whole(spec), lone=True)) == ["spec.authentication"]


def test_all_problems_at_once():
    spec = {
        "addresses": ["10.0.0.300", "10.0.0.7", "::1", "10.0.0.7/24"],
        "version": 2,
        "adresses": [],
        "priority": 0,
        "advertisementInterval": "1.5s",
        "preempt": False,
        "preemptDelay": "1s",
        "track": [{"name": "a"}, {"name": "a", "file": {}}],
    }
    assert set(refused(whole(spec) | {"metadata": {"generation": "x", "uid": 5}, "extra": 1, 7: 8})) == {
        "extra",
        "7",
        "metadata.name",
        "metadata.generation",
        "metadata.uid",
        "spec.addresses[0]",
        "spec.addresses[2]",
        "spec.addresses[3]",
        "spec.adresses",
        "spec.priority",
        "spec.advertisementInterval",
        "spec.preemptDelay",
        "spec.track[0]",
        "spec.track[1]",
        "spec.track[1].file.path",
    }


def test_a_message_says_what_was_found():
    assert refused(whole({"addresses": ["10.0.0.300"]}))["spec.addresses[0]"].startswith('"10.0.0.300": must be')
    message = refused(whole({"addresses": ["10.0.0.7"], "interfaces": ["\x1b[2J/" + "x" * 59]}))["spec.interfaces[0]"]
    assert "\x1b" not in message
    long = refused(whole({"addresses": ["10.0.0.7"], "track": [{"name": "X" * 100, "file": {"path": "/a"}}]}))
    assert "…" in long["spec.track[0].name"]


@pytest.mark.parametrize("document", [None, [], "VirtualIP", 5, b"bytes"])
def test_not_a_mapping(document):
    assert list(refused(document)) == [""]


def test_another_kind_is_not_looked_into():
    assert list(refused({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []}})) == ["apiVersion", "kind"]
    assert refused({}) == {"apiVersion": "is required", "kind": "is required"}


def test_metadata_of_any_shape():
    for metadata in (None, [], "web"):
        document = whole({"addresses": ["10.0.0.7"]}) | {"metadata": metadata}
        assert refused(document) == {"metadata.name": "is required"}


def test_half_a_surrogate_pair():
    spec = {"addresses": ["10.0.0.7"], "authentication": {"password": "a\ud800"}}
    assert "surrogate" in refused(whole(spec))["spec.authentication.password"]


def test_keys_that_are_not_text():
    spec = {"addresses": ["10.0.0.7"], "nodeSelector": {"matchLabels": {5: "a"}}, None: 1}
    assert refused(whole(spec)) == {
        "spec.None": "unknown field",
        "spec.nodeSelector.matchLabels": "must have text as its keys, not a number: put it in quotes",
    }


def test_too_many_labels():
    labels = {f"a{n}": "b" for n in range(17)}
    found = refused(whole({"addresses": ["10.0.0.7"], "nodeSelector": {"matchLabels": labels}}))
    assert found == {"spec.nodeSelector.matchLabels": "must have at most 16 entries"}


def test_values_that_only_python_has():
    found = refused(whole({"addresses": ["10.0.0.7"], "priority": object(), "interfaces": b"eth0"}))
    assert found["spec.priority"] == "must be a whole number, not object"
    assert refused(whole({"addresses": ["10.0.0.7"], "priority": float("inf")}))


def test_the_number_of_problems_is_bounded():
    problems = parse_document(whole({f"field{n}": 1 for n in range(1000)}))
    assert isinstance(problems, list)
    assert len(problems) == MAX_PROBLEMS
    assert str(problems[-1]) == "more is wrong than is worth a list"


def test_a_problem_in_words():
    assert str(Problem(path="spec.x", message="is wrong")) == "spec.x: is wrong"


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"metadata": {"name": "web"}}, "web"),
        ({"metadata": {"name": "We b"}}, None),
        ({"metadata": {"name": 5}}, None),
        ({"metadata": []}, None),
        ([], None),
    ],
)
def test_the_name_of_a_document_that_is_refused(document, name):
    assert document_name(document) == name


_KNOWN = sorted({*SPEC.fields, *KINDS, "name", "weight", "password", "url", "host", "path", "matchLabels", "key"})
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["10.0.0.7", "::1", "1s", "2.5s", "10ms", "\ud800", "http://[", "eth0", "PASS"])
    | st.sampled_from([1, 2, 3, 10**400])
)
_ANYTHING = st.recursive(
    _SCALARS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(_KNOWN) | st.text(max_size=3), below, max_size=4)
    ),
    max_leaves=12,
)
_TOPS = st.fixed_dictionaries(
    {"spec": st.dictionaries(st.sampled_from(_KNOWN), _ANYTHING, max_size=6)},
    optional={"metadata": _ANYTHING, "assignment": _ANYTHING, "status": _ANYTHING},
)


@settings(max_examples=400, deadline=None)
@given(document=_ANYTHING | _TOPS.map(lambda top: whole({}) | top), lone=st.booleans())
def test_whatever_json_holds_gives_a_document_or_problems(document, lone):
    result = parse_document(document, lone=lone)
    if isinstance(result, list):
        assert result
        assert all(isinstance(problem, Problem) for problem in result)
        assert all("\n" not in str(problem.message) for problem in result)
    else:
        assert isinstance(result, VirtualIP)
    document_name(document)
