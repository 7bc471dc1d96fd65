"""Carries out a last will: the part of the guard that touches the network.

Like all of the guard: standard library only, small, and with every socket open before it is needed.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from vip_speaker.will import NETLINK_NETFILTER, NETLINK_ROUTE, Entry, Frame, NetlinkRequest, Packet

VRRP_PROTOCOL = 112
_IP_PKTINFO = 8  # linux/in.h; the socket module has it from Python 3.12 on only
_NLMSGHDR = struct.Struct("=IHHII")
_NLMSG_ERROR = 2
_ALREADY_GONE = (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.ENXIO)


class Executor:
    """The sockets a will is carried out with. OSError (EPERM) if this process may not open them."""

    def __init__(self) -> None:
        self._netlink: dict[int, socket.socket] = {}
        for protocol in (NETLINK_ROUTE, NETLINK_NETFILTER):
            try:
                self._netlink[protocol] = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
            except OSError as error:  # a kernel without nftables
                if error.errno != errno.EPROTONOSUPPORT:
                    raise
        self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: receives nothing
        self._ipv4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)  # receives nothing
        self._ipv6: socket.socket | None = None
        try:
            self._ipv6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, VRRP_PROTOCOL)
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
        else:
            self._ipv6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            self._ipv6.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)

    def close(self) -> None:
        """Close every socket."""
        for each in (*self._netlink.values(), self._frames, self._ipv4, self._ipv6):
            if each is not None:
                each.close()

    def carry_out(self, entries: list[Entry]) -> list[str]:
        """Carry out every entry, in order, whatever becomes of the one before; a line for each that failed."""
        failures: list[str] = []
        for entry in entries:
            try:
                match entry:
                    case NetlinkRequest():
                        failures += self._request(entry)
                    case Frame():
                        name = socket.if_indextoname(entry.ifindex)
                        self._frames.sendto(entry.data, socket.MSG_DONTWAIT, (name, 0))
                    case Packet():
                        self._send(entry)
            except (OSError, ValueError, OverflowError) as error:
                failures.append(f"{type(entry).__name__}: {error}")
        return failures

    def _request(self, entry: NetlinkRequest) -> list[str]:
        """Send a netlink request, which the kernel carries out before the call returns; what it refused."""
        netlink = self._netlink.get(entry.protocol)
        if netlink is None:
            return [f"no netlink socket of protocol {entry.protocol}"]
        netlink.sendto(entry.data, (0, 0))
        failures: list[str] = []
        while True:
            try:
                failures += _refusals(netlink.recv(65536, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return failures
            except OSError as error:  # ENOBUFS: more answers than the socket holds; the requests were carried out
                if error.errno != errno.ENOBUFS:
                    raise

    def _send(self, entry: Packet) -> None:
        """Send a unicast advertisement over the link it belongs to."""
        if entry.family == socket.AF_INET:
            information = struct.pack("@i4s4s", entry.ifindex, bytes(4), bytes(4))
            ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, information)]
            self._ipv4.sendmsg([entry.data], ancillary, socket.MSG_DONTWAIT, (entry.destination, 0))
        elif self._ipv6 is not None:
            source = socket.inet_pton(socket.AF_INET6, entry.source or "::")
            ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("@16si", source, entry.ifindex))]
            destination = (entry.destination, 0, 0, entry.ifindex)
            self._ipv6.sendmsg([entry.data], ancillary, socket.MSG_DONTWAIT, destination)


def _refusals(answer: bytes) -> list[str]:
    """What the kernel refused, from its answers, but not that something is gone already, which is what was wanted."""
    failures: list[str] = []
    at = 0
    while at + _NLMSGHDR.size + 4 <= len(answer):
        length, kind, _, _, _ = _NLMSGHDR.unpack_from(answer, at)
        if kind == _NLMSG_ERROR:
            number = -struct.unpack_from("=i", answer, at + _NLMSGHDR.size)[0]
            if number != 0 and number not in _ALREADY_GONE:
                failures.append(f"the kernel refused a request: {os.strerror(number)}")
        at += max((length + 3) & ~3, _NLMSGHDR.size)
    return failures
