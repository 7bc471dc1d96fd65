"""Who advertises on a link, whether or not it concerns us: what an operator may not allocate. Pure."""

from __future__ import annotations

from typing import NamedTuple

from vip_speaker.vrrp.types import SECOND, Advertisement, IPAddress

# Routers remembered per link. A LAN has 255 VRIDs a family, each with a few routers; a neighbour can invent more.
MAX_HEARD = 512
# A router is gone after as many of its intervals (the master-down interval is three and a skew), a fast one after 10 s:
# a reboot of it must not free its VRID at once.
INTERVALS = 4
SHORTEST_NS = 10 * SECOND


class HeardKey(NamedTuple):
    """A router that advertises on the link. A tuple, because one is made for every advertisement."""

    vrid: int
    version: int
    source: IPAddress


class Neighbours:
    """The masters of a link, by what was heard last. One that says priority 0 has left (RFC 9568 section 6.1)."""

    def __init__(self) -> None:
        self._heard: dict[HeardKey, tuple[int, int]] = {}

    def note(self, advertisement: Advertisement, now_ns: int) -> None:
        """An advertisement arrived."""
        key = HeardKey(vrid=advertisement.vrid, version=advertisement.version, source=advertisement.source)
        if advertisement.priority == 0:
            self._heard.pop(key, None)
            return
        if key not in self._heard and len(self._heard) >= MAX_HEARD:
            self._heard = {k: v for k, v in self._heard.items() if now_ns < v[1]}
            if len(self._heard) >= MAX_HEARD:
                return
        lasts_ns = max(INTERVALS * advertisement.interval_ns, SHORTEST_NS)
        self._heard[key] = (advertisement.priority, now_ns + lasts_ns)

    def present(self, now_ns: int) -> list[tuple[HeardKey, int]]:
        """Who is there, with the priority, by VRID and source."""
        there = [(key, priority) for key, (priority, until_ns) in self._heard.items() if now_ns < until_ns]
        return sorted(there, key=lambda one: (one[0].vrid, str(one[0].source)))
