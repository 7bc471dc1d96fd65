"""What others need to clean up after us: the record for our next start, the last will for the guard, the renewals.

An address is in the record and in the will before it is on the link, and leaves the will after it was taken off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from vip_speaker.kernel import Assigned, Failure, Kernel, Record
from vip_speaker.router.instance import Instance
from vip_speaker.router.loop import Loop
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp.types import SECOND
from vip_speaker.will import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkRequest, Will, WillTooLargeError, encode

log = logging.getLogger(__name__)


class Cleanup:
    """Record, last will and lifetimes of everything that the instances hold."""

    def __init__(self, loop: Loop, kernel: Kernel, *, record: Record, will: Will | None) -> None:
        self._loop = loop
        self._kernel = kernel
        self._record = record
        self._will = will
        self._beat = Deadline(self._beat_now)
        self._renew = Deadline(self._renew_now)
        self.on_not_renewed: Callable[[Failure], None] = lambda _failure: None
        self._lifetimes: dict[int, list[Assigned]] = {}
        self._record_stale = False

    def start(self) -> None:
        """Begin to beat."""
        self._loop.on_breath = self._breathe
        self._beat_now(self._loop.now_ns())

    def end(self) -> None:
        """Everything was given up: nothing is left to clean up, and closing may take its time."""
        self._loop.on_breath = lambda _now_ns: None
        for deadline in (self._beat, self._renew):
            self._loop.others.set(deadline, None)
        if self._will is not None:
            self._will.write_payload(b"")
            self._will.fastest_interval_ns = 0
            self._will.beat(self._loop.now_ns())

    def set_intervals(self, instances: Iterable[Instance]) -> None:
        """Tell the guard how soon silence of ours matters."""
        intervals = [one.config.advertisement_interval_ns for one in instances if one.config]
        if self._will is not None:
            self._will.fastest_interval_ns = min(intervals, default=0)
            self._beat_now(self._loop.now_ns())

    def record_changed(self) -> None:
        """What may be on the links became another. Nothing is added before the record is written."""
        self._record_stale = True

    def rewrite(self, instances: Iterable[Instance]) -> None:
        """Write anew what is held now, after it became another or just before."""
        instances = tuple(instances)
        if self._record_stale:
            self._rewrite_record(instances)
        holders = [one for one in instances if one.holding.assigned]
        self._rewrite_will(holders)
        self._lifetimes = {}
        for one in holders:
            if one.holding.lifetime_s is not None:
                self._lifetimes.setdefault(one.holding.lifetime_s, []).extend(one.holding.assigned)
        self._schedule_renewal()

    def _rewrite_record(self, instances: Iterable[Instance]) -> None:
        """All that is planned, once per change of a document: a promotion has no time for files.

        A sweep takes off only what also carries our mark, so what is recorded and not ours stays.
        """
        planned = {one for each in instances for one in (*each.holding.planned, *each.holding.assigned)}
        try:
            self._record.write(planned)
        except OSError as error:
            log.error("cannot record the addresses held: %s", error)
        else:
            self._record_stale = False

    def _rewrite_will(self, holders: list[Instance]) -> None:
        if self._will is None:
            return
        removals: list[bytes] = []
        farewells: list[bytes] = []
        for one in holders:
            removal, farewell = one.last_will.over(one.holding.assigned, silenced=one.holding.silenced)
            removals.append(removal)
            farewells.append(farewell)
        removals.append(
            self._common_removals(held=bool(holders), silenced=any(one.holding.silenced for one in holders))
        )
        try:
            self._will.write_payload(b"".join(removals + farewells))
        except WillTooLargeError as error:
            log.error("the guard will only take addresses off: %s", error)
            try:
                self._will.write_payload(b"".join(removals))
            except WillTooLargeError:
                log.error("the guard takes off what it was told before; the rest runs out")

    def _common_removals(self, *, held: bool, silenced: bool) -> bytes:
        """What is not one VIP's own: virtual MAC links, and the silence where the kernel does not end it itself.

        Nothing where nothing is on the links, is about to be (`held`), or could not be taken off: such links are down,
        and a will that says something has the guard give us no more time than a holder.
        """
        kernel, entries = self._kernel, list[NetlinkRequest]()
        if held or kernel.own_addresses:
            requests = kernel.virtual_mac_removal_requests()
            entries += [NetlinkRequest(protocol=NETLINK_ROUTE, data=data) for data in requests]
        if silenced:
            requests = kernel.silence_removal_requests()
            entries += [NetlinkRequest(protocol=NETLINK_NETFILTER, data=data) for data in requests]
        return encode(entries)

    def _schedule_renewal(self) -> None:
        if not self._lifetimes:
            self._loop.others.set(self._renew, None)
            return
        at_ns = self._loop.now_ns() + min(self._lifetimes) * SECOND // 3
        if self._renew.at_ns is None or at_ns < self._renew.at_ns:  # a new one may last less long than all others
            self._loop.others.set(self._renew, at_ns)

    def _renew_now(self, _now_ns: int) -> None:
        """Renew everything at a third of the shortest lifetime. What ran out meanwhile the kernel tells by an event."""
        for lifetime_s, assigned in tuple(self._lifetimes.items()):
            for failure in self._kernel.renew(assigned, lifetime_s):
                self.on_not_renewed(failure)
        self._schedule_renewal()

    def _breathe(self, now_ns: int) -> None:
        """In the middle of a long turn: live, and keep the addresses alive."""
        self._beat_now(now_ns)
        if self._renew.at_ns is not None and self._renew.at_ns <= now_ns:
            self._loop.others.set(self._renew, None)
            self._renew_now(now_ns)

    def _beat_now(self, now_ns: int) -> None:
        if self._will is not None:
            self._will.beat(now_ns)
            self._loop.others.set(self._beat, now_ns + self._will.beat_period_ns)
