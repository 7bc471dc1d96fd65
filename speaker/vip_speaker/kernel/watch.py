"""The socket on which the kernel tells of links and addresses. What it tells goes into the picture; where the socket
overflowed, the picture is read anew.
"""

from __future__ import annotations

import errno
import socket
import time

from vip_speaker.kernel import codec
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.links import RTM_GETADDR, RTM_GETLINK, Event, Overflow, decode_address, decode_link
from vip_speaker.kernel.netlink import NLM_F_DUMP, NLM_F_REQUEST, Requests, open_socket
from vip_speaker.kernel.picture import Picture

_GROUPS = (1, 5, 9)  # RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_DATAGRAM = 1 << 16
# Messages per read: a storm of link events (a node that starts many pods) must not keep the loop from its deadlines.
_EVENTS_PER_READ = 256


def open_events() -> socket.socket:
    """The socket, telling from here on. KernelError."""
    try:
        return open_socket(socket.NETLINK_ROUTE, _GROUPS)
    except OSError as error:
        raise KernelError("cannot watch links and addresses", error.errno or 0) from error


class Watch:
    """Reads `events` into `picture`. It owns the socket; `requests` are for full lists."""

    def __init__(self, events: socket.socket, requests: Requests, picture: Picture) -> None:
        self.events = events
        self._requests = requests
        self._picture = picture

    def close(self) -> None:
        """Close the socket."""
        self.events.close()

    def read(self) -> list[Event]:
        """What is new, in order, of some hundred messages at most. Never blocks. KernelError.

        Where messages were lost the picture is read anew: an Overflow, and what of ours is gone since.
        """
        news: list[Event] = []
        for _ in range(_EVENTS_PER_READ):
            try:
                data = self.events.recv(_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                _raise_unless_overflow(error)
                self.read_all()
                return [*news, Overflow(), *self._picture.lost(time.monotonic_ns())]
            now_ns = time.monotonic_ns()
            for offset, kind, _, _, _ in codec.split(data):
                event = self._picture.told(data, offset, kind, now_ns)
                if event is not None:
                    news.append(event)
        return news

    def read_all(self) -> None:
        """Read the full picture. What waits in the socket is older than it, so it is dropped first. KernelError."""
        self._drop_waiting()
        all_links = codec.encode(
            codec.ifinfmsg, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, {}, [("IFLA_EXT_MASK", _SKIP_STATISTICS)]
        )
        links = [decode_link(data, offset) for data, offset in self._requests.dump(all_links)]
        all_addresses = codec.encode(codec.ifaddrmsg, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, {})
        addresses = [decode_address(data, offset) for data, offset in self._requests.dump(all_addresses)]
        self._picture.start_over((one for one in links if one), (one for one in addresses if one))

    def _drop_waiting(self) -> None:
        while True:
            try:
                self.events.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                _raise_unless_overflow(error)


def _raise_unless_overflow(error: OSError) -> None:
    if error.errno != errno.ENOBUFS:
        raise KernelError("cannot read link events", error.errno or 0) from error
