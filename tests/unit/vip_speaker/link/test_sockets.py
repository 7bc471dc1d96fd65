"""The sockets on real links: what the kernel filters let through, and how they behave when a link goes."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from vip_speaker.link import AnnouncementSocket, LinkError, LinkSocket, UnicastSocket
from vip_speaker.link.packet import RECEIVE_BUFFER
from vip_speaker.vrrp.types import CENTISECOND, Advertisement
from vip_speaker.wire import (
    Announced,
    Content,
    Decoder,
    DiscardReason,
    encode_frame,
    encode_packet,
    gratuitous_arp,
    unsolicited_advertisement,
)

from tests import packets
from tests.netns import Network, wait_for

pytestmark = pytest.mark.netns

HERE, THERE = "10.9.0.10", "10.9.0.11"
MAC = "02:00:00:00:00:0a"
VIP4, VIP6 = IPv4Address("10.9.0.254"), IPv6Address("2001:db8::7")


@pytest.fixture(scope="module")
def network():
    with Network() as network:
        network.host("here", f"{HERE}/24")
        network.host("there", f"{THERE}/24")
        yield network


@pytest.fixture
def here(network):
    return network.hosts["here"]


@pytest.fixture
def there(network):
    return network.hosts["there"]


def ifindex(host, device="eth0"):
    with host.entered():
        return socket.if_nametoindex(device)


@contextlib.contextmanager
def opened(kind, host, *arguments):
    with host.entered():
        one = kind(*(arguments or (socket.if_nametoindex("eth0"),)))
    try:
        yield one
    finally:
        one.close()


@contextlib.contextmanager
def raw(host, *, protocol=0):
    """A packet socket that sends anything and, with a protocol, hears it."""
    with host.entered():
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        one.bind(("eth0", protocol))
    one.settimeout(10)
    with one:
        yield one


@contextlib.contextmanager
def on_one_processor():
    """Frames of two processors may overtake each other on a virtual link."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


SENTINEL = packets.ethernet(packets.ipv4(b"the end!"))


def passed(receiver: LinkSocket, sender: socket.socket, frame: bytes) -> list:
    """What of `frame` comes through: everything before a frame that certainly does."""
    with on_one_processor():
        sender.send(frame)
        sender.send(SENTINEL)
    got: list = []

    def ended() -> bool:
        got.extend(receiver.receive())
        return bool(got) and got[-1].packet.endswith(b"the end!")

    wait_for(ended, what="the last frame")
    return got[:-1]


def unicast(host, packet):
    return packets.ethernet(packet, destination=host.mac())


AH = bytes([112, 4]) + bytes(22)
AH_OTHER = bytes([6, 4]) + bytes(22)
OPTIONS = b"\x94\x04\x00\x00"


@pytest.mark.parametrize(
    ("frame", "comes"),
    [
        (packets.ethernet(packets.ipv4(packets.message())), True),
        (packets.ethernet(packets.ipv4(packets.message(), options=OPTIONS)), True),
        (packets.ethernet(packets.ipv4(packets.message(vrid=201))), True),
        (packets.ethernet(packets.ipv4(packets.message(), ttl=3)), True),
        (packets.ethernet(packets.ipv4(packets.message(), fragment=0x2000)), True),
        (packets.ethernet(packets.ipv4(AH + packets.message(), protocol=51)), True),
        (packets.ethernet(packets.ipv4(AH + packets.message(), protocol=51, options=OPTIONS)), True),
        (packets.ethernet(packets.ipv4(AH_OTHER + packets.message(), protocol=51)), False),
        (packets.ethernet(packets.ipv6(packets.message6())), True),
        (packets.ethernet(packets.ipv6(AH + packets.message6(), next_header=51)), True),
        (packets.ethernet(packets.ipv6(AH_OTHER + packets.message6(), next_header=51)), False),
        (packets.ethernet(packets.ipv4(packets.message(), protocol=17)), False),
        (packets.ethernet(packets.ipv6(packets.message6(), next_header=58)), False),
        (packets.ethernet(packets.ipv4(packets.message()), destination="ff:ff:ff:ff:ff:ff"), True),
        (packets.ethernet(packets.ipv4(packets.message()), destination="02:00:00:00:00:77"), False),
        (gratuitous_arp(VIP4, MAC), False),
        (packets.ethernet(packets.ipv4(packets.message()))[:20], False),
    ],
)
def test_filter_of_advertisements(here, there, frame, comes):
    with opened(LinkSocket, here) as receiver, raw(there) as sender:
        got = passed(receiver, sender, frame)
    assert [one.packet for one in got] == ([frame[14:]] if comes else [])


