"""The sockets of one link. `LinkSocket` is shared by all virtual routers on the link.

Packet sockets listen to everything (ETH_P_ALL) behind a filter, because a virtual MAC link on top of this one
takes frames away from sockets that ask for one protocol. They are filtered before they are bound, so no
packet slips in.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from vip_speaker.link import filters
from vip_speaker.link.bpf import attach
from vip_speaker.link.filters import ETHERNET_HEADER, MAX_FRAME
from vip_speaker.vrrp.types import IPAddress
from vip_speaker.wire.advertisement import GROUP_V4, GROUP_V6, INTERNETWORK_CONTROL, PROTOCOL_VRRP, TTL
from vip_speaker.wire.received import Received

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
IP_PKTINFO = 8
TC_PRIO_CONTROL = 7
TP_STATUS_VLAN_VALID = 0x10
AUXDATA = struct.Struct(
    "IIIHHHH"
)  # struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
STATISTICS = struct.Struct("II")

# About a thousand small packets (the kernel doubles it): all that 255 masters at 100 ms send while we are off
# the CPU for a third of a second. More would only make old news older.
RECEIVE_BUFFER = 512 * 1024
LINK_IS_GONE = frozenset({errno.ENXIO, errno.ENODEV})


class LinkError(Exception):
    """The link does not carry this now. `gone`: the interface is no more and so this socket will never work
    again.
    """

    def __init__(self, action: str, error: OSError) -> None:
        super().__init__(f"{action}: {error.strerror or error}")
        self.errno = error.errno
        self.gone = error.errno in LINK_IS_GONE


class _PacketSocket:
    """A packet socket on one link, behind a filter."""

    def __init__(self, ifindex: int, program: bytes) -> None:
        self.ifindex = ifindex
        self.dropped = 0
        # Protocol 0: it hears nothing until it is bound.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            attach(self._socket, program)
            self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, TC_PRIO_CONTROL)
            with _as_link_error("open"):
                _bind(self._socket, ifindex)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; once is enough."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def count_dropped(self) -> int:
        """How many packets the kernel has dropped so far because this socket was full."""
        raw = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, STATISTICS.size)
        self.dropped += STATISTICS.unpack(raw)[1]  # reading resets it
        return self.dropped

    def _receive(self, budget: int) -> list[Received]:
        received: list[Received] = []
        with _as_link_error("receive"):
            while len(received) < budget:
                try:
                    data, ancillary, _, sender = self._socket.recvmsg(MAX_FRAME, 64)
                except BlockingIOError:
                    break
                if len(data) > ETHERNET_HEADER:
                    received.append(_received(data, ancillary, sender, self.ifindex))
        return received


class LinkSocket(_PacketSocket):
    """Advertisements on one link, in and out."""

    def __init__(self, ifindex: int) -> None:
        self._members: dict[int, socket.socket] = {}
        super().__init__(ifindex, filters.advertisements())

    def receive(self, budget: int = 64) -> list[Received]:
        """The packets that wait, at most `budget`, oldest first. LinkError once when the link went down."""
        return self._receive(budget)

    def send(self, frame: bytes) -> None:
        """Send an Ethernet frame as it is. LinkError when the link is down, gone, or its queue full."""
        with _as_link_error("send"):
            self._socket.send(frame)

    def join(self, family: int) -> None:
        """Join VRRP's group of `family` (4, 6), so that interface and snooping switches let it through;
        idempotent.

        LinkError where the link does not have that family.
        """
        if family in self._members:
            return
        group = GROUP_V4 if family == 4 else GROUP_V6
        domain = socket.AF_INET if family == 4 else socket.AF_INET6
        member = socket.socket(domain, socket.SOCK_DGRAM)  # never bound, so nothing is ever queued on it
        try:
            with _as_link_error(f"join {group}"):
                if family == 4:
                    request = struct.pack("4s4si", group.packed, b"\0" * 4, self.ifindex)  # struct ip_mreqn
                    member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
                else:
                    request = struct.pack("16si", group.packed, self.ifindex)  # struct ipv6_mreq
                    member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        except BaseException:
            member.close()
            raise
        self._members[family] = member

    def leave(self, family: int) -> None:
        """Leave the group; nothing happens if it was not joined."""
        member = self._members.pop(family, None)
        if member is not None:
            member.close()

    def close(self) -> None:
        """Leave the groups and close the socket."""
        for family in tuple(self._members):
            self.leave(family)
        if hasattr(self, "_socket"):
            super().close()


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
        with _as_link_error(f"send to {destination}"):
            self._socket.sendmsg([packet], ancillary, 0, to)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _bind(target: socket.socket, ifindex: int) -> None:
    """Bind to a link by its index: a name could meanwhile be another link's, but Python only binds by name."""
    name = socket.if_indextoname(ifindex)
    target.bind((name, ETH_P_ALL))
    if socket.if_nametoindex(name) != ifindex:
        raise OSError(errno.ENODEV, "the interface changed its name")


def _received(
    data: bytes,
    ancillary: Iterable[tuple[int, int, bytes]],
    sender: tuple[str, int, int, int, bytes],
    ifindex: int,
) -> Received:
    vlan = None
    truncated = False
    for level, kind, value in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA and len(value) >= AUXDATA.size:
            status, length, _, _, _, vlan_tci, _ = AUXDATA.unpack_from(value)
            truncated = length > len(data)
            if status & TP_STATUS_VLAN_VALID:
                vlan = vlan_tci & 0x0FFF
    return Received(
        packet=data[ETHERNET_HEADER:],
        ethertype=int.from_bytes(data[12:14], "big"),
        source_mac=data[6:12],
        ifindex=ifindex,
        packet_type=sender[2],
        vlan=vlan,
        truncated=truncated,
    )


@contextlib.contextmanager
def _as_link_error(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LinkError(action, error) from error
