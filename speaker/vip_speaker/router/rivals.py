"""Who else serves what a VIP of ours serves: what the state document says of it, and for how long. Pure.

One of each kind is remembered, the first while it goes on: that is enough to act upon, and no neighbour can fill it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from vip_speaker.vrrp.types import SECOND

# Another master that keeps advertising for this long is a split brain, not the end of an election.
SPLIT_BRAIN_AFTER_NS = 3 * SECOND
# An advertiser is gone after as many of its intervals, a fast one after 10 s, as in `heard`.
_INTERVALS, _SHORTEST_NS = 4, 10 * SECOND
# Somebody who answers is asked every minute, and may miss one question.
CLAIM_LASTS_NS = 150 * SECOND


class How(StrEnum):
    """What another station does."""

    ADVERTISES = "advertises as well"
    OTHER_VERSION = "speaks the other VRRP version"
    OTHER_ROUTER = "serves the address as another virtual router"
    OTHER_ADDRESSES = "serves other addresses with our VRID"
    CLAIMS = "claims an address"


# Who is a second holder by what it advertises.
_HOLDERS = (How.ADVERTISES, How.OTHER_VERSION, How.OTHER_ROUTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """One station: `who` is its address, or its MAC where it has shown no other; `what` one sentence about it."""

    how: How
    who: str
    what: str
    since: float
    first_ns: int
    last_ns: int
    until_ns: int


class Rivals:
    """The rivals of one VIP."""

    def __init__(self) -> None:
        self._known: dict[How, Rival] = {}

    def note(self, how: How, who: str, what: str, *, now_ns: int, wall: float, interval_ns: int = 0) -> None:
        """It did so again; `interval_ns` is how often it says it will."""
        lasts_ns = CLAIM_LASTS_NS if how is How.CLAIMS else max(_INTERVALS * interval_ns, _SHORTEST_NS)
        known = self._known.get(how)
        if known is None or now_ns >= known.until_ns:
            known = Rival(how=how, who=who, what=what, since=wall, first_ns=now_ns, last_ns=now_ns, until_ns=now_ns)
        elif known.who != who:
            return
        self._known[how] = replace(known, last_ns=now_ns, until_ns=now_ns + lasts_ns)

    def present(self, now_ns: int) -> list[Rival]:
        """Those who go on."""
        return [rival for rival in self._known.values() if now_ns < rival.until_ns]

    def split_brain(self, now_ns: int) -> Rival | None:
        """For a MASTER, who advertises beside it, and has for long enough; the one of our own VRID first."""
        lasting = [
            rival
            for rival in self.present(now_ns)
            if rival.how in _HOLDERS and rival.last_ns - rival.first_ns >= SPLIT_BRAIN_AFTER_NS
        ]
        return min(lasting, key=lambda rival: _HOLDERS.index(rival.how), default=None)

    def problems(self, now_ns: int) -> tuple[str, ...]:
        """A sentence for each that is not told as `split_brain` alone."""
        return tuple(sorted(rival.what for rival in self.present(now_ns) if rival.how is not How.ADVERTISES))

    def next_end_ns(self, now_ns: int) -> int | None:
        """When `present` will have one less."""
        return min((rival.until_ns for rival in self.present(now_ns)), default=None)

    def forget(self, *hows: How) -> None:
        """What such rivals did does not count any more."""
        for how in hows:
            self._known.pop(how, None)


class Pacing:
    """When a contested MASTER announces its addresses again: slower and slower, so that two never make a storm."""

    FIRST_NS = SECOND // 10  # whoever has just heard of us falls silent first
    SHORTEST_NS, LONGEST_NS = SECOND, 10 * SECOND
    FORGOTTEN_AFTER_NS = 60 * SECOND
    AT_ONCE = 3  # in LONGEST_NS

    def __init__(self) -> None:
        self._at_once_ns: list[int] = []
        self._gap_ns = self.SHORTEST_NS
        self._last_ns: int | None = None
        self._at_ns: int | None = None

    def contested(self, now_ns: int) -> int:
        """Somebody else is there: the instant to announce at."""
        if self._at_ns is None:
            self._at_ns = now_ns + self.FIRST_NS
            if self._last_ns is not None:
                if now_ns - self._last_ns >= self.FORGOTTEN_AFTER_NS:
                    self._gap_ns = self.SHORTEST_NS
                self._at_ns = max(self._at_ns, self._last_ns + self._gap_ns)
        return self._at_ns

    def fell_silent(self, now_ns: int) -> bool:
        """Somebody else was there and says that it is not any more: whether to announce at once.

        Apart from the rest: one that gives way as it should does not use up what a second one will need.
        """
        self._at_once_ns = [at_ns for at_ns in self._at_once_ns if now_ns - at_ns < self.LONGEST_NS]
        if len(self._at_once_ns) == self.AT_ONCE:
            return False
        self._at_once_ns.append(now_ns)
        return True

    def announced(self, now_ns: int) -> None:
        """That was done."""
        if self._last_ns is not None and now_ns - self._last_ns < self.FORGOTTEN_AFTER_NS:
            self._gap_ns = min(2 * self._gap_ns, self.LONGEST_NS)
        self._last_ns, self._at_ns = now_ns, None
