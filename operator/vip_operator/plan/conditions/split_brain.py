"""SplitBrain: whether two say that they are MASTER, and neither of them merely has not been heard of."""

from __future__ import annotations

from datetime import timedelta

from vip_operator.plan.conditions.situation import Condition, Situation
from vip_operator.plan.conditions.words import names
from vip_operator.plan.virtualip import Entry

ANOTHER_MASTER = "AnotherMaster"
"""The reason code of a speaker that is MASTER and keeps hearing another one."""

REPORT_DELAY = timedelta(seconds=2)
"""A speaker whose node reaches the API has reported a change of state after this time."""


def judge(s: Situation) -> Condition:
    """True where a MASTER hears another one, or two say that they are it for longer than a report takes."""
    for entry in s.masters:
        report = entry.report
        if report is not None and report.reason_code == ANOTHER_MASTER and s.world.reporting(entry.node):
            return Condition("SplitBrain", "True", ANOTHER_MASTER, f"{entry.node}: {report.reason}")
    persisting = [e.node for e in s.masters[1:] if _outlives(e, s)]
    if persisting:
        message = f"{s.masters[0].node} and {names(persisting)} are MASTER at the same time"
        return Condition("SplitBrain", "True", "SeveralMasters", message)
    return Condition("SplitBrain", "False", "NoOtherMaster", "no second master is known")


def _outlives(entry: Entry, s: Situation) -> bool:
    """Whether an older MASTER still is one: its node reached the API after the newest one's change, and did
    not revoke.

    Node readiness alone lags by 40 s behind a cut link, so it cannot tell a superseded master from a living
    one.
    """
    newest = s.masters[0].report
    node = s.world.nodes.get(entry.node)
    changed_at = newest.api_time or newest.since if newest is not None else None
    return (
        s.world.reporting(entry.node)
        and node is not None
        and node.renewed_at is not None
        and changed_at is not None
        and node.renewed_at > changed_at + REPORT_DELAY
    )
