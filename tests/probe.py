"""A client that asks a virtual address a thousand times a second and notes each answer: how a move looks from outside.

Runs as a process of its own (`Probe` starts it), so that nothing of the test delays it. It sends ICMP echo requests
on a fixed grid and takes the kernel's own receive time of each reply (SO_TIMESTAMPNS). With `cold` it forgets the
address' neighbour entry every 10 ms, so there is always a client that asks for the link-layer address just then.
Standard library only.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import ctypes
import gc
import itertools
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.netns import Host

SO_TIMESTAMPNS = 35
PR_SET_TIMERSLACK = 29
SOL_RAW = 255
FORGET_INTERVAL_NS = 10_000_000


class Probe:
    """The prober on `host` asking `address`; results after the context was left."""

    def __init__(
        self,
        host: Host,
        address: str,
        *,
        rate: int = 1000,
        cold: bool = False,
        realtime: bool = False,
        grace_s: float = 0.3,
    ) -> None:
        self.host = host
        self.options = ["--address", address.split("/")[0], "--rate", str(rate), "--grace", str(grace_s)]
        self.options += ["--cold"] * cold + ["--realtime"] * realtime
        self.sent_ns: list[int] = []
        self.received_ns: list[int] = []

    def __enter__(self) -> Self:
        handle, name = tempfile.mkstemp(prefix="probe-")
        os.close(handle)
        self._output = Path(name)
        self._process = self.host.start(
            *(sys.executable, "-I", __file__, "--output", name, *self.options),
            stdout=subprocess.PIPE,
            stderr=None,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "probing\n", "the prober did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.host.end(self._process)
        assert self._process.stdout is not None
        self._process.stdout.close()
        numbers = array.array("q", self._output.read_bytes())
        self._output.unlink()
        self.sent_ns, self.received_ns = numbers[0::2].tolist(), numbers[1::2].tolist()

    @property
    def sent(self) -> int:
        """Requests sent."""
        return len(self.sent_ns)

    @property
    def lost(self) -> int:
        """Requests that nobody answered."""
        return self.received_ns.count(0)

    @property
    def silence_ms(self) -> float:
        """The longest time between two answers."""
        before, after = self.silence_ns
        return (after - before) / 1e6

    @property
    def silence_ns(self) -> tuple[int, int]:
        """When the longest time between two answers began and ended (CLOCK_REALTIME)."""
        heard = sorted(when for when in self.received_ns if when)
        assert len(heard) > 1, f"{len(heard)} answers to {self.sent} requests"
        return max(itertools.pairwise(heard), key=lambda pair: pair[1] - pair[0])


class Prober:
    """What runs on the client: one socket, one grid, no thread."""

    def __init__(self, address: str, *, rate: int, cold: bool, grace_s: float) -> None:
        self.ipv6 = ":" in address
        self.period_ns = 1_000_000_000 // rate
        self.grace_s = grace_s
        self.identity = os.getpid() & 0xFFFF
        self.sent = array.array("q")
        self.received = array.array("q")
        self.socket = self._open(address)
        self.forgetful = Forgetful(address) if cold else None

    def _open(self, address: str) -> socket.socket:
        if self.ipv6:
            opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            only_replies = bytearray(b"\xff" * 32)
            only_replies[129 >> 3] &= ~(1 << (129 & 7))
            opened.setsockopt(socket.IPPROTO_ICMPV6, 1, bytes(only_replies))  # ICMP6_FILTER
        else:
            opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            opened.setsockopt(SOL_RAW, 1, struct.pack("=I", ~1 & 0xFFFFFFFF))  # ICMP_FILTER: echo replies
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        opened.setblocking(False)
        opened.connect((address, 0))
        return opened

    def run(self, stopped: list[int]) -> None:
        """Ask on the grid until `stopped` has something in it, then wait for late replies."""
        next_ns = time.monotonic_ns()
        while not stopped:
            now = time.monotonic_ns()
            if now < next_ns:
                self._receive((next_ns - now) / 1e9)
                continue
            next_ns = max(next_ns + self.period_ns, now - 20 * self.period_ns)  # catch up 20 requests at most
            if self.forgetful is not None:
                self.forgetful.turn(now, self)
            self._send()
        end = time.monotonic() + self.grace_s
        while (left := end - time.monotonic()) > 0:
            self._receive(left)

    def _send(self) -> None:
        number = len(self.sent)
        self.received.append(0)
        self.sent.append(time.clock_gettime_ns(time.CLOCK_REALTIME))
        # no route or a full buffer is a request without an answer
        with contextlib.suppress(OSError):
            self.socket.send(self._request(number))

    def _request(self, number: int) -> bytes:
        tail = struct.pack("!HHQ", self.identity, number & 0xFFFF, number)
        if self.ipv6:
            return b"\x80\0\0\0" + tail  # the kernel fills in the checksum
        total = sum(struct.unpack("!6H", tail)) + 0x0800
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        return struct.pack("!BBH", 8, 0, ~total & 0xFFFF) + tail

    def _receive(self, patience_s: float) -> None:
        if not select.select([self.socket], [], [], patience_s)[0]:
            return
        with contextlib.suppress(BlockingIOError, ConnectionError, OSError):
            data, ancillary, _, _ = self.socket.recvmsg(256, 64)
            message = data if self.ipv6 else data[(data[0] & 0xF) * 4 :]
            _, identity, _, number = struct.unpack_from("!4sHHQ", message)
            if identity == self.identity and number < len(self.received) and not self.received[number]:
                seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
                self.received[number] = seconds * 1_000_000_000 + nanoseconds


class Forgetful:
    """Deletes the neighbour entry of an address 10 ms after it was last resolved; never one being resolved."""

    def __init__(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        packed = socket.inet_pton(family, address)
        index = socket.if_nametoindex("eth0")
        attribute = struct.pack("=HH", 4 + len(packed), 1) + packed  # NDA_DST
        body = struct.pack("=BxxxiHBB", family, index, 0, 0, 0) + attribute
        self._request = struct.pack("=IHHII", 16 + len(body), 29, 1, 1, 0) + body  # RTM_DELNEIGH
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._first = 0
        self._resolved_ns = 0

    def turn(self, now_ns: int, prober: Prober) -> None:
        """To be called before each request."""
        if not self._resolved_ns:
            if any(prober.received[self._first :]):
                self._resolved_ns = now_ns
        elif now_ns - self._resolved_ns >= FORGET_INTERVAL_NS:
            self._socket.send(self._request)
            self._first, self._resolved_ns = len(prober.sent), 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--grace", type=float, default=0.3, help="how long after the last request a reply counts")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--realtime", action="store_true")
    options = parser.parse_args()
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    gc.disable()
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    if options.realtime:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    prober = Prober(options.address, rate=options.rate, cold=options.cold, grace_s=options.grace)
    print("probing", flush=True)
    prober.run(stopped)
    pairs = array.array("q", bytes(16 * len(prober.sent)))
    pairs[0::2], pairs[1::2] = prober.sent, prober.received
    Path(options.output).write_bytes(pairs.tobytes())


if __name__ == "__main__":
    main()
