"""Reports what the router says to the API server: latest-wins per VIP, and only what differs. The body of a
thread.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from vip_speaker.agent.api import ApiError
from vip_speaker.agent.desired import is_assigned, own_entry
from vip_speaker.agent.due import Due
from vip_speaker.agent.report import field_manager, written
from vip_speaker.agent.store import Store
from vip_speaker.statedirectory import Look, NoStateDirectoryError, StateDirectory
from vip_speaker.statefile import VirtualIPState

log = logging.getLogger(__name__)

POLL_S = 0.02
"""A change is to be seen in the API within 300 ms. Looking at unchanged files costs next to nothing; looking anew for
each of the thousand writes with which hundreds of VIPs begin would.
"""
AT_ONCE = 4
"""Patches under way at a time: all VIPs of a node may change in the same instant."""
BATCH = 4 * AT_ONCE
"""Patches before the router's documents are looked at again: what is written is never much older than that."""
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0


class StatusApi(Protocol):
    """What of the API is needed here."""

    def apply_status(self, name: str, *, uid: str, status: Mapping[str, Any], manager: str) -> Mapping[str, Any]:
        """Server-side apply; ApiError."""
        ...


@dataclass(slots=True)
class _Failure:
    count: int
    retry_at: float


class Reporter:
    """`states` are the router's documents of the last look, for the metrics. `trouble` is what there is to say about a
    VIP beside that.
    """

    def __init__(
        self,
        store: Store,
        directory: StateDirectory,
        api: StatusApi,
        *,
        node: str,
        trouble: Callable[[str], str] = lambda _: "",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._directory, self._api, self._node = store, directory, api, node
        self._trouble, self._clock = trouble, clock
        self._manager = field_manager(node)
        self._failures: dict[str, _Failure] = {}
        self._due = Due(node, clock=clock, wall_clock=wall_clock)
        self._seen: Look | None = None
        self._stopping_until: float | None = None
        self._wake = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="status")
        self.states: Mapping[str, VirtualIPState] = {}
        self.beat_at = clock()

    def finish(self, *, within_s: float) -> None:
        """The pod is ending: report the router's last words, then end `run`."""
        self._stopping_until = self._clock() + within_s
        self._due.ending = True

    def run(self) -> None:
        """Report until the last words are reported, or `finish`'s time is up."""
        while not self._is_done():
            self._wake.wait(POLL_S)
            self._wake.clear()
            self.beat_at = self._clock()
            self.states = self._look()
            if self._store.listed.is_set():
                self.report(self.states)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def report(self, states: Mapping[str, VirtualIPState]) -> None:
        """Write every entry that differs from what the store has."""
        bodies = self._store.all()
        due = self._due.statuses(bodies, states, self._why_not, self._trouble)
        self._failures = {name: f for name, f in self._failures.items() if name in due}
        now = self._clock()
        ready = [n for n in due if n not in self._failures or self._failures[n].retry_at <= now]
        ready.sort(key=lambda name: _urgency(due[name]))
        if len(ready) > BATCH:
            self._wake.set()
        list(self._pool.map(lambda name: self._write(bodies[name], due[name]), ready[:BATCH]))

    def _look(self) -> Mapping[str, VirtualIPState]:
        try:
            self._seen = self._directory.look(self._seen, wanted=self._store.all().keys())
        except NoStateDirectoryError:
            self._seen = None
            return {}
        return self._seen.states

    def _why_not(self, name: str) -> str | None:
        return self._seen.why_not(name) if self._seen is not None else None

    def _write(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        name = body["metadata"]["name"]
        try:
            answer = self._api.apply_status(name, uid=body["metadata"]["uid"], status=status, manager=self._manager)
        except ApiError as error:
            # it is deleted, which the watch is about to say
            self._failed(name, str(error), level=logging.DEBUG if error.status == 404 else logging.WARNING)
        else:
            self._due.wrote(name, status)
            self._store.put(answer, instead_of=body)
            if self._took(answer, status):
                self._failures.pop(name, None)
            else:
                self._failed(
                    name, "the API server dropped a part of it; is its VirtualIP definition another version's?"
                )

    def _took(self, answer: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
        """Whether the API server has what was written: else it would be written again at once, for ever."""
        there = answer.get("status") or {}
        (own,) = status.get("nodes") or ({},)
        return written(own_entry(answer, self._node)) == written(own) and all(
            there.get(key) == value for key, value in status.items() if key != "nodes"
        )

    def _failed(self, name: str, reason: str, *, level: int = logging.WARNING) -> None:
        former = self._failures.get(name)
        count = former.count + 1 if former else 1
        delay = min(FIRST_DELAY_S * 2 ** min(count - 1, 10), LONGEST_DELAY_S) * random.uniform(0.5, 1)  # noqa: S311
        self._failures[name] = _Failure(count=count, retry_at=self._clock() + delay)
        log.log(level if count == 1 else logging.DEBUG, "%s: status not written: %s", name, reason)

    def _is_done(self) -> bool:
        if self._stopping_until is None:
            return False
        if self._clock() >= self._stopping_until:
            return True
        active = [s for s in self._look().values() if s.state in ("MASTER", "BACKUP")]
        bodies = self._store.all().values()
        stale = [
            b
            for b in bodies
            if is_assigned(b, self._node) and (own_entry(b, self._node) or {}).get("state") in ("MASTER", "BACKUP")
        ]
        return not active and not stale


def _urgency(status: Mapping[str, Any]) -> tuple[bool, bool]:
    """What is sorted first: whom a link hears, which all wait for that have no virtual router ID yet; then a node that
    is master now, which is what people look for.
    """
    own = status.get("nodes") or ()
    return not any("link" in one for one in own), not any(one.get("state") == "MASTER" for one in own)
