"""The four conditions of a VirtualIP: Accepted, Ready, Degraded, SplitBrain. Reasons are constants that never
change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from vip_api.model import IPAddress
from vip_api.weights import too_small

from vip_operator.plan.abilities import missing
from vip_operator.plan.acceptance import Refusal, of_a_node
from vip_operator.plan.changes import Event
from vip_operator.plan.facts import problems
from vip_operator.plan.participation import INTERFACE_MISSING, lacks_link
from vip_operator.plan.virtualip import FAULT, MASTER, Entry, Report, Vip
from vip_operator.plan.vrids import Decision
from vip_operator.plan.world import World

ANOTHER_MASTER = "AnotherMaster"
"""The reason code of a speaker that is MASTER and keeps hearing another one."""

NO_PASSWORD = ("SecretMissing", "PasswordInvalid")
"""The reason codes of a speaker that has no password, or a former one; the worse first."""

DUPLICATE_ADDRESS = "DuplicateAddress"
"""The reason code of a speaker that is MASTER while another station claims an address."""

CLAIM_LASTS = timedelta(seconds=3)
"""A claim that is gone before that was of a hand-over: the node had not heard of its successor yet."""

REPORT_DELAY = timedelta(seconds=2)
"""A speaker whose node reaches the API has reported a change of state after this time."""

MAX_MESSAGE = 1024
"""Long enough for a few nodes; the status of a large cluster must not grow with its troubles."""

NOT_SERVED = "not served: see Ready"
"""Instead of the same sentence a second time."""

SHOWN_NODES = 3
SHOWN_ADDRESSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the conditions of one VirtualIP are judged from."""

    vip: Vip
    world: World
    refusal: Refusal | None
    assigned: Mapping[str, int]
    unplaced: tuple[str, ...]
    vrid: Decision
    masters: tuple[Entry, ...]
    eligible: int
    stalled: str | None

    @property
    def accepted_addresses(self) -> tuple[IPAddress, ...]:
        """Those of the document that is carried out, as far as that is known."""
        if self.refusal is not None or self.vip.spec is None:
            return self.vip.accepted_addresses
        return tuple(a.ip for a in self.vip.spec.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition without its times."""

    type: str
    status: str
    reason: str
    message: str


def judge(situation: Situation) -> tuple[Condition, ...]:
    """All four, in the order in which they are read."""
    ready = _ready(situation)
    return _accepted(situation), ready, _degraded(situation, ready), _split_brain(situation)


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


PASSING = frozenset({"Listening", "WaitingForSpeakers", "Electing"})
"""Reasons that every VIP passes through on its way to a MASTER: worth one Event in all."""
EXPECTED = PASSING | {"Released"}
"""Worth an Event, but not a Warning."""


def _accepted(s: Situation) -> Condition:
    if s.refusal is None:
        return Condition(type="Accepted", status="True", reason="Accepted", message="carried out as written")
    return Condition(type="Accepted", status="False", reason=s.refusal.reason, message=s.refusal.message)


def _ready(s: Situation) -> Condition:
    if s.masters and s.world.reporting(s.masters[0].node):
        return _verdict("Ready", "True", "MasterElected", f"{s.masters[0].node} holds {_held(s)}")
    if s.masters:
        message = f"{s.masters[0].node} was MASTER when it reported last, and nothing is heard of it since"
        return _verdict("Ready", "Unknown", "Unreported", message)
    return _verdict("Ready", "False", *_why_no_master(s))


def _held(s: Situation) -> str:
    """What the MASTER has by the document that it carries out."""
    held = in_a_line(s.accepted_addresses) or "the addresses"
    report = s.masters[0].report
    generation = report.observed_generation if report is not None else None
    if s.refusal is None or generation is None or generation == s.vip.generation:
        return held
    return f"{held}, by generation {generation}, the document before"


def in_a_line(addresses: Sequence[IPAddress]) -> str:
    """The first few, and how many more there are."""
    more = f" +{len(addresses) - SHOWN_ADDRESSES}" if len(addresses) > SHOWN_ADDRESSES else ""
    return ", ".join(str(ip) for ip in addresses[:SHOWN_ADDRESSES]) + more


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
        return "InterfaceMissing", _listed(s, s.assigned)
    if s.vrid.conflict_with is not None and s.vrid.vrid is None:
        return "VRIDConflict", _conflict(s)
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
    if not any(s.world.reporting(n) for n in s.assigned):
        return "Unreported", "no node that takes part is reporting"
    reports = [e.report for n in s.assigned if (e := s.vip.entries.get(n)) and e.report]
    code = next((c for c in NO_PASSWORD if any(r.clause(c) for r in reports)), None)
    if code is not None and all(any(r.clause(c) for c in NO_PASSWORD) for r in reports):
        return code, _clauses(s, code)
    if reports and all(r.state == FAULT for r in reports):
        return "AllNodesFault", _listed(s, s.assigned)
    return "Electing", _listed(s, s.assigned) or "no node has reported yet"


def _degraded(s: Situation, ready: Condition) -> Condition:
    troubles = list(_troubles(s))
    if not troubles and ready.status == "True":
        return _verdict("Degraded", "False", "AllNodesWell", "no trouble is known of the nodes that take part")
    if not troubles:
        return _verdict("Degraded", "False", "AllNodesWell", NOT_SERVED)
    said = (NOT_SERVED if message == ready.message else message for _, message in troubles)
    return _verdict("Degraded", "True", troubles[0][0], "; ".join(dict.fromkeys(said)))


def _troubles(s: Situation) -> Iterable[tuple[str, str]]:
    """The worst first."""
    if s.stalled is not None:
        yield "RolloutStalled", s.stalled
    if s.assigned and s.world.daemon_set is not None and s.world.daemon_set.refusal is not None:
        yield "SpeakerPodsForbidden", s.world.daemon_set.refusal
    if s.vrid.conflict_with is not None and s.vrid.vrid is not None:
        yield "VRIDConflict", _conflict(s)
    if s.refusal is not None and s.assigned:
        yield s.refusal.reason, f"the document before is still carried out: {s.refusal.message}"
    if s.vip.spec is not None and (unable := missing(s.vip.spec, s.world.template)):
        yield "ChecksNotEnabled", _few(unable)
    if not claim_is_new(s) and (said := _clauses(s, DUPLICATE_ADDRESS)):
        yield DUPLICATE_ADDRESS, said
    for code in NO_PASSWORD:
        if said := _clauses(s, code):
            yield code, said
    if s.refusal is None and s.vip.spec is not None and (shared := of_a_node(s.vip.spec, s.world)):
        yield "NodeAddress", shared
    faulty = [n for n in s.assigned if (e := s.vip.entries.get(n)) and e.report and e.report.state == FAULT]
    if faulty:
        yield "NodesFault", _listed(s, faulty)
    silent = [n for n in s.assigned if n in s.vip.entries and not s.world.reporting(n)]
    if silent:
        yield "Unreported", f"nothing is heard of {_names(silent)}"
    if s.vip.spec is not None and (unknown := problems(s.vip.spec, s.world)):
        yield "PodsUnknown", "; ".join(unknown)
    yield from (("CheckFailsEverywhere", said) for said in _failing_everywhere(s))
    if s.unplaced:
        yield "PrioritiesExhausted", f"no distinct priority is left for {_names(s.unplaced)}"
    if weak := _weak_checks(s):
        yield "WeightTooSmall", weak


def claim_is_new(s: Situation) -> bool:
    """Whether another station has an address for so short a time that it may be over at once."""
    reports = [e.report for n in s.assigned if (e := s.vip.entries.get(n)) and e.report]
    times = [r.api_time for r in reports if r.clause(DUPLICATE_ADDRESS)]
    told = s.vip.conditions.get("Degraded", {}).get("reason") == DUPLICATE_ADDRESS
    return not told and any(at is not None and timedelta() <= s.world.now - at < CLAIM_LASTS for at in times)


def _failing_everywhere(s: Situation) -> Iterable[str]:
    """Checks that move nothing because they fail on every node: a mistake in them, most likely. One that cannot be
    carried out is said elsewhere; a reversed one is bad while all is well, and a number is neither.
    """
    spec = s.vip.spec
    told = [e.report for n in s.assigned if (e := s.vip.entries.get(n)) and e.report and s.world.reporting(n)]
    if spec is None or not any(r.takes_part for r in told):
        return
    unable = missing(spec, s.world.template)
    for track in spec.track:
        judged = track.weight != 0 and not track.reverse and (track.kind != "file" or dict(track.check).get("exists"))
        if (
            judged
            and all(r.clause(track.name) for r in told if r.takes_part)
            and not any(text.startswith(f"check {track.name}: ") for text in unable)
        ):
            yield f"check {track.name} fails on every node: {_clauses(s, track.name)}"


def _weak_checks(s: Situation) -> str:
    """The checks whose failure alone moves nothing, each with the best node that it leaves where it is."""
    tracks = s.vip.spec.track if s.vip.spec is not None else ()
    found: dict[str, str] = {}
    ordered = sorted(s.assigned.items(), key=lambda one: -one[1]) if tracks else []
    for (node, own), successor in zip(ordered, [*ordered[1:], None], strict=False):
        for track, text in too_small(tracks, node=node, own=own, successor=successor):
            found.setdefault(track.name, f"check {track.name}: {text}")
    return _few(list(found.values()))


def _few(checks: list[str]) -> str:
    more = f"; and {len(checks) - SHOWN_NODES} more checks" if len(checks) > SHOWN_NODES else ""
    return "; ".join(checks[:SHOWN_NODES]) + more


def _split_brain(s: Situation) -> Condition:
    for entry in s.masters:
        report = entry.report
        if report is not None and report.reason_code == ANOTHER_MASTER and s.world.reporting(entry.node):
            return _verdict("SplitBrain", "True", ANOTHER_MASTER, f"{entry.node}: {report.reason}")
    persisting = [e.node for e in s.masters[1:] if _outlives(e, s)]
    if persisting:
        message = f"{s.masters[0].node} and {_names(persisting)} are MASTER at the same time"
        return _verdict("SplitBrain", "True", "SeveralMasters", message)
    return _verdict("SplitBrain", "False", "NoOtherMaster", "no second master is known")


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


def masters(vip: Vip) -> tuple[Entry, ...]:
    """The entries that say MASTER, the one whose change reached the API last first."""
    oldest = datetime.min.replace(tzinfo=vip.created_at.tzinfo)

    def recency(entry: Entry) -> tuple[datetime, datetime, str]:
        report = entry.report
        assert report is not None
        return report.api_time or oldest, report.since or oldest, entry.node

    claims = [e for e in vip.entries.values() if e.report is not None and e.report.state == MASTER]
    return tuple(sorted(claims, key=recency, reverse=True))


def _verdict(kind: str, status: str, reason: str, message: str) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)


def _conflict(s: Situation) -> str:
    asked = s.vip.spec.virtual_router_id if s.vip.spec else None
    asked = asked if asked is not None else s.vip.virtual_router_id
    keeps = f"; it goes on with {s.vrid.vrid}" if s.vrid.vrid is not None else ""
    return f"virtual router ID {asked} is in use by VirtualIP {s.vrid.conflict_with} on the same link{keeps}"


def _names(nodes: Iterable[str]) -> str:
    ordered = sorted(nodes)
    more = f" and {len(ordered) - SHOWN_NODES} more" if len(ordered) > SHOWN_NODES else ""
    return ", ".join(ordered[:SHOWN_NODES]) + more


def _clauses(s: Situation, code: str) -> str:
    """What nodes that are heard of say after this constant."""
    reports = {n: e.report for n in s.assigned if (e := s.vip.entries.get(n)) and s.world.reporting(n)}
    return _grouped({n: said for n, report in reports.items() if report is not None and (said := report.clause(code))})


def _grouped(said: Mapping[str, str]) -> str:
    """`node1, node2: link is down; …`: what nodes say, the same only once."""
    nodes: dict[str, list[str]] = {}
    for node in sorted(said):
        nodes.setdefault(said[node], []).append(node)
    parts = [f"{_names(ones)}: {text}" for text, ones in nodes.items()]
    more = sum(len(ones) for ones in list(nodes.values())[SHOWN_NODES:])
    return "; ".join(parts[:SHOWN_NODES]) + (f"; and {more} more" if more else "")


def _listed(s: Situation, nodes: Iterable[str]) -> str:
    """`node1: FAULT, link is down; …` for the first few nodes."""
    reports = {n: e.report for n in nodes if (e := s.vip.entries.get(n)) and e.report}
    return _grouped({n: ", ".join(filter(None, (r.state, _without_code(r)))) for n, r in reports.items()})


def _without_code(report: Report) -> str:
    return report.reason.removeprefix(f"{INTERFACE_MISSING}: ")
