"""What a hostile neighbour can send (rows A-… of docs/rfc-coverage.md), as far as codec, link and announcer meet it.

The rows that are the election's (A1, A4, A5, A6's replies) and the running router's are tested with those.
"""

from __future__ import annotations

import random
import socket
from ipaddress import IPv4Address, ip_address

import pytest
from vip_speaker.announcements import BURST, Announcer
from vip_speaker.link import AnnouncementSocket, LinkSocket
from vip_speaker.vrrp.types import MS, SECOND, Advertisement
from vip_speaker.wire import (
    Decoder,
    Discard,
    DiscardReason,
    Expectation,
    PacketType,
    Remark,
    admit,
    gratuitous_arp,
    remarks,
)

from tests.netns import Network, wait_for
from tests.packets import SOURCE4, ethernet, ipv4, ipv6, message, message6, received

MINE = Expectation(version=3, vrid=7, interval_ns=SECOND)


def test_a1_only_listed_peers_can_depose_a_unicast_master():
    me, peer = ip_address("10.9.0.11"), ip_address(SOURCE4)
    expectation = Expectation(version=3, vrid=7, interval_ns=0, peers=frozenset({peer}))
    rogue = ipv4(
        message(priority=255, source="10.9.0.66", destination=str(me)), source="10.9.0.66", destination=str(me)
    )
    heard = Decoder().decode(received(rogue, packet_type=PacketType.HOST))
    assert admit(heard, expectation).reason is DiscardReason.UNLISTED_SOURCE


def test_a1_a_rogue_owner_is_remarked_upon():
    heard = Decoder().decode(received(ipv4(message(priority=255))))
    assert admit(heard, MINE) is None  # version 3 has no protection on the link
    assert Remark.MULTIPLE_OWNERS in remarks(heard, MINE)


def test_a2_a_very_long_interval_is_remarked_upon():
    heard = Decoder().decode(received(ipv4(message(interval=4095))))
    assert heard.interval_ns == 40_950 * MS
    assert Remark.INTERVAL_DIFFERS in remarks(heard, MINE)


def test_a3_interval_zero_reaches_nobody():
    for packet, version in ((ipv4(message(interval=0)), 4), (ipv6(message6(interval=0)), 6)):
        assert Decoder().decode(received(packet, version=version)).reason is DiscardReason.INTERVAL


def test_a6_announcements_are_not_amplified():
    """A neighbour that makes the router become master a hundred thousand times a second."""
    frames = [gratuitous_arp(IPv4Address("10.9.0.254"), "02:00:00:00:00:0a")]
    storm = Announcer()
    sent = 0
    for step in range(100_000):  # every 10 µs, for a second
        now = step * 10_000
        storm.start("web", frames, repeat=5, delay_ns=0, refresh_ns=0, takeover=False, now_ns=now)
        sent += len(storm.due(now))
        storm.stop("web")
    assert sent <= 1000 + BURST + 1


def test_a7_what_is_invalid_yields_no_advertisement_at_all():
    """So it cannot touch a timer: the election is only ever handed an Advertisement."""
    wrong = [
        ipv4(message(checksum=0xDEAD, priority=250)),
        ipv4(message(priority=250), ttl=254),
        ipv4(message(kind=2, priority=250)),
        ipv4(message(addresses=(), priority=250)),
        ipv4(message(version=4, priority=250)),
        ipv4(message(priority=250), fragment=0x2000),
    ]
    decoder = Decoder()
    for packet in wrong * 3:
        assert isinstance(decoder.decode(received(packet)), Discard)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 19, 20, 27, 39, 40, 47])
def test_a8_empty_and_short_packets(length):
    for packet, version in ((ipv4(message()), 4), (ipv6(message6()), 6)):
        verdict = Decoder().decode(received(packet[: min(length, len(packet) - 1)], version=version))
        assert isinstance(verdict, Discard)


def test_a10_reflected_advertisements_of_our_own():
    own = Expectation(version=3, vrid=7, interval_ns=SECOND, own_addresses=frozenset({ip_address(SOURCE4)}))
    heard = Decoder().decode(received(ipv4(message())))
    assert admit(heard, own).reason is DiscardReason.OWN_TRANSMISSION


