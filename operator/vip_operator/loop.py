"""The one reconcile loop: wait until something changed, plan, carry out. Level-triggered, in one thread."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from vip_operator.api import Api, ApiException
from vip_operator.executor import Executor
from vip_operator.lease import Hold, Lease
from vip_operator.metrics import LAST_PLAN, PLANS, ConditionGauge
from vip_operator.plan import Plan, World, plan
from vip_operator.plan.conditions import masters
from vip_operator.plan.facts import queries
from vip_operator.pod_watch import PodWatch
from vip_operator.store import KINDS, VIPS, Extra, SetBackError, Store, renewal

logger = logging.getLogger(__name__)

COALESCE_S = 0.02
"""Waits this long for more of the same burst; a state change is to show within 300 ms."""
PAUSE_PER_PLAN = 9.0
MAX_PAUSE_S = 0.2
"""Planning for hundreds of VirtualIPs takes a tenth of the time."""
STANDBY_PAUSE_PER_PLAN = 49.0
STANDBY_MAX_PAUSE_S = 1.0
"""The same for a replica that did not write last, a fiftieth: what it plans in a burst is carried out by the other."""
RELIST_S = 300.0
"""kopf loses deletions across a 410."""
CHECK_S = 30.0
"""How often to ask whether the API server's store was set back: then the watches are silent."""
RELIST_SOON_S = 5.0
"""When something may have been missed; not more often, however often that is said."""
LEASE_RETRY_S = 1.0
DEFERENCE_S = 0.1
"""The replica that wrote last is given this much time, so that two do not race for every change."""
REFUSAL_CHECK_S = 5.0
"""How often to ask why pods are missing, while they are."""
ERROR_RETRY_S = 2.0


