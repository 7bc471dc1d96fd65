"""How many ready pods each node has, for the checks of the kind `pods`: one list and watch per namespace and selector.

Not kopf's: what is watched follows the VirtualIPs, and of a pod nothing is kept but its node and whether it is ready.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from kubernetes.client import ApiException

from vip_operator.plan.selectors import as_query
from vip_operator.plan.world import PodQuery

logger = logging.getLogger(__name__)

FORGET_AFTER_S = 30.0
"""A list that fails for longer is no longer what the cluster is like: its facts become stale."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 10.0
LASTED_S = 5.0
"""A watch that ended sooner is not tried again at once: something ends every one of them."""
FORBIDDEN = 403


class PodSource(Protocol):
    """What of the API is needed here."""

    def list_pods(self, namespace: str, selector: str) -> tuple[Sequence[dict[str, Any]], str]:
        """The pods, and the version of the list."""
        ...

    def watch_pods(self, namespace: str, selector: str, version: str) -> Iterator[dict[str, Any]]:
        """Events after `version`, until the server ends the watch."""
        ...


def is_ready(pod: Mapping[str, Any]) -> bool:
    """A pod that is being deleted serves nobody for long, so it counts as gone already."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return "deletionTimestamp" not in pod["metadata"] and any(
        c.get("type") == "Ready" and c.get("status") == "True" for c in conditions
    )


class PodCounter:
    """The ready pods of one query. `follow` is the body of a thread."""

    def __init__(
        self,
        api: PodSource,
        query: PodQuery,
        changed: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._query, self._changed, self._clock = api, query, changed, clock
        self._lock = threading.Lock()
        self._nodes: dict[str, str] = {}
        self._known = False
        self._failing_since: float | None = None
        self._delay_s = FIRST_DELAY_S
        self.problem = ""
        self.stopped = threading.Event()

    def ready(self) -> dict[str, int] | None:
        """Number by node, None while it is not known."""
        with self._lock:
            return dict(Counter(self._nodes.values())) if self._known else None

    def follow(self) -> None:
        """List and watch until `stopped`."""
        while not self.stopped.is_set():
            self.stopped.wait(self.turn())

    def turn(self) -> float:
        """One list and the watch behind it; the seconds to wait before the next."""
        try:
            pods, version = self._api.list_pods(self._query.namespace, as_query(self._query.selector))
            with self._lock:
                self._nodes = {p["metadata"]["uid"]: _node(p) for p in pods if is_ready(p)}
                self._known, self._failing_since = True, None
            self.problem = ""
            self._changed()
        except Exception as error:
            return self._failed(error)
        began = self._clock()
        try:
            for event in self._api.watch_pods(self._query.namespace, as_query(self._query.selector), version):
                if self.stopped.is_set() or event.get("type") == "ERROR":
                    break
                self._take(str(event.get("type")), event["object"])
        except Exception as error:
            logger.debug("the watch of pods of namespace %s ended: %s", self._query.namespace, error)
        if self._clock() - began < LASTED_S:
            return self._later()
        self._delay_s = FIRST_DELAY_S
        return 0.0

    def _later(self) -> float:
        self._delay_s = min(self._delay_s * 2, LONGEST_DELAY_S)
        return self._delay_s * random.uniform(0.5, 1)  # noqa: S311 jitter

    def _take(self, kind: str, pod: Mapping[str, Any]) -> None:
        if kind == "BOOKMARK":
            return  # it is about no pod
        uid = pod["metadata"]["uid"]
        with self._lock:
            before = self._nodes.get(uid)
            if kind in ("ADDED", "MODIFIED") and is_ready(pod):
                self._nodes[uid] = _node(pod)
            else:
                self._nodes.pop(uid, None)
            differs = self._nodes.get(uid) != before
        if differs:
            self._changed()

    def _failed(self, error: Exception) -> float:
        now = self._clock()
        refused = isinstance(error, ApiException) and error.status == FORBIDDEN
        since = self._failing_since = now if self._failing_since is None else self._failing_since
        reason = "the operator may not list them (the chart's rbac.podNamespaces)" if refused else type(error).__name__
        problem = f"pods of namespace {self._query.namespace}: {reason}"
        if refused or now - since >= FORGET_AFTER_S:
            with self._lock:
                self._known = False
            if problem != self.problem:
                logger.warning("%s: %s", problem, error)
                self.problem = problem
                self._changed()
        return self._later()


class PodWatch:
    """All counters that are wanted, each with its thread. Used by one thread."""

    def __init__(self, api: PodSource, changed: Callable[[], None]) -> None:
        self._api, self._changed = api, changed
        self._counters: dict[PodQuery, PodCounter] = {}

    def want(self, queries: frozenset[PodQuery]) -> None:
        """Follow exactly these from now on."""
        for query in self._counters.keys() - queries:
            self._counters.pop(query).stopped.set()  # its thread ends with the next event or end of its watch
        for query in queries - self._counters.keys():
            counter = self._counters[query] = PodCounter(self._api, query, self._changed)
            threading.Thread(target=counter.follow, name=f"pods {query.namespace}", daemon=True).start()

    def ready(self) -> dict[PodQuery, dict[str, int]]:
        """What is known."""
        return {query: found for query, c in self._counters.items() if (found := c.ready()) is not None}

    def problems(self) -> dict[PodQuery, str]:
        """Why the rest is not known."""
        return {query: c.problem for query, c in self._counters.items() if c.problem}


def _node(pod: Mapping[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")
