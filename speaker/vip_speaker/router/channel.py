"""One identity of one virtual router on one link: what it sends, and what it accepts from others.

An instance has one channel, and for a while a second, former one after its identity changed. Frames are encoded once
per change of what they say; the hot path sends cached bytes.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from socket import AF_INET, AF_INET6
from typing import Protocol

from vip_speaker import will
from vip_speaker.link import UnicastSocket
from vip_speaker.router.resolution import Resolved
from vip_speaker.vrrp.timing import farewell_interval_ns
from vip_speaker.vrrp.types import CENTISECOND, RELEASE_PRIORITY, Advertisement, IPAddress
from vip_speaker.wire.admission import Expectation, admit
from vip_speaker.wire.advertisement import Content, encode_frame, encode_packet
from vip_speaker.wire.discard import Discard, DiscardReason

# An instance says few things: its priority, 0, and both again while it squeezes. Trackers add a few.
_MAX_CACHED = 32


class Carrier(Protocol):
    """The link that a channel is on, as those see it who have only the channel."""

    ifindex: int

    def send(self, frame: bytes) -> None:
        """Put one frame on the link; LinkError when it does not take it."""
        ...

    def detach(self, channel: Channel) -> None:
        """Nobody listens under `channel` any more."""
        ...

    def is_taken(self, channel: Channel) -> bool:
        """Whether another virtual router of this host has the VRID of `channel`, a former one."""
        ...


class Channel:
    """Sends and admits advertisements under one identity."""

    def __init__(self, resolved: Resolved, link: Carrier, *, source_mac: str, unicast: UnicastSocket | None) -> None:
        self.identity = resolved.config.identity
        self.priority = resolved.config.priority
        self.interval_ns = resolved.config.advertisement_interval_ns
        self.former = False
        self.own_elsewhere: IPAddress | None = None
        self.link = link
        self.source = resolved.config.primary_address
        self.family = self.source.version
        self._advertised = resolved.advertised
        self._password = resolved.password
        self._peers = resolved.peers
        self.source_mac = source_mac
        self._unicast = unicast
        self._cache: dict[tuple[int, int], list[tuple[IPAddress | None, bytes]]] = {}
        self._says = (
            (self.identity.version, self.identity.vrid, self.source, source_mac),
            (resolved.advertised, resolved.password, resolved.peers),
        )
        self.expectation = Expectation(
            version=self.identity.version,
            vrid=self.identity.vrid,
            interval_ns=resolved.config.advertisement_interval_ns,
            password=self._password,
            peers=None if resolved.peers is None else frozenset(resolved.peers),
            own_addresses=resolved.own_addresses,
            addresses=frozenset(resolved.advertised),
        )

    @property
    def key(self) -> tuple[int, int]:
        """Where a link finds the channels of an advertisement: IP version and VRID."""
        return self.family, self.identity.vrid

    @property
    def first_address(self) -> IPAddress:
        """The address that says whose advertisement it is, whatever the VRID."""
        return self._advertised[0]

    @property
    def guarded(self) -> bool:
        """Whoever configured a password or a list of peers wants nobody else to have a say."""
        return self._password is not None or self._peers is not None

    def admit(self, advertisement: Advertisement) -> Discard | None:
        """None if the advertisement is for us; otherwise why not."""
        if advertisement.source == self.own_elsewhere:
            return Discard(reason=DiscardReason.OWN_TRANSMISSION, source=advertisement.source)
        return admit(advertisement, self.expectation)

    def is_ours(self, advertisement: Advertisement) -> bool:
        """Whether what was admitted is of our virtual router. Under a former identity, whose VRID may belong to another
        one by now, only what names one of our addresses is.
        """
        return not self.former or not self.expectation.addresses.isdisjoint(advertisement.addresses)

    def adopt(self, previous: Channel) -> None:
        """Take over what `previous` has encoded, where it would say the same."""
        if self._says == previous._says:
            self._cache = previous._cache

    def prepare(self) -> None:
        """Encode now what a master may have to say in a hurry: scapy takes a millisecond for each."""
        for priority in (self.priority, RELEASE_PRIORITY):
            self._encoded(priority, self.interval_ns)
            if self.identity.version == 3:
                self._encoded(priority, CENTISECOND)
                self._encoded(priority, farewell_interval_ns(self.interval_ns))

    def send(self, *, priority: int, interval_ns: int) -> None:
        """Send one advertisement; LinkError when the link does not take it."""
        for peer, data in self._encoded(priority, interval_ns):
            if peer is None:
                self.link.send(data)
            elif self._unicast is not None:
                self._unicast.send(data, source=self.source, destination=peer, ifindex=self.link.ifindex)

    def farewell(self, *, priority: int) -> list[will.Entry]:
        """How a master of `priority` gives up, ready-made for the guard to send.

        In version 3 the squeeze comes before priority 0, so that the successor's skew is that of 10 ms.
        """
        if self.identity.version != 3:
            return self._entries(RELEASE_PRIORITY, self.interval_ns)
        return self._entries(priority, CENTISECOND) + self._entries(RELEASE_PRIORITY, CENTISECOND)

    def _entries(self, priority: int, interval_ns: int) -> list[will.Entry]:
        entries: list[will.Entry] = []
        for peer, data in self._encoded(priority, interval_ns):
            if peer is None:
                entries.append(will.Frame(ifindex=self.link.ifindex, data=data))
            else:
                entries.append(
                    will.Packet(
                        ifindex=self.link.ifindex,
                        family=AF_INET if isinstance(peer, IPv4Address) else AF_INET6,
                        destination=str(peer),
                        source=str(self.source),
                        data=data,
                    )
                )
        return entries

    def _encoded(self, priority: int, interval_ns: int) -> list[tuple[IPAddress | None, bytes]]:
        key = (priority, interval_ns)
        if (encoded := self._cache.get(key)) is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            encoded = self._cache[key] = self._encode(priority, interval_ns)
        return encoded

    def _encode(self, priority: int, interval_ns: int) -> list[tuple[IPAddress | None, bytes]]:
        content = Content(
            version=self.identity.version,
            vrid=self.identity.vrid,
            priority=priority,
            interval_ns=interval_ns,
            source=self.source,
            addresses=self._advertised,
            password=self._password,
        )
        if self._peers is None:
            return [(None, encode_frame(content, source_mac=self.source_mac))]
        return [(peer, encode_packet(content, destination=peer)) for peer in self._peers if peer != self.source]
