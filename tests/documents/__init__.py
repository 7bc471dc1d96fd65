"""The shared table: documents that everyone takes, and documents that everyone refuses for one reason each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    name: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """`path` and `message`: the parser's; `crd`: what the API server's message contains; `problems`: the parser's."""

    name: str
    document: dict[str, Any]
    path: str
    message: str
    crd: str
    problems: int = 1


def whole(spec: Any) -> dict[str, Any]:
    """The document around a spec."""
    return {
        "apiVersion": "kube-vrrp.io/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": "web"},
        "spec": spec,
    }


def _entries(file: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = yaml.safe_load((_HERE / file).read_text())
    for entry in entries:
        if "spec" in entry:
            entry["document"] = whole(entry.pop("spec"))
    return entries


def good() -> list[Good]:
    return [Good(**entry) for entry in _entries("good.yaml")]


def bad() -> list[Bad]:
    return [Bad(**({"crd": entry["message"]} | entry)) for entry in _entries("bad.yaml")]
