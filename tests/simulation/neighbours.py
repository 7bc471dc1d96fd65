"""What others on the link of a host send at random: advertisements and announcements of what is ours, or nearly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from random import Random

from vip_speaker.vrrp.types import SECOND, IPAddress
from vip_speaker.wire.advertisement import Content, encode_frame, encode_packet
from vip_speaker.wire.neighbour import Announced
from vip_speaker.wire.received import ETH_P_IP, ETH_P_IPV6, PacketType, Received

from tests.simulation.router import VirtualHost


class Neighbours:
    """Of `host`. `tell` writes the run down."""

    def __init__(self, host: VirtualHost, random: Random, tell: Callable[[str], None]) -> None:
        self.host, self.random, self.tell = host, random, tell

    def advertise(self) -> None:
        """Somebody advertises: of our virtual router, or of one that looks like it."""
        random = self.random
        known = [one for one in self.host.daemon.instances.values() if one.resolved is not None]
        if not known:
            return
        one = random.choice(known)
        channel = random.choice([one._identities.current] * 3 + [one._identities.former or one._identities.current])
        if channel is None:
            return
        six = channel.family == 6
        version, vrid = channel.identity.version, channel.identity.vrid
        ours = one.config.priority if one.config else 100
        priority = random.choice((0, 0, 1, ours, min(254, ours + 1), max(1, ours - 1), 254, 255))
        interval_ns = one.config.advertisement_interval_ns if one.config else SECOND
        password = one.resolved.password if one.resolved else None
        addresses = channel._advertised
        match random.randrange(12):
            case 0:
                vrid = random.randint(1, 5)
            case 1 if not six:
                version = 5 - version
            case 2:
                addresses = (ip_address("fe80::77" if six else "10.7.7.7"),)
            case 3:
                interval_ns = random.choice((SECOND, 2 * SECOND))
            case 4:
                password = random.choice((None, b"one", b"two"))
        if version == 2:
            interval_ns = max(SECOND, interval_ns // SECOND * SECOND)
        else:
            password = None
        ifindex = channel.link.ifindex
        number = next((int(link.name[-1]) for link in [self.host.node.links.get(ifindex)] if link), 0)
        last = random.choice((0, 11, 11, 12, 13, 200))
        source = channel.source if not last else ip_address(f"fe80::1{last}" if six else f"10.{number}.0.{last}")
        content = Content(
            version=version,
            vrid=vrid,
            priority=priority,
            interval_ns=interval_ns,
            source=source,
            addresses=addresses,
            password=password,
        )
        unicast = (one.resolved.peers is not None) != (random.random() < 0.1) if one.resolved else False
        self.tell(f"heard for {one.name}: {priority} of {source}, VRID {vrid} version {version} unicast {unicast}")
        for _ in range(random.choice((1, 1, 2))):
            self.host.deliver(_received(content, channel.source if unicast else None, ifindex))

    def announce(self) -> None:
        """Somebody says that it has the addresses of one of our VIPs."""
        random = self.random
        known = [one for one in self.host.daemon.instances.values() if one.holding.planned and one.link is not None]
        if not known:
            return
        one = random.choice(known)
        self.tell(f"announced: the addresses of {one.name}")
        for assigned in one.holding.planned:
            mac = random.choice(("02:00:00:00:00:77", "02:00:00:00:00:78"))
            announced = Announced(address=assigned.ip, mac=mac, answers=random.random() < 0.2)
            if random.random() < 0.9 and one.link is not None:
                self.host.announce(one.link.ifindex, announced)


@lru_cache(maxsize=1 << 14)
def _received(content: Content, destination: IPAddress | None, ifindex: int) -> Received:
    six = content.source.version == 6
    if destination is None:
        packet, kind = encode_frame(content, source_mac="02:00:00:00:00:77")[14:], PacketType.MULTICAST
    else:
        multicast = encode_frame(replace(content), source_mac="02:00:00:00:00:77")[14:]
        packet, kind = encode_packet(content, destination=destination), PacketType.HOST
        if six:
            packet = multicast[:4] + multicast[4:24] + destination.packed + packet
    return Received(
        packet=packet,
        ethertype=ETH_P_IPV6 if six else ETH_P_IP,
        source_mac=bytes.fromhex("020000000077"),
        ifindex=ifindex,
        packet_type=kind,
    )
