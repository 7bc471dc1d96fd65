"""Who held an address, and who wrote to the API: what the tests of faults judge by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.cluster.installation import NAMESPACE, Installation
from tests.netns import wait_for
from tests.watch import Holders

ACCOUNTS = f"system:serviceaccount:{NAMESPACE}:"
POD_NAME = "authentication.kubernetes.io/pod-name"


def holders(product: Installation, address: str) -> Holders:
    """The nodes that hold `address`, over time."""
    return Holders(address, [product.cluster.host(n.name) for n in product.cluster.nodes])


def moves(held: Holders) -> list[frozenset[str]]:
    """Who held the address, one after the other."""
    return [change.holders for change in held.changes]


def serve_first(product: Installation, name: str, address: str, **spec: Any) -> str:
    """Serve, and wait until the first by priority is MASTER: who listened first may have been so before."""
    product.serve(name, address, **spec)

    def settled() -> bool:
        entries = {e["node"]: e for e in product.status(name)["nodes"]}
        first = max(entries, key=lambda n: entries[n]["priority"])
        return product.master(name) == first and entries[first].get("state") == "MASTER" and product.ready(name)

    wait_for(settled, what="the first by priority is MASTER", timeout=30, poll=0.1)
    return product.master(name)


def writes(product: Installation) -> list[Mapping[str, Any]]:
    """Everything our accounts wrote, refused or not, by the API server's audit log."""
    return [
        event
        for event in product.cluster.audit_events()
        # one that was refused before it was known whose it is names nobody
        if event["user"].get("username", "").startswith(ACCOUNTS)
        and event["verb"] in ("create", "update", "patch", "delete")
        and event.get("stage") == "ResponseComplete"
    ]


def writer(event: Mapping[str, Any]) -> str:
    """The pod that wrote."""
    return str(event["user"].get("extra", {}).get(POD_NAME, [""])[0])


def priorities(status: Mapping[str, Any]) -> dict[str, int]:
    """The given priorities by node."""
    return {e["node"]: e["priority"] for e in status.get("nodes", ()) if "priority" in e}


def field_managers(product: Installation, name: str) -> list[str]:
    """Who owns something of a VirtualIP, by the API server's book."""
    body = product.cluster.get("vip", name, "--show-managed-fields")
    return [str(manager["manager"]) for manager in body["metadata"]["managedFields"]]
