"""The Lease that its holder must have for every write: two operators never write at the same time.

It is taken when there is something to write and given back soon after: a steady cluster writes nothing at
all, and a second replica takes over at once when the node of the first is cut off. Expiry is judged by what
this process saw, on its own monotonic clock, not by the other's wall clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from vip_operator.api import CONFLICT, NOT_FOUND, Api, ApiException

logger = logging.getLogger(__name__)

DURATION_S = 6
RENEW_AFTER_S = 2.0
"""A third of the duration: two renewals may fail before the lease is lost."""
GIVE_BACK_AFTER_S = 0.25
"""Idle this long, the lease is free for another operator without its waiting for the expiry: whoever is cut off while
it holds the lease holds up the other one's news about that."""
LAST_WRITER = "kube-vrrp.io/last-writer"


class Hold(Enum):
    """What `take` got."""

    MINE = "nobody else wrote since this process did"
    TAKEN_OVER = "somebody else wrote last: what this process has seen may be older than that"
    REFUSED = "somebody else holds it"


class Lease:
    """Used by one thread. `is_incumbent`: this process wrote last, as far as it knows. `config_map`: what the Lease is
    deleted with, as the DaemonSet is.
    """

    def __init__(
        self, api: Api, *, name: str, holder: str, config_map: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._name, self._holder, self._clock = api, name, holder, clock
        self._config_map = config_map
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
        self._renewed_at: float | None = None
        self._used_at = 0.0
        self._foreign: tuple[object, float] | None = None
        self._seen_at: float | None = None
        self._missed = False  # somebody else wrote, and `take` has not said so yet: an answer may have been lost
        self.is_incumbent = False

    def take(self) -> Hold:
        """Have the right to write for at least the next few seconds, or not. ApiException."""
        self._used_at = self._clock()
        if self._renewed_at is not None and self._used_at - self._renewed_at < RENEW_AFTER_S:
            return Hold.MINE
        try:
            hold = self._renew()
        except ApiException as error:
            if error.status != CONFLICT:
                raise
            hold = Hold.REFUSED  # another operator was faster
        if hold is Hold.REFUSED:
            self._renewed_at = None
        self.is_incumbent = hold is not Hold.REFUSED
        return hold

    def used(self) -> None:
        """The writes that it was taken for are done: from here on it is idle."""
        self._used_at = self._clock()

    def give_back_if_idle(self) -> float | None:
        """Give the lease back when unused for a while; else the seconds until that is due, None when not
        held.
        """
        if self._renewed_at is None:
            return None
        left = GIVE_BACK_AFTER_S - (self._clock() - self._used_at)
        if left > 0:
            return left
        self.give_back()
        return None

    def give_back(self) -> None:
        """Leave the lease to whoever wants it; no error if that fails, since it expires."""
        if self._renewed_at is None:
            return
        self._renewed_at = None
        try:
            lease = self._api.request("GET", f"{self._path}/{self._name}")
            if lease["spec"].get("holderIdentity") == self._holder:
                lease["spec"]["holderIdentity"] = ""
                self._api.request("PUT", f"{self._path}/{self._name}", body=lease)
        except Exception:
            logger.debug("the lease was not given back", exc_info=True)

    def _renew(self) -> Hold:
        try:
            lease = self._api.request("GET", f"{self._path}/{self._name}")
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            if self._seen_at is not None and self._clock() - self._seen_at < DURATION_S:
                return Hold.REFUSED  # deleted: who held it may not know yet
            metadata = {"name": self._name, "ownerReferences": self._owners()}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
            self._missed = True
            return self._write("POST", self._path, body)
        self._seen_at = self._clock()
        if not self._is_free(lease.get("spec") or {}):
            return Hold.REFUSED
        self._missed |= (lease["metadata"].get("annotations") or {}).get(LAST_WRITER) != self._holder
        return self._write("PUT", f"{self._path}/{self._name}", lease)

    def _owners(self) -> list[dict[str, str]]:
        """The ConfigMap, so that an uninstall, which deletes it, leaves no Lease behind. A Lease without an owner is as
        good while it is needed.
        """
        path = f"/api/v1/namespaces/{self._api.namespace}/configmaps/{self._config_map}"
        try:
            metadata = self._api.request("GET", path)["metadata"]
        except ApiException as error:
            logger.debug("the lease gets no owner: %s", error.reason)
            return []
        return [{"apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": metadata["uid"]}]

    def _write(self, method: str, path: str, lease: dict[str, Any]) -> Hold:
        """It counts from before the write: nobody can have seen it earlier. A slow answer leaves too little of it."""
        began = self._clock()
        self._api.write(method, path, body=self._held(lease))
        if self._clock() - began >= RENEW_AFTER_S:
            return Hold.REFUSED
        self._renewed_at = self._seen_at = began
        hold, self._missed = Hold.TAKEN_OVER if self._missed else Hold.MINE, False
        return hold

    def _is_free(self, spec: dict[str, Any]) -> bool:
        holder = spec.get("holderIdentity")
        if not holder or holder == self._holder:
            return True
        now, seen = self._clock(), (holder, spec.get("renewTime"))
        if self._foreign is None or self._foreign[0] != seen:
            self._foreign = seen, now
        return now - self._foreign[1] >= float(spec.get("leaseDurationSeconds", DURATION_S))

    def _held(self, lease: dict[str, Any]) -> dict[str, Any]:
        metadata = lease["metadata"]
        return {
            **lease,
            "metadata": {
                **metadata,
                "annotations": {**(metadata.get("annotations") or {}), LAST_WRITER: self._holder},
            },
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": DURATION_S,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
