"""What a packet socket hands to the decoders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD


class PacketType(IntEnum):
    """To whom a frame was addressed, as packet(7) tells it."""

    HOST = 0
    BROADCAST = 1
    MULTICAST = 2
    OTHERHOST = 3
    OUTGOING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A frame as it came in: `packet` is what follows the Ethernet header, padding included.

    `vlan` is the tag's VLAN id, None for an untagged frame (the kernel has already taken the tag out).
    `truncated`: the frame was longer than what was read. `arrived_ns`: when the kernel got it, in nanoseconds of
    CLOCK_REALTIME (the only one that packet sockets tell); 0: not known.
    """

    packet: bytes
    ethertype: int
    source_mac: bytes
    ifindex: int
    packet_type: int = PacketType.MULTICAST
    vlan: int | None = None
    truncated: bool = False
    arrived_ns: int = 0