def test_what_comes_with_a_packet(here, there):
    frame = packets.ethernet(packets.ipv4(packets.message()), source=MAC)
    with opened(LinkSocket, here) as receiver, raw(there) as sender:
        (group,) = passed(receiver, sender, frame)
        (own,) = passed(receiver, sender, unicast(here, frame[14:]))
    assert group.source_mac == bytes.fromhex(MAC.replace(":", ""))
    assert (group.ethertype, group.packet_type, group.vlan) == (0x0800, 2, None)
    assert group.ifindex == ifindex(here)
    assert own.packet_type == 0


@pytest.mark.parametrize("vlan", [0, 100])
def test_tagged_frames_are_recognised(here, there, vlan):
    frame = packets.ethernet(packets.ipv4(packets.message()))
    tagged = frame[:12] + struct.pack("!HH", 0x8100, 7 << 13 | vlan) + frame[12:]
    with opened(LinkSocket, here) as receiver, raw(there) as sender:
        (got,) = passed(receiver, sender, tagged)
    assert got.vlan == vlan
    decoded = Decoder().decode(got)
    if vlan:
        assert decoded.reason is DiscardReason.VLAN_TAGGED
    else:
        assert isinstance(decoded, Advertisement)


def test_a_longer_frame_is_marked_as_cut_off(network, here, there):
    try:
        for host in (here, there):
            host.ip("link", "set", "eth0", "mtu", "4000")
            network_port = ("ip", "-n", network.switch, "link", "set", host.port, "mtu", "4000")
            host.run(*network_port)
        with opened(LinkSocket, here) as receiver, raw(there) as sender:
            (got,) = passed(receiver, sender, packets.ethernet(packets.ipv4(bytes(3000))))
        assert got.truncated
        assert Decoder().decode(got).reason is DiscardReason.PACKET_LENGTH
    finally:
        for host in (here, there):
            host.ip("link", "set", "eth0", "mtu", "1500")


def test_own_frames_do_not_come_back(here, there):
    content = Content(
        version=3, vrid=7, priority=100, interval_ns=CENTISECOND, source=ip_address(HERE), addresses=[VIP4]
    )
    frame = encode_frame(content, source_mac=here.mac())
    with opened(LinkSocket, here) as receiver, opened(LinkSocket, there) as other, raw(there) as sender:
        receiver.send(frame)
        wait_for(lambda: [one.packet for one in other.receive()] == [frame[14:]], what="the frame at the other end")
        assert passed(receiver, sender, SENTINEL[:20]) == []


def test_nothing_slips_in_before_the_filter(here, there):
    """Traffic that is not for us flows while sockets are opened."""
    other = packets.ethernet(packets.ipv4(b"x" * 40, protocol=17))
    with raw(there) as sender:
        for _ in range(30):
            for _ in range(20):
                sender.send(other)
            with opened(LinkSocket, here) as receiver:
                sender.send(other)
                assert receiver.receive() == []


def test_a_flood_costs_bounded_memory_and_is_counted(here, there):
    junk = packets.ethernet(packets.ipv4(packets.message(checksum=0xDEAD)))
    good = packets.ethernet(packets.ipv4(packets.message()))
    with opened(LinkSocket, here) as receiver, raw(there) as sender:
        for _ in range(8000):
            sender.send(junk)
        wait_for(lambda: receiver.count_dropped() > 0, what="packets dropped")
        got = 0
        while waiting := receiver.receive():
            assert len(waiting) <= 64
            got += len(waiting)
        assert got + receiver.count_dropped() == 8000
        assert got <= 2 * RECEIVE_BUFFER // 512
        # and it still hears
        assert [one.packet for one in passed(receiver, sender, good)] == [good[14:]]


def test_groups_are_joined_for_as_long_as_the_socket_lives(here):
    with opened(LinkSocket, here) as receiver:
        groups = here.ip("maddr", "show", "dev", "eth0")
        for one in ("inet  224.0.0.18", "inet6 ff02::12", "link  01:00:5e:00:00:12", "link  33:33:00:00:00:12"):
            assert one in groups
        receiver.join(4)  # once more does no harm
        receiver.leave(4)
        receiver.leave(4)
        assert "224.0.0.18" not in here.ip("maddr", "show", "dev", "eth0")
    assert "ff02::12" not in here.ip("maddr", "show", "dev", "eth0")


