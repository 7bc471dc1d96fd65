"""Who holds a virtual address, over time, as the kernels of all hosts report it, and who answers for it on the wire.

`Holders` listens to the rtnetlink events of every host: an address is held while it is on a link that is up and
has its carrier (FRR keeps its addresses on a macvlan without carrier while BACKUP). The kernel puts the events of all
hosts into one queue, so their order is that in which they happened, however late they are read: a moment without a
holder was one. A time is that of reading, and on a busy machine late.

A planned move overlaps on purpose for some milliseconds, the leaver silent; that nobody can see it is for `Asker` to
prove: it asks for the address again and again, as a client with an empty cache does, and records who answers.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from tests.netns import Host, inside_new

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_GETLINK, RTM_GETADDR = 16, 17, 20, 21, 18, 22
RTM_NEWNSID, NETNSA_NSID, NETNSA_FD = 88, 1, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, NETLINK_LISTEN_ALL_NSID = 270, 8
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IFA_ADDRESS, IFA_LOCAL = 1, 2


@dataclass(frozen=True, slots=True)
class Change:
    """From `at_ns` on (CLOCK_MONOTONIC, as read here) exactly `holders` hold the address."""

    at_ns: int
    holders: frozenset[str]


class Holders:
    """The holders of `address` among `hosts`, from entering the context to leaving it."""

    def __init__(self, address: str, hosts: Iterable[Host]) -> None:
        self.address = ip_address(address.split("/")[0])
        self.hosts = list(hosts)
        self.changes: list[Change] = []
        self._links: dict[tuple[str, int], bool] = {}
        self._addresses: set[tuple[str, int, int]] = set()  # host, link, prefix length: IPv4 may be there twice
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        # open while we watch, so that a host which is removed meanwhile still says so
        self._namespaces = [os.open(host.path, os.O_RDONLY | os.O_CLOEXEC) for host in self.hosts]
        self._queue = self._open_queue()
        for host in self.hosts:
            self._dump(host)
        self._record()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._queue.close()
        for namespace in self._namespaces:
            os.close(namespace)

    def _open_queue(self) -> socket.socket:
        """In a namespace of its own, which knows every host's by the host's number here."""
        with inside_new():
            queue, requests = (
                socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) for _ in range(2)
            )
        with requests:
            for number, namespace in enumerate(self._namespaces):
                attributes = struct.pack("=HHiHHI", 8, NETNSA_NSID, number, 8, NETNSA_FD, namespace)
                requests.send(struct.pack("=IHHII4x", 36, RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + attributes)
                _, kind, error = struct.unpack_from("=IH10xi", requests.recv(1 << 12))
                assert (kind, error) == (NLMSG_ERROR, 0), f"refused for {self.hosts[number].name}: {error}"
        queue.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        queue.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        queue.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        return queue

    def _dump(self, host: Host) -> None:
        """Take in what there is."""
        with host.entered():
            opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with opened:
            for kind in (RTM_GETLINK, RTM_GETADDR):
                opened.send(struct.pack("=IHHII16x", 32, kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0))
                while NLMSG_DONE not in self._take_all(opened.recv(1 << 17), host.name):
                    pass

    def _watch(self) -> None:
        while not self._stop.is_set():
            if select.select([self._queue], [], [], 0.05)[0]:
                data, origin, _, _ = self._queue.recvmsg(1 << 17, socket.CMSG_SPACE(4))
                if origin:  # an event of the queue's own namespace has none
                    self._take_all(data, self.hosts[int.from_bytes(origin[0][2], sys.byteorder)].name)
                    self._record()

    def _take_all(self, data: bytes, host: str) -> set[int]:
        """Take one datagram in; the kinds of its messages."""
        kinds = set()
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            kinds.add(kind)
            self._take(kind, data[16:length], host)
            data = data[(length + 3) & ~3 :]
        return kinds

    def _take(self, kind: int, body: bytes, host: str) -> None:
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            index, flags = struct.unpack_from("=4xiI", body)
            up = flags & (IFF_UP | IFF_LOWER_UP) == IFF_UP | IFF_LOWER_UP
            self._links[host, index] = kind == RTM_NEWLINK and up
        elif kind in (RTM_NEWADDR, RTM_DELADDR):
            prefix_length, index = struct.unpack_from("=xB2xI", body)
            if self.address.packed in _attributes(body[8:], IFA_LOCAL, IFA_ADDRESS):
                key = host, index, prefix_length
                (self._addresses.add if kind == RTM_NEWADDR else self._addresses.discard)(key)

    def _record(self) -> None:
        now = frozenset(host for host, index, _ in self._addresses if self._links.get((host, index)))
        if not self.changes or self.changes[-1].holders != now:
            self.changes.append(Change(time.monotonic_ns(), now))

    @property
    def now(self) -> frozenset[str]:
        """Who holds it at this moment."""
        return self.changes[-1].holders

    def spells(self, *, since_ns: int = 0) -> list[tuple[frozenset[str], float]]:
        """Each set of holders with the milliseconds it lasted, from `since_ns` on."""
        changes = list(self.changes)
        ends = [*(change.at_ns for change in changes[1:]), time.monotonic_ns()]
        return [
            (change.holders, (end - max(change.at_ns, since_ns)) / 1e6)
            for change, end in zip(changes, ends, strict=True)
            if end > since_ns
        ]

    def longest(self, *, holders: int, since_ns: int = 0) -> float:
        """The longest time in milliseconds with that many holders (2: two or more)."""
        fits = (lambda n: n >= 2) if holders == 2 else (lambda n: n == holders)
        return max((ms for who, ms in self.spells(since_ns=since_ns) if fits(len(who))), default=0.0)


def _attributes(data: bytes, *wanted: int) -> list[bytes]:
    found = []
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        if kind in wanted:
            found.append(data[4:length])
        data = data[(length + 3) & ~3 :]
    return found


ASK_INTERVAL_S = 0.005


class Asker:
    """Asks for an address by ARP or neighbour solicitation every 5 ms, and notes who answers."""

    def __init__(self, host: Host, address: str) -> None:
        self.host = host
        self.address = ip_address(address.split("/")[0])
        self.answers: list[tuple[int, set[str]]] = []
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        protocol = 0x0806 if self.address.version == 4 else 0x86DD
        with self.host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        self._socket.bind(("eth0", protocol))
        self._mac = bytes.fromhex(self.host.mac().replace(":", ""))
        question = self._arp_probe() if self.address.version == 4 else self._solicitation()
        self._thread = threading.Thread(target=self._ask, args=(question,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _arp_probe(self) -> bytes:
        # sender address 0.0.0.0 (RFC 5227): hosts answer it and learn nothing from it
        head = b"\xff" * 6 + self._mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
        return head + self._mac + bytes(4) + bytes(6) + self.address.packed

    def _solicitation(self) -> bytes:
        own = next(one.split("/")[0] for one in self.host.addresses() if one.startswith("fe80"))
        group = ip_address("ff02::1:ff00:0").packed[:13] + self.address.packed[13:]
        addresses = ip_address(own).packed + group
        message = struct.pack("!BBHI", 135, 0, 0, 0) + self.address.packed + b"\1\1" + self._mac
        total = sum(struct.unpack(f"!{(len(addresses) + len(message)) // 2}H", addresses + message)) + len(message) + 58
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        message = message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]
        ethernet = b"\x33\x33\xff" + self.address.packed[13:] + self._mac + b"\x86\xdd"
        return ethernet + struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + addresses + message

    def _ask(self, question: bytes) -> None:
        next_ = time.monotonic()
        while not self._stop.is_set():
            heard: set[str] = set()
            while self.answers and select.select([self._socket], [], [], 0)[0]:
                self.answers[-1][1].update(self._answer())  # we were late to read, not they to answer
            self.answers.append((time.monotonic_ns(), heard))
            self._socket.send(question)
            next_ = max(next_ + ASK_INTERVAL_S, time.monotonic())
            while (left := next_ - time.monotonic()) > 0:
                if select.select([self._socket], [], [], left)[0]:
                    heard |= self._answer()

    def _answer(self) -> set[str]:
        frame = self._socket.recv(256)
        if frame[:6] != self._mac:
            return set()
        if self.address.version == 4:
            answer = frame[20:22] == b"\0\2" and frame[28:32] == self.address.packed
        else:
            answer = frame[20] == 58 and frame[54] == 136 and frame[62:78] == self.address.packed
        return {frame[6:12].hex(":")} if answer else set()

    def doubles(self, *, since_ns: int = 0) -> list[tuple[int, str | None]]:
        """Questions that two hosts answered: when (CLOCK_MONOTONIC), and who had answered alone before, the leaver."""
        found, alone = [], None
        for when, heard in list(self.answers):
            if len(heard) == 1:
                (alone,) = heard
            elif len(heard) > 1 and when >= since_ns:
                found.append((when, alone))
        return found
