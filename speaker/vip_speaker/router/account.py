"""What a user is told of one VIP: why it is in its role and since when, and what was odd. Nothing here decides."""

from __future__ import annotations

import logging
import time
from collections import Counter

from vip_speaker.router.complaints import Complaints
from vip_speaker.router.explain import explain
from vip_speaker.vrrp.types import MS, SECOND, IPAddress, Note, Noted, Role, Transition

log = logging.getLogger(__name__)

# Whom we took over from hears of it with our first advertisement, and answers with its own last one.
_HEARD_OF_US_NS = SECOND


class Account:
    """The account of the VIP `name`; `since` is wall-clock time."""

    def __init__(self, name: str, complaints: Complaints) -> None:
        self.since = time.time()
        self.reason = "starting"
        self.notes: Counter[Note] = Counter()
        self._name = name
        self._complaints = complaints
        self._former_master: IPAddress | None = None
        self._changed_ns = 0

    def transition(self, transition: Transition, now_ns: int, *, fault: str | None, waiting: str | None) -> None:
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
        self._former_master = transition.source if transition.after is Role.MASTER else None
        self._changed_ns = now_ns

    def reason_is(self, role: Role, reason: str) -> None:
        """Without a transition, `reason` is why it is in `role` now. Said where it is another than before."""
        if reason != self.reason:
            self.reason = reason
            log.info("%s: %s", role, reason, extra={"vip": self._name})

    def note(self, noted: Noted, now_ns: int) -> None:
        """The election noticed something odd."""
        note, source = noted.note, noted.source
        self.notes[note] += 1
        detail = f"({source})" if source is not None else ""
        if noted.late_ns is not None:
            detail = f"by {noted.late_ns // MS} ms"
        if note is Note.ANOTHER_MASTER and self._has_just_taken_over_from(source, now_ns):
            self._complaints.add("the former master still advertises", detail, now_ns, level=logging.INFO)
        else:
            self._complaints.add(str(note), detail, now_ns)

    def _has_just_taken_over_from(self, source: IPAddress | None, now_ns: int) -> bool:
        return source is not None and source == self._former_master and now_ns - self._changed_ns < _HEARD_OF_US_NS
