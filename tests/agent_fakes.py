"""An API server in memory, for the tests of the agent."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from vip_speaker.agent.api import ApiError


def vip(name: str = "web", *, uid: str = "", version: int = 5, generation: int = 1, **status: Any) -> dict[str, Any]:
    """A VirtualIP as the API has it; keyword arguments are its status."""
    return {
        "apiVersion": "kube-vrrp.io/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "generation": generation,
        },
        "spec": {"addresses": ["192.168.137.100"], "priority": generation},
        **({"status": status} if status else {}),
    }


def assigned(name: str = "web", *, generation: int = 1, vrid: int | None = 51, **entry: Any) -> dict[str, Any]:
    """A VirtualIP that the operator accepted and assigned to node1 (254) and node2 (252)."""
    condition = {"type": "Accepted", "status": "True", "observedGeneration": generation}
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": [condition],
        "nodes": [
            {"node": "node1", "priority": 254, "reporting": "True", **entry},
            {"node": "node2", "priority": 252, "primaryAddress": "192.168.137.12"},
        ],
    }
    if vrid is not None:
        status["virtualRouterID"] = vrid
    return vip(name, generation=generation, **status)


def refusal(status: int | None) -> ApiError:
    return ApiError(status, "refused")


class FakeApi:
    """What reflector, writer and reporter need of the API."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = list(objects)
        self.events: list[list[dict[str, Any]]] = []
        self.watched: list[str] = []
        self.watched_for: list[int] = []
        self.refuse_list: ApiError | None = None
        self.refuse_watch: ApiError | None = None
        self.refuse_apply: ApiError | None = None
        self.served: bool | ApiError = True
        self.secrets: dict[tuple[str, str], str] | ApiError = {}
        self.applied: list[tuple[str, Mapping[str, Any]]] = []

    def list(self) -> tuple[list[dict[str, Any]], str]:
        if self.refuse_list is not None:
            raise self.refuse_list
        return copy.deepcopy(self.objects), "10"

    def watch(self, version: str, seconds: int) -> Iterator[dict[str, Any]]:
        self.watched.append(version)
        self.watched_for.append(seconds)
        if self.refuse_watch is not None:
            raise self.refuse_watch
        return iter(self.events.pop(0) if self.events else [])

    def is_served(self) -> bool:
        if isinstance(self.served, ApiError):
            raise self.served
        return self.served

    def secret_value(self, name: str, key: str) -> str | None:
        if isinstance(self.secrets, ApiError):
            raise self.secrets
        return self.secrets.get((name, key))

    def apply_status(self, name: str, *, uid: str, status: Mapping[str, Any], manager: str) -> Mapping[str, Any]:
        """Server-side apply of one node's entry."""
        if self.refuse_apply is not None:
            raise self.refuse_apply
        self.applied.append((name, status))
        body = next(o for o in self.objects if o["metadata"]["name"] == name)
        body["metadata"]["resourceVersion"] = str(int(body["metadata"]["resourceVersion"]) + 1)
        node = manager.removeprefix("kube-vrrp-speaker-")
        body["status"].update({key: value for key, value in status.items() if key != "nodes"})
        entries = body["status"]["nodes"]
        own = next((e for e in entries if e["node"] == node), {"node": node})
        kept = {k: v for k, v in own.items() if k in ("node", "priority", "reporting", "facts")}
        (wanted,) = status.get("nodes") or ({},)
        merged = {**kept, **wanted}
        body["status"]["nodes"] = [e for e in entries if e["node"] != node] + ([merged] if len(merged) > 1 else [])
        return copy.deepcopy(body)