def test_switches_are_told_about_the_group(here, there):
    with raw(there, protocol=0x0003) as listener, opened(LinkSocket, here):
        seen: set[int] = set()
        end = time.monotonic() + 20
        while seen != {4, 6} and time.monotonic() < end:
            frame = listener.recv(2048)
            if frame[12:14] == b"\x08\x00" and frame[23] == 2 and IPv4Address("224.0.0.18").packed in frame:
                seen.add(4)
            if frame[12:14] == b"\x86\xdd" and IPv6Address("ff02::12").packed in frame[54:]:
                seen.add(6)
        assert seen == {4, 6}


def test_a_link_without_ipv6_can_be_used_for_ipv4(network):
    host = network.host("only4", "10.9.0.12/24")
    host.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
    host.ip("link", "set", "eth0", "mtu", "1000")  # below IPv6's minimum: the kernel takes IPv6 off the link
    with opened(LinkSocket, host) as receiver:
        assert "224.0.0.18" in host.ip("maddr", "show", "dev", "eth0")
        with host.entered(), pytest.raises(LinkError, match="join ff02::12"):
            receiver.join(6)


def test_a_link_that_goes_down_and_comes_back(network):
    host = network.host("updown", "10.9.0.13/24")
    frame = packets.ethernet(packets.ipv4(packets.message()))
    with opened(LinkSocket, host) as link, raw(network.hosts["there"]) as sender:
        host.ip("link", "set", "eth0", "down")
        with pytest.raises(LinkError, match="down") as caught:
            link.receive()
        assert not caught.value.gone
        assert link.receive() == []  # said once
        with pytest.raises(LinkError):
            link.send(frame)
        host.ip("link", "set", "eth0", "up")
        wait_for(lambda: "LOWER_UP" in host.ip("link", "show", "eth0"), what="the link is up")
        assert [one.packet for one in passed(link, sender, frame)] == [frame[14:]]
        link.send(frame)


