"""What a MASTER does about masters that give way to it: its clients may have believed each of them."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

from vip_speaker.router.defence import Defence
from vip_speaker.router.rivals import Pacing
from vip_speaker.router.timers import TimerQueue
from vip_speaker.vrrp.types import LOWEST_PRIORITY, MS, SECOND, Advertisement

from tests.election import master


class Bench:
    """A MASTER with a clock that is set; `announced` is when it announced once more."""

    def __init__(self) -> None:
        self.now_ns = 10 * SECOND
        self.announced: list[int] = []
        self.timers = TimerQueue()
        self.instance: Any = SimpleNamespace(
            state=master().state,
            counters={"announced_again": 0},
            holding=SimpleNamespace(announce_once=lambda: self.announced.append(self.now_ns)),
        )
        loop = SimpleNamespace(now_ns=lambda: self.now_ns, others=self.timers)
        services: Any = SimpleNamespace(loop=loop, state_changed=lambda instance: None)
        complaints: Any = SimpleNamespace(add=lambda *what: None)
        self.defence = Defence(self.instance, services, complaints)

    def hears(self, source: str, priority: int) -> None:
        self.defence.other_master(
            Advertisement(version=3, vrid=7, priority=priority, interval_ns=SECOND, source=ip_address(source))
        )

    def runs_for(self, length_ns: int) -> None:
        end_ns = self.now_ns + length_ns
        while (due_ns := self.timers.next_at_ns()) is not None and due_ns <= end_ns:
            self.now_ns = max(self.now_ns, due_ns)
            self.timers.run_due(self.now_ns)
        self.now_ns = end_ns


def test_each_that_gives_way_is_followed_by_an_announcement_at_once():
    """The demoted master first, as it should; then a second successor, which clients had believed."""
    bench = Bench()
    bench.hears("10.0.0.1", LOWEST_PRIORITY)
    bench.now_ns += 20 * MS
    bench.hears("10.0.0.2", 90)
    bench.now_ns += 5 * MS
    bench.hears("10.0.0.2", LOWEST_PRIORITY)
    assert bench.announced == [10 * SECOND, 10 * SECOND + 25 * MS]
    bench.runs_for(SECOND)
    assert bench.announced[2:] == [10 * SECOND + Pacing.FIRST_NS], "and once more, as after any contest"


def test_one_that_says_so_without_end_makes_no_storm():
    bench = Bench()
    for _ in range(1000):
        bench.hears("10.0.0.1", LOWEST_PRIORITY)
        bench.runs_for(10 * MS)
    assert len(bench.announced) == Pacing.AT_ONCE + 4, "at once, and after 0.1, 1.1, 3.1 and 7.1 s"
