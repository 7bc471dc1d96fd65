"""The CustomResourceDefinition, made of the fields that the parser reads: `python -m vip_api.schema` prints it."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from .fields import Rule
from .spec import SPEC
from .status import STATUS
from .values import DNS_LABEL, DNS_SUBDOMAIN, cel_matches, matches

GROUP = "kube-vrrp.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "VirtualIP"
PLURAL = "virtualips"

_NAME = "self.metadata.name"
# The API server itself refuses what is not a DNS subdomain; this speaks only where that is silent.
NAME_RULE = Rule(
    message="the name must be a DNS label: lower-case letters, digits and dashes, no dots, at most 63 characters",
    cel=f"!{cel_matches(_NAME, DNS_SUBDOMAIN)} || {cel_matches(_NAME, DNS_LABEL)}",
    broken=lambda name: None if matches(DNS_LABEL, name) else "",
)

_MASTER = '.status.nodes[?(@.state=="MASTER")]'
_COLUMNS: tuple[tuple[str, str, str, str, int], ...] = (
    ("Address", "string", ".spec.addresses[0]", "The first address.", 0),
    ("VRID", "integer", ".status.virtualRouterID", "The virtual router ID in use.", 0),
    ("Master", "string", ".status.master", "The node that has the addresses.", 0),
    ("Priority", "integer", ".status.masterPriority", "That node's priority.", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether the VIP is up.", 0),
    ("Age", "date", ".metadata.creationTimestamp", "Time since it was created.", 0),
    ("Addresses", "string", ".status.addresses", "The first addresses, and how many more there are.", 1),
    ("Version", "integer", ".status.version", "The VRRP version in use.", 1),
    ("Interface", "string", f"{_MASTER}.interface", "The interface they are on.", 1),
    ("Backups", "string", ".status.backups", "The nodes that stand by.", 1),
    ("Since", "date", f"{_MASTER}.since", "Time since the master took over.", 1),
)


def _column(name: str, kind: str, path: str, description: str, priority: int) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | {"priority": priority} if priority else column


def crd() -> dict[str, Any]:
    """The definition, ready for `kubectl apply`."""
    root = {
        "description": "A VirtualIP is one VRRP virtual router: addresses that are on exactly one of the "
        "nodes that take part, "
        "and move when it fails.",
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [NAME_RULE.openapi()],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{API_VERSION}."},
            "kind": {"type": "string", "description": f"{KIND}."},
            "metadata": {"type": "object"},
            "spec": SPEC.openapi(),
            "status": STATUS.openapi(),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "virtualip",
                "shortNames": ["vip", "vips"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


class _Plain(yaml.SafeDumper):
    """Writes every value out where it stands; two fields of one kind are not one anchor and its alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def crd_yaml() -> str:
    """crds/virtualip.yaml."""
    header = "# Written by `make generate` from vip_api.schema; needs Kubernetes 1.32 or newer.\n"
    return header + yaml.dump(crd(), Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(crd_yaml())