def test_a11_another_cluster_on_our_vrid_is_named():
    expectation = Expectation(version=3, vrid=7, interval_ns=SECOND, addresses=frozenset({ip_address("10.9.0.200")}))
    heard = Decoder().decode(received(ipv4(message())))
    assert list(remarks(heard, expectation)) == [Remark.ADDRESSES_DIFFER]
    assert heard.source == ip_address(SOURCE4)


def test_a12_unicast_from_off_the_link():
    packet = message(priority=255, source="203.0.113.9", destination="10.9.0.11")
    for ttl in (64, 255):
        verdict = Decoder().decode(
            received(ipv4(packet, source="203.0.113.9", destination="10.9.0.11", ttl=ttl), packet_type=PacketType.HOST)
        )
        if isinstance(verdict, Advertisement):
            verdict = admit(verdict, MINE)
        assert verdict.reason in {DiscardReason.TTL, DiscardReason.DESTINATION}


def test_a13_tagged_frames():
    assert Decoder().decode(received(ipv4(message()), vlan=100)).reason is DiscardReason.VLAN_TAGGED


def test_a14_four_thousand_mutated_packets():
    """The seed is fixed so that a failure can be repeated; Hypothesis looks further (tests/unit)."""
    dice = random.Random(9568)
    decoder = Decoder(cache_size=64)
    right = [
        (ipv4(message()), 4),
        (ipv4(message(version=2, interval=1, auth_type=1, auth_data=b"secret\0\0")), 4),
        (ipv6(message6()), 6),
    ]
    for _ in range(4000):
        packet, version = dice.choice(right)
        changed = bytearray(packet)
        for _ in range(dice.randint(1, 5)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        verdict = decoder.decode(received(bytes(changed[: dice.randint(0, len(changed))]), version=version))
        assert isinstance(verdict, Advertisement | Discard)
    assert len(decoder._cache) <= 64
    for packet, version in right:
        assert isinstance(decoder.decode(received(packet, version=version)), Advertisement)


@pytest.mark.netns
def test_a14_a_flood_does_not_keep_the_good_from_being_heard():
    """Junk that differs in every packet; one wake-up reads a bounded number, and what is dropped is counted."""
    with Network() as network:
        victim, attacker = network.host("victim", "10.9.0.10/24"), network.host("attacker", "10.9.0.66/24")
        with victim.entered():
            link = LinkSocket(socket.if_nametoindex("eth0"))
        with attacker.entered():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            wire.bind(("eth0", 0))
        decoder = Decoder()
        good = ethernet(ipv4(message(priority=200)))
        junk = [ethernet(ipv4(message(checksum=number, priority=250))) for number in range(1, 3000)]
        heard: list[Advertisement] = []
        try:
            for frame in junk:
                wire.send(frame)
            assert len(link.receive()) == 64

            def good_was_heard() -> bool:
                wire.send(good)
                verdicts = [decoder.decode(one) for one in link.receive()]
                heard.extend(one for one in verdicts if isinstance(one, Advertisement))
                return bool(heard)

            wait_for(good_was_heard, what="the good advertisement among the junk")
            assert {one.priority for one in heard} == {200}
            assert link.count_dropped() > 0
        finally:
            link.close()
            wire.close()


@pytest.mark.netns
def test_a15_somebody_else_announces_our_address():
    with Network() as network:
        holder, spoofer = network.host("holder", "10.9.0.10/24"), network.host("spoofer", "10.9.0.66/24")
        vip = IPv4Address("10.9.0.254")
        with holder.entered():
            watching = AnnouncementSocket(socket.if_nametoindex("eth0"))
        watching.watch({vip})
        with spoofer.entered():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            wire.bind(("eth0", 0))
        try:
            wire.send(gratuitous_arp(vip, spoofer.mac()))
            got: list = []
            wait_for(lambda: got.extend(watching.receive()) or got, what="the announcement")
            assert [(one.address, one.mac) for one in got] == [(vip, spoofer.mac())]
        finally:
            watching.close()
            wire.close()
