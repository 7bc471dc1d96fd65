"""VRRP packets byte by byte, right or wrong in every field: what the decoder is tested with.

Written from the RFCs' tables and not with scapy, so that a mistake in how we use scapy shows.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from vip_speaker.wire import PacketType, Received

VIP4 = "10.9.0.254"
SOURCE4 = "10.9.0.10"
SOURCE6 = "fe80::a"
GROUP4 = "224.0.0.18"
GROUP6 = "ff02::12"
ETHERTYPE = {4: 0x0800, 6: 0x86DD}


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: str, destination: str, length: int) -> bytes:
    """Of RFC 793 or RFC 8200 section 8.1, for protocol 112."""
    ends = ip_address(source).packed + ip_address(destination).packed
    return ends + (struct.pack("!BBH", 0, 112, length) if len(ends) == 8 else struct.pack("!IHBB", length, 0, 0, 112))


def message(
    *,
    version: int = 3,
    kind: int = 1,
    vrid: int = 7,
    priority: int = 100,
    addresses: tuple[str, ...] = (VIP4,),
    count: int | None = None,
    interval: int = 100,
    reserved: int = 0,
    auth_type: int = 0,
    auth_data: bytes = bytes(8),
    source: str = SOURCE4,
    destination: str = GROUP4,
    pseudo: bool | None = None,
    checksum: int | None = None,
) -> bytes:
    """`interval` as the field has it; `pseudo` None: with a pseudo-header in version 3."""
    words = (reserved << 12 | interval) if version != 2 else (auth_type << 8 | interval)
    count = len(addresses) if count is None else count
    head = struct.pack("!BBBBH", version << 4 | kind, vrid, priority, count, words)
    tail = b"".join(ip_address(address).packed for address in addresses)
    if version == 2:
        tail += auth_data
    if checksum is None:
        covered = head + b"\0\0" + tail
        if pseudo if pseudo is not None else version == 3:
            covered = pseudo_header(source, destination, len(covered)) + covered
        checksum = internet_checksum(covered)
    return head + struct.pack("!H", checksum) + tail


def ipv4(
    payload: bytes,
    *,
    source: str = SOURCE4,
    destination: str = GROUP4,
    ttl: int = 255,
    tos: int = 0xC0,
    identification: int = 1,
    fragment: int = 0,
    protocol: int = 112,
    options: bytes = b"",
    total_length: int | None = None,
    checksum: int | None = None,
) -> bytes:
    """`fragment` is the field with its flags (0x4000 DF, 0x2000 MF)."""
    length = 20 + len(options) + len(payload) if total_length is None else total_length
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    first = (4 << 4 | (5 + len(options) // 4), tos, length, identification, fragment, ttl, protocol)
    if checksum is None:
        checksum = internet_checksum(struct.pack("!BBHHHBBH", *first, 0) + ends + options)
    return struct.pack("!BBHHHBBH", *first, checksum) + ends + options + payload


def ipv6(
    payload: bytes,
    *,
    source: str = SOURCE6,
    destination: str = GROUP6,
    hop_limit: int = 255,
    next_header: int = 112,
    payload_length: int | None = None,
) -> bytes:
    length = len(payload) if payload_length is None else payload_length
    ends = IPv6Address(source).packed + IPv6Address(destination).packed
    return struct.pack("!IHBB", 6 << 28 | 0xC0 << 20, length, next_header, hop_limit) + ends + payload


def message6(*, source: str = SOURCE6, destination: str = GROUP6, **fields: object) -> bytes:
    """A version 3 message over IPv6 with a link-local and a global address."""
    fields.setdefault("addresses", ("fe80::20", "2001:db8:9::fe"))
    return message(source=source, destination=destination, **fields)


def received(
    packet: bytes,
    *,
    version: int = 4,
    packet_type: int = PacketType.MULTICAST,
    vlan: int | None = None,
    truncated: bool = False,
    ethertype: int | None = None,
) -> Received:
    """As a packet socket would hand it over."""
    return Received(
        packet=packet,
        ethertype=ETHERTYPE[version] if ethertype is None else ethertype,
        source_mac=bytes.fromhex("020000000001"),
        ifindex=2,
        packet_type=packet_type,
        vlan=vlan,
        truncated=truncated,
    )


def ethernet(packet: bytes, *, source: str = "02:00:00:00:00:01", destination: str | None = None) -> bytes:
    """A frame around an IP packet, by default to the group's link-layer address."""
    version = packet[0] >> 4
    if destination is None:
        destination = "01:00:5e:00:00:12" if version == 4 else "33:33:00:00:00:12"
    ends = bytes.fromhex(destination.replace(":", "")) + bytes.fromhex(source.replace(":", ""))
    return ends + struct.pack("!H", ETHERTYPE[version]) + packet
