"""How long a client hears nothing after the master's cable is pulled.

The cable is pulled at fixed phases of the advertisement interval, counted from a sniffed advertisement, the same for
every contestant: the phase decides most of the silence (a master-down interval counts from the last advertisement),
so contestants are compared phase by phase, and what is judged is the median of the paired differences.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.stage import ADDRESSES, ROUTER, VIP, Cable, Stage, sleep_until, stage
from tests.probe import Probe

PHASES = (0.1, 0.3, 0.5, 0.7, 0.9)
PROBES_PER_SECOND = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One pulled cable: the client's silence, and when the successor's first advertisement came after the last one."""

    interval_ms: int
    phase: float
    silence_ms: float
    takeover_ms: float


@contextlib.contextmanager
def contestant(kind: str, interval_ms: int) -> Iterator[Stage]:
    """Two routers of equal priority 200: after each cut the survivor stays master, so every cut finds the same pair."""
    with stage(kind, ROUTER.with_(interval_ms=interval_ms), priorities=(200, 200)) as at:
        yield at


def cut(at: Stage, interval_ms: int, phase: float) -> Cut:
    """Pull the master's cable at `phase` of the interval after an advertisement; put it back at the end."""
    master = at.settled(interval_ms)
    host = at.routers[master].host
    other = next(address for name, address in ADDRESSES.items() if name != master)
    cable = Cable(at.network, host)
    with Probe(at.client, VIP, rate=PROBES_PER_SECOND, realtime=True, grace_s=0.05) as probe:
        time.sleep(0.1)
        at.sniffer.drain()
        last = at.sniffer.next(timeout=5 * interval_ms / 1000 + 1, source=ADDRESSES[master])
        sleep_until(last.at_ns + int(phase * interval_ms * 1e6))
        cable.cut()
        first = at.sniffer.next(timeout=10 * interval_ms / 1000 + 2, source=other)
        time.sleep(0.05)
    cable.plug()
    cable.close()
    return Cut(
        interval_ms=interval_ms,
        phase=phase,
        silence_ms=probe.silence_ms,
        takeover_ms=(first.at_ns - last.at_ns) / 1e6,
    )


def measure(kinds: tuple[str, ...], interval_ms: int, rounds: int) -> dict[str, list[Cut]]:
    """Cuts for every contestant, phase by phase, in turn, so that a slow moment of the machine meets all."""
    cuts: dict[str, list[Cut]] = {f"{kind} {number}": [] for number, kind in enumerate(kinds)}
    with contextlib.ExitStack() as stack:
        stages = {name: stack.enter_context(contestant(name.split()[0], interval_ms)) for name in cuts}
        for number in range(rounds):
            for phase in PHASES:
                order = list(stages) if number % 2 else list(reversed(stages))
                for name in order:
                    cuts[name].append(cut(stages[name], interval_ms, phase))
        for name in cuts:
            cuts[name].sort(key=lambda one: one.phase)
    return cuts


def paired_differences(ours: list[Cut], theirs: list[Cut]) -> list[float]:
    """Differences in milliseconds, phase by phase (both lists as `measure` sorts them)."""
    return [one.silence_ms - other.silence_ms for one, other in zip(ours, theirs, strict=True)]


def median(values: list[float]) -> float:
    """The median, NaN for nothing."""
    return statistics.median(values) if values else float("nan")
