"""A router that is given no memory, or no processor: who holds the VIP, and that it is never two."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import pytest

from tests.load import Confined, MemoryCgroup, Unprivileged, busy
from tests.peers import KubeVrrp, manifest
from tests.scene import ADDRESS, HANDING_OVER_MS, V3, VIP4, Scene

BUSY_LOOPS = 8


@pytest.fixture
def cgroup(lan: Scene) -> Iterator[MemoryCgroup]:
    """A memory cgroup that goes when the routers in it are gone."""
    try:
        made = MemoryCgroup()
    except OSError as error:
        pytest.skip(f"needs a memory cgroup: {error}")
    yield made
    for peer in lan.peers:
        peer.close()
    made.close()


def test_a_router_at_its_memory_limit(lan: Scene, cgroup: MemoryCgroup) -> None:
    """The kernel kills the router, not the guard, which undoes what it did: the BACKUP is MASTER at once, and alone.
    With memory there again the next router takes the VIP back.
    """
    first = Confined(lan.first, V3.with_(priority=210))
    first.cgroup = cgroup
    lan.peers.append(first)
    first.start()
    lan.wait_holder(lan.first)
    lan.ours(lan.second, V3.with_(priority=200)).wait_listens()
    guard, router = first.pid, first.child()
    cgroup.limit(cgroup.usage + (4 << 20))
    began = lan.mark()
    _much_to_do(first, 400)
    lan.eventually(lambda: cgroup.kills, "the kernel has killed", timeout=30)
    lan.wait_holder(lan.second)
    assert first.pid == guard
    assert first.process is not None
    assert first.process.poll() is None, f"the guard lives\n{first.log[-2000:]}"
    assert not Path(f"/proc/{router}").exists()
    assert f"router {router} was ended by SIGKILL; last will carried out" in first.log
    assert lan.capture.adverts(since=began.time, source=ADDRESS["first"], priority=0)
    _nothing_to_do(first)
    cgroup.limit(None)
    lan.wait_holder(lan.first, timeout=30)
    assert first.process.poll() is None
    lan.never_two(since=began)


def _much_to_do(router: KubeVrrp, number: int) -> None:
    """Documents with 64 addresses each, which need memory: as many of one VRID, so that one at most takes part."""
    for one in range(number):
        start = IPv4Address("192.168.140.0") + 64 * one
        addresses = tuple(f"{start + offset}/32" for offset in range(64))
        text = manifest(V3.with_(name=f"more{one}", vrid=100, addresses=addresses, interval_ms=40_000))
        (router.config / f"more{one}.yaml").write_text(text)


def _nothing_to_do(router: KubeVrrp) -> None:
    for file in router.config.glob("more*.yaml"):
        file.unlink()


@pytest.mark.parametrize("kind", [KubeVrrp, Unprivileged], ids=["real-time", "as in a pod"])
def test_busy_processors(lan: Scene, kind: type[KubeVrrp]) -> None:
    """Eight busy loops on this machine at a 100 ms interval. Whoever holds the VIP, nobody else does."""
    for host, priority in ((lan.first, 210), (lan.second, 200)):
        router = kind(host, V3.with_(priority=priority))
        lan.peers.append(router)
        router.start()
        lan.eventually(lambda: lan.first.has(VIP4), "the first holds it")
        router.wait_listens()
    lan.wait_holder(lan.first)
    began = lan.mark()
    try:
        with busy(BUSY_LOOPS):
            time.sleep(10)
        told = _told(lan, began.time)
        spells = lan.holders4.spells(since_ns=began.monotonic_ns)
        print(told, spells)
        # in a pod, on a machine that has eight times the work it can do: somebody, nearly all the time
        served = sum(ms for who, ms in spells if len(who) == 1)
        assert served >= 0.9 * sum(ms for _, ms in spells), spells
        assert lan.holders4.longest(holders=2, since_ns=began.monotonic_ns) <= HANDING_OVER_MS, spells
        if kind is KubeVrrp and os.sched_getscheduler(lan.peers[0].pid) == os.SCHED_FIFO:
            assert {who for who, _ in spells} == {frozenset({"first"})}, spells
    finally:
        for peer in lan.peers:
            peer.close()


def _told(lan: Scene, since: float) -> str:
    times = [one.time for one in lan.capture.adverts(since=since, source=ADDRESS["first"])]
    gaps = sorted(1000 * (after - before) for before, after in pairwise(times))
    return f"{len(times)} adverts, p50 {gaps[len(gaps) // 2]:.1f} ms, longest {gaps[-1]:.1f} ms"
