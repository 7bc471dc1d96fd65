"""What a user is told of one VIP: why it is in its role and since when, and what was odd. Nothing here decides."""

from __future__ import annotations

import logging
import time
from collections import Counter

from vip_speaker.router.complaints import Complaints
from vip_speaker.router.explain import explain
from vip_speaker.vrrp.types import IPAddress, Note, Role, Transition

log = logging.getLogger(__name__)


class Account:
    """The account of the VIP `name`; `since` is wall-clock time."""

    def __init__(self, name: str, complaints: Complaints) -> None:
        self.since = time.time()
        self.reason = "starting"
        self.notes: Counter[Note] = Counter()
        self._name = name
        self._complaints = complaints

    def transition(self, transition: Transition, *, fault: str | None, waiting: str | None) -> None:
        """The role is another. What holds this host out of the election (`fault`), or is still to come, says more than
        the election knows.
        """
        why = explain(transition)
        if transition.after is Role.FAULT and fault is not None:
            why = fault
        elif transition.after is Role.INIT and waiting is not None:
            why = waiting
        log.info("%s → %s, %s", transition.before, transition.after, why, extra={"vip": self._name})
        self.since = time.time()
        self.reason = why

    def reason_is(self, role: Role, reason: str) -> None:
        """Without a transition, `reason` is why it is in `role` now. Said where it is another than before."""
        if reason != self.reason:
            self.reason = reason
            log.info("%s: %s", role, reason, extra={"vip": self._name})

    def note(self, note: Note, source: IPAddress | None, now_ns: int) -> None:
        """The election noticed something odd, of `source` if of anybody."""
        self.notes[note] += 1
        self._complaints.add(str(note), f"({source})" if source is not None else "", now_ns)
