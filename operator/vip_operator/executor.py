"""Carries out the changes of a plan, one by one; what one of them meets never holds up the others."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from vip_operator.api import CONFLICT, NOT_FOUND, Api, ApiException
from vip_operator.metrics import CHANGES, FAILURES
from vip_operator.plan.changes import ApplyDaemonSet, ApplyStatus, Change, ClearEntry, DeletePod
from vip_operator.store import DAEMON_SETS, VIPS, SetBackError, Store

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0


@dataclass(slots=True)
class _Failure:
    count: int
    retry_at: float


class Executor:
    """Used by one thread. Retries for ever, each target with its own jittered and growing delay."""

    def __init__(self, api: Api, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._store, self._clock = api, store, clock
        self._failures: dict[tuple[str, str], _Failure] = {}

    def carry_out(self, changes: tuple[Change, ...]) -> float | None:
        """Try every change that is not waiting for its retry. Returns the seconds until the next retry is
        due. SetBackError.
        """
        targets = {_target(change) for change in changes}
        self._failures = {target: f for target, f in self._failures.items() if target in targets}
        for change in changes:
            target = _target(change)
            failure = self._failures.get(target)
            if failure is not None and self._clock() < failure.retry_at:
                continue
            try:
                self._carry_out(change)
            except SetBackError:
                raise
            except ApiException as error:
                if error.status in (NOT_FOUND, CONFLICT):
                    # The object is gone or another one; the watch says so, or the next list.
                    logger.info("%s %s: %s", *target, error.reason)
                self._failed(target, f"{error.status} {error.reason}: {_message(error)}")
            except Exception as error:
                self._failed(target, f"{type(error).__name__}: {error}")
            else:
                CHANGES.labels(kind=type(change).__name__).inc()
                self._failures.pop(target, None)
        return min((f.retry_at - self._clock() for f in self._failures.values()), default=None)

    def _failed(self, target: tuple[str, str], reason: str) -> None:
        former = self._failures.get(target)
        count = former.count + 1 if former else 1
        delay = min(FIRST_DELAY_S * 2 ** min(count - 1, 10), LONGEST_DELAY_S) * random.uniform(0.5, 1)  # noqa: S311 jitter
        self._failures[target] = _Failure(count=count, retry_at=self._clock() + delay)
        FAILURES.labels(kind=target[0]).inc()
        logger.warning("%s %s failed, try again in %.1f s: %s", *target, delay, reason)

    def _carry_out(self, change: Change) -> None:
        match change:
            case ApplyStatus():
                before = self._store.get(VIPS, change.vip)
                body = self._api.apply_status(change.vip, change.uid, change.status)
                self._store.put_answer(VIPS, body, before=before)
                logger.info("status of %s: %s", change.vip, _summary(change))
                self._post_events(change, body)
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

    def _post_events(self, change: ApplyStatus, body: dict[str, object]) -> None:
        """Events are a courtesy: a failure is logged and forgotten."""
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for event in change.events:
            logger.info("%s %s: %s", change.vip, event.reason, event.message)
            try:
                self._api.create_event(body, kind=event.type, reason=event.reason, message=event.message, at=at)
            except Exception as error:
                logger.warning("an Event about %s was not written: %s", change.vip, error)


def _target(change: Change) -> tuple[str, str]:
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
