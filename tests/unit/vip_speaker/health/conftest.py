"""A loop without a clock of its own, for trackers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from vip_speaker.health.aside import attempt
from vip_speaker.router.timers import Deadline, TimerQueue


class VirtualLoop:
    """What trackers use of `router.loop.Loop`; `test_virtual_loop_is_like_the_real_one` holds it to that."""

    def __init__(self) -> None:
        self.others = TimerQueue()
        self.readers: dict[int, Any] = {}
        self._now_ns = 1_000_000_000

    def now_ns(self) -> int:
        return self._now_ns

    def add_reader(self, source, on_readable) -> None:
        self.readers[source.fileno()] = on_readable

    def remove_reader(self, source) -> None:
        del self.readers[source.fileno()]

    def pass_ms(self, length_ms: float) -> None:
        """Let time pass, deadline by deadline."""
        end_ns = self._now_ns + int(length_ms * 1_000_000)
        while (at_ns := self.others.next_at_ns()) is not None and at_ns <= end_ns:
            self._now_ns = max(self._now_ns, at_ns)
            self.others.run_due(self._now_ns)
        self._now_ns = end_ns

    def stall_until(self, at_ns: int) -> None:
        """The processor was elsewhere: all that is due by then runs together."""
        self._now_ns = at_ns
        self.others.run_due(at_ns)


class VirtualAside:
    """Work beside the virtual loop: done when time passes, unless it `hangs`, or is done but `slow` to be told."""

    def __init__(self, loop):
        self._loop = loop
        self.hangs = self.slow = False
        self._hung = []

    def do(self, work, failed):
        if self.slow:
            told = work()
            self._hung.append((lambda: told, failed))
        elif self.hangs:
            self._hung.append((work, failed))
        else:
            self._loop.others.set(Deadline(lambda _now_ns: attempt(work, failed)()), self._loop.now_ns())

    def recover(self):
        """What hung comes back."""
        self.hangs = self.slow = False
        hung, self._hung = self._hung, []
        for work, failed in hung:
            self.do(work, failed)


@dataclass
class FakeLink:
    name: str
    up: bool = True
    running: bool = True


@dataclass
class FakeKernel:
    named: dict[str, FakeLink] = field(default_factory=dict)

    def link_named(self, name):
        return self.named.get(name)


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop()


@pytest.fixture
def aside(loop) -> VirtualAside:
    return VirtualAside(loop)


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()
