"""Hears who announces the addresses that we hold: the successor of a planned move, or somebody who should not."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from vip_speaker.link import filters
from vip_speaker.link.bpf import attach
from vip_speaker.link.packet import PacketSocket
from vip_speaker.vrrp.types import IPAddress
from vip_speaker.wire.neighbour import Announced, decode_announcement

# To decode a frame takes 0.2 ms, and a neighbour can send as many as it likes: this much in one go.
BUDGET = 8
# Announcers repeat themselves; a frame that was seen is looked up. Bounded, because a neighbour fills it.
MAX_REMEMBERED = 256


class AnnouncementSocket(PacketSocket):
    """Gratuitous ARP and neighbour advertisements of others that name a watched address. At first none is watched."""

    def __init__(self, ifindex: int) -> None:
        self._watched: frozenset[IPAddress] = frozenset()
        super().__init__(ifindex, filters.nothing())

    def watch(self, addresses: Iterable[IPAddress]) -> None:
        """From here on these addresses and no others."""
        watched = frozenset(addresses)
        if watched != self._watched:
            attach(self._socket, filters.announcements(watched) if watched else filters.nothing())
            self._watched = watched

    def receive(self, budget: int = BUDGET) -> list[Announced]:
        """The announcements that wait, of at most `budget` packets. LinkError once when the link went down."""
        decoded = [_decode(frame) for frame, _, _ in self._receive_frames(budget)]
        return [one for one in decoded if one is not None and one.address in self._watched]


@lru_cache(maxsize=MAX_REMEMBERED)
def _decode(frame: bytes) -> Announced | None:
    return decode_announcement(frame)
