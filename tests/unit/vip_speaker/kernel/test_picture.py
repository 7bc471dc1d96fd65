"""Which of the kernel's messages are news, and which only tell what we did ourselves."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from vip_speaker.kernel import AddressChanged, Assigned, Event, Link, LinkAddress, LinkChanged
from vip_speaker.kernel.addresses import ADDRESS_PROTOCOL
from vip_speaker.kernel.links import IFA_F_DEPRECATED, IFA_F_TENTATIVE, RTM_NEWADDR
from vip_speaker.kernel.picture import Picture

from tests.unit.vip_speaker.kernel.messages import address_told, kind_of, link_told

S = 1_000_000_000
NOW = 100 * S
ETH0 = Link(ifindex=7, name="eth0", mtu=0)


def assigned(ip: str, prefix_length: int = 0) -> Assigned:
    address = ip_address(ip)
    return Assigned(ifindex=7, ip=address, prefix_length=prefix_length or address.max_prefixlen)


def changed(one: Assigned, **fields: bool) -> AddressChanged:
    return AddressChanged(ifindex=one.ifindex, ip=one.ip, prefix_length=one.prefix_length, **fields)  # type: ignore[arg-type]


@pytest.fixture(name="picture")
def _picture() -> Picture:
    picture = Picture()
    picture.links.put_link(ETH0)
    return picture


@pytest.fixture(name="vip", params=["10.0.0.100", "fd00::100"])
def _vip(request: pytest.FixtureRequest) -> Assigned:
    return assigned(request.param)


def told(picture: Picture, message: bytes, *, at: int = NOW) -> Event | None:
    return picture.told(message, 0, kind_of(message), at)


def test_an_addition_of_ours_counts_at_once_and_is_no_news(picture: Picture, vip: Assigned) -> None:
    picture.added(vip, 4, NOW)
    (there,) = picture.links[7].addresses
    assert (there.ip, there.protocol, there.valid_s) == (vip.ip, ADDRESS_PROTOCOL, 4)
    assert told(picture, address_told(vip)) is None
    assert told(picture, address_told(vip)) is None  # a renewal


def test_an_ipv6_address_of_ours_is_in_the_way_of_itself_under_another_prefix(picture: Picture) -> None:
    four, six, foreign = assigned("10.0.0.100"), assigned("fe80::100"), assigned("fe80::200")
    for one in (four, six):
        picture.added(one, 4, NOW)
    told(picture, address_told(foreign))
    assert picture.in_the_way(assigned("fe80::100", 64)) == six
    assert picture.in_the_way(six) is None
    assert picture.in_the_way(assigned("10.0.0.100", 24)) is None, "IPv4 has both"
    assert picture.in_the_way(assigned("fe80::200", 64)) is None, "not ours"
    assert picture.in_the_way(assigned("fe80::300", 64)) is None


def test_a_renewal_leaves_what_the_kernel_said_of_the_address(picture: Picture, vip: Assigned) -> None:
    picture.added(vip, 4, NOW)
    picture.links.put_address(7, LinkAddress(ip=vip.ip, prefix_length=vip.prefix_length, flags=IFA_F_DEPRECATED))
    picture.added(vip, 4, NOW + S)
    assert [one.flags for one in picture.links[7].addresses] == [IFA_F_DEPRECATED]


def test_a_removal_of_ours_counts_at_once_and_is_no_news(picture: Picture, vip: Assigned) -> None:
    picture.added(vip, 4, NOW)
    picture.removed(vip, was_there=True)
    assert picture.links[7].addresses == ()
    assert told(picture, address_told(vip)) is None  # the addition, read late: it is not there any more
    assert picture.links[7].addresses == ()
    assert told(picture, address_told(vip, gone=True)) is None
    assert told(picture, address_told(vip)) == changed(vip, present=True)  # from here on it is somebody else's doing


def test_a_removal_of_what_was_gone_is_not_waited_for(picture: Picture, vip: Assigned) -> None:
    picture.added(vip, 4, NOW)
    assert told(picture, address_told(vip, gone=True)) == changed(vip, present=False, own=True)
    picture.removed(vip, was_there=False)
    assert told(picture, address_told(vip)) == changed(vip, present=True)


def test_a_deletion_by_someone_else_is_told_with_what_it_was(picture: Picture, vip: Assigned) -> None:
    picture.added(vip, 4, NOW)
    assert told(picture, address_told(vip, gone=True), at=NOW + S) == changed(vip, present=False, own=True)
    assert told(picture, address_told(vip, gone=True), at=NOW + S) is None
    assert list(picture.lost(NOW + S)) == [changed(vip, present=False, own=True)]
    assert told(picture, address_told(vip)) == changed(vip, present=True, own=True)  # somebody brought it back
    assert picture.lost(NOW + S) == []


def test_an_expiry_is_told_from_a_deletion_by_the_time(picture: Picture, vip: Assigned) -> None:
    picture.added(vip, 4, NOW)
    gone = address_told(vip, gone=True)
    assert told(picture, gone, at=NOW + 4 * S) == changed(vip, present=False, own=True, expired=True)
    assert list(picture.lost(NOW + 4 * S)) == [changed(vip, present=False, own=True, expired=True)]


def test_what_others_do_is_news_once(picture: Picture) -> None:
    nodes = assigned("10.0.0.1", 24)
    assert told(picture, address_told(nodes)) == changed(nodes, present=True)
    assert told(picture, address_told(nodes)) is None
    assert told(picture, address_told(nodes, gone=True)) == changed(nodes, present=False)
    assert told(picture, address_told(nodes, gone=True)) is None


def test_an_address_that_becomes_usable_is_news(picture: Picture) -> None:
    nodes = assigned("fd00::1", 64)
    assert told(picture, address_told(nodes, flags=IFA_F_TENTATIVE)) == changed(nodes, present=True)
    assert told(picture, address_told(nodes)) == changed(nodes, present=True)


def test_an_address_under_another_prefix_is_foreign_unless_ours(picture: Picture) -> None:
    nodes = assigned("10.0.0.1", 24)
    assert not picture.is_foreign(nodes)
    told(picture, address_told(nodes))
    assert picture.is_foreign(assigned("10.0.0.1"))
    assert not picture.is_foreign(nodes)  # the kernel itself refuses that one
    assert not picture.is_foreign(assigned("10.0.0.2"))
    assert not picture.is_foreign(Assigned(ifindex=9, ip=nodes.ip, prefix_length=32))
    ours = assigned("10.0.0.100", 24)
    picture.added(ours, 4, NOW)
    assert not picture.is_foreign(assigned("10.0.0.100"))


def test_links_come_change_and_go(picture: Picture, vip: Assigned) -> None:
    picture.added(vip, 4, NOW)
    assert told(picture, link_told(7)) is None
    event = told(picture, link_told(7, flags=1))
    assert isinstance(event, LinkChanged)
    assert event.after is not None
    assert event.after.up
    assert told(picture, link_told(7, gone=True, family=7)) is None  # a port that left its bridge
    assert vip.key in picture.ledger.held
    event = told(picture, link_told(7, gone=True))
    assert isinstance(event, LinkChanged)
    assert event.after is None
    assert vip.key not in picture.ledger.held
    assert told(picture, link_told(7, gone=True)) is None


def test_messages_about_something_else_are_no_news(picture: Picture) -> None:
    assert picture.told(b"", 0, 24, NOW) is None  # RTM_NEWROUTE
    other_family = bytearray(address_told(assigned("10.0.0.1")))
    other_family[16] = 5  # AF_APPLETALK
    assert picture.told(bytes(other_family), 0, RTM_NEWADDR, NOW) is None


def test_full_lists_replace_the_picture_and_keep_what_is_ours(picture: Picture) -> None:
    here, gone, removed = assigned("10.0.0.100"), assigned("10.0.0.101"), assigned("10.0.0.102")
    elsewhere = Assigned(ifindex=8, ip=here.ip, prefix_length=32)
    picture.links.put_link(Link(ifindex=8, name="eth1"))
    for one in (here, gone, removed, elsewhere):
        picture.added(one, 4, NOW)
    picture.removed(removed, was_there=True)
    picture.start_over([ETH0], [(7, LinkAddress(ip=here.ip, prefix_length=32))])
    assert here.key in picture.ledger.held
    assert elsewhere.key not in picture.ledger.held  # its link is gone, and so is it
    assert list(picture.lost(NOW)) == [changed(gone, present=False, own=True)]
    # the event of the removal was lost: the next one is somebody else's
    assert told(picture, address_told(removed)) == changed(removed, present=True)
    assert told(picture, address_told(removed, gone=True)) == changed(removed, present=False)
