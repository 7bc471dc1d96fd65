"""How evenly advertisements leave, and what a router costs: CPU with 255 instances, memory with one."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stage import ROUTER, stage
from tests.netns import wait_for
from tests.peers import Peer, VirtualRouter, descendants

BUSY_LOOPS = 8
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The time between two advertisements of the master, in milliseconds."""

    interval_ms: int
    busy_loops: int
    adverts: int
    p50: float
    p99: float
    longest: float


def period(kind: str, interval_ms: int, *, busy_loops: int, seconds: float) -> Period:
    """Sniff the master for `seconds`."""
    with stage(kind, ROUTER.with_(interval_ms=interval_ms), priorities=(210, 200)) as at:
        at.settled(interval_ms)
        with _busy(busy_loops):
            time.sleep(0.5)
            heard = [one.at_ns for one in at.sniffer.collect(seconds) if one.priority == 210]
    gaps = sorted((after - before) / 1e6 for before, after in itertools.pairwise(heard))
    return Period(
        interval_ms=interval_ms,
        busy_loops=busy_loops,
        adverts=len(heard),
        p50=gaps[len(gaps) // 2],
        p99=gaps[min(len(gaps) - 1, len(gaps) * 99 // 100)],
        longest=gaps[-1],
    )


@contextlib.contextmanager
def _busy(loops: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU in percent of one core, as master and as backup; memory in MiB of each process of the master."""

    instances: int
    interval_ms: int
    master_cpu: float
    backup_cpu: float
    memory_mib: tuple[float, ...]


def cost(kind: str, *, instances: int, interval_ms: int, seconds: float) -> Cost:
    """Run `instances` virtual routers on one pair of hosts."""
    routers = [
        VirtualRouter(addresses=("192.168.137.200/32",), vrid=1, name="vip1", interval_ms=interval_ms),
        *(
            VirtualRouter(
                addresses=(f"10.77.{number // 250}.{number % 250 + 1}/32",),
                vrid=number,
                name=f"vip{number}",
                interval_ms=interval_ms,
            )
            for number in range(2, instances + 1)
        ),
    ]
    with stage(kind, *routers, priorities=(210, 200)) as at:
        one, two = at.routers["one"], at.routers["two"]
        wait_for(
            lambda: _count(one) >= instances and _count(two) == 0, what=f"{instances} VIPs on one host", timeout=90
        )
        time.sleep(6)  # the second burst of announcements is part of the start, not of the cost
        before = [_cpu_seconds(peer) for peer in (one, two)]
        time.sleep(seconds)
        used = [after - start for after, start in zip((_cpu_seconds(peer) for peer in (one, two)), before, strict=True)]
        memory = tuple(_memory_mib(pid) for pid in (one.pid, *descendants(one.pid)))
    return Cost(
        instances=instances,
        interval_ms=interval_ms,
        master_cpu=100 * used[0] / seconds,
        backup_cpu=100 * used[1] / seconds,
        memory_mib=memory,
    )


def _count(peer: Peer) -> int:
    held = {address.split("/")[0] for address in peer.host.addresses()}
    return sum(one.addresses[0].split("/")[0] in held for one in peer.routers)


def _cpu_seconds(peer: Peer) -> float:
    ticks = 0
    for pid in (peer.pid, *descendants(peer.pid)):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def _memory_mib(pid: int) -> float:
    line = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
