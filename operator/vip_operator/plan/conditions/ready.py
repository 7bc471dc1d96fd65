"""Ready: whether somebody holds the addresses, and if not, why."""

from __future__ import annotations

from vip_operator.plan.conditions.situation import Condition, Situation
from vip_operator.plan.conditions.words import in_a_line
from vip_operator.plan.participation import lacks_link
from vip_operator.plan.virtualip import FAULT, NO_PASSWORD


def judge(s: Situation) -> Condition:
    """Unknown where nothing is heard of the last MASTER."""
    if s.masters and s.hears(s.masters[0].node):
        return Condition("Ready", "True", "MasterElected", f"{s.masters[0].node} holds {_held(s)}")
    if s.masters:
        message = f"{s.masters[0].node} was MASTER when it reported last, and nothing is heard of it since"
        return Condition("Ready", "Unknown", "Unreported", message)
    return Condition("Ready", "False", *_why_no_master(s))


def _held(s: Situation) -> str:
    """What the MASTER has by the document that it carries out."""
    held = in_a_line(s.accepted_addresses) or "the addresses"
    report = s.masters[0].report
    generation = report.observed_generation if report is not None else None
    if s.refusal is None or generation is None or generation == s.vip.generation:
        return held
    return f"{held}, by generation {generation}, the document before"


def _why_no_master(s: Situation) -> tuple[str, str]:
    if s.world.template is not None and s.world.template.releasing:
        return "Released", "all nodes were told to release it, because kube-vrrp is being uninstalled"
    if s.refusal is not None and not s.assigned:
        return s.refusal.reason, s.refusal.message
    if s.eligible == 0:
        return "NoEligibleNodes", "no node matches nodeSelector and the speakers' own node selector"
    if not s.assigned:
        refusal = s.world.daemon_set.refusal if s.world.daemon_set else None
        if refusal is not None:
            return "SpeakerPodsForbidden", refusal
        return "WaitingForSpeakers", "no speaker is ready yet on a node that may take part"
    if all(lacks_link(s.vip.entries.get(n)) for n in s.assigned):
        return "InterfaceMissing", s.listed(s.assigned)
    if s.vrid.conflict_with is not None and s.vrid.vrid is None:
        return "VRIDConflict", s.conflict
    if s.vrid.exhausted:
        return (
            "NoFreeVRID",
            "all 255 virtual router IDs are in use on the link; free one, or set virtualRouterID",
        )
    if s.vrid.listening:
        return "Listening", (
            "the speakers listen for 3 s which virtual router IDs are taken on the link; "
            "if this stays, see whether the operator runs"
        )
    if not any(s.hears(n) for n in s.assigned):
        return "Unreported", "no node that takes part is reporting"
    reports = s.reports.values()
    code = next((c for c in NO_PASSWORD if any(r.clause(c) for r in reports)), None)
    if code is not None and all(any(r.clause(c) for c in NO_PASSWORD) for r in reports):
        return code, s.clauses(code)
    if reports and all(r.state == FAULT for r in reports):
        return "AllNodesFault", s.listed(s.assigned)
    return "Electing", s.listed(s.assigned) or "no node has reported yet"
