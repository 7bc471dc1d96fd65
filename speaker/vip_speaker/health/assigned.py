"""`node`, `pods` and cordoning: facts that the operator wrote and the agent handed on with the assignment.

In an API outage the last fact stays, marked stale: an outage alone moves nothing.
"""

from __future__ import annotations

from vip_api.model import CORDON_FACT, OnCordon, VirtualIP
from vip_api.model import Fact as AssignedFact
from vip_api.track import MAX_WEIGHT

from vip_speaker.health.evaluate import Assessment
from vip_speaker.health.facts import Fact, bad, good, unknown
from vip_speaker.health.tracker import Tracker
from vip_speaker.statefile import Contribution


class AssignedTracker(Tracker):
    """One `node` or `pods` check: the assignment's fact of that name."""

    def fact(self) -> Fact:
        """What the operator says."""
        given = _fact(self.vip, self.track.name)
        if given is None:
            return unknown("nothing heard from the operator")
        return (good if given.value else bad)(_reason(given, "good" if given.value else "bad"))


def with_cordon(assessment: Assessment, vip: VirtualIP) -> Assessment:
    """What cordoning adds, by `spec.onCordon`."""
    given = _fact(vip, CORDON_FACT)
    if given is None or not given.value or vip.spec.on_cordon is OnCordon.KEEP:
        return assessment
    reason = _reason(given, "the node is cordoned")
    if vip.spec.on_cordon is OnCordon.RELEASE:
        return Assessment(
            contribution=assessment.contribution,
            parts=assessment.parts,
            fault=assessment.fault,
            waiting=assessment.waiting,
            release=reason,
        )
    value = -MAX_WEIGHT - max(0, assessment.contribution)
    part = Contribution(name=CORDON_FACT, value=value, reason=reason, change=value)
    return Assessment(
        contribution=assessment.contribution + part.value,
        parts=(*assessment.parts, part),
        fault=assessment.fault,
        waiting=assessment.waiting,
    )


def _reason(given: AssignedFact, otherwise: str) -> str:
    return (given.reason or otherwise) + (" (stale)" if given.stale else "")


def _fact(vip: VirtualIP, name: str) -> AssignedFact | None:
    facts = vip.assignment.facts if vip.assignment is not None else ()
    return next((one for one in facts if one.name == name), None)
