"""Conditions as they are written: with their times, and the Events that a change of them is worth."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from vip_operator.plan.changes import Event
from vip_operator.plan.conditions.situation import Condition
from vip_operator.plan.virtualip import Vip

MAX_MESSAGE = 1024
"""Long enough for a few nodes; the status of a large cluster must not grow with its troubles."""

PASSING = frozenset({"Listening", "WaitingForSpeakers", "Electing"})
"""Reasons that every VIP passes through on its way to a MASTER: worth one Event in all."""
EXPECTED = PASSING | {"Released"}
"""Worth an Event, but not a Warning."""


def stamped(conditions: Iterable[Condition], vip: Vip, now: datetime) -> list[dict[str, Any]]:
    """As in the API: `lastTransitionTime` moves only where the status flips."""
    result = []
    for condition in conditions:
        former = vip.conditions.get(condition.type, {})
        flipped = former.get("status") != condition.status
        since = now.strftime("%Y-%m-%dT%H:%M:%SZ") if flipped else former.get("lastTransitionTime")
        result.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:MAX_MESSAGE],
                "observedGeneration": vip.generation,
                "lastTransitionTime": since,
            }
        )
    return result


def events(conditions: Iterable[Condition], vip: Vip, master: str | None) -> tuple[Event, ...]:
    """One Event per condition that flips or changes its reason for the worse, and one for a new master."""
    result = []
    for condition in conditions:
        former = vip.conditions.get(condition.type, {})
        good = "True" if condition.type in ("Accepted", "Ready") else "False"
        if condition.status == good:
            # The first "all is well" of a new object says nothing, nor one beside the Event of its master; later ones
            # end a trouble that was an Event.
            if former and former.get("status") != good and former.get("reason") not in PASSING:
                result.append(Event(type="Normal", reason=condition.reason, message=condition.message[:MAX_MESSAGE]))
        elif condition.reason in PASSING and former.get("reason") in PASSING:
            continue  # on its way, which an Event said
        elif (former.get("status"), former.get("reason")) != (condition.status, condition.reason):
            kind = "Normal" if condition.reason in EXPECTED else "Warning"
            result.append(Event(type=kind, reason=condition.reason, message=condition.message[:MAX_MESSAGE]))
    if master is not None and master != vip.announced_master:
        report = vip.entries[master].report
        why = f": {report.reason}" if report is not None and report.reason else ""
        message = f"{master} is MASTER{why}"[:MAX_MESSAGE]
        result.append(Event(type="Normal", reason="MasterChanged", message=message))
    return tuple(result)
