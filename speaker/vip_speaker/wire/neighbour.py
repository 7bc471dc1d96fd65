"""Announces an address to the neighbours, and understands such announcements of others (RFC 9568 sections 8.1.2,
8.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from vip_speaker.vrrp.types import IPAddress
from vip_speaker.wire.layers import ARP, Ether, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6, in6_chksum, packed

ETHERNET_HEADER = 14
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
ALL_NODES = "ff02::1"
ALL_NODES_MAC = "33:33:00:00:00:01"
PROTOCOL_ICMPV6 = 58
HOP_LIMIT = 255
REQUEST, REPLY = 1, 2
UNSPECIFIED = "0.0.0.0"  # noqa: S104 nothing is bound to it
# Longer than any announcement: Ethernet, IPv6, a neighbour advertisement and some options.
MAX_ANNOUNCEMENT = 256

# To build a frame takes 0.4 ms, 25 ms for 64 addresses: too long between becoming master and saying so. Whoever builds
# them before they are needed finds them here. Filled from the configuration alone: 64 VIPs of 64 addresses, 1.5 MB.
MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Somebody says that `address` is at `mac` (lower case, with colons), or `answers` the question who has it."""

    address: IPAddress
    mac: str
    answers: bool = False


@lru_cache(maxsize=MAX_REMEMBERED)
def gratuitous_arp(address: IPv4Address, mac: str) -> bytes:
    """A broadcast ARP request of `address` for itself: the form that every Linux host takes up at once.

    (A reply is not taken up within a second of the entry's last change, depending on its target address.)
    """
    arp = ARP(op=REQUEST, hwsrc=mac, psrc=str(address), hwdst=BROADCAST_MAC, pdst=str(address))
    return packed(Ether(src=mac, dst=BROADCAST_MAC), arp)


@lru_cache(maxsize=MAX_REMEMBERED)
def unsolicited_advertisement(address: IPv6Address, mac: str, *, router: bool) -> bytes:
    """A neighbour advertisement from `address` to all nodes, with Override and the link-layer address.

    `router`: the R flag, which RFC 9568 section 6.4.2 sets; on a router its absence would take the router from its
    neighbours' default router lists (RFC 4861 section 7.2.5).
    """
    message = ICMPv6ND_NA(R=int(router), S=0, O=1, tgt=str(address)), ICMPv6NDOptDstLLAddr(lladdr=mac)
    header = IPv6(src=str(address), dst=ALL_NODES, hlim=HOP_LIMIT, nh=PROTOCOL_ICMPV6)
    return packed(Ether(src=mac, dst=ALL_NODES_MAC), header, *message)


@lru_cache(maxsize=MAX_REMEMBERED)
def duplicate_question(address: IPAddress, mac: str) -> bytes:
    """Who else has `address`: an ARP probe (RFC 5227 section 2.1.1), or the solicitation of duplicate address detection
    (RFC 4862 section 5.4.2).
    """
    if isinstance(address, IPv4Address):
        arp = ARP(op=REQUEST, hwsrc=mac, psrc=UNSPECIFIED, hwdst="00:00:00:00:00:00", pdst=str(address))
        return packed(Ether(src=mac, dst=BROADCAST_MAC), arp)
    last = address.packed[13:]
    group = IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + last)
    header = IPv6(src="::", dst=str(group), hlim=HOP_LIMIT, nh=PROTOCOL_ICMPV6)
    ether = Ether(src=mac, dst=f"33:33:ff:{last.hex(':')}")
    return packed(ether, header, ICMPv6ND_NS(tgt=str(address)))


def decode_announcement(frame: bytes) -> Announced | None:
    """What an Ethernet frame announces; None if it is anything else than a sound announcement. Never raises."""
    if len(frame) > MAX_ANNOUNCEMENT:
        return None
    try:
        packet = Ether(frame)
        if ARP in packet:
            return _from_arp(packet[ARP])
        if ICMPv6ND_NA in packet and isinstance(packet.payload, IPv6):
            return _from_advertisement(packet.payload, frame[ETHERNET_HEADER:])
    except Exception:  # scapy met bytes that it was not written for; ours to be total
        return None
    return None


def _from_arp(arp: ARP) -> Announced | None:
    """Gratuitous: sender and target address are the same, whether it calls itself request or reply. Or a reply to who
    has no address itself, which is how we ask.
    """
    if (arp.hwtype, arp.ptype, arp.hwlen, arp.plen) != (1, 0x0800, 6, 4) or arp.op not in (REQUEST, REPLY):
        return None
    answers = arp.op == REPLY and arp.pdst == UNSPECIFIED
    if (arp.psrc != arp.pdst and not answers) or not _is_station(arp.hwsrc):
        return None
    return Announced(address=IPv4Address(arp.psrc), mac=arp.hwsrc, answers=answers)


def _from_advertisement(header: IPv6, packet: bytes) -> Announced | None:
    """The checks of RFC 4861 section 7.1.2; without a target link-layer address it announces nothing."""
    message = packet[40 : 40 + header.plen]
    if header.hlim != HOP_LIMIT or header.nh != PROTOCOL_ICMPV6 or len(message) < header.plen:
        return None
    advertisement = header.payload
    if not isinstance(advertisement, ICMPv6ND_NA) or advertisement.code != 0 or advertisement.S:
        return None
    if in6_chksum(PROTOCOL_ICMPV6, IPv6(src=header.src, dst=header.dst), message) != 0:
        return None
    option = advertisement.payload
    target = IPv6Address(advertisement.tgt)
    if not isinstance(option, ICMPv6NDOptDstLLAddr) or target.is_multicast or not _is_station(option.lladdr):
        return None
    return Announced(address=target, mac=option.lladdr)


def _is_station(mac: str) -> bool:
    return mac != "00:00:00:00:00:00" and int(mac[:2], 16) & 1 == 0
