"""The whole router on a virtual node, clock and LAN: single stories, most of which the simulation found first."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from vip_speaker.health.evaluate import Assessment
from vip_speaker.kernel import KernelError
from vip_speaker.kernel.links import RTM_DELLINK, RTM_NEWADDR, RTM_SETLINK
from vip_speaker.vrrp.types import MS, SECOND, LeavingState, Role
from vip_speaker.will import Frame
from vip_speaker.wire.neighbour import decode_announcement

from tests.simulation.node import SILENCE
from tests.unit.vip_speaker.router.story import Story


def test_an_address_that_was_only_not_renewed_is_still_held(story: Story) -> None:
    """Another one is put back, and the kernel refuses everything: what is on the link must not be forgotten there."""
    story.write("web", "10.0.0.100", "10.0.0.101", virtualRouterID=1)
    story.host.run_for(SECOND)
    assert story.on(story.eth0) == {"10.0.0.100/32", "10.0.0.101/32"}
    story.host.node.refusals = {RTM_NEWADDR: 1000}
    lost = story.eth0.find(ip_address("10.0.0.101"))
    assert lost is not None
    story.host.node.take(story.eth0, lost)
    story.host.run_for(100 * MS)
    assert [str(one) for one in story.host.daemon.instances["web"].holding.assigned] == ["10.0.0.100/32"]
    story.stop()
    assert story.on(story.eth0) == set()


def test_what_a_vip_still_holds_that_lost_its_assignment_is_taken(story: Story) -> None:
    """It waits for a successor elsewhere, and nobody here is to be MASTER beside it; then whoever waited is."""
    assigned = {"priority": 254, "virtualRouterID": 1}
    slow = {"advertisementInterval": "2s", "version": 2}
    story.write("first", "10.0.0.100", assignment=assigned, **slow)
    story.host.run_for(10 * SECOND)
    story.write("second", "10.0.0.100", virtualRouterID=2)
    story.host.run_for(SECOND)
    assert (story.role("first"), story.role("second")) == (Role.MASTER, Role.FAULT)
    story.write("first", "10.0.0.100", assignment={"virtualRouterID": 1}, **slow)
    story.host.run_for(SECOND)
    assert (story.role("first"), story.role("second")) == (Role.MASTER, Role.FAULT), "the first waits for a successor"
    story.host.run_for(2 * SECOND)
    assert (story.role("first"), story.role("second")) == (Role.INIT, Role.MASTER)
    assert story.on(story.eth0) == {"10.0.0.100/32"}


def test_an_ipv6_address_whose_prefix_changes_stays(story: Story) -> None:
    """On a link of its own the first link-local address has the subnet; it goes, and the next one has it."""
    story.write("web", "fe80::100", "fe80::101", "fd00::9", virtualRouterID=1, virtualMAC=True)
    story.host.run_for(SECOND)
    virtual = story.link(f"kv6-{story.eth0.ifindex}-1")
    assert story.on(virtual) == {"fe80::100/64", "fe80::101/128", "fd00::9/128"}
    story.write("web", "fe80::101", "fd00::9", virtualRouterID=1, virtualMAC=True)
    story.host.run_for(100 * MS)
    story.write(
        "web", "fe80::101", "fd00::9", virtualRouterID=1, virtualMAC=True, priority=150
    )  # it looks at its links again
    story.host.run_for(100 * MS)
    assert story.on(virtual) == {"fe80::101/64", "fd00::9/128"}
    assert story.host.daemon.instances["web"].holding.problem == ""


def test_an_ipv6_address_whose_prefix_changes_because_another_is_put_back_is_held_once(story: Story) -> None:
    """What it had before is not on the link, and not to be renewed."""
    story.write("web", "fe80::100", "fe80::101", "fd00::9", virtualRouterID=1, virtualMAC=True)
    story.host.run_for(SECOND)
    virtual = story.link(f"kv6-{story.eth0.ifindex}-1")
    story.write("web", "fe80::101", "fd00::9", virtualRouterID=1, virtualMAC=True)
    story.host.run_for(100 * MS)
    lost = virtual.find(ip_address("fd00::9"))
    assert lost is not None
    story.host.node.take(virtual, lost)
    story.host.run_for(100 * MS)
    assert story.on(virtual) == {"fe80::101/64", "fd00::9/128"}
    assert {str(one) for one in story.host.daemon.instances["web"].holding.assigned} == story.on(virtual)


def test_a_faster_vip_is_renewed_in_time_beside_a_slow_one(story: Story) -> None:
    """Its addresses last less long than those that were there before."""
    story.write("slow", "10.0.0.100", virtualRouterID=1, advertisementInterval="10s")
    story.host.run_for(45 * SECOND)
    story.write("fast", "10.0.0.101", virtualRouterID=2, advertisementInterval="1s")
    story.host.run_for(5 * SECOND)
    for _ in range(200):
        story.host.run_for(100 * MS)
        assert story.on(story.eth0) == {"10.0.0.100/32", "10.0.0.101/32"}


def test_as_many_ipv6_addresses_as_a_document_may_have(story: Story) -> None:
    """None of them link-local: one is derived for the advertisements."""
    story.write("web", *(f"2001:db8::{number:x}" for number in range(1, 65)), virtualRouterID=2)
    story.host.run_for(SECOND)
    assert story.role("web") is Role.MASTER
    assert len(story.on(story.eth0)) == 65
    story.stop()


def test_tags_in_a_document_end_nobody(story: Story) -> None:
    story.write("web", "10.0.0.100", virtualRouterID=1)
    story.host.run_for(SECOND)
    story.host.write("other", "kind: VirtualIP\nspec: {virtualRouterID: !!int two}\n")
    story.host.run_for(SECOND)
    assert story.role("web") is Role.MASTER
    assert "other" not in story.host.daemon.instances


@pytest.mark.parametrize("name", ["another", "zebra"])
def test_an_edit_takes_nothing_from_who_has_it(story: Story, name: str) -> None:
    """Whatever their names: VRID and addresses stay with the one in force."""
    story.write("web", "10.0.0.100", virtualRouterID=1)
    story.write(name, "10.0.0.101", virtualRouterID=2)
    story.host.run_for(SECOND)
    story.write(name, "10.0.0.101", virtualRouterID=1)
    story.host.run_for(SECOND)
    assert (story.role("web"), story.role(name)) == (Role.MASTER, Role.FAULT)
    story.write(name, "10.0.0.101", virtualRouterID=2)
    story.host.run_for(SECOND)
    story.write(name, "10.0.0.101", "10.0.0.100", virtualRouterID=2)
    story.host.run_for(SECOND)
    assert (story.role("web"), story.role(name)) == (Role.MASTER, Role.FAULT)
    assert story.on(story.eth0) == {"10.0.0.100/32"}


def test_a_silence_that_could_not_be_ended_ends_with_the_next_mastership(story: Story) -> None:
    """Whoever is MASTER and answers no ARP serves nobody."""
    story.write("web", "10.0.0.100", virtualRouterID=1)
    story.host.run_for(SECOND)
    story.hear(vrid=1, priority=200)
    story.host.run_for(10 * MS)
    assert (story.role("web"), story.host.node.silent) == (Role.BACKUP, {ip_address("10.0.0.100")})
    story.host.node.refusals = {SILENCE: 1000}
    story.host.run_for(100 * MS)
    assert story.on(story.eth0) == set()
    story.host.run_for(2 * SECOND)
    assert (story.role("web"), story.on(story.eth0)) == (Role.MASTER, {"10.0.0.100/32"})
    assert "cannot change the silence" in story.host.daemon.instances["web"].holding.problem
    story.host.node.refusals = {}
    story.host.run_for(3 * SECOND)
    assert story.host.node.silent == set()
    assert story.host.daemon.instances["web"].holding.problem == ""


def test_a_link_that_cannot_be_deleted_keeps_nobody_from_leaving(story: Story) -> None:
    story.write("web", "10.0.0.100", "fe80::100", virtualRouterID=1, virtualMAC=True)
    story.host.run_for(SECOND)
    story.host.node.refusals = {RTM_DELLINK: 1000}
    story.stop()
    assert all(one.closed for one in story.host.sockets)


def test_a_leaver_whose_address_is_free_at_last_does_not_announce_it(story: Story) -> None:
    """It said priority 0 and waits for a successor: whom it draws now it would have to send away again."""
    story.host.node.give(story.eth0, "10.0.0.101/32")
    story.write("web", "10.0.0.100", "10.0.0.101", virtualRouterID=1, advertisementInterval="2s")
    story.host.run_for(10 * SECOND)
    assert story.on(story.eth0) == {"10.0.0.100/32"}
    foreign = story.eth0.find(ip_address("10.0.0.101"))
    assert foreign is not None
    story.host.remove("web")
    story.host.run_for(300 * MS)
    sent: list[bytes] = []
    story.host.sent = lambda _ifindex, frame: sent.append(frame)
    story.host.node.take(story.eth0, foreign)
    story.host.run_for(1500 * MS)
    assert story.on(story.eth0) == {"10.0.0.100/32", "10.0.0.101/32"}
    assert [one for one in sent if decode_announcement(one) is not None] == []


def test_a_vip_that_gives_way_to_another_hears_nothing_in_its_place(story: Story) -> None:
    """Nor does it after the one in force changed and listens anew."""
    story.write("first", "10.0.0.100", virtualRouterID=1)
    story.listen_for(SECOND, vrid=1, priority=200)
    story.write("second", "10.0.0.150", virtualRouterID=1)
    story.listen_for(SECOND, vrid=1, priority=200)
    assert (story.role("first"), story.role("second")) == (Role.BACKUP, Role.FAULT)
    story.write("first", "10.0.0.100", virtualRouterID=1, priority=101)
    story.listen_for(SECOND, vrid=1, priority=200)
    assert story.role("first") is Role.BACKUP
    assert story.host.daemon.instances["second"].counters["adverts_received"] == 0
    story.host.remove("first")
    story.listen_for(SECOND, vrid=1, priority=200, address="10.0.0.150")
    assert story.role("second") is Role.BACKUP, "its turn has come"


def test_whoever_has_the_address_is_told_that_it_is_served(story: Story) -> None:
    """Not another VIP with the same address, which takes no part because of it."""
    story.write("first", "10.0.0.100", virtualRouterID=1)
    story.listen_for(SECOND, vrid=1, priority=200)
    story.write("second", "10.0.0.100", virtualRouterID=2)
    story.listen_for(SECOND, vrid=1, priority=200)
    assert (story.role("first"), story.role("second")) == (Role.BACKUP, Role.FAULT)
    story.listen_for(2 * SECOND, vrid=9, priority=200)
    assert story.role("first") is Role.BACKUP


def test_a_vip_that_lost_its_assignment_hears_nothing_in_place_of_the_next(story: Story) -> None:
    """It waits in INIT, and its VRID is another VIP's by now; it listens again when it has one."""
    story.write("first", "10.0.0.100", assignment={"priority": 100, "virtualRouterID": 1})
    story.listen_for(SECOND, vrid=1, priority=200)
    story.write("first", "10.0.0.100", assignment={"priority": 100})
    story.host.run_for(500 * MS)
    story.write("second", "10.0.0.150", assignment={"priority": 100, "virtualRouterID": 1})
    story.listen_for(2 * SECOND, vrid=1, priority=200, address="10.0.0.150")
    assert (story.role("first"), story.role("second")) == (Role.INIT, Role.BACKUP)
    story.host.remove("second")
    story.host.run_for(SECOND)
    story.write("first", "10.0.0.100", assignment={"priority": 100, "virtualRouterID": 1})
    story.listen_for(SECOND, vrid=1, priority=200)
    assert story.role("first") is Role.BACKUP


