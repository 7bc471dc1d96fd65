"""All checks of all VIPs of this host: started and ended as documents come and go, and asked what they mean.

A new kind of check is one module with a `Tracker`, an entry here, and one in `vip_api.track`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from vip_api.model import Track, VirtualIP

from vip_speaker.health.advice import weight_warnings
from vip_speaker.health.assigned import AssignedTracker, with_cordon
from vip_speaker.health.evaluate import NO_CHECKS, Assessment, evaluate
from vip_speaker.health.facts import Fact
from vip_speaker.health.file import FileTracker
from vip_speaker.health.interface import InterfaceTracker
from vip_speaker.health.process import ProcessTracker
from vip_speaker.health.remote import RemoteTracker
from vip_speaker.health.tracker import Surroundings, Tracker

log = logging.getLogger(__name__)

KINDS: Mapping[str, type[Tracker]] = {
    "interface": InterfaceTracker,
    "process": ProcessTracker,
    "file": FileTracker,
    "script": RemoteTracker,
    "tcp": RemoteTracker,
    "http": RemoteTracker,
    "node": AssignedTracker,
    "pods": AssignedTracker,
}


class Health:
    """The checks. `changed(name)` is called when the VIP of that name may mean something else now."""

    def __init__(self, around: Surroundings, changed: Callable[[str], None]) -> None:
        self._around = around
        self._changed = changed
        self._trackers: dict[str, dict[str, Tracker]] = {}
        self._former: dict[tuple[str, str], Fact] = {}  # of checks whose entry changed, until their first result
        self._assessed: dict[str, Assessment] = {}
        self._warned: dict[str, list[str]] = {}

    def keep(self, names: AbstractSet[str]) -> None:
        """Watch nothing for any other VIP."""
        for name in self._trackers.keys() - names:
            self._forget(name)

    def follow(self, vip: VirtualIP) -> None:
        """Watch what its document tracks, and nothing else for it. A check that is the same goes on, whatever its
        weight is now: runs that were counted stay counted.
        """
        if vip.spec.track or vip.name in self._trackers:
            self._follow(vip.name, vip)
            self._warn(vip.name, vip)

    def assess(self, vip: VirtualIP) -> Assessment:
        """What the checks of a VIP mean now; what moved since the last time goes to the log."""
        trackers = self._trackers.get(vip.name, {})
        facts = [(track, self._fact(trackers[track.name])) for track in vip.spec.track if track.name in trackers]
        now = with_cordon(evaluate(facts), vip) if facts or vip.assignment is not None else NO_CHECKS
        before = self._assessed.get(vip.name, NO_CHECKS)
        if now != before:
            self._assessed[vip.name] = now
            _log_difference(vip.name, before, now)
        return now

    def close(self) -> None:
        """Watch nothing more."""
        for name in tuple(self._trackers):
            self._forget(name)

    def _follow(self, name: str, vip: VirtualIP) -> None:
        trackers = self._trackers.setdefault(name, {})
        wanted = {track.name: track for track in vip.spec.track}
        for gone in [one for one, tracker in trackers.items() if not _is_same_check(wanted.get(one), tracker.track)]:
            before = trackers.pop(gone)
            if gone in wanted and wanted[gone].kind == before.track.kind:
                self._former[name, gone] = self._fact(before)
            else:
                self._former.pop((name, gone), None)
            before.close()
        for track in vip.spec.track:
            if track.name in trackers:
                trackers[track.name].vip, trackers[track.name].track = vip, track
            else:
                trackers[track.name] = self._start(track, vip)

    def _fact(self, tracker: Tracker) -> Fact:
        """What it knows; before its first result what was known before its entry changed: an edit moves no VIP."""
        key, fact = (tracker.vip.name, tracker.track.name), tracker.fact()
        if fact.is_result:
            self._former.pop(key, None)
        return self._former.get(key, fact)

    def _warn(self, name: str, vip: VirtualIP) -> None:
        warnings = weight_warnings(vip)
        if warnings != self._warned.get(name, []):
            self._warned[name] = warnings
            for warning in warnings:
                log.warning("%s", warning, extra={"vip": name})

    def _start(self, track: Track, vip: VirtualIP) -> Tracker:
        return KINDS[track.kind](track, vip, self._around, lambda: self._changed(vip.name))

    def _forget(self, name: str) -> None:
        self._assessed.pop(name, None)
        self._warned.pop(name, None)
        for tracker in self._trackers.pop(name).values():
            self._former.pop((name, tracker.track.name), None)
            tracker.close()


def _is_same_check(wanted: Track | None, track: Track) -> bool:
    return wanted is not None and (wanted.kind, wanted.check) == (track.kind, track.check)


def _log_difference(name: str, before: Assessment, now: Assessment) -> None:
    """One line per check that moved the priority; a FAULT is told by the instance."""
    values = {part.name: part.value for part in before.parts}
    for part in now.parts:
        if moved := part.value - values.get(part.name, 0):
            log.info("%s: %s: priority %+d", part.name, part.reason, moved, extra={"vip": name})
