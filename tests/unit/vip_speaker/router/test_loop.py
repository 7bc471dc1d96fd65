"""The loop's deadlines on a real timer."""

from __future__ import annotations

import asyncio
import select
import time

from vip_speaker.router.kernelfd import DeadlineTimer
from vip_speaker.router.loop import Loop
from vip_speaker.router.timers import Deadline

MS = 1_000_000
PATIENCE_S = 20


def readable(timer, patience_s):
    return bool(select.select([timer], [], [], patience_s)[0])


def test_a_timer_fires_at_its_instant_or_before_never_after():
    timer = DeadlineTimer()
    try:
        now_ns = time.monotonic_ns()
        timer.arm(now_ns + 20 * MS)
        timer.arm(None)
        timer.arm(now_ns + 60_000 * MS)
        assert readable(timer, PATIENCE_S), "what is later puts nothing off"
        assert time.monotonic_ns() >= now_ns + 20 * MS
        timer.acknowledge()
        assert not readable(timer, 0)
        timer.arm(time.monotonic_ns() + 60_000 * MS)
        timer.arm(0)
        assert readable(timer, PATIENCE_S), "what is earlier counts"
        timer.acknowledge()
    finally:
        timer.close()


def test_an_expiry_that_is_put_off_again_and_again_is_met_at_its_last_instant():
    """As every advertisement of a master does."""
    met = []

    async def run():
        loop = Loop()
        expiry = Deadline(met.append)
        at_ns = loop.now_ns()
        for _ in range(20):
            at_ns = max(at_ns + 5 * MS, loop.now_ns() + 5 * MS)
            loop.expiries.set(expiry, at_ns)
            loop.rearm()
            await asyncio.sleep(0.002)
            if met:
                break
        async with asyncio.timeout(PATIENCE_S):
            while not met:
                await asyncio.sleep(0.001)
        loop.close()
        return at_ns

    at_ns = asyncio.run(run())
    assert len(met) == 1
    assert met[0] >= at_ns
