"""One thread, one asyncio loop, two queues of deadlines: advertisements, and everything else.

The order is the point. Whenever the loop wakes, advertisements that are due go out first, then waiting packets are read
(at most a bounded number), then other deadlines run. No neighbour can make an advertisement late by sending.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from vip_speaker.router.kernelfd import DeadlineTimer
from vip_speaker.router.timers import TimerQueue


class Readable(Protocol):
    """Anything with a file descriptor."""

    def fileno(self) -> int:
        """The descriptor to watch."""
        ...


class Loop:
    """The deadlines and readers of the router on the running asyncio loop."""

    def __init__(self) -> None:
        self.adverts = TimerQueue()
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
        """Let the timer wake the loop for the earliest deadline of both queues."""
        adverts, others = self.adverts.next_at_ns(), self.others.next_at_ns()
        if adverts is None or others is None:
            self._timer.arm(others if adverts is None else adverts)
        else:
            self._timer.arm(min(adverts, others))

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
        self.others.run_due(self.now_ns(), between=self.breathe)
        self.rearm()
