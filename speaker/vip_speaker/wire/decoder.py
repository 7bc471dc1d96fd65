"""Takes received packets apart: an Advertisement, or the first rule of RFC 9568 section 7.1 that it breaks.

Total: whatever the bytes, the answer is a value. What can only be judged against a configured virtual router
(VRID, password, peers) is `admission`'s part. Rules are named by their row in docs/rfc-coverage.md.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from vip_speaker.vrrp.types import CENTISECOND, SECOND, Advertisement, IPAddress
from vip_speaker.wire.advertisement import (
    AUTH_NONE,
    AUTH_PASSWORD,
    GROUP_V4,
    GROUP_V6,
    PASSWORD_BYTES,
    PROTOCOL_AH,
    PROTOCOL_VRRP,
    TTL,
)
from vip_speaker.wire.discard import Discard, DiscardReason
from vip_speaker.wire.layers import IP, VRRP, IPv6, VRRPv3, checksum, in4_chksum, in6_chksum
from vip_speaker.wire.received import ETH_P_IP, ETH_P_IPV6, PacketType, Received

MESSAGE_BYTES = 8  # of a message without addresses
LONGEST_V2_MESSAGE = MESSAGE_BYTES + 255 * 4 + PASSWORD_BYTES
LIMITED_BROADCAST = IPv4Address("255.255.255.255")

Decoded = Advertisement | Discard


class _Rejected(Exception):  # noqa: N818 - carries a verdict, is no error
    def __init__(self, reason: DiscardReason, detail: str = "", source: IPAddress | None = None) -> None:
        super().__init__(reason)
        self.verdict = Discard(reason=reason, source=source, detail=detail)


class Decoder:
    """Decodes through a cache, because a master says the same thing again and again: a lookup against 0.3 ms.

    `cache_size` bounds what a neighbour can fill with packets that all differ; the least recently heard go
    first, so the masters' own packets stay. Discards are cached too: repeated junk must not be dear.
    `strict_link_local` turns erratum 8300 into a reason to discard (FRR breaks it, so by default it is only
    remarked upon).
    """

    def __init__(self, cache_size: int = 1024, *, strict_link_local: bool = False) -> None:
        assert cache_size > 0
        self._cache: OrderedDict[tuple[bytes, bytes, bytes, int, int], Decoded] = OrderedDict()
        self._cache_size = cache_size
        self._strict_link_local = strict_link_local
        self.misses = 0

    def decode(self, received: Received) -> Decoded:
        """The advertisement in `received`, or why it is none. Never raises."""
        if received.packet_type == PacketType.OUTGOING:
            return Discard(reason=DiscardReason.OWN_TRANSMISSION)  # RV-01
        if received.vlan:  # RV-02; a priority tag (VLAN id 0) is no VLAN
            return Discard(reason=DiscardReason.VLAN_TAGGED, detail=f"VLAN {received.vlan}")
        if received.packet_type not in (PacketType.HOST, PacketType.MULTICAST):
            return Discard(reason=DiscardReason.OTHER_STATION)
        if received.truncated:
            return Discard(reason=DiscardReason.PACKET_LENGTH, detail="longer than an advertisement can be")
        key = _cache_key(received)
        if key is None:
            return Discard(reason=DiscardReason.MALFORMED, detail="IPv4 header checksum")
        decoded = self._cache.get(key)
        if decoded is None:
            self.misses += 1
            decoded = self._cache[key] = self._parse(received)
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return decoded

    def _parse(self, received: Received) -> Decoded:
        try:
            if received.ethertype == ETH_P_IP:
                return _parse_ipv4(received)
            if received.ethertype == ETH_P_IPV6:
                return self._judge_first_address(_parse_ipv6(received))
        except _Rejected as rejected:
            return rejected.verdict
        except Exception as error:  # scapy met bytes that it was not written for; ours to be total
            return Discard(reason=DiscardReason.MALFORMED, detail=type(error).__name__)
        return Discard(reason=DiscardReason.NOT_VRRP)

    def _judge_first_address(self, advertisement: Advertisement) -> Decoded:
        if self._strict_link_local and not first_is_link_local(advertisement):
            return Discard(
                reason=DiscardReason.FIRST_NOT_LINK_LOCAL,  # RV-17
                source=advertisement.source,
                detail=str(advertisement.addresses[0]),
            )
        return advertisement


def first_is_link_local(advertisement: Advertisement) -> bool:
    """Whether the first of IPv6 addresses is link-local, as RFC 9568 section 5.2.9 (erratum 8300) wants it."""
    return advertisement.source.version == 4 or advertisement.addresses[0].is_link_local


def _cache_key(received: Received) -> tuple[bytes, bytes, bytes, int, int] | None:
    """What the verdict depends on: all but the IPv4 identification and header checksum, which change every
    time.

    None if that checksum is wrong: a packet socket sees packets that IP has not yet looked at.
    """
    packet = received.packet
    if received.ethertype != ETH_P_IP or len(packet) < 20 or packet[0] != 0x45:
        return packet, b"", b"", received.ethertype, received.packet_type
    words = struct.unpack_from("!10H", packet)
    if sum(words) % 0xFFFF:
        return None
    return packet[:4], packet[6:10], packet[12 : words[1]], received.ethertype, received.packet_type


def _parse_ipv4(received: Received) -> Advertisement:
    packet = received.packet
    if len(packet) < 20 or packet[0] >> 4 != 4:
        raise _Rejected(DiscardReason.MALFORMED, "no IPv4 header")
    header = IP(packet)
    header_bytes = header.ihl * 4
    if header_bytes < 20 or not header_bytes <= header.len <= len(packet):
        raise _Rejected(DiscardReason.PACKET_LENGTH, "IPv4 lengths")  # RV-03
    if checksum(packet[:header_bytes]) != 0:
        raise _Rejected(DiscardReason.MALFORMED, "IPv4 header checksum")
    source = IPv4Address(header.src)
    if header.frag or header.flags.MF:
        raise _Rejected(DiscardReason.FRAGMENT, source=source)
    _judge_protocol(header.proto, source)
    destination = _judge_header(received, source, IPv4Address(header.dst), hops=header.ttl)
    message = packet[header_bytes : header.len]
    return _parse_message(message, header.payload, header, source, destination)


def _parse_ipv6(received: Received) -> Advertisement:
    packet = received.packet
    if len(packet) < 40 or packet[0] >> 4 != 6:
        raise _Rejected(DiscardReason.MALFORMED, "no IPv6 header")
    header = IPv6(packet)
    if 40 + header.plen > len(packet):
        raise _Rejected(DiscardReason.PACKET_LENGTH, "IPv6 payload length")  # RV-03
    source = IPv6Address(header.src)
    _judge_protocol(header.nh, source)
    destination = _judge_header(received, source, IPv6Address(header.dst), hops=header.hlim)
    message = packet[40 : 40 + header.plen]
    return _parse_message(message, header.payload, header, source, destination)


def _judge_protocol(protocol: int, source: IPAddress) -> None:
    if protocol == PROTOCOL_AH:
        raise _Rejected(DiscardReason.AUTHENTICATION_HEADER, source=source)
    if protocol != PROTOCOL_VRRP:
        raise _Rejected(DiscardReason.NOT_VRRP, f"protocol {protocol}", source)


def _judge_header(received: Received, source: IPAddress, destination: IPAddress, *, hops: int) -> IPAddress | None:
    """RV-04, RV-05, RV-19; the destination if it is a unicast address, None for the group."""
    group = GROUP_V4 if source.version == 4 else GROUP_V6
    to_group = destination == group
    if not to_group and (
        destination.is_multicast
        or destination.is_unspecified
        or destination == LIMITED_BROADCAST
        or received.packet_type != PacketType.HOST
    ):
        raise _Rejected(DiscardReason.DESTINATION, f"to {destination}", source)
    if hops != TTL:
        raise _Rejected(DiscardReason.TTL, f"TTL {hops}", source)
    insane = source.is_unspecified or source.is_loopback or source.is_multicast or source == LIMITED_BROADCAST
    # Link-local is what RFC 9568 section 5.1.2.1 asks for; unicast peers may be a router away from that rule.
    if insane or (to_group and source.version == 6 and not source.is_link_local):
        raise _Rejected(DiscardReason.SOURCE, source=source)
    return None if to_group else destination


def _parse_message(
    message: bytes, layer: Any, header: Any, source: IPAddress, destination: IPAddress | None
) -> Advertisement:
    """RV-06 and RV-08 to RV-13, over the message's declared length: what follows it is not ours to read."""
    if len(message) < MESSAGE_BYTES:
        raise _Rejected(DiscardReason.PACKET_LENGTH, f"{len(message)} bytes", source)  # RV-06
    if not isinstance(layer, VRRP | VRRPv3):
        # scapy gives up on a message that ends early; filled up it says what the header fields are, and the rules
        # below find what is wrong with it.
        layer = VRRP(message.ljust(LONGEST_V2_MESSAGE, b"\0"))
    if layer.version not in (2, 3) or (layer.version == 2 and source.version == 6):
        raise _Rejected(DiscardReason.VERSION, f"version {layer.version}", source)  # RV-08
    if layer.type != 1:
        raise _Rejected(DiscardReason.PACKET_TYPE, f"type {layer.type}", source)  # RV-09
    if layer.ipcount == 0:
        raise _Rejected(DiscardReason.ADDRESS_COUNT, "no address", source)  # RV-11
    address_bytes = 4 if source.version == 4 else 16
    declared = MESSAGE_BYTES + layer.ipcount * address_bytes + (PASSWORD_BYTES if layer.version == 2 else 0)
    if declared > len(message):
        detail = f"{len(message)} bytes, {declared} declared"
        raise _Rejected(DiscardReason.PACKET_LENGTH, detail, source)  # RV-10
    if not _checksum_holds(message[:declared], header, version=layer.version):
        raise _Rejected(DiscardReason.CHECKSUM, f"{layer.chksum:#06x}", source)  # RV-12
    if layer.adv == 0:
        raise _Rejected(DiscardReason.INTERVAL, "0", source)  # RV-13
    auth_type, auth_data = AUTH_NONE, b""
    if layer.version == 2:
        auth_type = layer.authtype
        if auth_type == AUTH_PASSWORD:  # other types: zero on send, ignored (RV-20)
            auth_data = message[declared - PASSWORD_BYTES : declared]
    return Advertisement(
        version=layer.version,
        vrid=layer.vrid,
        priority=layer.priority,
        interval_ns=layer.adv * (SECOND if layer.version == 2 else CENTISECOND),
        source=source,
        addresses=tuple(ip_address(address) for address in layer.addrlist),
        auth_type=auth_type,
        auth_data=auth_data,
        destination=destination,
    )


def _checksum_holds(message: bytes, header: Any, *, version: int) -> bool:
    """Version 3 over IPv4 in either form: RFC 5798's with a pseudo-header (everybody's), RFC 9568's without."""
    # The header as received says how long its payload is; here the pseudo-header is to say how long the
    # message is.
    if isinstance(header, IPv6):
        return bool(in6_chksum(PROTOCOL_VRRP, IPv6(src=header.src, dst=header.dst), message) == 0)
    if checksum(message) == 0:
        return True
    return version == 3 and in4_chksum(PROTOCOL_VRRP, IP(src=header.src, dst=header.dst), message) == 0
