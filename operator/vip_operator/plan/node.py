"""A node of the cluster, as far as a plan asks about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vip_api.model import IPAddress

from vip_operator.plan.content import address, mapping

REACHED_AT = ("InternalIP", "ExternalIP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the cluster: `conditions` are statuses by type, `taints` keys, `addresses` what it says it is reached
    at. `renewed_at` is its lease's renewal, where the operator looked it up.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True
    conditions: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    unschedulable: bool = False
    shutting_down: bool = False
    renewed_at: datetime | None = None
    addresses: frozenset[IPAddress] = frozenset()

    @classmethod
    def from_object(cls, body: Mapping[str, Any], *, renewed_at: datetime | None = None) -> Node:
        """From the API's Node."""
        spec = mapping(body.get("spec"))
        status = mapping(body.get("status"))
        listed = status.get("conditions") or ()
        conditions = {str(c.get("type")): str(c.get("status")) for c in listed}
        messages = {c.get("type"): str(c.get("message", "")) for c in listed}
        return cls(
            name=body["metadata"]["name"],
            labels=dict(mapping(body["metadata"].get("labels"))),
            ready=conditions.get("Ready") == "True",
            conditions=conditions,
            taints=tuple(str(t.get("key")) for t in spec.get("taints") or ()),
            unschedulable=bool(spec.get("unschedulable")),
            # the kubelet says so in words only (graceful node shutdown)
            shutting_down=conditions.get("Ready") == "False" and "shutting down" in messages.get("Ready", ""),
            renewed_at=renewed_at,
            addresses=frozenset(
                ip
                for one in status.get("addresses") or ()
                if one.get("type") in REACHED_AT and (ip := address(one.get("address"))) is not None
            ),
        )
