"""The VirtualIP document as frozen values: what `spec` says, with every default filled in.

Made by `vip_api.parse`; read by router, agent and operator. Durations are whole milliseconds, because that is what
the document can say; nothing here knows a clock, a socket or Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address


class Transport(StrEnum):
    """How advertisements reach the other routers."""

    MULTICAST = "Multicast"
    UNICAST = "Unicast"


class OnCordon(StrEnum):
    """What a cordoned node does with the VIP."""

    KEEP = "Keep"
    DEMOTE = "Demote"
    RELEASE = "Release"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualAddress:
    """One of `spec.addresses`; `prefix_length` is None when the document gives a bare address."""

    ip: IPAddress
    prefix_length: int | None = None

    def __str__(self) -> str:
        return str(self.ip) if self.prefix_length is None else f"{self.ip}/{self.prefix_length}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKeyRef:
    """A key of a Secret in the release's namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """PASS authentication (RFC 2338); exactly one source of the password is set. A password is 1..8 bytes."""

    password: str | None = field(default=None, repr=False)
    password_secret_ref: SecretKeyRef | None = None
    password_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcements:
    """Gratuitous ARP and unsolicited NA: `repeat` at once, as many after `delay_ms`, one per `refresh_ms` (0: none)."""

    repeat: int = 5
    delay_ms: int = 5_000
    refresh_ms: int = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequirement:
    """One `matchExpressions` entry of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """A Kubernetes label selector; the empty one matches every node."""

    match_labels: tuple[tuple[str, str], ...] = ()
    match_expressions: tuple[LabelRequirement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePriority:
    """One `spec.priorities` entry: nodes that match count down from `priority`."""

    node_selector: LabelSelector
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One `spec.track` entry. `kind` is `interface`, `file`, …; `check` holds that kind's own fields.

    Defaults are filled in, durations and all else are as the document has them: text, numbers, flags, tuples.
    """

    name: str
    kind: str
    check: tuple[tuple[str, object], ...]
    weight: int = 0
    reverse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualIPSpec:
    """`spec`, defaults filled in. None means: to be derived (interface, VRID, priority)."""

    addresses: tuple[VirtualAddress, ...]
    interfaces: tuple[str, ...] = ()
    virtual_router_id: int | None = None
    version: int = 3
    advertisement_interval_ms: int = 1_000
    priority: int | None = None
    priorities: tuple[NodePriority, ...] = ()
    preempt: bool = True
    preempt_delay_ms: int = 0
    authentication: Authentication | None = None
    node_selector: LabelSelector | None = None
    max_nodes: int = 8
    transport: Transport = Transport.MULTICAST
    unicast_peers: tuple[IPAddress, ...] | None = None
    virtual_mac: bool = False
    announcements: Announcements = Announcements()
    track: tuple[Track, ...] = ()
    on_cordon: OnCordon = OnCordon.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another node that takes part, as the operator assigned it.

    `address` and `effective_priority`, what checks make of `priority`, are None until that node has reported; of a node
    that reports no more they are its last word.
    """

    node: str
    priority: int
    address: IPAddress | None = None
    effective_priority: int | None = None

    @property
    def effective(self) -> int:
        """The priority with which it runs, as far as is known."""
        return self.priority if self.effective_priority is None else self.effective_priority


CORDON_FACT = "onCordon"
"""The fact about the node as a whole: whether it is cordoned. No check can have this name: those have no capitals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something only the operator can see, as a track's input on this node.

    `stale`: the API server did not confirm it lately.
    """

    name: str
    value: bool
    reason: str = ""
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the operator decided for this node, with the password the agent looked up. Absent for a lone router.

    Written by the agent beside `spec` in `desired/*.json`, as the top-level key `assignment`:
    `{priority, virtualRouterID, password?, peers: [{node, priority, address?, effectivePriority?}],
    facts: [{name, value, reason, stale}]}`.
    A VIP whose assignment lacks priority or virtualRouterID stays in INIT and only listens.
    """

    priority: int | None = None
    virtual_router_id: int | None = None
    password: str | None = field(default=None, repr=False)
    peers: tuple[Peer, ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualIP:
    """One VirtualIP document. `generation` and `uid` are None where no API server set them.

    `deleted`: it has a deletion timestamp, so no node is to serve it any more.
    """

    name: str
    spec: VirtualIPSpec
    generation: int | None = None
    uid: str | None = None
    deleted: bool = False
    assignment: Assignment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a document: where (`spec.addresses[1]`), and a sentence a person can act on.

    The path is empty where the document as a whole is meant, `line 3` where the text is not YAML or JSON.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message