def test_a_master_that_lost_its_assignment_listens_until_it_is_gone(story: Story) -> None:
    """Its successor is what it waits for."""
    assigned = {"priority": 100, "virtualRouterID": 1}
    story.write("web", "10.0.0.100", assignment=assigned)
    story.host.run_for(SECOND)
    story.write("web", "10.0.0.100", assignment={"priority": 100})
    story.host.run_for(50 * MS)
    assert (story.role("web"), story.host.node.silent) == (Role.MASTER, set())
    story.hear(vrid=1, priority=90)
    story.host.run_for(10 * MS)
    assert story.host.node.silent == {ip_address("10.0.0.100")}
    story.host.run_for(SECOND)
    assert (story.role("web"), story.on(story.eth0)) == (Role.INIT, set())
    story.listen_for(SECOND, vrid=1, priority=90)
    assert story.host.daemon.instances["web"].counters["adverts_received"] == 1


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_vips_that_swap_their_vrids_swap_the_links_of_their_virtual_macs(story: Story, names: tuple[str, str]) -> None:
    """Each finds the link that the other leaves, and whoever is looked at last must not delete what the other has."""
    other, web = names

    def hear_both(*, web_vrid: int, priority: int = 200) -> None:
        for _ in range(10):
            story.hear(vrid=web_vrid, priority=priority, address="10.0.0.100")
            story.hear(vrid=3 - web_vrid, priority=200, address="10.0.0.150")
            story.host.run_for(100 * MS)

    story.write(web, "10.0.0.100", virtualRouterID=1, virtualMAC=True)
    story.write(other, "10.0.0.150", virtualRouterID=2, virtualMAC=True)
    hear_both(web_vrid=1)
    story.write(web, "10.0.0.100", virtualRouterID=2, virtualMAC=True)
    story.write(other, "10.0.0.150", virtualRouterID=1, virtualMAC=True)
    hear_both(web_vrid=2)
    assert (story.role(web), story.role(other)) == (Role.BACKUP, Role.BACKUP)
    hear_both(web_vrid=2, priority=50)
    assert (story.role(web), story.role(other)) == (Role.MASTER, Role.BACKUP)
    assert story.on(story.link(f"kv4-{story.eth0.ifindex}-2")) == {"10.0.0.100/32"}
    story.host.remove(other)
    story.host.run_for(3 * SECOND)
    assert [one.name for one in story.host.node.links.values()] == ["eth0", f"kv4-{story.eth0.ifindex}-2"]


