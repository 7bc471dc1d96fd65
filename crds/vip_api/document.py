"""From a VirtualIP document, already plain YAML or JSON values, to the frozen model or to all that is wrong with it.

Structure, bounds and rules are `spec.SPEC`, the tree that the CRD is printed from; what is left here is to turn its
plain values into the model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from .fields import MAX_PROBLEMS, Field, Flag, Integer, Reader, Record, Report, Sequence, Text
from .model import (
    Announcements,
    Assignment,
    Authentication,
    Fact,
    IPAddress,
    LabelRequirement,
    LabelSelector,
    NodePriority,
    OnCordon,
    Peer,
    Problem,
    SecretKeyRef,
    Track,
    Transport,
    VirtualAddress,
    VirtualIP,
    VirtualIPSpec,
)
from .schema import API_VERSION, KIND, NAME_RULE
from .spec import MAX_NODES, PASSWORD, SPEC, UNICAST_PEERS, version_of
from .status import MAX_GENERATION
from .track import KINDS
from .values import duration_ms, parse_address, parse_ip

_NODE_NAME = Text(description="", max_length=253)
# What the agent writes beside `spec` for the router of its node; see `model.Assignment`.
ASSIGNMENT = Record(
    description="What the operator decided for this node.",
    fields={
        "priority": Integer(description="", minimum=1, maximum=255),
        "virtualRouterID": Integer(description="", minimum=1, maximum=255),
        "password": PASSWORD,
        "peers": Sequence(
            description="The other nodes that take part.",
            max_items=MAX_NODES,
            key="node",
            items=Record(
                description="",
                required=("node", "priority"),
                fields={
                    "node": _NODE_NAME,
                    "priority": Integer(description="", minimum=1, maximum=255),
                    "address": UNICAST_PEERS.items,
                    "effectivePriority": Integer(description="", minimum=1, maximum=255),
                },
            ),
        ),
        "facts": Sequence(
            description="What only the operator sees.",
            # One per check, and what concerns the node as a whole (cordoned, excluded).
            max_items=66,
            key="name",
            items=Record(
                description="",
                required=("name", "value"),
                fields={
                    "name": Text(description="", max_length=63),
                    "value": Flag(description=""),
                    "reason": Text(description="", max_length=256, default=""),
                    "stale": Flag(description="", default=False),
                },
            ),
        ),
    },
)

_HEAD: dict[str, Field] = {
    "apiVersion": Text(description="", max_length=64, choices=(API_VERSION,)),
    "kind": Text(description="", max_length=64, choices=(KIND,)),
}
_NAME = Text(description="", max_length=253, rules=(NAME_RULE,))
_GENERATION = Integer(description="", minimum=0, maximum=MAX_GENERATION)
_UID = Text(description="", max_length=128)
_TOP = frozenset({*_HEAD, "metadata", "spec", "status", "assignment"})


def parse_document(document: object, *, lone: bool = False) -> VirtualIP | list[Problem]:
    """The document's model, or everything that is wrong with it; never an exception.

    `lone`: by a router that reads what a person wrote, not what an API server stored. It takes `unicastPeers` and
    `authentication.passwordFile`, which the CRD does not have, and not what only an operator acts on: `nodeSelector`,
    `priorities`, `passwordSecretRef`, `track[].node`, `track[].pods`. A document with an `assignment` comes from an
    agent and is read as the cluster's, whatever `lone` says.
    """
    return parse_remarked(document, lone=lone)[0]


def parse_remarked(document: object, *, lone: bool = False) -> tuple[VirtualIP | list[Problem], list[Problem]]:
    """As `parse_document`, and what is odd but makes nothing wrong: fields that this version does not know, in a
    document that an operator has accepted.
    """
    report = Report()
    parsed = _parse(document, report, lone=lone)
    return parsed, report.remarks


def _parse(document: object, report: Report, *, lone: bool) -> VirtualIP | list[Problem]:
    if not isinstance(document, Mapping):
        return [Problem(path="", message="must be a VirtualIP: a mapping with apiVersion, kind, metadata and spec")]
    assigned = document.get("assignment") is not None
    report.reader = Reader.LONE if lone and not assigned else Reader.CLUSTER
    report.accepted = assigned
    for name, field in _HEAD.items():
        _read(field, document, name, report)
    if report.problems:
        # Another kind of object: what else it holds is none of ours to judge.
        return report.problems
    for key in islice((key for key in document if key not in _TOP), MAX_PROBLEMS):
        report.unknown(str(key)[:64], "unknown field")
    name, generation, uid = _read_metadata(document.get("metadata"), report)
    spec = _read(SPEC, document, "spec", report)
    assignment = ASSIGNMENT.read(document["assignment"], "assignment", report) if assigned else None
    if report.problems:
        return report.problems
    return VirtualIP(
        name=name,
        spec=_spec(spec),
        generation=generation,
        uid=uid,
        deleted=document["metadata"].get("deletionTimestamp") is not None,
        assignment=None if assignment is None else _assignment(assignment),
    )


def document_name(document: object) -> str | None:
    """`metadata.name` as far as it can be read, to name a document that is refused."""
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    good = isinstance(name, str) and NAME_RULE.broken(name) is None
    return name if good else None


def _read(field: Field, within: Mapping[Any, Any], name: str, report: Report, path: str = "") -> Any:
    """The value of a required field."""
    if within.get(name) is None:
        report.add(path + name, "is required")
        return None
    return field.read(within[name], path + name, report)


def _read_metadata(metadata: object, report: Report) -> tuple[Any, Any, Any]:
    """Name, generation and uid; whatever else is in metadata is somebody else's."""
    if not isinstance(metadata, Mapping):
        metadata = {}
    name = _read(_NAME, metadata, "name", report, "metadata.")
    generation, uid = metadata.get("generation"), metadata.get("uid")
    if generation is not None:
        generation = _GENERATION.read(generation, "metadata.generation", report)
    if uid is not None:
        uid = _UID.read(uid, "metadata.uid", report)
    return name, generation, uid


