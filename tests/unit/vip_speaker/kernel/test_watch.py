"""How much is read at a time, and what happens where messages were lost. tests/interop has the real socket overflow."""

from __future__ import annotations

import errno
from collections import deque
from ipaddress import ip_address

import pytest
from vip_speaker.kernel import AddressChanged, Assigned, KernelError, Overflow
from vip_speaker.kernel.links import RTM_GETADDR, RTM_GETLINK
from vip_speaker.kernel.picture import Picture
from vip_speaker.kernel.watch import Watch

from tests.unit.vip_speaker.kernel.messages import address_told, kind_of, link_told

VIP = Assigned(ifindex=7, ip=ip_address("10.0.0.100"), prefix_length=32)


class FakeEvents:
    """Stands for the netlink socket: datagrams, and the errors that recv raises among them."""

    def __init__(self, *waiting: bytes | int) -> None:
        self.waiting = deque(waiting)

    def recv(self, size: int) -> bytes:
        if not self.waiting:
            raise BlockingIOError
        first = self.waiting.popleft()
        if isinstance(first, int):
            raise OSError(first, "as told")
        return first


class FakeRequests:
    """Stands for netlink.Requests: the full lists of a node with eth0 and what is on it."""

    def __init__(self, *addresses: Assigned) -> None:
        self.lists = {RTM_GETLINK: [link_told(7)], RTM_GETADDR: [address_told(one) for one in addresses]}

    def dump(self, message: bytes) -> list[tuple[bytes, int]]:
        return [(answer, 0) for answer in self.lists[kind_of(message)]]


def watch_of(events: FakeEvents, *addresses: Assigned) -> tuple[Watch, Picture]:
    picture = Picture()
    return Watch(events, FakeRequests(*addresses), picture), picture  # type: ignore[arg-type]


def numbered(number: int) -> Assigned:
    return Assigned(ifindex=7, ip=ip_address(f"10.0.{number // 256}.{number % 256}"), prefix_length=32)


def test_the_first_picture_is_full_and_newer_than_what_waits() -> None:
    events = FakeEvents(link_told(9, name="old"), errno.ENOBUFS, address_told(VIP, gone=True))
    watch, picture = watch_of(events, VIP)
    watch.read_all()
    assert {link.name: [one.ip for one in link.addresses] for link in picture.links.values()} == {"eth0": [VIP.ip]}
    assert watch.read() == []


def test_news_come_in_order_also_several_in_a_datagram() -> None:
    events = FakeEvents()
    watch, _ = watch_of(events)
    watch.read_all()
    events.waiting.extend([address_told(numbered(1)) + address_told(numbered(2)), address_told(numbered(3))])
    assert [one.ip for one in watch.read() if isinstance(one, AddressChanged)] == [numbered(n).ip for n in (1, 2, 3)]


def test_a_storm_is_read_in_portions() -> None:
    events = FakeEvents()
    watch, _ = watch_of(events)
    watch.read_all()
    events.waiting.extend(address_told(numbered(number)) for number in range(1000))
    portions = []
    while news := watch.read():
        portions.append(len(news))
    assert sum(portions) == 1000
    assert max(portions) <= 256


def test_after_an_overflow_the_picture_is_read_anew_and_what_of_ours_is_gone_is_told() -> None:
    events = FakeEvents()
    watch, picture = watch_of(events, numbered(1))
    watch.read_all()
    picture.added(VIP, None, 0)
    events.waiting.extend([address_told(numbered(2)), errno.ENOBUFS, address_told(numbered(3))])
    first, overflow, lost = watch.read()
    assert isinstance(first, AddressChanged)
    assert isinstance(overflow, Overflow)
    assert lost == AddressChanged(ifindex=7, ip=VIP.ip, prefix_length=32, present=False, own=True)
    assert [one.ip for one in picture.links[7].addresses] == [numbered(1).ip]


@pytest.mark.parametrize("first", [True, False])
def test_any_other_error_is_told(first: bool) -> None:
    watch, _ = watch_of(FakeEvents(errno.EBADF))
    with pytest.raises(KernelError) as raised:
        watch.read_all() if first else watch.read()
    assert raised.value.code == errno.EBADF


def test_a_torn_datagram_ends_there() -> None:
    events = FakeEvents()
    watch, _ = watch_of(events)
    watch.read_all()
    events.waiting.append(address_told(numbered(1)) + address_told(numbered(2))[:-1])
    assert [one.ip for one in watch.read() if isinstance(one, AddressChanged)] == [numbered(1).ip]
