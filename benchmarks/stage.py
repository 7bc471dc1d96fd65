"""Two routers of one kind on a network, with a client, a second client and a witness of their own."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tests.netns import Host, Network, inside, run, wait_for
from tests.peers import KINDS, Peer, VirtualRouter
from tests.probe import SO_TIMESTAMPNS

VIP = "192.168.137.200"
ADDRESSES = {"one": "192.168.137.201", "two": "192.168.137.202"}
ROUTER = VirtualRouter(addresses=(f"{VIP}/32",), priority=200)


@dataclass(frozen=True, slots=True)
class Heard:
    """One advertisement as the witness' kernel received it; `at_ns` is CLOCK_REALTIME."""

    at_ns: int
    source: str
    priority: int
    vrid: int


class Sniffer:
    """IPv4 advertisements on a host, with kernel timestamps."""

    def __init__(self, host: Host) -> None:
        with host.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.socket.bind(("eth0", 0x0800))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        group = struct.pack("=iHH8s", _index(host), 0, 6, b"\x01\0\x5e\0\0\x12")
        self.socket.setsockopt(263, 1, group)  # SOL_PACKET, PACKET_ADD_MEMBERSHIP

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def drain(self) -> None:
        """Forget what has arrived so far."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(64)
        self.socket.setblocking(True)

    def next(self, *, timeout: float, source: str | None = None) -> Heard:
        """The next advertisement, of `source` where given."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                break
            frame, ancillary, _, _ = self.socket.recvmsg(128, 64)
            if frame[23] != 112:
                continue
            seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
            start = 14 + (frame[14] & 0xF) * 4
            heard = Heard(
                seconds * 1_000_000_000 + nanoseconds,
                socket.inet_ntoa(frame[26:30]),
                frame[start + 2],
                frame[start + 1],
            )
            if source is None or heard.source == source:
                return heard
        raise TimeoutError(f"no advertisement of {source or 'anybody'} within {timeout:g} s")

    def collect(self, seconds: float) -> list[Heard]:
        """Everything heard during `seconds`."""
        self.drain()
        found, end = [], time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while (left := end - time.monotonic()) > 0:
                found.append(self.next(timeout=left))
        return found


class Cable:
    """Pulls and plugs a host's cable with one prepared netlink request, so that the moment is exact."""

    def __init__(self, network: Network, host: Host) -> None:
        index = int(run("ip", "-n", network.switch, "-o", "link", "show", host.port).split(":")[0])
        with inside(network.switch):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._down, self._up = (struct.pack("=IHHIIBxHiII", 32, 16, 1, 1, 0, 0, 0, index, flags, 1) for flags in (0, 1))

    def cut(self) -> None:
        """Pull it; returns when the kernel is done."""
        self._socket.send(self._down)

    def plug(self) -> None:
        """Put it back."""
        self._socket.send(self._up)

    def close(self) -> None:
        self._socket.close()


@dataclass
class Stage:
    """Where one contestant is measured."""

    network: Network
    routers: dict[str, Peer]
    client: Host
    cold_client: Host
    witness: Host
    sniffer: Sniffer

    def master(self) -> str:
        """The name of the host that advertises."""
        self.sniffer.drain()
        source = self.sniffer.next(timeout=20).source
        return next(name for name, address in ADDRESSES.items() if address == source)

    def settled(self, interval_ms: int) -> str:
        """Wait until one router alone advertises, and the other had time to hear it; the master's name."""
        for _ in range(20):
            sources = {heard.source for heard in self.sniffer.collect(max(0.3, 2.2 * interval_ms / 1000))}
            if len(sources) == 1:
                return next(name for name, address in ADDRESSES.items() if address in sources)
        raise TimeoutError("no single master")


@contextlib.contextmanager
def stage(
    kind: str,
    *routers: VirtualRouter,
    priorities: tuple[int, int],
    ip_forward: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Stage]:
    """Both routers started, one of them master. `options` of a host go to its `Peer` as they are."""
    with Network() as network, contextlib.ExitStack() as stack:
        hosts = {name: network.host(name, f"{address}/24") for name, address in ADDRESSES.items()}
        for host in hosts.values():
            host.run("sysctl", "-qw", f"net.ipv4.ip_forward={ip_forward}")
        client, other = (network.host(f"client{number}", f"192.168.137.1{number}/24") for number in range(2))
        witness = network.host("witness", "192.168.137.20/24")
        sniffer = stack.enter_context(Sniffer(witness))
        peers = {}
        for (name, host), priority in zip(hosts.items(), priorities, strict=True):
            router = [one.with_(priority=priority) for one in routers]
            peers[name] = KINDS[kind](host, *router, **(options or {}).get(name, {}))
            stack.enter_context(peers[name])
        at = Stage(network, peers, client, other, witness, sniffer)
        wait_for(lambda: any(one.has(VIP) for one in hosts.values()), what=f"{kind}: the VIP on a host", timeout=60)
        yield at


def sleep_until(realtime_ns: int) -> None:
    """Sleep, and spin the last half millisecond."""
    while (left := realtime_ns - time.clock_gettime_ns(time.CLOCK_REALTIME)) > 0:
        if left > 700_000:
            time.sleep((left - 500_000) / 1e9)


def _index(host: Host) -> int:
    return int(host.ip("-o", "link", "show", "eth0").split(":")[0])
