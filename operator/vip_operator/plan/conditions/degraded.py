"""Degraded: what is wrong with a VIP, though it may be served."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from vip_api.weights import too_small

from vip_operator.plan.abilities import missing
from vip_operator.plan.acceptance import of_a_node
from vip_operator.plan.conditions.situation import Condition, Situation
from vip_operator.plan.conditions.words import few, names
from vip_operator.plan.facts import problems
from vip_operator.plan.virtualip import FAULT, NO_PASSWORD

DUPLICATE_ADDRESS = "DuplicateAddress"
"""The reason code of a speaker that is MASTER while another station claims an address."""

CLAIM_LASTS = timedelta(seconds=3)
"""A claim that is gone before that was of a hand-over: the node had not heard of its successor yet."""

NOT_SERVED = "not served: see Ready"
"""Instead of the same sentence a second time."""


def judge(s: Situation, ready: Condition) -> Condition:
    """True with the worst trouble as its reason; what Ready says is not said again."""
    troubles = list(_troubles(s))
    if not troubles and ready.status == "True":
        return Condition("Degraded", "False", "AllNodesWell", "no trouble is known of the nodes that take part")
    if not troubles:
        return Condition("Degraded", "False", "AllNodesWell", NOT_SERVED)
    said = (NOT_SERVED if message == ready.message else message for _, message in troubles)
    return Condition("Degraded", "True", troubles[0][0], "; ".join(dict.fromkeys(said)))


def _troubles(s: Situation) -> Iterable[tuple[str, str]]:
    """The worst first."""
    if s.stalled is not None:
        yield "RolloutStalled", s.stalled
    if s.assigned and s.world.daemon_set is not None and s.world.daemon_set.refusal is not None:
        yield "SpeakerPodsForbidden", s.world.daemon_set.refusal
    if s.vrid.conflict_with is not None and (s.vrid.vrid is not None or s.masters):
        yield "VRIDConflict", s.conflict
    if s.refusal is not None and s.assigned:
        yield s.refusal.reason, f"the document before is still carried out: {s.refusal.message}"
    spec = s.in_force
    if spec is not None and (unable := missing(spec, s.world.template)):
        yield "ChecksNotEnabled", few(unable, "checks")
    if not claim_is_new(s) and (said := s.clauses(DUPLICATE_ADDRESS)):
        yield DUPLICATE_ADDRESS, said
    for code in NO_PASSWORD:
        if said := s.clauses(code):
            yield code, said
    if spec is not None and (shared := of_a_node(spec, s.world)):
        yield "NodeAddress", shared
    faulty = [n for n, report in s.reports.items() if report.state == FAULT]
    if faulty:
        yield "NodesFault", s.listed(faulty)
    silent = [n for n in s.assigned if n in s.vip.entries and not s.hears(n)]
    if silent:
        yield "Unreported", f"nothing is heard of {names(silent)}"
    if spec is not None and (unknown := problems(spec, s.world)):
        yield "PodsUnknown", "; ".join(unknown)
    yield from (("CheckFailsEverywhere", said) for said in _failing_everywhere(s))
    if s.unplaced:
        yield "PrioritiesExhausted", f"no distinct priority is left for {names(s.unplaced)}"
    if weak := _weak_checks(s):
        yield "WeightTooSmall", weak


def claim_is_new(s: Situation) -> bool:
    """Whether another station has an address for so short a time that it may be over at once."""
    times = [r.api_time for r in s.reports.values() if r.clause(DUPLICATE_ADDRESS)]
    told = s.vip.conditions.get("Degraded", {}).get("reason") == DUPLICATE_ADDRESS
    return not told and any(at is not None and timedelta() <= s.world.now - at < CLAIM_LASTS for at in times)


def _failing_everywhere(s: Situation) -> Iterable[str]:
    """Checks that move nothing because they fail on every node: a mistake in them, most likely. One that cannot be
    carried out is said elsewhere; a reversed one is bad while all is well, and a number is neither.
    """
    spec = s.in_force
    taking_part = [report for report in s.heard_of.values() if report.takes_part]
    if spec is None or not taking_part:
        return
    unable = missing(spec, s.world.template)
    for track in spec.track:
        judged = track.weight != 0 and not track.reverse and (track.kind != "file" or dict(track.check).get("exists"))
        if (
            judged
            and all(report.clause(track.name) for report in taking_part)
            and not any(text.startswith(f"check {track.name}: ") for text in unable)
        ):
            yield f"check {track.name} fails on every node: {s.clauses(track.name)}"


def _weak_checks(s: Situation) -> str:
    """The checks whose failure alone moves nothing, each with the best node that it leaves where it is."""
    tracks = s.in_force.track if s.in_force is not None else ()
    found: dict[str, str] = {}
    ordered = sorted(s.assigned.items(), key=lambda one: -one[1]) if tracks else []
    for (node, own), successor in zip(ordered, [*ordered[1:], None], strict=False):
        for track, text in too_small(tracks, node=node, own=own, successor=successor):
            found.setdefault(track.name, f"check {track.name}: {text}")
    return few(list(found.values()), "checks")