def test_an_owner_in_fault_that_is_to_wait_is_not_master_first(story: Story) -> None:
    """An owner that recovers is MASTER at once; here nothing has recovered."""
    checks = [{"name": "ready", "node": {"condition": "Ready"}}]

    def write(*, ready: bool, **assignment: Any) -> None:
        facts = [{"name": "ready", "value": ready}]
        story.write("web", "10.0.0.100", track=checks, assignment={"virtualRouterID": 1, "facts": facts, **assignment})
        story.host.run_for(SECOND)

    write(ready=True, priority=255)
    assert story.role("web") is Role.MASTER
    write(ready=False, priority=255)
    assert story.role("web") is Role.FAULT
    sent: list[bytes] = []
    story.host.sent = lambda _ifindex, frame: sent.append(frame)
    write(ready=False)
    assert (story.role("web"), sent) == (Role.INIT, [])
    assert story.host.daemon.instances["web"].account.reason == "waiting for a priority"
    write(ready=False, priority=255)
    assert (story.role("web"), sent) == (Role.FAULT, [])
    write(ready=True, priority=255)
    assert story.role("web") is Role.MASTER


def test_the_last_will_gives_up_under_no_identity_that_is_forgotten(story: Story) -> None:
    """By then its VRID may be another virtual router's, which would lose its master over it."""

    def given_up() -> set[int]:
        return {one.data[14 + 20 + 1] for one in story.host.will.read() if isinstance(one, Frame)}

    story.write("web", "10.0.0.100", virtualRouterID=1)
    story.host.run_for(SECOND)
    story.write("web", "10.0.0.100", virtualRouterID=2)
    story.host.run_for(SECOND)
    assert given_up() == {1, 2}
    story.hear(vrid=1, priority=50, address="10.0.0.222")
    story.host.run_for(100 * MS)
    assert given_up() == {2}, "the other virtual router is heard"
    story.write("web", "10.0.0.100", virtualRouterID=3)
    story.host.run_for(SECOND)
    assert given_up() == {2, 3}
    story.host.run_for(600 * SECOND)
    assert given_up() == {3}, "all were told by now"


