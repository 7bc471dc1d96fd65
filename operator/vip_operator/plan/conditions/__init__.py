"""The four conditions of a VirtualIP: Accepted, Ready, Degraded, SplitBrain. Reasons are constants that never
change.
"""

from __future__ import annotations

from vip_operator.plan.conditions import degraded, ready, split_brain
from vip_operator.plan.conditions.situation import Condition, Situation, masters
from vip_operator.plan.conditions.told import events, stamped

__all__ = ["Condition", "Situation", "events", "judge", "masters", "stamped"]


def judge(situation: Situation) -> tuple[Condition, ...]:
    """All four, in the order in which they are read."""
    readiness = ready.judge(situation)
    return _accepted(situation), readiness, degraded.judge(situation, readiness), split_brain.judge(situation)


def _accepted(s: Situation) -> Condition:
    if s.refusal is None:
        return Condition("Accepted", "True", "Accepted", "carried out as written")
    return Condition("Accepted", "False", s.refusal.reason, s.refusal.message)
