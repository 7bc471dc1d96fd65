"""Eight busy loops on this machine at a 100 ms interval: who holds the VIP, for how long, and never two."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

from tests.load import Unprivileged, busy
from tests.netns import wait_for
from tests.peers import Keepalived, KubeVrrp, Peer
from tests.scene import ADDRESS, V3, scene

BUSY_LOOPS = 8
KINDS: dict[str, type[Peer]] = {
    "kube-vrrp, real-time": KubeVrrp,
    "kube-vrrp, as in a pod": Unprivileged,
    "keepalived": Keepalived,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Milliseconds that the better host, the other one, nobody and both held the VIP; the time between adverts."""

    seconds: float
    first_ms: float
    second_ms: float
    nobody_ms: float
    two_ms: float
    moves: int
    adverts: int
    p50: float
    longest: float


def held(kind: type[Peer], *, seconds: float) -> Held:
    """A pair of routers of one kind for `seconds` under load."""
    with scene() as lan:
        for host, priority in ((lan.first, 210), (lan.second, 200)):
            router = kind(host, V3.with_(priority=priority))
            lan.peers.append(router)
            router.start()
            wait_for(lambda: "first" in lan.holders4.now, what="the first holds it")
        try:
            lan.wait_holder(lan.first)
            time.sleep(1)
            with busy(BUSY_LOOPS):
                time.sleep(1)
                began = lan.mark()
                time.sleep(seconds)
                spells = lan.holders4.spells(since_ns=began.monotonic_ns)
                times = [one.time for one in lan.capture.adverts(since=began.time, source=ADDRESS["first"])]
        finally:
            for peer in lan.peers:
                peer.close()
    by = {"first": 0.0, "second": 0.0}
    nobody = two = 0.0
    for who, ms in spells:
        if len(who) == 1:
            by[next(iter(who))] += ms
        elif who:
            two += ms
        else:
            nobody += ms
    gaps = sorted(1000 * (after - before) for before, after in pairwise(times))
    return Held(
        seconds=seconds,
        first_ms=by["first"],
        second_ms=by["second"],
        nobody_ms=nobody,
        two_ms=two,
        moves=len(spells) - 1,
        adverts=len(times),
        p50=gaps[len(gaps) // 2],
        longest=gaps[-1],
    )