def test_a_virtual_mac_that_is_taken_back_during_a_hand_over_leaves_no_link(story: Story) -> None:
    """Nothing was ever on the one that is new; what is held silently is on the former one until it goes."""

    def write(*, virtual_mac: bool) -> None:
        story.write("web", "10.0.0.100", virtualRouterID=1, virtualMAC=virtual_mac)
        story.host.daemon.reload()
        story.host.run_for(2 * MS)

    for before in (False, True):
        write(virtual_mac=before)
        story.host.run_for(SECOND)
        story.hear(vrid=1, priority=200)
        story.host.run_for(10 * MS)
        assert (story.role("web"), story.host.node.silent) == (Role.BACKUP, {ip_address("10.0.0.100")})
        write(virtual_mac=not before)
        write(virtual_mac=False)
        assert story.host.node.silent == {ip_address("10.0.0.100")}
        assert len(story.host.node.links) == (2 if before else 1)
        story.host.run_for(100 * MS)
        assert [one.name for one in story.host.node.links.values()] == ["eth0"]
        story.host.run_for(SECOND)


def test_a_change_that_the_kernel_refuses_leaves_nobody_listening_as_before(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The VRID of before is another VIP's by now, which would not hear its master."""

    def prepare(*_: object) -> None:
        raise KernelError("cannot ask the kernel", errno.ENOBUFS)

    story.write("web", "10.0.0.100", virtualRouterID=1)
    story.listen_for(SECOND, vrid=1, priority=200)
    with monkeypatch.context() as patch:
        patch.setattr(story.host.kernel, "prepare", prepare)
        story.write("web", "10.0.0.100", virtualRouterID=2)
        story.host.run_for(SECOND)
        assert story.role("web") is Role.FAULT
    story.listen_for(2 * SECOND, vrid=2, priority=200)
    assert story.role("web") is Role.BACKUP
    story.write("other", "10.0.0.150", virtualRouterID=1)
    story.listen_for(2 * SECOND, vrid=1, priority=200, address="10.0.0.150")
    assert story.role("other") is Role.BACKUP


def test_whoever_leaves_on_a_link_that_vanishes_is_gone_at_its_time(story: Story) -> None:
    """Its deadline finds the sockets of the link closed."""
    story.write("web", "10.0.0.100", virtualRouterID=1, advertisementInterval="1s")
    story.host.run_for(8 * SECOND)
    story.host.remove("web")
    story.host.run_for(300 * MS)
    assert isinstance(story.host.daemon.instances["web"].state, LeavingState)
    story.host.node.pull_out(story.eth0)
    story.host.run_for(3 * SECOND)
    assert story.host.daemon.instances == {}


def check_moves(story: Story, name: str, contribution: int) -> None:
    """A check of this VIP comes to another result."""
    health = story.host.daemon._health
    health.assess = lambda _vip: Assessment(contribution=contribution)  # type: ignore[method-assign]
    story.host.daemon._health_changed(name)


def test_a_password_that_arrives_as_a_check_moves_takes_no_address_of_another(story: Story, tmp_path: Path) -> None:
    """Whatever looks at the document first reads it, and only then is known that the VIP claims something."""
    password = tmp_path / "password"
    authentication = {"type": "PASS", "passwordFile": str(password)}
    story.write("web", "10.0.0.100", virtualRouterID=1)
    story.write(
        "late", "10.0.0.100", virtualRouterID=2, version=2, advertisementInterval="1s", authentication=authentication
    )
    story.host.run_for(5 * SECOND)
    assert (story.role("web"), story.role("late")) == (Role.MASTER, Role.FAULT)
    password.write_text("secret")
    check_moves(story, "late", -10)
    for _ in range(80):
        story.host.run_for(100 * MS)
        assert (story.role("web"), story.role("late")) == (Role.MASTER, Role.FAULT)
    assert "is an address of web" in story.host.daemon.instances["late"].account.reason


def test_an_address_that_an_edit_drops_during_a_hand_over_goes_with_the_promotion_that_ends_it(story: Story) -> None:
    """What is held silently stays as it is; it must not be kept for good by who serves again."""
    story.write("web", "10.0.0.100", "10.0.0.101", virtualRouterID=1, priority=250)
    story.host.run_for(SECOND)
    story.hear(vrid=1, priority=251)
    story.host.run_for(MS)
    assert (story.role("web"), len(story.host.node.silent)) == (Role.BACKUP, 2)
    story.write("web", "10.0.0.100", "10.0.0.102", virtualRouterID=1, priority=250)
    story.host.daemon.reload()
    story.host.run_for(MS)
    story.hear(vrid=1, priority=0)
    story.host.run_for(10 * MS)
    assert (story.role("web"), story.host.node.silent) == (Role.MASTER, set())
    assert story.on(story.eth0) == {"10.0.0.100/32", "10.0.0.102/32"}


def test_the_link_of_a_virtual_mac_that_somebody_puts_down_is_put_up_again(story: Story) -> None:
    """Its master is healthy, and serves nobody meanwhile."""
    story.write("web", "10.0.0.100", "fe80::100", virtualRouterID=1, virtualMAC=True)
    story.host.run_for(SECOND)
    for version in (4, 6):
        virtual = story.link(f"kv{version}-{story.eth0.ifindex}-1")
        story.host.node.set_up(virtual, up=False)
        story.host.run_for(100 * MS)
        assert (story.role("web"), virtual.up) == (Role.MASTER, True)
        assert len(story.on(virtual)) == 1
    story.listen_for(500 * MS, vrid=1, priority=200)
    assert story.role("web") is Role.BACKUP
    assert not any(one.up for one in story.host.node.links.values() if one is not story.eth0), "nothing is on them"


def test_a_backup_with_a_virtual_mac_has_no_last_will(story: Story) -> None:
    """The guard would give it no more time than one whose addresses are answered for."""
    story.write("web", "10.0.0.100", virtualRouterID=1, virtualMAC=True)
    story.write("other", "10.0.0.101", virtualRouterID=2)
    for _ in range(10):
        story.hear(vrid=1, priority=200)
        story.hear(vrid=2, priority=200, address="10.0.0.101")
        story.host.run_for(100 * MS)
    assert (story.role("web"), story.role("other")) == (Role.BACKUP, Role.BACKUP)
    assert list(story.host.will.read()) == []
    story.host.run_for(SECOND)
    assert story.role("web") is Role.MASTER
    assert list(story.host.will.read())
    story.listen_for(SECOND, vrid=1, priority=200)
    story.hear(vrid=2, priority=200, address="10.0.0.101")
    story.host.run_for(200 * MS)
    assert (story.role("web"), story.role("other")) == (Role.BACKUP, Role.BACKUP)
    assert list(story.host.will.read()) == []


def test_a_virtual_mac_link_that_could_not_be_undone_is_in_nobodys_way(story: Story) -> None:
    """The kernel took the link, refused its settings, and then to delete it."""
    story.host.node.refusals = {RTM_SETLINK: 1000, RTM_DELLINK: 1000}
    story.write("web", "10.0.0.100", virtualRouterID=1, virtualMAC=True)
    story.host.run_for(SECOND)
    assert story.role("web") is Role.FAULT
    story.host.node.refusals = {}
    story.host.run_for(5 * SECOND)
    assert story.role("web") is Role.MASTER
    assert story.on(story.link(f"kv4-{story.eth0.ifindex}-1")) == {"10.0.0.100/32"}
