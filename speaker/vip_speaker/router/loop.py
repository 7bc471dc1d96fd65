"""One thread, one asyncio loop, three queues of deadlines: advertisements, expiries of a master's silence, the rest.

The order is the point. Whenever the loop wakes, advertisements that are due go out first, then waiting packets are read
(at most a bounded number), then other deadlines run. No neighbour can make an advertisement late by sending.

An expiry is met exactly: the loop wakes a little before it and spends the rest awake. That costs nothing while a master
lives, because every advertisement of it moves the expiry.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from vip_speaker.router.kernelfd import DeadlineTimer
from vip_speaker.router.timers import TimerQueue

# What waking up costs: the timer's interrupt, the loop, caches that went cold.
_LEAD_NS = 300_000


class Readable(Protocol):
    """Anything with a file descriptor."""

    def fileno(self) -> int:
        """The descriptor to watch."""
        ...


class Loop:
    """The deadlines and readers of the router on the running asyncio loop."""

    def __init__(self) -> None:
        self.adverts = TimerQueue()
        self.expiries = TimerQueue()
        self.others = TimerQueue()
        self.worst_lateness_ns = 0
        self.on_breath: Callable[[int], None] = lambda _now_ns: None
        self._loop = asyncio.get_running_loop()
        self._timer = DeadlineTimer()
        self._loop.add_reader(self._timer.fileno(), self._on_timer)

    @staticmethod
    def now_ns() -> int:
        """The clock of all deadlines: CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def add_reader(self, source: Readable, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever `source` can be read; due advertisements go out before it."""

        def read() -> None:
            self.run_due_adverts()
            on_readable()
            self.rearm()

        self._loop.add_reader(source.fileno(), read)

    def remove_reader(self, source: Readable) -> None:
        """Stop watching `source`; before it is closed."""
        self._loop.remove_reader(source.fileno())

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` in the next turn, after advertisements that are due by then."""

        def call() -> None:
            self.run_due_adverts()
            callback()
            self.rearm()

        self._loop.call_soon(call)

    def run_due_adverts(self) -> None:
        """Send what is due; for those who are about to do something that takes its time."""
        self.adverts.run_due(self.now_ns())

    def breathe(self) -> None:
        """For long work in one turn, between its steps: send what is due, and show the guard that we live."""
        now_ns = self.now_ns()
        self.adverts.run_due(now_ns)
        self.on_breath(now_ns)

    def rearm(self) -> None:
        """Let the timer wake the loop for the earliest deadline of all queues, at the latest."""
        expiry_ns = self.expiries.next_at_ns()
        instants = (self.adverts.next_at_ns(), self.others.next_at_ns(), expiry_ns and expiry_ns - _LEAD_NS)
        self._timer.arm(min((at_ns for at_ns in instants if at_ns is not None), default=None))

    def close(self) -> None:
        """Stop the timer."""
        self._loop.remove_reader(self._timer.fileno())
        self._timer.close()

    def _on_timer(self) -> None:
        self._timer.acknowledge()
        now_ns = self.now_ns()
        due_ns = self.adverts.next_at_ns()
        if due_ns is not None:
            self.worst_lateness_ns = max(self.worst_lateness_ns, now_ns - due_ns)
        self.adverts.run_due(now_ns)
        self._meet_expiry()
        self.others.run_due(self.now_ns(), between=self.breathe)
        self.rearm()

    def _meet_expiry(self) -> None:
        """Run the expiries that are due now or within the lead, not before their instant."""
        expiry_ns = self.expiries.next_at_ns()
        if expiry_ns is None or expiry_ns > self.now_ns() + _LEAD_NS:
            return
        while self.now_ns() < expiry_ns:
            pass
        self.expiries.run_due(self.now_ns(), between=self.breathe)
