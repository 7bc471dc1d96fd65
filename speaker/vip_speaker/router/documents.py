"""When the documents are looked at: soon after something happened in their directory, and every 10 s in any case."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from vip_speaker.router.kernelfd import DirectoryWatch
from vip_speaker.router.loop import Loop
from vip_speaker.router.manifests import Manifests, Snapshot
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp.types import MS, SECOND

log = logging.getLogger(__name__)

# After an event in the directory wait this long for the writer to finish.
_SETTLE_NS = 50 * MS
# The same where files are replaced in one step, as the agent does: only for more of them.
_REPLACED_SETTLE_NS = 5 * MS
# A full comparison of all files, whether or not anything was heard of them.
_COMPARE_NS = 10 * SECOND
# A directory that is gone is looked for this often.
_REATTACH_NS = 250 * MS
# Where the kernel gives out no inotify instance: a user has 128 of them by default, which many pods may use up.
_BLIND_NS = SECOND
# A neighbour can fill the directory with what is no document.
_LOGGED_AT_ONCE = 20


class Documents:
    """The documents in force, `snapshot`; calls `on_look` after every look, whether or not anything is new."""

    def __init__(self, loop: Loop, path: Path, on_look: Callable[[bool], None]) -> None:
        self.snapshot = Snapshot()
        self._loop = loop
        self._on_look = on_look
        self._manifests = Manifests(path, between=loop.breathe)
        self._watch: DirectoryWatch | None = None
        self._watch_problem = ""
        self._logged: set[str] = set()
        self._pause_ns = 0
        self._look = Deadline(self._look_now)
        self._attach = Deadline(self._attach_now)

    def start(self) -> None:
        """Read everything, and watch from here on."""
        self._look_now(self._loop.now_ns())

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._loop.remove_reader(self._watch)
            self._watch.close()

    def look_within(self, wait_ns: int) -> None:
        """Look after `wait_ns` at the latest. Who writes without end does not put it off."""
        at_ns = self._loop.now_ns() + wait_ns
        if self._look.at_ns is None or at_ns < self._look.at_ns:
            self._loop.others.set(self._look, at_ns)

    def _watch_from_here_on(self) -> None:
        """Before a look, so that nothing is missed. Without a watch every second has to do, until there is one."""
        try:
            self._watch = DirectoryWatch(self._manifests.directory)
        except OSError as error:
            problem = f"documents are looked at every second only: {error.strerror}"
            if problem != self._watch_problem:
                log.warning("%s (sysctl fs.inotify.max_user_instances)", problem)
            self._watch_problem = problem
        else:
            self._watch_problem = ""
            self._loop.add_reader(self._watch, self._on_event)

    def _on_event(self) -> None:
        assert self._watch is not None
        if self._watch.drain():
            settle_ns = max(_REPLACED_SETTLE_NS, self._pause_ns) if self._watch.replaced else _SETTLE_NS
            self.look_within(settle_ns)
        if not self._watch.attached:
            self._loop.others.set(self._attach, self._loop.now_ns() + _REATTACH_NS)

    def _attach_now(self, now_ns: int) -> None:
        assert self._watch is not None
        if self._watch.attach():
            self._look_now(now_ns)
        else:
            self._loop.others.set(self._attach, now_ns + _REATTACH_NS)

    def _look_now(self, now_ns: int) -> None:
        if self._watch is None:
            self._watch_from_here_on()
        before, self.snapshot = self.snapshot, self._manifests.load(now_ns)
        wait_ns = _COMPARE_NS if self._watch is not None else _BLIND_NS
        if self._manifests.unsettled:
            wait_ns = _SETTLE_NS
        self._loop.others.set(self._look, self._loop.now_ns() + wait_ns)
        self._log_problems()
        self._on_look(self.snapshot != before)
        # documents that come one by one, for hundreds of VIPs, take a quarter of the time; half where a look is long
        self._pause_ns = min(3 * (self._loop.now_ns() - now_ns), _SETTLE_NS)

    def _log_problems(self) -> None:
        problems = {problem for manifest in self.snapshot.manifests.values() for problem in manifest.problems}
        problems.update(self.snapshot.problems)
        new = sorted(problems - self._logged)
        for problem in new[:_LOGGED_AT_ONCE]:
            log.error("%s", problem)
        if len(new) > _LOGGED_AT_ONCE:
            log.error("%d more such problems", len(new) - _LOGGED_AT_ONCE)
        self._logged = problems
