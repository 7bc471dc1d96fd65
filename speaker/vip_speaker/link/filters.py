"""The kernel filters of our packet sockets, as BPF programs over whole Ethernet frames.

They keep away what cannot concern us, so that neither the node's own traffic nor a busy LAN wakes the router.
They are no safety measure: every packet that passes is still judged by `vip_speaker.wire`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from vip_speaker.link.bpf import (
    PACKET_TYPE,
    VLAN_TAG_PRESENT,
    Label,
    Line,
    accept,
    assemble,
    jump,
    jump_if_equal,
    jump_if_equals_x,
    keep_in_x,
    load,
    load_header_length,
    load_indexed,
)
from vip_speaker.vrrp.types import IPAddress
from vip_speaker.wire.advertisement import PROTOCOL_AH, PROTOCOL_VRRP
from vip_speaker.wire.received import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, PacketType

ETHERNET_HEADER = 14
ETHERTYPE_AT = 12
MAX_FRAME = 2048  # more than an advertisement with 64 IPv6 addresses (1086) and any frame of a 1500-byte link
ICMPV6 = 58
NEIGHBOUR_ADVERTISEMENT = 136
# The kernel translates an address into about 40 bytes and charges them to the socket, which may have 20 kB
# (net.core.optmem_max before Linux 6.9). Beyond, all announcements pass and the socket looks at the address alone.
MAX_FILTERED_ADDRESSES = 256


def advertisements() -> bytes:
    """VRRP (protocol 112) and VRRP behind an authentication header (51), any VRID, to us or to many.

    Tagged frames pass, so that they can be counted. Frames of other stations, seen on a promiscuous link, do
    not.
    """
    return assemble(
        [
            load(PACKET_TYPE, 4),
            jump_if_equal(PacketType.OUTGOING, "drop"),
            jump_if_equal(PacketType.OTHERHOST, "drop"),
            load(ETHERTYPE_AT, 2),
            jump_if_equal(ETH_P_IP, "ipv4"),
            jump_if_equal(ETH_P_IPV6, "ipv6", "drop"),
            Label("ipv4"),
            load(ETHERNET_HEADER + 9, 1),
            jump_if_equal(PROTOCOL_VRRP, "accept"),
            jump_if_equal(PROTOCOL_AH, None, "drop"),
            load_header_length(ETHERNET_HEADER),
            load_indexed(ETHERNET_HEADER, 1),  # what follows the authentication header
            jump_if_equal(PROTOCOL_VRRP, "accept", "drop"),
            Label("ipv6"),
            load(ETHERNET_HEADER + 6, 1),
            jump_if_equal(PROTOCOL_VRRP, "accept"),
            jump_if_equal(PROTOCOL_AH, None, "drop"),
            load(ETHERNET_HEADER + 40, 1),
            jump_if_equal(PROTOCOL_VRRP, "accept", "drop"),
            Label("accept"),
            accept(MAX_FRAME),
            Label("drop"),
            accept(0),
        ]
    )


def announcements(addresses: Iterable[IPAddress]) -> bytes:
    """ARP of one of `addresses` for itself or for nobody (an answer to a probe), neighbour advertisements that name
    one; untagged, not our own.
    """
    wanted = sorted(set(addresses), key=lambda address: (address.version, address))
    everything = len(wanted) > MAX_FILTERED_ADDRESSES
    ipv4 = [int(address) for address in wanted if isinstance(address, IPv4Address)]
    # The last 32 bits are enough to keep others' traffic away; the socket compares whole addresses.
    ipv6 = [int(address) & 0xFFFFFFFF for address in wanted if isinstance(address, IPv6Address)]
    return assemble(
        [
            load(PACKET_TYPE, 4),
            jump_if_equal(PacketType.OUTGOING, None, "incoming"),
            accept(0),
            Label("incoming"),
            load(VLAN_TAG_PRESENT, 4),
            jump_if_equal(0, "untagged"),
            accept(0),
            Label("untagged"),
            load(ETHERTYPE_AT, 2),
            jump_if_equal(ETH_P_ARP, "arp"),
            jump("not-arp"),  # farther than a conditional jump reaches
            Label("arp"),
            load(ETHERNET_HEADER + 24, 4),  # target address
            jump_if_equal(0, "sender"),
            keep_in_x(),
            load(ETHERNET_HEADER + 14, 4),  # sender address
            jump_if_equals_x("sender"),
            accept(0),
            Label("sender"),
            load(ETHERNET_HEADER + 14, 4),
            *_one_of(ipv4, everything=everything),
            Label("not-arp"),
            jump_if_equal(ETH_P_IPV6, "ipv6"),
            accept(0),
            Label("ipv6"),
            load(ETHERNET_HEADER + 6, 1),
            jump_if_equal(ICMPV6, "icmpv6"),
            accept(0),
            Label("icmpv6"),
            load(ETHERNET_HEADER + 40, 1),
            jump_if_equal(NEIGHBOUR_ADVERTISEMENT, "advertisement"),
            accept(0),
            Label("advertisement"),
            load(ETHERNET_HEADER + 60, 4),  # the last word of the target address
            *_one_of(ipv6, everything=everything),
        ]
    )


def nothing() -> bytes:
    """No packet at all: for a socket that exists for another reason than reading."""
    return assemble([accept(0)])


def _one_of(values: list[int], *, everything: bool) -> list[Line]:
    if everything:
        return [accept(MAX_FRAME)]
    lines: list[Line] = []
    for at, value in enumerate(dict.fromkeys(values)):
        skip = f"after-{at}-{len(values)}-{value:x}"
        lines += [jump_if_equal(value, None, skip), accept(MAX_FRAME), Label(skip)]
    return [*lines, accept(0)]
