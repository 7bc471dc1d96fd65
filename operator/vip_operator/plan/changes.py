"""What the executor is asked to do, in order. Each change is idempotent and independent of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A Kubernetes Event about a VirtualIP. `type` is Normal or Warning, `reason` a constant."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyStatus:
    """Server-side apply of everything in `status` that is the operator's; the Events follow once it
    succeeded. `urgent`: nodes act on what differs; the rest is for people and goes after it.
    """

    vip: str
    uid: str
    status: Mapping[str, Any]
    events: tuple[Event, ...] = ()
    urgent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearEntry:
    """Apply an empty status under a speaker's field manager: drops the entry of a node whose agent cannot do
    it.
    """

    vip: str
    node: str
    field_manager: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyDaemonSet:
    """Server-side apply of the speaker DaemonSet."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePod:
    """Delete one speaker pod, so that the DaemonSet makes a new one from the current template."""

    name: str
    uid: str
    node: str


Change = ApplyStatus | ClearEntry | ApplyDaemonSet | DeletePod


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The changes, and after how many seconds to look again although nothing has happened (None: no need). `bugs`: what
    kept VirtualIPs from being judged, by name, which is our mistake.
    """

    changes: tuple[Change, ...]
    recheck_after_s: float | None = None
    bugs: Mapping[str, Exception] = field(default_factory=dict)