@pytest.mark.parametrize("noticed_by", ["receive", "send"])
def test_a_link_that_was_in_another_namespace_is_used_again(network, there, noticed_by):
    """It has the same index, so that whoever looks at links afterwards does not see that it was away."""
    host, elsewhere = network.host(f"away-{noticed_by}", "10.9.0.15/24"), network.host(f"elsewhere-{noticed_by}")
    elsewhere.ip("link", "del", "eth0")  # so that its index is free there
    before = ifindex(host)
    with opened(LinkSocket, host) as link, opened(AnnouncementSocket, host) as announcements, raw(there) as sender:
        announcements.watch([VIP4])
        host.ip("link", "set", "eth0", "name", "away0", "netns", str(elsewhere.path))
        elsewhere.ip("link", "set", "away0", "name", "eth0", "netns", str(host.path))
        assert ifindex(host) == before
        with host.entered():
            with pytest.raises(LinkError):
                link.receive() if noticed_by == "receive" else link.send(SENTINEL)
            with pytest.raises(LinkError):
                announcements.receive()
        host.ip("address", "add", "10.9.0.15/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        wait_for(lambda: "state UP" in host.ip("link", "show", "eth0"), what="the link is up")
        with host.entered():
            for one in (link, announcements):  # that it was down
                with contextlib.suppress(LinkError):
                    one.receive()
            assert passed(link, sender, packets.ethernet(packets.ipv4(b"again"))) != []
            link.send(SENTINEL)
            sender.send(gratuitous_arp(VIP4, MAC))
            wait_for(announcements.receive, what="an announcement")
        assert "224.0.0.18" in host.ip("maddress", "show", "dev", "eth0")


def test_a_closed_socket_is_a_link_that_does_not_carry(here):
    with opened(LinkSocket, here) as link, opened(AnnouncementSocket, here) as announcements:
        link.close()
        announcements.close()
        for attempt in (lambda: link.send(SENTINEL), link.receive, announcements.receive):
            with here.entered(), pytest.raises(LinkError):
                attempt()


def test_a_link_that_is_gone(network):
    host = network.host("gone", "10.9.0.14/24")
    index = ifindex(host)
    with opened(LinkSocket, host) as link:
        host.ip("link", "del", "eth0")
        with contextlib.suppress(LinkError):
            link.receive()
        with pytest.raises(LinkError) as caught:
            link.send(SENTINEL)
        assert caught.value.gone
    with host.entered(), pytest.raises(LinkError) as caught:
        LinkSocket(index)
    assert caught.value.gone


@pytest.mark.parametrize("mode", ["private", "bridge"])
def test_frames_with_our_own_virtual_mac_are_heard_beside_a_macvlan(network, there, mode):
    """Another router that uses the same virtual MAC (RFC 9568 section 7.3) while ours exists already."""
    host = network.host(f"vm{mode[:4]}", "10.9.0.15/24")
    host.ip("link", "add", "vrrp7", "link", "eth0", "type", "macvlan", "mode", mode)
    host.ip("link", "set", "vrrp7", "address", "00:00:5e:00:01:07", "up")
    frame = packets.ethernet(packets.ipv4(packets.message()), source="00:00:5e:00:01:07")
    with opened(LinkSocket, host) as receiver, raw(there) as sender:
        assert [one.packet for one in passed(receiver, sender, frame)] == [frame[14:]]


def test_unicast_v4(here, there):
    fields = {"version": 3, "vrid": 7, "priority": 100, "interval_ns": CENTISECOND, "addresses": [VIP4]}
    source, destination = ip_address(HERE), ip_address(THERE)
    with opened(LinkSocket, there) as receiver, opened(UnicastSocket, here, 4) as sender:
        packet = encode_packet(Content(**fields, source=source), destination=destination)
        sender.send(packet, source=source, destination=destination, ifindex=ifindex(here))
        got = waited(receiver)
    heard = Decoder().decode(got)
    assert (heard.source, heard.destination, heard.priority) == (source, destination, 100)
    assert got.packet[1] == 0xC0


def test_unicast_v6(here, there):
    source, destination = (link_local(host) for host in (here, there))
    fields = {
        "version": 3,
        "vrid": 7,
        "priority": 100,
        "interval_ns": CENTISECOND,
        "addresses": [IPv6Address("fe80::7")],
    }
    with opened(LinkSocket, there) as receiver, opened(UnicastSocket, here, 6) as sender:
        packet = encode_packet(Content(**fields, source=source), destination=destination)
        sender.send(packet, source=source, destination=destination, ifindex=ifindex(here))
        got = waited(receiver)
    heard = Decoder().decode(got)
    assert (heard.source, heard.destination, heard.priority) == (source, destination, 100)
    assert int.from_bytes(got.packet[:2], "big") & 0x0FF0 == 0xC00


def test_unicast_from_an_address_that_is_not_ours(here):
    with opened(UnicastSocket, here, 6) as sender, pytest.raises(LinkError):
        sender.send(
            packets.message6(), source=IPv6Address("2001:db8::99"), destination=IPv6Address("fe80::1"), ifindex=2
        )


def test_a_unicast_socket_keeps_the_kernel_from_refusing_the_peer(here, there):
    """Without one the kernel answers protocol 112 with "protocol unreachable"; with one it is silent."""
    packet = packets.ipv4(packets.message(source=THERE, destination=HERE), source=THERE, destination=HERE)
    ping = packets.ipv4(b"\x08\x00\xf7\xff" + bytes(4), source=THERE, destination=HERE, protocol=1)

    def refused() -> bool:
        """Whether a refusal comes before the answer to a ping sent after it."""
        with raw(there, protocol=0x0800) as wire:
            wire.send(packets.ethernet(packet, source=there.mac(), destination=here.mac()))
            wire.send(packets.ethernet(ping, source=there.mac(), destination=here.mac()))
            seen = False
            while True:
                frame = wire.recv(2048)
                if frame[23] == 1 and frame[26:30] == ip_address(HERE).packed:
                    if frame[34] == 0:
                        return seen
                    seen = seen or frame[34:36] == b"\x03\x02"

    here.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
    assert refused()
    with opened(UnicastSocket, here, 4) as silent:
        assert not refused()
        with pytest.raises(BlockingIOError):  # nothing piles up on it
            silent._socket.recv(2048)


def waited(receiver):
    got: list = []
    wait_for(lambda: got.extend(receiver.receive()) or got, what="a packet")
    return got[0]


def link_local(host):
    return next(ip_address(one.split("/")[0]) for one in host.addresses() if one.startswith("fe80"))


def announced(receiver: AnnouncementSocket, sender: socket.socket, *frames: bytes) -> list[Announced]:
    """What is heard of `frames`, all but an announcement that certainly is."""
    last = Announced(address=IPv4Address("10.9.0.253"), mac="02:00:00:00:00:fe")
    for frame in frames:
        sender.send(frame)
    sender.send(gratuitous_arp(last.address, last.mac))
    got: list[Announced] = []
    wait_for(lambda: got.extend(receiver.receive()) or last in got, what="the last announcement")
    return got[:-1]


LAST = IPv4Address("10.9.0.253")


def test_announcements_of_watched_addresses(here, there):
    arp, na = gratuitous_arp(VIP4, MAC), unsolicited_advertisement(VIP6, MAC, router=True)
    both = [Announced(address=VIP4, mac=MAC), Announced(address=VIP6, mac=MAC)]
    others = [
        gratuitous_arp(IPv4Address("10.9.0.77"), MAC),
        unsolicited_advertisement(IPv6Address("2001:db8::8"), MAC, router=True),
        unsolicited_advertisement(IPv6Address("2001:db9::7"), MAC, router=True),  # the same last word
        arp[:38] + ip_address("10.9.0.1").packed,  # the holder asks for somebody
        arp[:12] + b"\x81\x00\x00\x64" + arp[12:],  # on another VLAN
        packets.ethernet(packets.ipv4(packets.message())),
    ]
    with opened(AnnouncementSocket, here) as receiver, raw(there) as sender:
        receiver.watch({VIP4, VIP6, LAST})
        assert announced(receiver, sender, arp, na, *others) == both
        receiver.watch({VIP6, LAST})
        assert announced(receiver, sender, arp, na) == both[1:]
        receiver.watch({LAST})
        assert announced(receiver, sender, arp, na) == []


def test_answers_to_a_question_who_else_has_an_address(here, there):
    """To us alone, and to nobody's address."""
    head = gratuitous_arp(VIP4, MAC)[12:20] + b"\x00\x02" + gratuitous_arp(VIP4, MAC)[22:32]
    answer = bytes.fromhex((here.mac() + there.mac()).replace(":", "")) + head + bytes(10)
    other = answer[:28] + ip_address("10.9.0.77").packed + answer[32:]
    with opened(AnnouncementSocket, here) as receiver, raw(there) as sender:
        receiver.watch({VIP4, VIP6, LAST})
        assert announced(receiver, sender, other, answer) == [Announced(address=VIP4, mac=MAC, answers=True)]


def test_nothing_is_heard_while_nothing_is_watched(here, there):
    arp = gratuitous_arp(VIP4, MAC)
    with opened(AnnouncementSocket, here) as receiver, raw(there) as sender:
        sender.send(arp)
        receiver.watch({VIP4, LAST})
        assert announced(receiver, sender) == []
        assert announced(receiver, sender, arp) == [Announced(address=VIP4, mac=MAC)]
        sender.send(arp)
        receiver.watch(())
        assert receiver.receive() == []


def test_our_own_announcements_are_not_heard(here, there):
    with (
        opened(AnnouncementSocket, here) as receiver,
        opened(LinkSocket, here) as link,
        raw(there) as sender,
    ):
        receiver.watch({VIP4, LAST})
        link.send(gratuitous_arp(VIP4, here.mac()))
        assert announced(receiver, sender) == []


@pytest.mark.parametrize("count", [1, 64, 127, 3000])
def test_many_watched_addresses(here, there, count):
    ipv4 = [IPv4Address("10.16.0.0") + n for n in range(count)]
    ipv6 = [IPv6Address("2001:db8:1::") + n for n in range(count)]
    with opened(AnnouncementSocket, here) as receiver, raw(there) as sender:
        receiver.watch([*ipv4, *ipv6, LAST])
        frames = [gratuitous_arp(ipv4[-1], MAC), gratuitous_arp(ipv4[0], MAC), gratuitous_arp(VIP4, MAC)]
        frames += [unsolicited_advertisement(one, MAC, router=True) for one in (ipv6[0], ipv6[-1], VIP6)]
        heard = [one.address for one in announced(receiver, sender, *frames)]
    assert heard == [ipv4[-1], ipv4[0], ipv6[0], ipv6[-1]]
