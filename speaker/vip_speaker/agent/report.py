"""From the router's state document to this node's entry in the status, and whether that has to be written.
Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from vip_api.model import CORDON_FACT

from vip_speaker.statefile import VirtualIPState

MANAGER_PREFIX = "kube-vrrp-speaker"
MAX_MANAGER = 128
"""Longer field managers are refused by the API server."""

OPERATOR_FIELDS = frozenset({"node", "priority", "facts", "reporting"})
"""The part of an entry that is not ours."""

INTERFACE_MISSING = "InterfaceMissing"
ANOTHER_MASTER = "AnotherMaster"
DUPLICATE_ADDRESS = "DuplicateAddress"
"""Constants in front of a colon in `reason`, which the operator acts on."""

_CLAIM = re.compile("([0-9a-f]{2}:){5}[0-9a-f]{2} claims ")
"""How the router begins a problem about another station that has an address of the VIP."""

_NO_LINK = "spec.interfaces: no link of this host "
"""How the router begins the reason for which it is in FAULT there; `interface` is the one before."""
WAITING_FOR_PASSWORD = "waiting for the password"  # noqa: S105 a sentence
"""What the router says; the agent may know why it waits."""

MAX_REASON = 1024
MAX_SUBNETS = 32
MAX_HEARD = 255
MAX_ALSO_FOR = 512
"""As in the schema: an entry that breaks a bound would be refused as a whole."""


def field_manager(node: str) -> str:
    """The one field manager of this node's agent: by name, or by its hash where that is too long."""
    manager = f"{MANAGER_PREFIX}-{node}"
    if len(manager) <= MAX_MANAGER:
        return manager
    return f"{MANAGER_PREFIX}-{hashlib.sha256(node.encode()).hexdigest()}"


def entry(state: VirtualIPState, trouble: str = "") -> dict[str, Any]:
    """The speaker's part of the entry, without `node`. What is not known is left out. `trouble` is the agent's own."""
    report: dict[str, Any] = {
        "state": state.state,
        "effectivePriority": state.effectivePriority,
        "interface": state.interface[:15],
        "primaryAddress": state.primaryAddress,
        "virtualRouterID": state.virtualRouterID,
        "observedGeneration": state.observedGeneration,
        "since": state.since,
        "reason": "; ".join([*filter(None, [headline(state, trouble)]), *_checks(state)])[:MAX_REASON],
    }
    report = {key: value for key, value in report.items() if value not in ("", 0)}
    if state.state == "INIT" and state.link.subnets:
        report["link"] = {
            "subnets": sorted(set(state.link.subnets))[:MAX_SUBNETS],
            "heard": sorted({h.vrid for h in state.link.heard if 1 <= h.vrid <= MAX_HEARD}),
        }
    return report


def mastership(node: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """What a node that is MASTER says beside its entry: the columns of `kubectl get` do not wait for an operator."""
    if report.get("state") != "MASTER":
        return {}
    return {"master": node, "masterPriority": report.get("effectivePriority", 0)}


def is_misnamed(mine: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether a node that is MASTER has to say so although its entry is there: nobody is named, or the operator names
    this one beside the priority of another. Two that both believe to be MASTER must not overwrite each other for ever.
    """
    unnamed = any(key not in status for key in mine)
    return unnamed or (status.get("master") == mine.get("master") and any(status[key] != mine[key] for key in mine))


def is_news(wanted: Mapping[str, Any], known: Mapping[str, Any], given: frozenset[int]) -> bool:
    """Whether `wanted` is worth a write where the API server has `known`.

    While VIPs wait for their virtual router IDs, each of those that were `given` to others of the cluster is heard by
    all that still wait; the operator knows them, and writes for that alone would grow with the square of the VIPs.
    """
    if wanted == known:
        return False
    link, former = wanted.get("link"), known.get("link")
    if (
        link is None
        or former is None
        or {**wanted, "link": former} != known
        or link["subnets"] != former.get("subnets")
        or link.get("alsoFor") != former.get("alsoFor")
    ):
        return True
    return not {*link["heard"]} ^ {*(former.get("heard") or ())} <= given


def silent(since: str, reason: str) -> dict[str, Any]:
    """The entry of a VIP that the router says nothing about."""
    return {"state": "INIT", "since": since, "reason": reason}


def written(own: Mapping[str, Any] | None) -> dict[str, Any]:
    """Our part of the entry that the API server has."""
    return {k: v for k, v in (own or {}).items() if k not in OPERATOR_FIELDS}


def is_rewording(
    wanted: Mapping[str, Any], former: Mapping[str, Any], state: VirtualIPState, trouble: str = ""
) -> bool:
    """Whether the two differ in nothing but what checks have to say, such as the number that a script printed."""
    rest = [{k: v for k, v in one.items() if k != "reason"} for one in (wanted, former)]
    return rest[0] == rest[1] and str(former.get("reason", "")).startswith(headline(state, trouble)[:MAX_REASON])


def headline(state: VirtualIPState, trouble: str = "") -> str:
    """Why the VIP is in its state, without the checks."""
    problems = [f"{DUPLICATE_ADDRESS}: {one}" if _CLAIM.match(one) else one for one in state.problems]
    if state.splitBrain is not None:
        other = f"{ANOTHER_MASTER}: {state.splitBrain.source} advertises as well, since {state.splitBrain.since}"
        return _joined(other, trouble, *problems)
    if state.state == "FAULT" and (state.reason.startswith(_NO_LINK) or not (state.interface or problems)):
        return _joined(f"{INTERFACE_MISSING}: {state.reason}", trouble, *problems)
    why = "" if trouble and state.reason == WAITING_FOR_PASSWORD else state.reason
    return _joined(trouble, why, *problems)


def _checks(state: VirtualIPState) -> list[str]:
    """What checks change in the priority, each by its name: the operator asks whether one fails everywhere."""
    parts = state.priorityParts.contributions if state.priorityParts is not None else ()
    return [
        ": ".join(filter(None, ("" if p.name == CORDON_FACT else p.name, p.reason, f"{p.change:+d}")))
        for p in parts
        if p.change
    ]


def _joined(*clauses: str) -> str:
    return "; ".join(filter(None, clauses))
