"""The packet sockets of one link. `LinkSocket` is shared by all virtual routers on the link.

Packet sockets listen to everything (ETH_P_ALL) behind a filter, because a virtual MAC link on top of this one
takes frames away from sockets that ask for one protocol. They are filtered before they are bound, so no
packet slips in.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from vip_speaker.link import filters
from vip_speaker.link.bpf import attach
from vip_speaker.link.filters import ETHERNET_HEADER, MAX_FRAME
from vip_speaker.wire.advertisement import GROUP_V4, GROUP_V6
from vip_speaker.wire.received import Received

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
TC_PRIO_CONTROL = 7
TP_STATUS_VLAN_VALID = 0x10
AUXDATA = struct.Struct("IIIHHHH")  # struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
STATISTICS = struct.Struct("II")
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("ll")
ANCILLARY_SPACE = socket.CMSG_SPACE(AUXDATA.size) + socket.CMSG_SPACE(TIMESPEC.size)

Ancillary = list[tuple[int, int, bytes]]
Sender = tuple[str, int, int, int, bytes]  # interface name, ethertype, packet type, hardware type, address

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


class PacketSocket:
    """A packet socket on one link, behind a filter."""

    def __init__(self, ifindex: int, program: bytes) -> None:
        self.ifindex = ifindex
        self.dropped = 0
        # Protocol 0: it hears nothing until it is bound.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            attach(self._socket, program)
            self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, TC_PRIO_CONTROL)
            with as_link_error("open"):
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

    def _bind_again(self) -> bool:
        """After an error: whether the link had gone and is there again, under the same index, for example from another
        network namespace. The kernel has unbound the socket then, and whoever looks at links may have missed it.
        """
        try:
            if self._socket.getsockname()[0] == socket.if_indextoname(self.ifindex):
                return False
            _bind(self._socket, self.ifindex)
        except OSError:
            return False  # it is gone still, or the socket is closed
        return True

    def _receive_frames(self, budget: int) -> Iterator[tuple[bytes, Ancillary, Sender]]:
        for _ in range(budget):
            try:
                data, ancillary, _, sender = self._socket.recvmsg(MAX_FRAME, ANCILLARY_SPACE)
            except BlockingIOError:
                return
            except OSError as error:
                self._bind_again()
                raise LinkError("receive", error) from error
            if len(data) > ETHERNET_HEADER:
                yield data, ancillary, sender


class LinkSocket(PacketSocket):
    """Advertisements on one link, in and out. It joins VRRP's groups of the families that the link has."""

    def __init__(self, ifindex: int) -> None:
        self._members: dict[int, socket.socket] = {}
        super().__init__(ifindex, filters.advertisements())
        for family in (4, 6):
            with contextlib.suppress(LinkError):
                self.join(family)

    def receive(self, budget: int = 64) -> list[Received]:
        """The packets that wait, at most `budget`, oldest first. LinkError once when the link went down."""
        return [_received(*frame, self.ifindex) for frame in self._receive_frames(budget)]

    def send(self, frame: bytes) -> None:
        """Send an Ethernet frame as it is. LinkError when the link is down, gone, or its queue full."""
        try:
            self._socket.send(frame)
        except OSError as error:
            self._bind_again()
            raise LinkError("send", error) from error

    def _bind_again(self) -> bool:
        came_back = super()._bind_again()
        if came_back:
            for family in tuple(self._members):  # a link that comes back is in no group
                self.leave(family)
                with contextlib.suppress(LinkError):
                    self.join(family)
        return came_back

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
            with as_link_error(f"join {group}"):
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


def _bind(target: socket.socket, ifindex: int) -> None:
    """Bind to a link by its index: a name could meanwhile be another link's, but Python only binds by name."""
    name = socket.if_indextoname(ifindex)
    target.bind((name, ETH_P_ALL))
    if socket.if_nametoindex(name) != ifindex:
        raise OSError(errno.ENODEV, "the interface changed its name")


def _received(data: bytes, ancillary: Ancillary, sender: Sender, ifindex: int) -> Received:
    vlan = None
    truncated = False
    arrived_ns = 0
    for level, kind, value in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA and len(value) >= AUXDATA.size:
            status, length, _, _, _, vlan_tci, _ = AUXDATA.unpack_from(value)
            truncated = length > len(data)
            if status & TP_STATUS_VLAN_VALID:
                vlan = vlan_tci & 0x0FFF
        elif level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(value) >= TIMESPEC.size:
            seconds, nanoseconds = TIMESPEC.unpack_from(value)
            arrived_ns = seconds * 1_000_000_000 + nanoseconds
    return Received(
        packet=data[ETHERNET_HEADER:],
        ethertype=int.from_bytes(data[12:14], "big"),
        source_mac=data[6:12],
        ifindex=ifindex,
        packet_type=sender[2],
        vlan=vlan,
        truncated=truncated,
        arrived_ns=arrived_ns,
    )


@contextlib.contextmanager
def as_link_error(action: str) -> Iterator[None]:
    """Say a failed system call as LinkError."""
    try:
        yield
    except OSError as error:
        raise LinkError(action, error) from error
