"""A VirtualIP as the API has it: its document, and per node of its status what the operator and the speaker wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vip_api.model import IPAddress, Problem, VirtualIP, VirtualIPSpec
from vip_api.parse import parse_document
from vip_api.seniority import seniority

from vip_operator.plan.content import address, integer, mapping, parse_time, string

OPERATOR_MANAGER = "kube-vrrp-operator"
SPEAKER_MANAGER_PREFIX = "kube-vrrp-speaker"

NO_PASSWORD = ("SecretMissing", "PasswordInvalid")
"""The reason codes of a speaker that has no password, or a former one; the worse first."""

STOPPED = "Stopped"
"""The reason code of a speaker's last word."""

MASTER = "MASTER"
BACKUP = "BACKUP"
INIT = "INIT"
FAULT = "FAULT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a listening speaker found: the subnets of its link, and the VRIDs that others use there. `also_for`: uids of
    other VirtualIPs for which it says the same.
    """

    subnets: tuple[str, ...] = ()
    heard: frozenset[int] = frozenset()
    also_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a speaker says about its node. `api_time` is when the API server took it (whole seconds)."""

    state: str
    effective_priority: int | None = None
    interface: str | None = None
    primary_address: str | None = None
    virtual_router_id: int | None = None
    observed_generation: int | None = None
    since: datetime | None = None
    reason: str = ""
    link: Link | None = None
    api_time: datetime | None = None

    @property
    def reason_code(self) -> str:
        """The constant in front of the colon: `AnotherMaster: 10.0.0.9 advertises` gives `AnotherMaster`."""
        return self.reason.partition(":")[0].strip()

    def clause(self, code: str) -> str:
        """What it says after the constant `code`, at the beginning or after a semicolon; else nothing."""
        clauses = self.reason.split("; ") if code in self.reason else ()
        return next((c.removeprefix(f"{code}: ") for c in clauses if c.startswith(f"{code}: ")), "")

    @property
    def takes_part(self) -> bool:
        """In the election, or holding addresses."""
        return self.state in (MASTER, BACKUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One of `status.nodes`: the operator's part (`owned`, as it was written) and the speaker's
    (`report`).
    """

    node: str
    priority: int | None = None
    owned: Mapping[str, Any] = field(default_factory=dict)
    report: Report | None = None
    manager: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """A VirtualIP as observed. `spec` is None when it does not parse; then `problems` says why. Sorted by `seniority`,
    who wins comes first when two claim the same. `accepted_addresses`: those of the generation that was accepted last.
    """

    name: str
    uid: str
    created_at: datetime
    seniority: tuple[str, str]
    generation: int
    spec: VirtualIPSpec | None
    problems: tuple[Problem, ...] = ()
    deleting: bool = False
    observed_generation: int | None = None
    virtual_router_id: int | None = None
    accepted_addresses: tuple[IPAddress, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    owned_status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def announced_master(self) -> str | None:
        """The master that the operator wrote last; None since a node has named itself."""
        return string(self.owned_status.get("master"))

    @property
    def accepted(self) -> bool:
        """Whether some generation of this document was accepted."""
        return self.conditions.get("Accepted", {}).get("status") == "True"

    @property
    def is_current(self) -> bool:
        """Whether exactly this generation was accepted."""
        return self.accepted and self.conditions["Accepted"].get("observedGeneration") == self.generation

    @classmethod
    def from_object(cls, body: Mapping[str, Any]) -> Vip:
        """From the API's VirtualIP."""
        metadata, status = body["metadata"], mapping(body.get("status"))
        parsed = parse_document(body)
        spec = parsed.spec if isinstance(parsed, VirtualIP) else None
        managed_fields = metadata.get("managedFields") or ()
        entries = _entries(status, managed_fields)
        owned = {key: status[key] for key in OPERATOR_STATUS_FIELDS if key in status}
        if not _master_is_the_operators(managed_fields):
            owned.pop("master", None)
        owned["nodes"] = [dict(e.owned) for e in entries.values() if e.owned]
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            created_at=parse_time(metadata.get("creationTimestamp")) or datetime.max.replace(tzinfo=UTC),
            seniority=seniority(metadata),
            generation=metadata.get("generation", 1),
            spec=spec,
            problems=() if isinstance(parsed, VirtualIP) else tuple(parsed),
            deleting="deletionTimestamp" in metadata,
            observed_generation=integer(status.get("observedGeneration")),
            virtual_router_id=integer(status.get("virtualRouterID")),
            accepted_addresses=tuple(
                ip for text in status.get("acceptedAddresses") or () if (ip := address(text)) is not None
            ),
            entries=entries,
            conditions={c["type"]: c for c in status.get("conditions") or () if "type" in c},
            owned_status=owned,
        )


OPERATOR_STATUS_FIELDS = (
    "observedGeneration",
    "virtualRouterID",
    "version",
    "acceptedAddresses",
    "addresses",
    "master",
    "backups",
    "conditions",
)
OPERATOR_ENTRY_FIELDS = ("priority", "reporting", "facts")


def _master_is_the_operators(managed_fields: Any) -> bool:
    """Whether the operator is among those who say who is master: a node that becomes it says so first."""
    return any(
        manager.get("manager") == OPERATOR_MANAGER
        and "f:master" in mapping(mapping(manager.get("fieldsV1")).get("f:status"))
        for manager in managed_fields
    )


def _entries(status: Mapping[str, Any], managed_fields: Any) -> dict[str, Entry]:
    writers = {}
    for manager in managed_fields:
        if not str(manager.get("manager", "")).startswith(SPEAKER_MANAGER_PREFIX):
            continue
        nodes = mapping(mapping(mapping(manager.get("fieldsV1")).get("f:status")).get("f:nodes"))
        for key in nodes:
            if key.startswith("k:"):
                writers[json.loads(key[2:]).get("node")] = manager
    entries = {}
    for raw in status.get("nodes") or ():
        node, writer = raw["node"], mapping(writers.get(raw["node"]))
        owned = {key: raw[key] for key in OPERATOR_ENTRY_FIELDS if key in raw}
        entries[node] = Entry(
            node=node,
            priority=integer(raw.get("priority")),
            owned={"node": node, **owned} if owned else {},
            report=_report(raw, parse_time(writer.get("time"))) if "state" in raw else None,
            manager=string(writer.get("manager")),
        )
    return entries


def _report(raw: Mapping[str, Any], api_time: datetime | None) -> Report:
    link = raw.get("link")
    return Report(
        state=str(raw["state"]),
        effective_priority=integer(raw.get("effectivePriority")),
        interface=string(raw.get("interface")),
        primary_address=string(raw.get("primaryAddress")),
        virtual_router_id=integer(raw.get("virtualRouterID")),
        observed_generation=integer(raw.get("observedGeneration")),
        since=parse_time(raw.get("since")),
        reason=str(raw.get("reason", "")),
        link=Link(
            subnets=tuple(str(s) for s in link.get("subnets") or ()),
            heard=frozenset(v for v in link.get("heard") or () if isinstance(v, int)),
            also_for=tuple(str(uid) for uid in link.get("alsoFor") or ()),
        )
        if isinstance(link, Mapping)
        else None,
        api_time=api_time,
    )
