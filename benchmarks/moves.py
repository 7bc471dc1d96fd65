"""What a client loses when the master is stopped (SIGTERM) or killed (SIGKILL)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.stage import ROUTER, VIP, Stage, stage
from tests.netns import wait_for
from tests.peers import KubeVrrp, Peer, descendants
from tests.probe import Probe
from tests.watch import Holders

#: Takes longer than any move at 1 s.
UNTIL_SETTLED_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move as two clients saw it at 1000 questions a second: one with a warm, one with an empty ARP cache."""

    ip_forward: int
    lost_warm: int
    lost_cold: int
    silence_ms: float
    two_holders_ms: float


def stop(peer: Peer) -> None:
    """As `systemctl stop` does."""
    peer.stop()


def kill_protocol_process(peer: Peer) -> None:
    """SIGKILL for the process that speaks VRRP; what started it lives on."""
    os.kill(peer.child() if isinstance(peer, KubeVrrp) else descendants(peer.pid)[0], signal.SIGKILL)


def kill_everything(peer: Peer) -> None:
    """SIGKILL for all its processes."""
    peer.kill()


def move(
    kind: str, end: Callable[[Peer], None], *, interval_ms: int = 1000, ip_forward: int = 0, watch_s: float = 1.0
) -> Move:
    """Start a pair, priority 210 and 200, end the master as `end` says, and look for `watch_s` after the takeover."""
    router = ROUTER.with_(interval_ms=interval_ms)
    with stage(kind, router, priorities=(210, 200), ip_forward=ip_forward) as at:
        _master_is_one(at)
        hosts = [peer.host for peer in at.routers.values()]
        with contextlib.ExitStack() as stack:
            holders = stack.enter_context(Holders(VIP, hosts))
            warm = stack.enter_context(Probe(at.client, VIP))
            cold = stack.enter_context(Probe(at.cold_client, VIP, cold=True))
            time.sleep(0.5)
            since = time.monotonic_ns()
            end(at.routers["one"])
            with contextlib.suppress(AssertionError):
                wait_for(lambda: "two" in holders.now, what="takeover", timeout=UNTIL_SETTLED_S)
            time.sleep(watch_s)
            two = holders.longest(holders=2, since_ns=since)
    return Move(
        ip_forward=ip_forward,
        lost_warm=warm.lost,
        lost_cold=cold.lost,
        silence_ms=warm.silence_ms,
        two_holders_ms=two,
    )


def _master_is_one(at: Stage) -> None:
    wait_for(lambda: at.master() == "one", what="the better router is master", timeout=30)
    # a moment after an advertisement of the master, at no particular phase
    time.sleep(0.3)
