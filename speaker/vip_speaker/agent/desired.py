"""From a VirtualIP as the API server has it to the document for the router. Pure.

The router gets a VirtualIP only while the operator has assigned it to this node, and only a generation that
the operator accepted: until then it goes on with the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

Document = Mapping[str, Any]

VRID_CONFLICT = "VRIDConflict"
"""The reason with which the operator takes a VRID away."""


def own_entry(body: Document, node: str) -> Mapping[str, Any] | None:
    """This node's entry in the status."""
    entries = (body.get("status") or {}).get("nodes") or ()
    return next((e for e in entries if e.get("node") == node), None)


def is_assigned(body: Document, node: str) -> bool:
    """Whether the operator gave this node a priority."""
    entry = own_entry(body, node)
    return entry is not None and "priority" in entry


def is_unicast(body: Document) -> bool:
    """Whether advertisements go to the addresses that the nodes reported."""
    return (body.get("spec") or {}).get("transport") == "Unicast"


def desired(body: Document, node: str, former: Document | None, password: str | None) -> Document | None:
    """The document for the router, or None for none. `former` is the one it has now."""
    former = former if former is not None and is_whole(former) else None
    status = body.get("status") or {}
    if "observedGeneration" not in status:
        return former  # no operator has seen it: new, or restored from a backup while the router runs it
    if not is_assigned(body, node):
        return None
    if _undecided(status) and former is not None and _vrid(former) is not None:
        return former  # the operator adopts what the speakers report
    source: Document | None = body if is_accepted(body) else former
    if source is None:
        return None
    metadata = source["metadata"]
    return {
        "apiVersion": source["apiVersion"],
        "kind": source["kind"],
        "metadata": {key: metadata[key] for key in ("name", "uid", "generation") if key in metadata},
        "spec": source["spec"],
        "assignment": _assignment(status, node, password),
    }


def deleted(former: Document, at: datetime) -> Document:
    """The document that tells the router that the VirtualIP is deleted, on every node."""
    metadata = former.get("metadata")
    kept = metadata if isinstance(metadata, Mapping) else {}
    return {**former, "metadata": {**kept, "deletionTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ")}}


def is_deleted(document: Document) -> bool:
    """Whether the document says `deleted`."""
    metadata = document.get("metadata")
    return isinstance(metadata, Mapping) and metadata.get("deletionTimestamp") is not None


def with_stale_facts(document: Document) -> Document:
    """The document with every fact marked: nobody confirms them."""
    facts = document["assignment"].get("facts") if is_whole(document) else None
    if not isinstance(facts, list):
        return document
    marked = [{**fact, "stale": True} for fact in facts if isinstance(fact, Mapping)]
    return {**document, "assignment": {**document["assignment"], "facts": marked}}


def goes_on_as(document: Document, body: Document) -> bool:
    """Whether the document is of this VirtualIP: of this very one, or of one of that name which asked for the same.
    Such a one is applied again from a file after the API server lost it; another's deletion went unnoticed.
    """
    metadata = document.get("metadata")
    same = isinstance(metadata, Mapping) and metadata.get("uid") == body["metadata"].get("uid")
    return same or document.get("spec") == body.get("spec")


def secret_reference(body: Document) -> tuple[str, str] | None:
    """Name and key of the Secret that holds the password, if the document names one."""
    reference = ((body.get("spec") or {}).get("authentication") or {}).get("passwordSecretRef")
    return (reference["name"], reference["key"]) if isinstance(reference, Mapping) else None


def password_of(former: Document | None) -> str | None:
    """The password that the router has."""
    assignment = (former or {}).get("assignment")
    value = assignment.get("password") if isinstance(assignment, Mapping) else None
    return value if isinstance(value, str) else None


def is_whole(former: Document) -> bool:
    """Whether a file that the router could have changed has the shape in which we wrote it."""
    return all(isinstance(former.get(k), Mapping) for k in ("metadata", "spec", "assignment")) and all(
        isinstance(former.get(k), str) for k in ("apiVersion", "kind")
    )


def is_accepted(body: Document) -> bool:
    """Whether the operator accepted this generation."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(
        c.get("type") == "Accepted"
        and c.get("status") == "True"
        and c.get("observedGeneration") == body["metadata"].get("generation")
        for c in conditions
    )


def _undecided(status: Mapping[str, Any]) -> bool:
    taken_away = any(
        c.get("type") == "Ready" and c.get("reason") == VRID_CONFLICT for c in status.get("conditions") or ()
    )
    return "virtualRouterID" not in status and not taken_away


def _vrid(document: Document) -> int | None:
    value = (document.get("assignment") or {}).get("virtualRouterID")
    return value if isinstance(value, int) else None


def _assignment(status: Mapping[str, Any], node: str, password: str | None) -> dict[str, Any]:
    entries = [e for e in status.get("nodes") or () if "priority" in e]
    own = next(e for e in entries if e["node"] == node)
    assignment: dict[str, Any] = {"priority": own["priority"]}
    if "virtualRouterID" in status:
        assignment["virtualRouterID"] = status["virtualRouterID"]
    if password is not None:
        assignment["password"] = password
    assignment["peers"] = [
        {"node": e["node"], "priority": e["priority"]}
        | ({"address": e["primaryAddress"]} if e.get("primaryAddress") else {})
        | (
            {"effectivePriority": e["effectivePriority"]}
            if e.get("effectivePriority", e["priority"]) != e["priority"]
            else {}
        )
        for e in sorted(entries, key=lambda e: str(e["node"]))
        if e["node"] != node
    ]
    assignment["facts"] = list(own.get("facts") or ())
    return assignment
