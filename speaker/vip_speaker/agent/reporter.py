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
from vip_speaker.agent.report import entry, field_manager, silent, written
from vip_speaker.agent.store import Store
from vip_speaker.statefile import SUFFIX, NoStateDirectoryError, StateDirectory, VirtualIPState, timestamp

log = logging.getLogger(__name__)

POLL_S = 0.05
"""A change is to be seen in the API within 300 ms. Looking at unchanged files costs next to nothing."""
SILENT_AFTER_S = 2.0
"""A router that is started anew says nothing for less than this."""
AT_ONCE = 4
"""Patches under way at a time: all VIPs of a node may change in the same instant."""
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
    """`states` are the router's documents of the last look, for the metrics."""

    def __init__(
        self,
        store: Store,
        directory: StateDirectory,
        api: StatusApi,
        *,
        node: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._directory, self._api, self._node = store, directory, api, node
        self._clock, self._wall_clock = clock, wall_clock
        self._manager = field_manager(node)
        self._failures: dict[str, _Failure] = {}
        self._silent_since: dict[str, float] = {}
        self._unreadable: dict[str, str] = {}
        self._stopping_until: float | None = None
        self._wake = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="status")
        self.states: dict[str, VirtualIPState] = {}
        self.beat_at = clock()

    def poke(self) -> None:
        """The store changed. From any thread."""
        self._wake.set()

    def finish(self, *, within_s: float) -> None:
        """The pod is ending: report the router's last words, then end `run`."""
        self._stopping_until = self._clock() + within_s

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
        due = {
            name: change
            for name, body in bodies.items()
            if (change := self._change(body, states.get(name))) is not None
        }
        self._failures = {name: f for name, f in self._failures.items() if name in due}
        now = self._clock()
        ready = [n for n in due if n not in self._failures or self._failures[n].retry_at <= now]
        list(self._pool.map(lambda name: self._write(bodies[name], due[name]), ready))

    def _look(self) -> dict[str, VirtualIPState]:
        try:
            states, skipped = self._directory.scan(self._store.all().keys())
        except NoStateDirectoryError:
            self._unreadable = {}
            return {}
        self._unreadable = {one.name.removesuffix(SUFFIX): one.reason for one in skipped}
        return {state.name: state for state in states}

    def _change(self, body: Mapping[str, Any], state: VirtualIPState | None) -> Mapping[str, Any] | None:
        """The status to apply, or None where nothing differs."""
        name, own = body["metadata"]["name"], own_entry(body, self._node)
        if not is_assigned(body, self._node):
            return {} if written(own) else None
        wanted = entry(state) if state is not None else self._silence(name)
        if state is not None:
            self._silent_since.pop(name, None)
        if wanted is None or wanted == written(own):
            return None
        return {"nodes": [{"node": self._node, **wanted}]}

    def _silence(self, name: str) -> dict[str, Any] | None:
        """What to report of a VIP without a state document: nothing yet, or that the router is silent."""
        since = self._silent_since.setdefault(name, self._wall_clock())
        if self._stopping_until is not None:
            return silent(timestamp(since), "Stopped: the speaker is ending")
        if self._wall_clock() - since < SILENT_AFTER_S:
            return None
        if name in self._unreadable:
            return silent(timestamp(since), f"NoRouter: the router's document about it {self._unreadable[name]}")
        return silent(timestamp(since), "NoRouter: the router says nothing about it")

    def _write(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        name = body["metadata"]["name"]
        try:
            answer = self._api.apply_status(name, uid=body["metadata"]["uid"], status=status, manager=self._manager)
        except ApiError as error:
            former = self._failures.get(name)
            count = former.count + 1 if former else 1
            delay = min(FIRST_DELAY_S * 2 ** min(count - 1, 10), LONGEST_DELAY_S) * random.uniform(0.5, 1)  # noqa: S311
            self._failures[name] = _Failure(count=count, retry_at=self._clock() + delay)
            log.log(logging.WARNING if count == 1 else logging.DEBUG, "%s: status not written: %s", name, error)
        else:
            self._failures.pop(name, None)
            self._store.put(answer)

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