class Loop:
    """`run` ends only after `stop`, or with an exception that is our own bug. `ask_anew` has all watches end and begin
    anew; whoever does that calls `forget`.
    """

    def __init__(
        self, api: Api, store: Store, lease: Lease, *, config_map: str, ask_anew: Callable[[str], None]
    ) -> None:
        self._api, self._store, self._lease, self._config_map = api, store, lease, config_map
        self._ask_anew = ask_anew
        self._executor = Executor(api, store)
        self._pod_watch = PodWatch(api, self.poke)
        self._changed = threading.Condition()
        self._dirty = True
        self._stopped = False
        self._forgetting = False
        self._extra = Extra()
        self._refusal_checked_at = float("-inf")
        self._conditions = ConditionGauge()
        self._bugs: dict[str, str] = {}
        self._pause_until = float("-inf")
        self._deferred = False
        self._behind = False  # somebody else wrote, and the list after that was not read yet
        self._is_complete = False  # every list was read since the last one failed
        self._listed_at = self._relist_at = self._checked_at = float("-inf")
        self.beat_at = time.monotonic()

    def beat(self) -> None:
        """Still alive. From any thread."""
        self.beat_at = time.monotonic()

    def poke(self) -> None:
        """Something changed. From any thread."""
        with self._changed:
            self._dirty = True
            self._changed.notify()

    def relist(self) -> None:
        """Something may have been missed. From any thread."""
        with self._changed:
            self._relist_at = min(self._relist_at, max(time.monotonic(), self._listed_at + RELIST_SOON_S))
            self._changed.notify()

    def forget(self) -> None:
        """The watches have ended, and what was seen may be of a history that the API server's store no longer has: plan
        only after new lists. From any thread.
        """
        with self._changed:
            self._dirty = self._forgetting = True
            self._changed.notify()

    def stop(self) -> None:
        """End `run` after the change at hand."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def run(self) -> None:
        """Plan until stopped."""
        cluster_uid, wait_s = "", 0.0
        while self._wait(wait_s):
            try:
                if self._is_to_forget():
                    self._store.forget()
                    self._is_complete = False
                if not self._is_complete or time.monotonic() >= self._relist_at:
                    self._begin_list()
                    cluster_uid = cluster_uid or self._api.cluster_uid()
                    for kind in KINDS:
                        self._list(kind)
                    self._look_up_api_server()
                    self._is_complete = True
                self._check_history()
                wait_s = min(self._once(cluster_uid), CHECK_S)
            except SetBackError as error:
                logger.warning("the API server's store was set back: %s", error)
                self._ask_anew(str(error))
                self._is_complete, wait_s = False, ERROR_RETRY_S
            except (ApiException, OSError) as error:
                logger.warning("try again in %g s: %s", ERROR_RETRY_S, error)
                wait_s = ERROR_RETRY_S
        self._lease.give_back()

    def _wait(self, seconds: float) -> bool:
        """Until poked, or `seconds` passed; then a little longer for the rest of the burst. False once
        stopped.
        """
        with self._changed:
            self.beat()
            deadline = time.monotonic() + max(0.0, min(seconds, 60.0))
            while not self._dirty and not self._stopped and (left := self._until(deadline)) > 0:
                self._changed.wait(left)
            if self._dirty and seconds > 0 and not self._stopped:  # else there is more to do than a turn had time for
                pause_s = max(COALESCE_S, self._pause_until - time.monotonic())
                self._changed.wait_for(lambda: self._stopped, pause_s)
            self._dirty = False
            return not self._stopped

    def _is_to_forget(self) -> bool:
        with self._changed:
            asked, self._forgetting = self._forgetting, False
            return asked

    def _until(self, deadline: float) -> float:
        """The seconds until `deadline`, or until the next list is due where that is earlier."""
        return min(deadline, self._relist_at) - time.monotonic()

    def _begin_list(self) -> None:
        """What is asked for from here on may be about a kind that is listed already: it counts."""
        with self._changed:
            self._is_complete, self._listed_at = False, time.monotonic()
            self._relist_at = self._listed_at + RELIST_S * random.uniform(0.8, 1.2)  # noqa: S311 jitter

    def _check_history(self) -> None:
        self.beat()
        if time.monotonic() - self._checked_at >= CHECK_S:
            seen, self._checked_at = self._store.newest(VIPS), time.monotonic()
            _compare(VIPS, version=self._api.version(), seen=seen)

    def _list(self, kind: str) -> None:
        self.beat()
        seen = self._store.newest(kind)
        bodies, version = self._api.list(kind, config_map=self._config_map)
        _compare(kind, version=version, seen=seen)
        self._store.replace(kind, bodies, version=version)

    def _once(self, cluster_uid: str) -> float:
        """One plan and its execution; returns the seconds until the next is due without a poke."""
        self._look_up_refusal()
        planned = self._plan(cluster_uid)
        waits = [planned.recheck_after_s, self._carry_out(planned, cluster_uid), self._lease.give_back_if_idle()]
        if self._store.short_of_pods():
            waits.append(REFUSAL_CHECK_S)
        return min((w for w in waits if w is not None), default=RELIST_S)

    def _plan(self, cluster_uid: str) -> Plan:
        world = self._store.world(cluster_uid=cluster_uid, extra=self._extra)
        if self._look_up_leases(world):
            world = self._store.world(cluster_uid=cluster_uid, extra=self._extra)
        self._pod_watch.want(queries(v.spec for v in world.vips if v.spec is not None))
        world = replace(world, ready_pods=self._pod_watch.ready(), pod_problems=self._pod_watch.problems())
        began = time.monotonic()
        with PLANS.time():
            planned = plan(world)
        ended = time.monotonic()
        self._pause_until = ended + self._pause(ended - began)
        LAST_PLAN.set_to_current_time()
        self._show(world)
        self._tell_of_bugs(planned.bugs)
        return planned

    def _pause(self, took_s: float) -> float:
        """Between this plan and the next."""
        if self._lease.is_incumbent:
            return min(max(COALESCE_S, PAUSE_PER_PLAN * took_s), MAX_PAUSE_S)
        return min(max(COALESCE_S, STANDBY_PAUSE_PER_PLAN * took_s), STANDBY_MAX_PAUSE_S)

    def _tell_of_bugs(self, bugs: Mapping[str, Exception]) -> None:
        """Each once, for as long as it is the same."""
        for name, bug in bugs.items():
            if repr(bug) != self._bugs.get(name):
                logger.error("VirtualIP %s: a bug of kube-vrrp; its status stays as it is", name, exc_info=bug)
        self._bugs = {name: repr(bug) for name, bug in bugs.items()}

    def _carry_out(self, planned: Plan, cluster_uid: str) -> float | None:
        """Under the lease. A replica that did not write last waits a moment, and looks again once it has the
        lease.
        """
        if not planned.changes and not self._executor.has_events:
            self._deferred = False
            return self._executor.carry_out(())
        if not self._lease.is_incumbent and not self._deferred:
            self._deferred = True
            self._pause_until = time.monotonic() + DEFERENCE_S
            return DEFERENCE_S
        self._deferred = False
        hold = self._take_lease()
        while self._behind and hold is not Hold.REFUSED:
            self._list(VIPS)
            self._behind = False
            planned = self._plan(cluster_uid)
            hold = self._take_lease()  # reading may have taken longer than it lasts
        if hold is Hold.REFUSED:
            logger.debug("another operator holds the lease")
            return LEASE_RETRY_S
        wait_s = self._executor.carry_out(planned.changes)
        self._lease.used()
        return wait_s

    def _take_lease(self) -> Hold:
        self.beat()
        hold = self._lease.take()
        self._behind |= hold is Hold.TAKEN_OVER
        return hold

    def _look_up_leases(self, world: World) -> bool:
        """Only where several nodes say MASTER does it matter which of them still reach the API."""
        doubtful = {e.node for v in world.vips if len(m := masters(v)) > 1 for e in m}
        renewed: dict[str, datetime] = {}
        for node in sorted(doubtful):
            self.beat()
            try:
                moment = renewal(self._api.node_lease(node))
            except ApiException as error:
                logger.warning("the lease of node %s cannot be read: %s", node, error.reason)
                continue
            if moment is not None:
                renewed[node] = moment
        self._extra.renewed_at = renewed
        return bool(doubtful)

    def _look_up_api_server(self) -> None:
        self.beat()
        try:
            self._extra.api_server = self._api.api_server()
        except ApiException as error:
            logger.warning("whether a VirtualIP takes the API server's address is not known: %s", error.reason)

    def _look_up_refusal(self) -> None:
        if not (daemon_set := self._store.short_of_pods()):
            self._extra.refusal = None
        elif time.monotonic() - self._refusal_checked_at >= REFUSAL_CHECK_S:
            self._refusal_checked_at = time.monotonic()
            self.beat()
            self._extra.refusal = self._api.refused_pods(daemon_set)

    def _show(self, world: World) -> None:
        self._conditions.show(
            {(v.name, kind): str(c.get("status")) for v in world.vips for kind, c in v.conditions.items()}
        )


def _compare(kind: str, *, version: int, seen: int) -> None:
    if version < seen:
        raise SetBackError(f"the present version of {kind} is {version}, {seen} was there before")
