"""The virtual world: one clock, one event queue, one LAN that loses, doubles, delays and partitions.

Everything random comes from one generator, so one seed is one run. Times are nanoseconds of true time; hosts have
clocks of their own that drift.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vip_speaker.vrrp.types import MS, Advertisement, Identity, IPAddress

if TYPE_CHECKING:
    from tests.simulation.host import Host

US = 1_000


@dataclass(frozen=True, slots=True)
class AdvertFrame:
    identity: Identity
    advertisement: Advertisement


@dataclass(frozen=True, slots=True)
class AnnouncementFrame:
    address: IPAddress


Frame = AdvertFrame | AnnouncementFrame


@dataclass(slots=True)
class Weather:
    """What the LAN does to a frame; calm by default."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_max_ns: int = 300 * US
    reordering: bool = False
    cut: set[tuple[str, str]] = field(default_factory=set)  # (from, to): one way


class World:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ns = 0
        self.weather = Weather()
        self.timer_late_ns = 200 * US  # at most; a loaded machine lets a process wait for its turn
        self.reader_late_ns = 0
        self.watch: Callable[[], None] = lambda: None  # called at every instant at which something happened
        self.hosts: list[Host] = []
        self.trace: list[str] = []
        # Since when which hosts answer for the addresses, and which have them at all.
        self.answering: list[tuple[int, frozenset[str]]] = [(0, frozenset())]
        self.holding: list[tuple[int, frozenset[str]]] = [(0, frozenset())]
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._last_arrival_ns: dict[tuple[str, str], int] = {}

    def at(self, when_ns: int, what: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (max(when_ns, self.now_ns), self._sequence, what))

    def after(self, delay_ns: int, what: Callable[[], None]) -> None:
        self.at(self.now_ns + delay_ns, what)

    def run_until(self, end_ns: int) -> None:
        while self._queue and self._queue[0][0] <= end_ns:
            self.now_ns, _, what = heapq.heappop(self._queue)
            what()
            self.watch()
        self.now_ns = end_ns

    def transmit(self, source: Host, frame: Frame) -> None:
        for host in self.hosts:
            if host is source or (source.name, host.name) in self.weather.cut:
                continue
            if self.random.random() < self.weather.loss:
                continue
            copies = 2 if self.random.random() < self.weather.duplication else 1
            for _ in range(copies):
                when_ns = self.now_ns + self.random.randint(50 * US, self.weather.delay_max_ns)
                if not self.weather.reordering:
                    when_ns = max(when_ns, self._last_arrival_ns.get((source.name, host.name), 0) + 1)
                    self._last_arrival_ns[source.name, host.name] = when_ns
                self.at(when_ns, lambda host=host: host.receive(frame))

    def record(self, host: Host, what: str) -> None:
        self.trace.append(f"{self.now_ns / MS:.3f} {host.name} {what}")

    def note_holders(self) -> None:
        for history, now in (
            (self.answering, frozenset(host.name for host in self.hosts if host.held and not host.silent)),
            (self.holding, frozenset(host.name for host in self.hosts if host.held)),
        ):
            if history[-1][1] != now:
                history.append((self.now_ns, now))

    def longest(self, history: list[tuple[int, frozenset[str]]], *, since_ns: int, several: bool) -> int:
        """The longest stretch after `since_ns` with more than one holder (several), or with none."""
        longest_ns, start_ns = 0, None
        for index, (begin_ns, holders) in enumerate(history):
            end_ns = history[index + 1][0] if index + 1 < len(history) else self.now_ns
            if end_ns <= since_ns:
                continue
            if (len(holders) > 1) if several else not holders:
                start_ns = max(begin_ns, since_ns) if start_ns is None else start_ns
                longest_ns = max(longest_ns, end_ns - start_ns)
            else:
                start_ns = None
        return longest_ns
