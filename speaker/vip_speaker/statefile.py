"""The state document of one VIP as a value, and back: what the router says of it. See docs/state-file.md. Pure.

Whoever reads one cannot trust its writer, so `parse_state` takes any JSON object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

StateName = Literal["INIT", "BACKUP", "MASTER", "FAULT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one tracked check adds to the priority, and why ("httpd not running").

    `change` is the difference to what it adds while all is well: -10 where a weight of 10 is missing.
    """

    name: str
    value: int
    reason: str = ""
    change: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityParts:
    """effectivePriority = clamp(base + the contributions' sum, 1, 254); an owner's 255 stays 255."""

    base: int
    contributions: tuple[Contribution, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitBrain:
    """Another master that keeps advertising while this router is MASTER; `since` in RFC 3339."""

    source: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardRouter:
    """A virtual router heard on the link, ours or not: what a VRID can be chosen from."""

    vrid: int
    version: int
    family: int
    source: str
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The subnets of the VIP's link in CIDR notation, and who is heard there."""

    subnets: tuple[str, ...] = ()
    heard: tuple[HeardRouter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualIPState:
    """The state document of one VIP; fields are named as in the document. See docs/state-file.md.

    Instants are RFC 3339 in UTC with microseconds, as `timestamp` makes them. Empty strings and zeros mean: not known.
    """

    name: str
    state: StateName
    uid: str = ""
    observedGeneration: int = 0  # noqa: N815 the document's names are the API's
    effectivePriority: int = 0  # noqa: N815
    priorityParts: PriorityParts | None = None  # noqa: N815
    interface: str = ""
    primaryAddress: str = ""  # noqa: N815
    virtualRouterID: int = 0  # noqa: N815
    version: int = 0
    addresses: tuple[str, ...] = ()
    since: str = ""
    reason: str = ""
    master: str = ""
    peerPriority: int | None = None  # noqa: N815
    problems: tuple[str, ...] = ()
    splitBrain: SplitBrain | None = None  # noqa: N815
    link: Link = field(default_factory=Link)


def check_changes(state: VirtualIPState) -> list[str]:
    """What checks change in the priority now, each with its reason: `httpd not running: -10`."""
    parts = state.priorityParts.contributions if state.priorityParts is not None else ()
    return [f"{part.reason or part.name}: {part.change:+d}" for part in parts if part.change]


def timestamp(seconds: float) -> str:
    """Unix time as RFC 3339 in UTC with microseconds, which the API server takes as a MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_state(document: Mapping[str, Any]) -> VirtualIPState | str:
    """A state document as a value, or, as text, what is wrong with it. Unknown fields are ignored."""
    try:
        return _state(document)
    except _WrongTypeError as error:
        return f"{error.args[0]} has the wrong type"


class _WrongTypeError(Exception):
    """The field of that name is missing though required, or not of its type."""


def _state(document: Mapping[str, Any]) -> VirtualIPState:
    name = _string(document, "name", required=True)
    state: Any = document.get("state")
    if not name or state not in get_args(StateName):
        raise _WrongTypeError("name" if not name else "state")
    link = _mapping(document, "link")
    return VirtualIPState(
        name=name,
        state=state,
        uid=_string(document, "uid"),
        observedGeneration=_integer(document, "observedGeneration"),
        effectivePriority=_integer(document, "effectivePriority"),
        priorityParts=_priority_parts(document),
        interface=_string(document, "interface"),
        primaryAddress=_string(document, "primaryAddress"),
        virtualRouterID=_integer(document, "virtualRouterID"),
        version=_integer(document, "version"),
        addresses=_strings(document, "addresses"),
        since=_string(document, "since"),
        reason=_string(document, "reason"),
        master=_string(document, "master"),
        peerPriority=_integer(document, "peerPriority") if document.get("peerPriority") is not None else None,
        problems=_strings(document, "problems"),
        splitBrain=_split_brain(document),
        link=Link(subnets=_strings(link, "subnets"), heard=tuple(_heard(item) for item in _mappings(link, "heard"))),
    )


def _priority_parts(document: Mapping[str, Any]) -> PriorityParts | None:
    if document.get("priorityParts") is None:
        return None
    parts = _mapping(document, "priorityParts")
    contributions = tuple(
        Contribution(
            name=_string(item, "name"),
            value=_integer(item, "value"),
            reason=_string(item, "reason"),
            change=_integer(item, "change"),
        )
        for item in _mappings(parts, "contributions")
    )
    return PriorityParts(base=_integer(parts, "base"), contributions=contributions)


def _split_brain(document: Mapping[str, Any]) -> SplitBrain | None:
    if document.get("splitBrain") is None:
        return None
    split = _mapping(document, "splitBrain")
    return SplitBrain(source=_string(split, "source"), since=_string(split, "since"))


def _heard(item: Mapping[str, Any]) -> HeardRouter:
    return HeardRouter(
        vrid=_integer(item, "vrid"),
        version=_integer(item, "version"),
        family=_integer(item, "family"),
        source=_string(item, "source"),
        priority=_integer(item, "priority"),
    )


def _string(document: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = document.get(name, None if required else "")
    if not isinstance(value, str):
        raise _WrongTypeError(name)
    return value


def _integer(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _WrongTypeError(name)
    return value


def _strings(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _WrongTypeError(name)
    return tuple(value)


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise _WrongTypeError(name)
    return value


def _mappings(document: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], ...]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _WrongTypeError(name)
    return tuple(value)
