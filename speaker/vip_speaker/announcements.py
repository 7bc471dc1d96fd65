"""Decides which announcement frame (gratuitous ARP, unsolicited NA) leaves a link when. Pure: no clock, no socket.

Every address is announced once before any is announced again, at once and before everything else; all repeats share one
budget per link, so that nothing a neighbour does makes a storm (docs/decisions/announcement-pacing.md).
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from vip_speaker.vrrp.types import MS, SECOND

# Half a millisecond of sending: an advertisement that falls due meanwhile is no later than that.
MAX_FRAMES_PER_CALL = 64
# The budget of what is not a first round: 1000 frames a second, up to 16 at once.
INTERVAL_NS = MS
BURST = 16
# A first round is outside the budget at most this often per name: who makes us change roles faster gets no more.
FREE_ROUND_EVERY_NS = SECOND
# A successor takes over while the leaver still holds the addresses: a client may have asked in between.
TAKEOVER_OFFSETS_NS = (100 * MS, SECOND)
# RFC 4861 section 7.2.6: at most MAX_NEIGHBOR_ADVERTISEMENT, "separated by at least RetransTimer".
MAX_NEIGHBOUR_ADVERTISEMENTS = 3
RETRANS_TIMER_NS = SECOND
_ETHERTYPE = slice(12, 14)
_IPV6 = b"\x86\xdd"

Round = tuple[int, tuple[bytes, ...]]  # due at (ns), frames


@dataclass(slots=True, kw_only=True, eq=False)
class _Schedule:
    """What is still to be sent under one name; `position` is how far the first of `rounds` has got."""

    name: str
    frames: tuple[bytes, ...]
    rounds: deque[Round]
    refresh_ns: int
    number: int = 0
    position: int = 0
    active: bool = True


@dataclass(order=True, slots=True)
class _Entry:
    """A schedule's next round in the queue: late first rounds, then by due time, then the round that is behind."""

    repeated: bool
    at_ns: int
    number: int
    sequence: int
    schedule: _Schedule = field(compare=False)


