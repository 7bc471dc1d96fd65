"""A bug of ours that one document brings out, in the whole router on a virtual node."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from vip_api.model import VirtualIP
from vip_api.parse import parse_document
from vip_speaker.router.bulkhead import Bugs
from vip_speaker.vrrp.types import SECOND, Role

from tests.unit.vip_speaker.router.story import Story


@pytest.fixture(name="buggy")
def _buggy(story: Story) -> Iterator[Story]:
    """Where a router goes on, which the simulation does not, to find them."""
    with mock.patch("vip_speaker.router.bulkhead.log.exception"):
        yield story


def spoil(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is at `where` meets a document about 10.0.0.66 with an exception that nobody expects."""
    module, _, name = where.rpartition(".")
    sound = getattr(importlib.import_module(module), name)

    def spoilt(what: Any, *arguments: Any, **options: Any) -> Any:
        if "10.0.0.66" in str(what):
            raise TypeError("a bug")
        return sound(what, *arguments, **options)

    monkeypatch.setattr(where, spoilt)


READING, RESOLVING, APPLYING = (
    "vip_speaker.router.manifests.load_documents",
    "vip_speaker.router.daemon.resolve",
    "vip_speaker.router.instance.find_places",
)


@pytest.mark.parametrize("where", [READING, RESOLVING, APPLYING])
def test_a_bug_that_one_document_brings_out_stops_no_other_vip(
    buggy: Story, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(where, monkeypatch)
    buggy.write("bad", "10.0.0.66", virtualRouterID=1)
    buggy.write("good", "10.0.0.100", virtualRouterID=2)
    buggy.host.run_for(SECOND)
    assert buggy.state("bad")["state"] == "FAULT"
    assert "InternalError" in str(buggy.state("bad")["problems"])
    assert buggy.role("good") is Role.MASTER
    buggy.write("good", "10.0.0.101", virtualRouterID=2)
    buggy.write("later", "10.0.0.102", virtualRouterID=3)
    buggy.host.run_for(SECOND)
    assert buggy.on(buggy.eth0) == {"10.0.0.101/32", "10.0.0.102/32"}
    buggy.write("bad", "10.0.0.67", virtualRouterID=1)
    buggy.host.run_for(SECOND)
    assert buggy.role("bad") is Role.MASTER
    assert "InternalError" not in str(buggy.state("bad"))


@pytest.mark.parametrize("where", [READING, RESOLVING])
def test_an_edit_that_brings_out_a_bug_leaves_the_document_before_in_force(
    buggy: Story, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    buggy.write("web", "10.0.0.100", virtualRouterID=1)
    buggy.host.run_for(SECOND)
    spoil(where, monkeypatch)
    buggy.write("web", "10.0.0.66", virtualRouterID=1)
    buggy.host.run_for(SECOND)
    assert (buggy.role("web"), buggy.on(buggy.eth0)) == (Role.MASTER, {"10.0.0.100/32"})
    assert "InternalError" in str(buggy.state("web")["problems"])
    monkeypatch.undo()
    buggy.host.run_for(61 * SECOND)
    if where == RESOLVING:  # a file is read again once it changes
        assert buggy.on(buggy.eth0) == {"10.0.0.66/32"}, "whatever else played a part in it is another now"
        assert "InternalError" not in str(buggy.state("web"))


def test_a_bug_half_way_through_an_edit_gives_the_addresses_up(buggy: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in force is not known then; another node is to serve."""
    buggy.write("web", "10.0.0.100", virtualRouterID=1)
    buggy.write("other", "10.0.0.101", virtualRouterID=2)
    buggy.host.run_for(SECOND)
    spoil(APPLYING, monkeypatch)
    buggy.write("web", "10.0.0.66", virtualRouterID=1)
    buggy.host.run_for(SECOND)
    assert (buggy.role("web"), buggy.on(buggy.eth0)) == (Role.FAULT, {"10.0.0.101/32"})
    monkeypatch.undo()
    buggy.host.run_for(61 * SECOND)
    assert buggy.on(buggy.eth0) == {"10.0.0.66/32", "10.0.0.101/32"}


def test_an_edit_that_cannot_be_encoded_gives_the_addresses_up(buggy: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """What gives them up is encoded already: under the identity of before."""
    buggy.write("web", "10.0.0.100", virtualRouterID=1)
    buggy.write("other", "10.0.0.101", virtualRouterID=2)
    buggy.host.run_for(SECOND)
    spoil("vip_speaker.router.channel.encode_frame", monkeypatch)
    sent: list[bytes] = []
    buggy.host.sent = lambda _ifindex, frame: sent.append(frame)
    buggy.write("web", "10.0.0.66", virtualRouterID=1)
    buggy.host.run_for(SECOND)
    assert (buggy.role("web"), buggy.on(buggy.eth0)) == (Role.FAULT, {"10.0.0.101/32"})
    vrid_and_priority = slice(14 + 20 + 1, 14 + 20 + 3)
    assert [one for one in sent if one[vrid_and_priority] == bytes([1, 0])], "priority 0"
    assert buggy.role("other") is Role.MASTER
    monkeypatch.undo()
    buggy.host.run_for(61 * SECOND)
    assert buggy.on(buggy.eth0) == {"10.0.0.66/32", "10.0.0.101/32"}


def test_a_bug_in_giving_up_after_a_bug_stops_no_other_vip(buggy: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent then; nothing stays on the link either."""

    def give_up(*_: object) -> None:
        raise TypeError("another bug")

    buggy.write("web", "10.0.0.100", virtualRouterID=1)
    buggy.write("other", "10.0.0.101", virtualRouterID=2)
    buggy.host.run_for(SECOND)
    spoil(APPLYING, monkeypatch)
    monkeypatch.setattr(buggy.host.daemon.instances["web"], "_set_fault", give_up)
    buggy.write("web", "10.0.0.66", virtualRouterID=1)
    buggy.host.run_for(SECOND)
    assert (buggy.role("web"), buggy.on(buggy.eth0)) == (Role.FAULT, {"10.0.0.101/32"})
    assert "InternalError" in str(buggy.state("web"))
    buggy.listen_for(2 * SECOND, vrid=1, priority=50, address="10.0.0.66")
    assert buggy.on(buggy.eth0) == {"10.0.0.101/32"}
    monkeypatch.undo()
    buggy.host.run_for(61 * SECOND)
    assert buggy.on(buggy.eth0) == {"10.0.0.66/32", "10.0.0.101/32"}


@pytest.fixture(name="edited")
def _edited(buggy: Story, monkeypatch: pytest.MonkeyPatch) -> Story:
    """`web` is MASTER with 10.0.0.100, and its edit to 10.0.0.66 cannot be understood."""
    spoil(RESOLVING, monkeypatch)
    buggy.write("web", "10.0.0.100", virtualRouterID=1)
    buggy.host.run_for(SECOND)
    buggy.write("web", "10.0.0.66", virtualRouterID=1)
    buggy.host.run_for(SECOND)
    assert (buggy.role("web"), buggy.on(buggy.eth0)) == (Role.MASTER, {"10.0.0.100/32"})
    return buggy


def test_a_document_whose_edit_met_a_bug_follows_its_link(edited: Story) -> None:
    edited.host.node.set_carrier(edited.eth0, carrier=False)
    edited.host.run_for(SECOND)
    assert (edited.role("web"), edited.on(edited.eth0)) == (Role.FAULT, set())
    edited.host.node.set_carrier(edited.eth0, carrier=True)
    edited.host.run_for(SECOND)
    assert edited.role("web") is Role.MASTER
    edited.host.node.pull_out(edited.eth0)
    edited.host.run_for(SECOND)
    assert edited.role("web") is Role.FAULT
    edited.eth0 = edited.host.node.plug_in("eth0", "10.0.0.1/24")
    edited.host.run_for(SECOND)
    assert (edited.role("web"), edited.on(edited.eth0)) == (Role.MASTER, {"10.0.0.100/32"})
    assert "InternalError" in str(edited.state("web")["problems"])


def test_a_document_whose_edit_met_a_bug_follows_its_checks(buggy: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of the edit; and no check begins anew because another one moves."""
    eth1, eth2 = (buggy.host.node.plug_in(name) for name in ("eth1", "eth2"))

    def write(address: str, *, interface: str) -> None:
        checks = [{"name": "uplink", "weight": 0, "interface": {"name": interface}}]
        buggy.write("web", address, virtualRouterID=1, track=checks)
        buggy.host.run_for(SECOND)

    spoil(RESOLVING, monkeypatch)
    write("10.0.0.100", interface="eth1")
    write("10.0.0.66", interface="eth2")
    buggy.host.node.set_carrier(eth2, carrier=False)
    buggy.host.run_for(SECOND)
    assert buggy.role("web") is Role.MASTER
    buggy.host.node.set_carrier(eth1, carrier=False)
    buggy.host.run_for(SECOND)
    assert buggy.role("web") is Role.FAULT
    buggy.host.node.set_carrier(eth1, carrier=True)
    buggy.host.run_for(SECOND)
    assert buggy.role("web") is Role.MASTER


def test_a_document_whose_edit_met_a_bug_goes_when_its_file_does(edited: Story) -> None:
    edited.host.remove("web")
    edited.host.run_for(5 * SECOND)
    assert (edited.on(edited.eth0), edited.host.daemon.instances) == (set(), {})


def test_an_edit_that_met_a_bug_is_tried_again_after_a_minute_whatever_else_changes(
    edited: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for number in range(70):
        edited.write("other", f"10.0.0.{110 + number % 2}", virtualRouterID=2)
        edited.host.node.give(edited.eth0, f"192.168.{number}.1/24")
        edited.host.run_for(SECOND)
    assert "10.0.0.66/32" in edited.on(edited.eth0)
    assert "10.0.0.100/32" not in edited.on(edited.eth0)


@pytest.mark.parametrize("where", [RESOLVING, APPLYING])
def test_a_bug_is_logged_once_a_minute_and_with_another_document(
    story: Story, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at every link that comes and goes."""
    spoil(where, monkeypatch)
    with mock.patch("vip_speaker.router.bulkhead.log.exception") as logged:
        story.write("bad", "10.0.0.66", virtualRouterID=1)
        for number in range(50):
            story.host.node.pull_out(story.host.node.plug_in(f"veth{number}"))
            story.host.run_for(SECOND)
        assert logged.call_count == 1
        story.write("bad", "10.0.0.66", virtualRouterID=2)
        story.host.run_for(SECOND)
        assert logged.call_count == 2
        story.host.run_for(120 * SECOND)
        assert 3 <= logged.call_count <= 6, "that of the document before, too"


def test_a_bug_is_noted_whatever_is_in_the_document() -> None:
    """A check's fields may be mappings, which have no hash."""
    http = {"name": "up", "weight": -1, "http": {"url": "http://10.0.0.9/", "expect": {"status": [200]}}}
    spec = {"addresses": ["10.0.0.100"], "virtualRouterID": 1, "track": [http]}
    vip = parse_document(
        {"apiVersion": "kube-vrrp.io/v1alpha1", "kind": "VirtualIP", "metadata": {"name": "web"}, "spec": spec},
        lone=True,
    )
    assert isinstance(vip, VirtualIP)
    bugs = Bugs()
    with mock.patch("vip_speaker.router.bulkhead.log.exception") as said:
        for now_ns in (0, SECOND, bugs.RETRY_NS):
            bugs.met(vip, now_ns)
    assert said.call_count == 2
    assert "InternalError" in bugs.problems["web"]
