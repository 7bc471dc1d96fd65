"""Carries out the changes of a plan, a few at a time; what one of them meets never holds up the others.

A turn ends after a while although changes are left: a plan for many VirtualIPs would be old before its end, and the
lease run out. The loop plans anew then, and what waited longest comes first.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vip_operator.api import CONFLICT, NOT_FOUND, Api, ApiException
from vip_operator.metrics import CHANGES, FAILURES
from vip_operator.plan.changes import ApplyDaemonSet, ApplyStatus, Change, ClearEntry, DeletePod, Event
from vip_operator.store import DAEMON_SETS, VIPS, SetBackError, Store

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0
AT_ONCE = 4
"""Calls under way at a time: a lost node changes the status of all its VirtualIPs in the same instant."""
TURN_S = 1.0
"""No call begins later in a turn. The lease is renewed between turns."""
FORGET_AFTER_S = 60.0
"""So long it counts that a target had its turn."""
MAX_EVENTS = 1000
"""Events that wait because there are changes; the oldest are dropped."""

Target = tuple[str, str]


@dataclass(slots=True)
class _Failure:
    count: int
    retry_at: float


class Executor:
    """Used by one thread. Retries for ever, each target with its own jittered and growing delay."""

    def __init__(self, api: Api, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._store, self._clock = api, store, clock
        self._failures: dict[Target, _Failure] = {}
        self._carried_out_at: dict[Target, float] = {}
        self._events: deque[tuple[dict[str, Any], str, Event]] = deque(maxlen=MAX_EVENTS)
        self._pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="changes")

    @property
    def has_events(self) -> bool:
        """Whether Events wait to be written."""
        return bool(self._events)

    def carry_out(self, changes: tuple[Change, ...]) -> float | None:
        """Try every change that is not waiting for its retry, then the Events, until the turn is over. Returns the
        seconds until there is more to do: none where the turn was too short. SetBackError.
        """
        began = self._clock()
        by_target = {_target(change): change for change in changes}
        self._failures = {target: f for target, f in self._failures.items() if target in by_target}
        self._carried_out_at = {t: at for t, at in self._carried_out_at.items() if began - at < FORGET_AFTER_S}
        waiting = {target for target, f in self._failures.items() if began < f.retry_at}
        jobs: dict[str, list[Target]] = {}
        for target in sorted(by_target.keys() - waiting, key=self._turn_of(by_target)):
            jobs.setdefault(_subject(by_target[target]), []).append(target)
        complete = True
        for outcomes in self._each(lambda job: self._work([by_target[t] for t in job], began + TURN_S), jobs.values()):
            for change, outcome in outcomes:
                complete &= outcome is not _LATE
                self._note(change, outcome)
        complete &= self._post_events(began + TURN_S)
        if not complete:
            return 0.0
        return min((f.retry_at - self._clock() for f in self._failures.values()), default=None)

    def _turn_of(self, by_target: dict[Target, Change]) -> Callable[[Target], tuple[bool, float, int]]:
        places = {target: place for place, target in enumerate(by_target)}

        def turn(target: Target) -> tuple[bool, float, int]:
            change = by_target[target]
            later = isinstance(change, ApplyStatus) and not change.urgent
            return later, self._carried_out_at.get(target, float("-inf")), places[target]

        return turn

    def _each(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterable[Any]:
        jobs = list(jobs)
        return self._pool.map(work, jobs) if len(jobs) > 1 else map(work, jobs)

    def _work(self, changes: list[Change], until: float) -> list[tuple[Change, object]]:
        """In a thread of the pool: the changes of one VirtualIP, in order, and what came of each."""
        outcomes: list[tuple[Change, object]] = []
        for change in changes:
            if self._clock() >= until:
                outcomes.append((change, _LATE))
                continue
            try:
                outcomes.append((change, self._carry_out(change)))
            except Exception as error:
                outcomes.append((change, error))
        return outcomes

    def _note(self, change: Change, outcome: object) -> None:
        target = _target(change)
        if isinstance(outcome, SetBackError):
            raise outcome
        if isinstance(outcome, ApiException):
            if outcome.status in (NOT_FOUND, CONFLICT):
                # The object is gone or another one; the watch says so, or the next list.
                logger.info("%s %s: %s", *target, outcome.reason)
            self._failed(target, f"{outcome.status} {outcome.reason}: {_message(outcome)}")
        elif isinstance(outcome, Exception):
            self._failed(target, f"{type(outcome).__name__}: {outcome}")
        elif outcome is not _LATE:
            CHANGES.labels(kind=type(change).__name__).inc()
            self._failures.pop(target, None)
            self._carried_out_at[target] = self._clock()
            if isinstance(change, ApplyStatus) and isinstance(outcome, dict):
                self._events.extend((outcome, change.vip, event) for event in change.events)

    def _failed(self, target: Target, reason: str) -> None:
        former = self._failures.get(target)
        count = former.count + 1 if former else 1
        delay = min(FIRST_DELAY_S * 2 ** min(count - 1, 10), LONGEST_DELAY_S) * random.uniform(0.5, 1)  # noqa: S311 jitter
        self._failures[target] = _Failure(count=count, retry_at=self._clock() + delay)
        FAILURES.labels(kind=target[0]).inc()
        logger.warning("%s %s failed, try again in %.1f s: %s", *target, delay, reason)

    def _carry_out(self, change: Change) -> dict[str, Any] | None:
        """The VirtualIP that it led to."""
        body = None
        match change:
            case ApplyStatus():
                before = self._store.get(VIPS, change.vip)
                body = self._api.apply_status(change.vip, change.uid, change.status)
                self._store.put_answer(VIPS, body, before=before)
                logger.info("status of %s: %s", change.vip, _summary(change))
            case ClearEntry():
                before = self._store.get(VIPS, change.vip)
                body = self._api.clear_entry(change.vip, change.field_manager)
                self._store.put_answer(VIPS, body, before=before)
                logger.info("cleared the entry of %s in %s", change.node, change.vip)
            case ApplyDaemonSet():
                self._store.put(DAEMON_SETS, self._api.apply_daemon_set(change.manifest))
                logger.info("applied the speaker DaemonSet %s", change.manifest["metadata"]["name"])
            case DeletePod():
                self._api.delete_pod(change.name, change.uid)
                logger.info("rollout: deleted %s on %s", change.name, change.node)
        return body

    def _post_events(self, until: float) -> bool:
        """Events are a courtesy: a failure is logged and forgotten. False when there was no time for all."""
        while self._events:
            if self._clock() >= until:
                return False
            some = [self._events.popleft() for _ in range(min(AT_ONCE, len(self._events)))]
            list(self._each(self._post_event, some))
        return True

    def _post_event(self, what: tuple[dict[str, Any], str, Event]) -> None:
        body, vip, event = what
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        logger.info("%s %s: %s", vip, event.reason, event.message)
        try:
            self._api.create_event(body, kind=event.type, reason=event.reason, message=event.message, at=at)
        except Exception as error:
            logger.warning("an Event about %s was not written: %s", vip, error)


_LATE = object()
"""What comes of a change for which the turn was too short."""


def _subject(change: Change) -> str:
    """Changes of one VirtualIP are carried out one after the other."""
    return change.vip if isinstance(change, ApplyStatus | ClearEntry) else "/".join(_target(change))


def _target(change: Change) -> Target:
    match change:
        case ApplyStatus():
            return "ApplyStatus", change.vip
        case ClearEntry():
            return "ClearEntry", f"{change.vip}/{change.node}"
        case ApplyDaemonSet():
            return "ApplyDaemonSet", change.manifest["metadata"]["name"]
        case DeletePod():
            return "DeletePod", change.name


def _summary(change: ApplyStatus) -> str:
    status = change.status
    nodes = ", ".join(f"{e['node']}={e['priority']}" for e in status["nodes"])
    return f"VRID {status.get('virtualRouterID', '-')}, master {status.get('master', '-')}, priorities {nodes or '-'}"


def _message(error: ApiException) -> str:
    return str(error.body or "")[:500]