class Announcer:
    """The announcements of one link. A name stands for one virtual router; starting it again replaces what it had."""

    def __init__(self) -> None:
        self._schedules: dict[str, _Schedule] = {}
        self._free: deque[_Schedule] = deque()
        self._queue: list[_Entry] = []
        self._sequence = itertools.count()
        self._free_at_ns: dict[str, int] = {}
        self._budget_used_until_ns: int | None = None

    def start(
        self,
        name: str,
        frames: Sequence[bytes],
        *,
        repeat: int,
        delay_ns: int,
        refresh_ns: int,
        takeover: bool,
        now_ns: int,
        wait_ns: int = 0,
    ) -> None:
        """Announce `frames` (one an address) from the beginning: `repeat` rounds at once, as many after `delay_ns`, and
        one every `refresh_ns` (0: none). `takeover`: also after 100 ms and 1 s. `wait_ns`: all that so much later, and
        within the budget, because it is no hurry.
        """
        self.stop(name)
        if not frames or repeat < 1:
            return
        begin_ns = now_ns + wait_ns
        rounds = _rounds(frames, repeat=repeat, delay_ns=delay_ns, takeover=takeover, now_ns=begin_ns)
        schedule = _Schedule(name=name, frames=tuple(frames), rounds=deque(rounds), refresh_ns=refresh_ns)
        self._schedules[name] = schedule
        if wait_ns:
            schedule.number = 1  # as a repeat
            self._enqueue(schedule)
            return
        last_free_ns = self._free_at_ns.get(name)
        if last_free_ns is None or now_ns - last_free_ns >= FREE_ROUND_EVERY_NS:
            self._forget_free_rounds(now_ns)
            self._free_at_ns[name] = now_ns
            self._free.append(schedule)
        else:
            self._enqueue(schedule)

    def stop(self, name: str) -> None:
        """Send nothing more under `name`."""
        schedule = self._schedules.pop(name, None)
        if schedule is None:
            return
        schedule.active = False
        # Their entries go when they are met; a flapping router must not fill the queue with them before.
        if len(self._queue) > 2 * len(self._schedules) + 16:
            self._queue = [entry for entry in self._queue if entry.schedule.active]
            heapq.heapify(self._queue)

    def deadline(self) -> int | None:
        """When `due` has something to give, as far as is known now; None: never."""
        self._drop_inactive()
        if self._free:
            return self._free[0].rounds[0][0]
        if not self._queue:
            return None
        at_ns = self._queue[0].at_ns
        allowed_ns = self._allowed_at_ns()
        return at_ns if allowed_ns is None else max(at_ns, allowed_ns)

    def due(self, now_ns: int) -> list[bytes]:
        """The frames to send now, in this order, at most 64; ask `deadline` again afterwards."""
        frames: list[bytes] = []
        self._drop_inactive()
        while self._free and len(frames) < MAX_FRAMES_PER_CALL:
            frames += self._take(self._free[0], MAX_FRAMES_PER_CALL - len(frames))
            if self._free[0].position == 0:
                self._advance(self._free.popleft(), now_ns)
            self._drop_inactive()
        while not self._free and self._queue and len(frames) < MAX_FRAMES_PER_CALL:
            entry = self._queue[0]
            if entry.at_ns > now_ns or not self._spend(now_ns):
                break
            frames += self._take(entry.schedule, 1)
            if entry.schedule.position == 0:
                heapq.heappop(self._queue)
                self._advance(entry.schedule, now_ns)
            self._drop_inactive()
        return frames

    def _take(self, schedule: _Schedule, count: int) -> Sequence[bytes]:
        """The next frames of the round; `position` is 0 again once it is complete."""
        frames = schedule.rounds[0][1]
        start, schedule.position = schedule.position, min(schedule.position + count, len(frames))
        taken = frames[start : schedule.position]
        if schedule.position == len(frames):
            schedule.position = 0
        return taken

    def _advance(self, schedule: _Schedule, now_ns: int) -> None:
        """Go on to the next round; after the last planned one to the refreshes, none of which is made up for."""
        at_ns, _ = schedule.rounds.popleft()
        schedule.number += 1
        if not schedule.rounds and schedule.refresh_ns:
            next_ns = at_ns + schedule.refresh_ns
            schedule.rounds.append((next_ns if next_ns > now_ns else now_ns + schedule.refresh_ns, schedule.frames))
        if schedule.rounds:
            self._enqueue(schedule)

    def _enqueue(self, schedule: _Schedule) -> None:
        at_ns = schedule.rounds[0][0]
        entry = _Entry(schedule.number > 0, at_ns, schedule.number, next(self._sequence), schedule)
        heapq.heappush(self._queue, entry)

    def _drop_inactive(self) -> None:
        while self._free and not self._free[0].active:
            self._free.popleft()
        while self._queue and not self._queue[0].schedule.active:
            heapq.heappop(self._queue)

    def _allowed_at_ns(self) -> int | None:
        """When the budget has room for a frame; None: it was never used."""
        if self._budget_used_until_ns is None:
            return None
        return self._budget_used_until_ns - (BURST - 1) * INTERVAL_NS

    def _spend(self, now_ns: int) -> bool:
        allowed_ns = self._allowed_at_ns()
        if allowed_ns is not None and allowed_ns > now_ns:
            return False
        used_until_ns = self._budget_used_until_ns
        start_ns = now_ns if used_until_ns is None else max(used_until_ns, now_ns)
        self._budget_used_until_ns = start_ns + INTERVAL_NS
        return True

    def _forget_free_rounds(self, now_ns: int) -> None:
        """Names come and go with their documents; what is older than the limit limits nothing."""
        self._free_at_ns = {
            name: at_ns for name, at_ns in self._free_at_ns.items() if now_ns - at_ns < FREE_ROUND_EVERY_NS
        }


def _rounds(frames: Sequence[bytes], *, repeat: int, delay_ns: int, takeover: bool, now_ns: int) -> list[Round]:
    """All rounds but the refreshes, by due time. ARP repeats back to back as keepalived does, NA as RFC 4861 wants."""
    bursts = (0, delay_ns) if delay_ns else (0,)
    arp_offsets = [offset for offset in bursts for _ in range(repeat)]
    na_offsets = {
        burst + number * RETRANS_TIMER_NS
        for burst in bursts
        for number in range(min(repeat, MAX_NEIGHBOUR_ADVERTISEMENTS))
    }
    if takeover:
        arp_offsets += TAKEOVER_OFFSETS_NS
        na_offsets.update(TAKEOVER_OFFSETS_NS)
    arp = tuple(frame for frame in frames if frame[_ETHERTYPE] != _IPV6)
    na = tuple(frame for frame in frames if frame[_ETHERTYPE] == _IPV6)
    rounds: list[Round] = [(now_ns, tuple(frames))]
    if arp:
        rounds += [(now_ns + offset, arp) for offset in sorted(arp_offsets)[1:]]
    if na:
        rounds += [(now_ns + offset, na) for offset in sorted(na_offsets)[1:]]
    return sorted(rounds, key=lambda one: one[0])
