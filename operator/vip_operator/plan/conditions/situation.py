"""What conditions are judged from, and what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from vip_api.model import IPAddress, VirtualIPSpec

from vip_operator.plan.acceptance import Refusal
from vip_operator.plan.conditions.words import grouped
from vip_operator.plan.participation import INTERFACE_MISSING
from vip_operator.plan.virtualip import MASTER, STOPPED, Entry, Report, Vip
from vip_operator.plan.vrids import Decision
from vip_operator.plan.world import World

BETWEEN_SPEAKERS = timedelta(seconds=60)
"""A node whose speaker ended as it was asked to may have none for this long."""


@dataclass(frozen=True, kw_only=True)  # without slots: what is asked for again and again is kept
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
    def in_force(self) -> VirtualIPSpec | None:
        """The document that is carried out; None where it is the one before a refused one, which nobody keeps."""
        return self.vip.spec if self.refusal is None else None

    @property
    def accepted_addresses(self) -> tuple[IPAddress, ...]:
        """Those of the document that is carried out, as far as that is known."""
        spec = self.in_force
        return self.vip.accepted_addresses if spec is None else tuple(a.ip for a in spec.addresses)

    @cached_property
    def reports(self) -> Mapping[str, Report]:
        """What the nodes that take part said last."""
        entries = self.vip.entries
        return {n: e.report for n in self.assigned if (e := entries.get(n)) is not None and e.report is not None}

    @cached_property
    def heard_of(self) -> Mapping[str, Report]:
        """The reports of those whose word still counts."""
        return {n: report for n, report in self.reports.items() if self.hears(n)}

    def hears(self, node: str) -> bool:
        """Whether the word of `node` counts. One speaker that ends and the next that begins are no trouble yet."""
        return self.world.reporting(node) or self.next_speaker_within(node) is not None

    def next_speaker_within(self, node: str) -> timedelta | None:
        """How much longer the next speaker of a node may take that has none; None where none is to be waited for."""
        world, entry = self.world, self.vip.entries.get(node)
        if world.reporting(node) or node not in world.nodes or not world.nodes[node].ready:
            return None
        report = entry.report if entry is not None else None
        if node in world.ending:
            return BETWEEN_SPEAKERS
        if report is None or report.api_time is None or report.reason_code != STOPPED:
            return None
        left = report.api_time + BETWEEN_SPEAKERS - world.now
        return left if left > timedelta() else None

    def clauses(self, code: str) -> str:
        """What nodes that are heard of say after this constant."""
        return grouped({n: said for n, report in self.heard_of.items() if (said := report.clause(code))})

    def listed(self, nodes: Iterable[str]) -> str:
        """`node1: FAULT, link is down; …` for the first few nodes."""
        reports = {n: self.reports[n] for n in nodes if n in self.reports}
        return grouped({n: ", ".join(filter(None, (r.state, _without_code(r)))) for n, r in reports.items()})

    @property
    def conflict(self) -> str:
        """Whose virtual router ID was asked for."""
        asked = self.vip.spec.virtual_router_id if self.vip.spec else None
        asked = asked if asked is not None else self.vip.virtual_router_id
        keeps = f"; it goes on with {self.vrid.vrid}" if self.vrid.vrid is not None else ""
        return f"virtual router ID {asked} is in use by VirtualIP {self.vrid.conflict_with} on the same link{keeps}"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition without its times."""

    type: str
    status: str
    reason: str
    message: str


def masters(vip: Vip) -> tuple[Entry, ...]:
    """The entries that say MASTER, the one whose change reached the API last first."""
    oldest = datetime.min.replace(tzinfo=vip.created_at.tzinfo)

    def recency(entry: Entry) -> tuple[datetime, datetime, str]:
        report = entry.report
        assert report is not None
        return report.api_time or oldest, report.since or oldest, entry.node

    claims = [e for e in vip.entries.values() if e.report is not None and e.report.state == MASTER]
    return tuple(sorted(claims, key=recency, reverse=True))


def _without_code(report: Report) -> str:
    return report.reason.removeprefix(f"{INTERFACE_MISSING}: ")
