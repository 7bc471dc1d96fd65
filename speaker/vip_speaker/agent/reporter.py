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

from vip_speaker.agent import listening
from vip_speaker.agent.api import ApiError
from vip_speaker.agent.desired import is_assigned, is_unicast, own_entry
from vip_speaker.agent.report import (
    entry,
    field_manager,
    is_misnamed,
    is_news,
    is_rewording,
    mastership,
    silent,
    written,
)
from vip_speaker.agent.store import Store
from vip_speaker.statedirectory import Look, NoStateDirectoryError, StateDirectory
from vip_speaker.statefile import VirtualIPState, timestamp

log = logging.getLogger(__name__)

POLL_S = 0.02
"""A change is to be seen in the API within 300 ms. Looking at unchanged files costs next to nothing; looking anew for
each of the thousand writes with which hundreds of VIPs begin would.
"""
SILENT_AFTER_S = 2.0
"""A router that is started anew says nothing for less than this."""
LISTENING_S = 8.0
"""A router that waits for its virtual router ID has listened before that. Until then it has nothing to say that anybody
waits for, and with many new VIPs half of all writes would say so.
"""
ELECTION_S = 4.0
"""A router that begins as BACKUP has found a master before that, or is it (three intervals of 1 s): what it begins as
is not worth a write of its own.
"""
GATHER_S = 0.5
"""Whom a link's VIPs hear is not said again sooner for those that came since: they may be hundreds, one by one."""
AT_ONCE = 4
"""Patches under way at a time: all VIPs of a node may change in the same instant."""
BATCH = 4 * AT_ONCE
"""Patches before the router's documents are looked at again: what is written is never much older than that."""
REWORDING_S = 60.0
"""What a check has to say may differ with each of its runs: that alone is not worth more than a write a minute."""
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
        self._written_at: dict[str, float] = {}
        self._beginning_since: dict[str, tuple[str, float]] = {}
        self._seen: Look | None = None
        self._settled: dict[str, tuple[object, object, float]] = {}
        self._put_off: dict[str, float] = {}
        self._heard_at: dict[object, float] = {}
        self._waiting: dict[str, tuple[Mapping[str, Any], VirtualIPState]] = {}
        self._given = frozenset[int]()
        self._stopping_until: float | None = None
        self._wake = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="status")
        self.states: Mapping[str, VirtualIPState] = {}
        self.beat_at = clock()

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
        due = self._due(bodies, states)
        self._failures = {name: f for name, f in self._failures.items() if name in due}
        self._written_at = {name: at for name, at in self._written_at.items() if name in bodies}
        self._beginning_since = {name: since for name, since in self._beginning_since.items() if name in bodies}
        self._silent_since = {name: at for name, at in self._silent_since.items() if name in bodies}
        now = self._clock()
        ready = [n for n in due if n not in self._failures or self._failures[n].retry_at <= now]
        ready.sort(key=lambda name: _urgency(due[name]))
        if len(ready) > BATCH:
            self._wake.set()
        list(self._pool.map(lambda name: self._write(bodies[name], due[name]), ready[:BATCH]))

    def _due(
        self, bodies: Mapping[str, Mapping[str, Any]], states: Mapping[str, VirtualIPState]
    ) -> dict[str, Mapping[str, Any]]:
        """What is to be applied, by VIP. Where object and document are those that were compared before, nothing is:
        this runs fifty times a second.
        """
        due: dict[str, Mapping[str, Any]] = {}
        settled: dict[str, tuple[object, object, float]] = {}
        waiting: dict[str, tuple[Mapping[str, Any], VirtualIPState]] = {}
        self._put_off.clear()
        known, now = self._settled, self._clock()
        if known.keys() - bodies.keys() or any(
            name not in known or known[name][0] is not b for name, b in bodies.items()
        ):
            given = _given(bodies)
            if self._given - given:
                self._settled = {}  # who is heard under one of those may be a stranger
            self._given = given
        for name, body in bodies.items():
            state = states.get(name)
            former = self._settled.get(name)
            if former is not None and former[0] is body and former[1] is state and now < former[2]:
                settled[name] = former
                continue
            if state is not None and self._waits(body, state):
                waiting[name] = body, state
                continue
            if (change := self._change(body, state)) is not None:
                due[name] = change
            elif state is not None or not is_assigned(body, self._node):
                settled[name] = body, state, self._put_off.get(name, float("inf"))
        self._settled, self._waiting = settled, waiting
        for name, report in listening.reports(waiting, bodies.values(), self._node).items():
            if now >= self._heard_at.get(report.get("interface"), float("-inf")) + GATHER_S:
                due[name] = {"nodes": [{"node": self._node, **report}]}
        return due

    def _waits(self, body: Mapping[str, Any], state: VirtualIPState) -> bool:
        known = self._waiting.get(state.name)
        if known is not None and known[0] is body and known[1] is state:
            return True
        is_new = is_assigned(body, self._node) and listening.waits(body, state, self._node)
        return is_new and self._stopping_until is None

    def _look(self) -> Mapping[str, VirtualIPState]:
        try:
            self._seen = self._directory.look(self._seen, wanted=self._store.all().keys())
        except NoStateDirectoryError:
            self._seen = None
            return {}
        return self._seen.states

    def _change(self, body: Mapping[str, Any], state: VirtualIPState | None) -> Mapping[str, Any] | None:
        """The status to apply, or None where nothing differs."""
        name, own = body["metadata"]["name"], own_entry(body, self._node)
        if not is_assigned(body, self._node):
            self._silent_since.pop(name, None)
            return {} if written(own) else None
        if state is not None and self._is_beginning(body, state, written(own)):
            return None
        wanted = entry(state) if state is not None else self._silence(name)
        if state is not None:
            self._silent_since.pop(name, None)
        if wanted is None:
            return None
        if also_for := (written(own).get("link") or {}).get("alsoFor") if "link" in wanted else None:
            wanted["link"] = listening.with_others(wanted["link"], also_for)
        mine = mastership(self._node, wanted)
        misnamed = is_misnamed(mine, body.get("status") or {})
        if not misnamed and not is_news(wanted, written(own), self._given):
            return None
        again_at = self._written_at.get(name, float("-inf")) + REWORDING_S
        if (
            not misnamed
            and self._clock() < again_at
            and state is not None
            and is_rewording(wanted, written(own), state)
        ):
            self._put_off[name] = again_at
            return None
        return {**mine, "nodes": [{"node": self._node, **wanted}]}

    def _is_beginning(self, body: Mapping[str, Any], state: VirtualIPState, own: Mapping[str, Any]) -> bool:
        """Whether a report that says more will come soon: whom the router heard while it listened, so that the operator
        can choose a virtual router ID; then what became of it in the election.
        """
        has_vrid = "virtualRouterID" in (body.get("status") or {})  # then the router will take part in a moment
        is_listening = (
            state.state == "INIT" and not state.virtualRouterID and (not state.link.subnets or has_vrid) and not own
        )
        is_electing = state.state == "BACKUP" and not state.master and own.get("state", "INIT") == "INIT"
        if self._stopping_until is not None or is_unicast(body) or not (is_listening or is_electing):
            self._beginning_since.pop(state.name, None)
            return False  # unicast peers wait for each other's address
        step = state.state + has_vrid * " with its virtual router ID"
        known, since = self._beginning_since.get(state.name, ("", 0.0))
        if known != step:
            since = self._clock()
            self._beginning_since[state.name] = step, since
        until = since + (LISTENING_S if is_listening else ELECTION_S)
        self._put_off[state.name] = until
        return self._clock() < until

    def _silence(self, name: str) -> dict[str, Any] | None:
        """What to report of a VIP without a state document: nothing yet, or that the router is silent."""
        since = self._silent_since.setdefault(name, self._wall_clock())
        if self._stopping_until is not None:
            return silent(timestamp(since), "Stopped: the speaker is ending")
        if self._wall_clock() - since < SILENT_AFTER_S:
            return None
        if self._seen is not None and (why := self._seen.why_not(name)) is not None:
            return silent(timestamp(since), f"NoRouter: the router's document about it {why}")
        return silent(timestamp(since), "NoRouter: the router says nothing about it")

    def _write(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        name = body["metadata"]["name"]
        try:
            answer = self._api.apply_status(name, uid=body["metadata"]["uid"], status=status, manager=self._manager)
        except ApiError as error:
            self._failed(name, str(error))
        else:
            self._written_at[name] = self._clock()
            self._heard_at.update(
                (own.get("interface"), self._clock()) for own in status.get("nodes", ()) if "link" in own
            )
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

    def _failed(self, name: str, reason: str) -> None:
        former = self._failures.get(name)
        count = former.count + 1 if former else 1
        delay = min(FIRST_DELAY_S * 2 ** min(count - 1, 10), LONGEST_DELAY_S) * random.uniform(0.5, 1)  # noqa: S311
        self._failures[name] = _Failure(count=count, retry_at=self._clock() + delay)
        log.log(logging.WARNING if count == 1 else logging.DEBUG, "%s: status not written: %s", name, reason)

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


def _given(bodies: Mapping[str, Mapping[str, Any]]) -> frozenset[int]:
    """The virtual router IDs that the operator has given."""
    return frozenset(
        vrid for body in bodies.values() if isinstance(vrid := (body.get("status") or {}).get("virtualRouterID"), int)
    )


def _urgency(status: Mapping[str, Any]) -> tuple[bool, bool]:
    """What is sorted first: whom a link hears, which all wait for that have no virtual router ID yet; then a node that
    is master now, which is what people look for.
    """
    own = status.get("nodes") or ()
    return not any("link" in one for one in own), not any(one.get("state") == "MASTER" for one in own)