def _spec(spec: dict[str, Any]) -> VirtualIPSpec:
    node_selector = spec.get("nodeSelector")
    peers = spec.get("unicastPeers")
    return VirtualIPSpec(
        addresses=tuple(_address(text) for text in spec["addresses"]),
        interfaces=spec.get("interfaces", ()),
        virtual_router_id=spec.get("virtualRouterID"),
        version=version_of(spec),
        advertisement_interval_ms=duration_ms(spec["advertisementInterval"]),
        priority=spec.get("priority"),
        priorities=tuple(
            NodePriority(node_selector=_selector(entry["nodeSelector"]), priority=entry["priority"])
            for entry in spec.get("priorities", ())
        ),
        preempt=spec["preempt"],
        preempt_delay_ms=duration_ms(spec["preemptDelay"]),
        authentication=_authentication(spec["authentication"]) if "authentication" in spec else None,
        node_selector=None if node_selector is None else _selector(node_selector),
        max_nodes=spec["maxNodes"],
        transport=Transport(spec["transport"]),
        unicast_peers=None if peers is None else tuple(_ip(text) for text in peers),
        virtual_mac=spec["virtualMAC"],
        announcements=_announcements(spec.get("announcements")),
        track=tuple(_track(entry) for entry in spec.get("track", ())),
        on_cordon=OnCordon(spec["onCordon"]),
    )


def _authentication(given: dict[str, Any]) -> Authentication:
    reference = given.get("passwordSecretRef")
    return Authentication(
        password=given.get("password"),
        password_secret_ref=SecretKeyRef(**reference) if reference is not None else None,
        password_file=given.get("passwordFile"),
    )


def _announcements(given: dict[str, Any] | None) -> Announcements:
    if given is None:
        return Announcements()
    return Announcements(
        repeat=given["repeat"],
        delay_ms=duration_ms(given["delay"]),
        refresh_ms=duration_ms(given["refresh"]),
    )


def _selector(given: dict[str, Any]) -> LabelSelector:
    return LabelSelector(
        match_labels=tuple(sorted(given.get("matchLabels", {}).items())),
        match_expressions=tuple(
            LabelRequirement(
                key=requirement["key"], operator=requirement["operator"], values=requirement.get("values", ())
            )
            for requirement in given.get("matchExpressions", ())
        ),
    )


def _track(entry: dict[str, Any]) -> Track:
    kind = next(kind for kind in KINDS if kind in entry)
    return Track(
        name=entry["name"],
        kind=kind,
        check=tuple(entry[kind].items()),
        weight=entry["weight"],
        reverse=entry["reverse"],
    )


def _assignment(given: dict[str, Any]) -> Assignment:
    return Assignment(
        priority=given.get("priority"),
        virtual_router_id=given.get("virtualRouterID"),
        password=given.get("password"),
        peers=tuple(
            Peer(
                node=peer["node"],
                priority=peer["priority"],
                address=_ip(peer["address"]) if "address" in peer else None,
                effective_priority=peer.get("effectivePriority"),
            )
            for peer in given.get("peers", ())
        ),
        facts=tuple(Fact(**fact) for fact in given.get("facts", ())),
    )


def _address(text: str) -> VirtualAddress:
    address = parse_address(text)
    assert address is not None
    return address


def _ip(text: str) -> IPAddress:
    ip = parse_ip(text)
    assert ip is not None
    return ip
