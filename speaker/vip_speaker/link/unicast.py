"""Raw IP towards unicast peers."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

from vip_speaker.link import filters
from vip_speaker.link.bpf import attach
from vip_speaker.link.packet import TC_PRIO_CONTROL, as_link_error
from vip_speaker.vrrp.types import IPAddress
from vip_speaker.wire.advertisement import INTERNETWORK_CONTROL, PROTOCOL_VRRP, TTL

IP_PKTINFO = 8


class UnicastSocket:
    """Sends advertisements to unicast peers; what they send comes in through `LinkSocket`.

    It hears protocol 112 and drops all of it: without such a socket the kernel answers a peer's unicast
    advertisements with "protocol unreachable".
    """

    def __init__(self, family: int) -> None:
        self.family = family
        domain = socket.AF_INET if family == 4 else socket.AF_INET6
        self._socket = socket.socket(domain, socket.SOCK_RAW | socket.SOCK_NONBLOCK, PROTOCOL_VRRP)
        try:
            attach(self._socket, filters.nothing())
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, TC_PRIO_CONTROL)
            if family == 4:
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, INTERNETWORK_CONTROL)
        except BaseException:
            self._socket.close()
            raise

    def send(self, packet: bytes, *, source: IPAddress, destination: IPAddress, ifindex: int) -> None:
        """Send what `encode_packet` made over the link `ifindex`; LinkError when it cannot leave there."""
        if isinstance(source, IPv4Address):
            info = struct.pack("i4s4s", ifindex, source.packed, b"\0" * 4)  # struct in_pktinfo
            ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, info)]
            to: tuple[object, ...] = (str(destination), 0)
        else:
            info = struct.pack("16si", source.packed, ifindex)  # struct in6_pktinfo
            ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
            to = (str(destination), 0, 0, ifindex if destination.is_link_local else 0)
        with as_link_error(f"send to {destination}"):
            self._socket.sendmsg([packet], ancillary, 0, to)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
