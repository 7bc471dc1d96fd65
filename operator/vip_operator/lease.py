"""The Lease that its holder must have for every write: two operators never write at the same time.

It is taken when there is something to write and given back soon after, so that a steady cluster writes
nothing at all. Expiry is judged by what this process saw on its own monotonic clock, not by the other's wall
clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from vip_operator.api import CONFLICT, NOT_FOUND, Api, ApiException

logger = logging.getLogger(__name__)

DURATION_S = 15
RENEW_AFTER_S = 5.0
"""A third of the duration: two renewals may fail before the lease is lost."""
GIVE_BACK_AFTER_S = 2.0
"""Idle this long, the lease is free for another operator without its waiting for the expiry."""


class Lease:
    """Used by one thread."""

    def __init__(self, api: Api, *, name: str, holder: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._name, self._holder, self._clock = api, name, holder, clock
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
        self._renewed_at: float | None = None
        self._used_at = 0.0
        self._foreign: tuple[object, float] | None = None

    def take(self) -> bool:
        """Whether this process may write for at least the next few seconds."""
        now = self._clock()
        self._used_at = now
        if self._renewed_at is not None and now - self._renewed_at < RENEW_AFTER_S:
            return True
        try:
            taken = self._renew(now)
        except ApiException as error:
            if error.status != CONFLICT:
                raise
            taken = False  # another operator was faster
        self._renewed_at = now if taken else None
        return taken

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

    def _renew(self, now: float) -> bool:
        try:
            lease = self._api.request("GET", f"{self._path}/{self._name}")
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name},
                "spec": self._spec(),
            }
            self._api.request("POST", self._path, body=body)
            return True
        if not self._is_free(lease["spec"], now):
            return False
        lease["spec"] = self._spec()
        self._api.request("PUT", f"{self._path}/{self._name}", body=lease)
        return True

    def _is_free(self, spec: dict[str, Any], now: float) -> bool:
        holder = spec.get("holderIdentity")
        if not holder or holder == self._holder:
            return True
        seen = (holder, spec.get("renewTime"))
        if self._foreign is None or self._foreign[0] != seen:
            self._foreign = seen, now
        return now - self._foreign[1] >= spec.get("leaseDurationSeconds", DURATION_S)

    def _spec(self) -> dict[str, Any]:
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": DURATION_S,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
