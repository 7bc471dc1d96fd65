"""`spec` of a VirtualIP: its fields, bounds, defaults and rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .fields import Field, Flag, Integer, Reader, Record, Rule, Sequence, Text
from .selectors import selector
from .track import TRACK
from .values import (
    ADDRESS_RULES,
    DNS_SUBDOMAIN,
    DURATION,
    DURATION_RULE,
    GIVE_UNIT,
    LINK_GLOB,
    cel_matches,
    duration,
    duration_ms,
    form,
    parse_address,
    parse_ip,
)

MAX_ADDRESSES = 64
MAX_NODES = 254

PASSWORD = Text(
    description="The password, 1 to 8 bytes. Whoever may read VirtualIPs can read it, and so can everyone "
    "on the link: it keeps "
    "routers apart that were configured by mistake, nothing more.",
    max_length=64,
    secret=True,
    rules=(
        Rule(
            message="must be 1 to 8 bytes: VRRPv2 carries no more",
            cel="self.size() > 0 && size(bytes(self)) <= 8",
            broken=lambda password: None if 0 < len(password.encode()) <= 8 else "",
        ),
        Rule(
            message="must not hold a NUL character, which pads short passwords in a packet",
            cel=r"self.matches(r'^[^\x00]*$')",
            broken=lambda password: "" if "\0" in password else None,
        ),
    ),
)


def _one_source(authentication: dict[str, Any]) -> str | None:
    sources = ("password", "passwordSecretRef", "passwordFile")
    return None if sum(source in authentication for source in sources) == 1 else ""


AUTHENTICATION = Record(
    description="The simple password of VRRPv2, as keepalived's `auth_type PASS`. VRRPv3 has none.",
    fields={
        "type": Text(description="The kind of authentication.", max_length=8, choices=("PASS",), default="PASS"),
        "password": PASSWORD,
        "passwordSecretRef": Record(
            description="A key of a Secret in kube-vrrp's own namespace that holds the password.",
            only=Reader.CLUSTER,
            required=("name", "key"),
            fields={
                "name": Text(
                    description="The Secret's name.",
                    max_length=253,
                    rules=(form(DNS_SUBDOMAIN, "must be the name of a Secret"),),
                ),
                "key": Text(
                    description="The key within the Secret.",
                    max_length=253,
                    rules=(form(r"[-._a-zA-Z0-9]+", "must be a key of a Secret"),),
                ),
            },
        ),
        "passwordFile": Text(
            description="The absolute path of a file that holds the password.",
            max_length=1024,
            only=Reader.LONE,
            rules=(form(r"/[^\x00-\x1f\x7f]+", "must be the absolute path of a file"),),
        ),
    },
    rules=(
        Rule(
            message="needs either password or passwordSecretRef, not both",
            cel="has(self.password) != has(self.passwordSecretRef)",
            broken=_one_source,
            reads=("password", "passwordSecretRef", "passwordFile"),
            whole=True,
        ),
    ),
)


def _first_twin(addresses: list[str | None]) -> str | None:
    """Where an address stands for the second time."""
    seen = set()
    for index, text in enumerate(addresses):
        address = parse_address(text) if text is not None else None
        if address is not None and address.ip in seen:
            return f"[{index}]"
        if address is not None:
            seen.add(address.ip)
    return None


ADDRESSES = Sequence(
    description="The virtual addresses, 1 to 64: bare, or with the prefix length of their subnet. The "
    "election runs in the "
    "family of the first one; addresses of the other family move along.",
    min_items=1,
    max_items=MAX_ADDRESSES,
    items=Text(description="", max_length=49, rules=ADDRESS_RULES),
    rules=(
        Rule(
            message="the same address is listed twice (the prefix length does not tell them apart)",
            cel="[self.filter(a, isIP(a) || isCIDR(a)).map(a, isCIDR(a) ? string(cidr(a).ip()) : "
            "string(ip(a)))]"
            ".all(all, all.all(a, all.exists_one(b, b == a)))",
            broken=_first_twin,
        ),
    ),
)

INTERFACES = Sequence(
    description="Names of network interfaces, or patterns with *, ? and [ ]; on each node the first that "
    "matches is used. "
    "Without it, the one whose subnet holds the first address.",
    max_items=16,
    items=Text(
        description="",
        max_length=64,
        rules=(
            form(
                LINK_GLOB,
                "must be the name of an interface (at most 15 characters, no space, / or :) or a pattern with * ? [ ]",
            ),
        ),
    ),
)

PRIORITIES = Sequence(
    description="Priorities for groups of nodes; the first entry that selects a node counts, and the nodes "
    "of one entry count "
    "down from its priority.",
    only=Reader.CLUSTER,
    max_items=64,
    items=Record(
        description="Nodes and their highest priority.",
        required=("nodeSelector", "priority"),
        fields={
            "nodeSelector": selector("Labels of the nodes."),
            "priority": Integer(description="The highest priority among these nodes.", minimum=1, maximum=255),
        },
    ),
)

ANNOUNCEMENTS = Record(
    description="Gratuitous ARP and unsolicited neighbour advertisements, which tell the link where the "
    "addresses are now.",
    fields={
        "repeat": Integer(
            description="How many are sent at once on becoming MASTER, and again after `delay`.",
            minimum=1,
            maximum=60,
            default=5,
        ),
        "delay": duration(
            "Time until they are sent again; 0s: they are not.",
            minimum="0s",
            maximum="3600s",
            default="5s",
        ),
        "refresh": duration(
            "Time between further ones for as long as the node is MASTER; 0s: none.",
            minimum="1s",
            maximum="86400s",
            default="60s",
            or_zero=True,
        ),
    },
)

UNICAST_PEERS = Sequence(
    description="The addresses of the other routers.",
    only=Reader.LONE,
    max_items=MAX_NODES,
    min_items=1,
    items=Text(
        description="",
        max_length=64,
        rules=(
            Rule(
                message="must be an IPv4 or IPv6 address",
                cel=None,
                broken=lambda text: "" if parse_ip(text) is None else None,
            ),
        ),
    ),
)

_FIELDS: dict[str, Field] = {
    "addresses": ADDRESSES,
    "interfaces": INTERFACES,
    "virtualRouterID": Integer(
        description="The VRID, 1 to 255: the number by which the routers of this VIP know each other, unique on the "
        "link. Without it the operator takes a free one, once it has listened for 3 s; routers outside the cluster "
        "that are to take part need the same.",
        minimum=1,
        maximum=255,
    ),
    "version": Integer(
        description="The version of VRRP: 3, or 2 for routers that speak only that (IPv4, whole seconds, "
        "keepalived's default). "
        "Without it 3, or 2 where authentication is set.",
        minimum=2,
        maximum=3,
        choices=(2, 3),
    ),
    "advertisementInterval": Text(
        description="Time between advertisements. Version 3: 10ms to 40.95s in steps of 10ms. Version 2: "
        "1s to 255s, whole "
        "seconds. Peers take over after three intervals and a little more.",
        max_length=32,
        default="1s",
        rules=(DURATION_RULE,),
        unquoted=GIVE_UNIT,
    ),
    "priority": Integer(
        description="The highest priority, 1 to 255; the nodes count down from it, each with its own. The node with "
        "the highest is MASTER while it is well, the next one takes over. 255 is the owner of the addresses, which "
        "only one node can be. Without it the operator derives it (254).",
        minimum=1,
        maximum=255,
    ),
    "priorities": PRIORITIES,
    "preempt": Flag(
        description="Whether a router with a higher priority takes over from a running MASTER: with true a repaired "
        "node takes the VIP back, with false it stays where it is.",
        default=True,
    ),
    "preemptDelay": duration(
        "How long a router with a higher priority waits before it does.",
        minimum="0s",
        maximum="3600s",
        default="0s",
    ),
    "authentication": AUTHENTICATION,
    "nodeSelector": selector(
        "Labels of the nodes that may take part; without it every node that has the link.",
        only=Reader.CLUSTER,
    ),
    "maxNodes": Integer(
        description="How many of the nodes that nodeSelector leaves take part at most; the best is MASTER, the others "
        "stand by.",
        minimum=1,
        maximum=MAX_NODES,
        default=8,
    ),
    "transport": Text(
        description="How advertisements are sent: Multicast, or Unicast to each of the other nodes, for networks that "
        "drop multicast.",
        max_length=16,
        choices=("Multicast", "Unicast"),
        default="Multicast",
    ),
    "unicastPeers": UNICAST_PEERS,
    "virtualMAC": Flag(
        description="Whether the addresses have VRRP's virtual MAC address, on a macvlan interface of "
        "their own, rather than the "
        "node's.",
        default=False,
    ),
    "announcements": ANNOUNCEMENTS,
    "track": TRACK,
    "onCordon": Text(
        description="What a cordoned node does: Keep the VIP, Demote itself below the others, or Release it.",
        max_length=16,
        choices=("Keep", "Demote", "Release"),
        default="Keep",
    ),
}


def version_of(spec: dict[str, Any]) -> int:
    """`version`, or what it is without one."""
    version: int = spec.get("version", 2 if "authentication" in spec else 3)
    return version


def _broken_in(version: int, right: Callable[[int], bool]) -> Callable[[dict[str, Any]], str | None]:
    """The advertisement interval has to be `right` (in milliseconds) in this version."""

    def broken(spec: dict[str, Any]) -> str | None:
        fits = version_of(spec) != version or right(duration_ms(spec["advertisementInterval"]))
        return None if fits else ""

    return broken


def _first_ipv6(spec: dict[str, Any]) -> str | None:
    if version_of(spec) == 3:
        return None
    for index, text in enumerate(spec["addresses"]):
        address = parse_address(text)
        if address is not None and address.ip.version == 6:
            return f"[{index}]"
    return None


def _first_foreign_peer(spec: dict[str, Any]) -> str | None:
    first = parse_address(spec["addresses"][0])
    for index, text in enumerate(spec.get("unicastPeers", ())):
        peer = parse_ip(text)
        if first is not None and peer is not None and peer.version != first.ip.version:
            return f"[{index}]"
    return None


_IS_V2 = "(has(self.version) ? self.version == 2 : has(self.authentication))"
_IS_V3 = "(has(self.version) ? self.version == 3 : !has(self.authentication))"
_INTERVAL = "duration(self.advertisementInterval)"
_NO_INTERVAL = f"!{cel_matches('self.advertisementInterval', DURATION)}"

_RULES = (
    Rule(
        message="only VRRPv2 has authentication: leave version out, set it to 2, or leave authentication out",
        cel="!has(self.authentication) || !has(self.version) || self.version != 3",
        broken=lambda spec: "" if "authentication" in spec and version_of(spec) == 3 else None,
        reads=("version",),
        field="authentication",
    ),
    Rule(
        message="VRRPv2 carries IPv4 only: use version 3 for IPv6",
        cel=f"!{_IS_V2} || self.addresses.all(a, isCIDR(a) ? cidr(a).ip().family() == 4 : "
        "!isIP(a) || ip(a).family() == 4)",
        broken=_first_ipv6,
        reads=("version", "addresses"),
        field="addresses",
    ),
    Rule(
        message="VRRPv3 advertises every 10ms to 40.95s, in steps of 10ms",
        cel=f"!{_IS_V3} || {_NO_INTERVAL} || ({_INTERVAL} >= duration('10ms') && {_INTERVAL} <= "
        f"duration('40.95s')"
        f" && {_INTERVAL}.getMilliseconds() % 10 == 0)",
        broken=_broken_in(3, lambda ms: 10 <= ms <= 40_950 and ms % 10 == 0),
        reads=("version", "advertisementInterval"),
        field="advertisementInterval",
    ),
    Rule(
        message="VRRPv2 advertises every 1s to 255s, in whole seconds",
        cel=f"!{_IS_V2} || {_NO_INTERVAL} || ({_INTERVAL} >= duration('1s') && {_INTERVAL} <= "
        f"duration('255s')"
        f" && {_INTERVAL}.getMilliseconds() % 1000 == 0)",
        broken=_broken_in(2, lambda ms: 1_000 <= ms <= 255_000 and ms % 1_000 == 0),
        reads=("version", "advertisementInterval"),
        field="advertisementInterval",
    ),
    Rule(
        message="has no effect with preempt: false; leave one of them out",
        cel=f"self.preempt || !{cel_matches('self.preemptDelay', DURATION)} || "
        "duration(self.preemptDelay) == duration('0s')",
        broken=lambda spec: None if spec["preempt"] or not duration_ms(spec["preemptDelay"]) else "",
        reads=("preempt", "preemptDelay"),
        field="preemptDelay",
    ),
    Rule(
        message="is required with transport: Unicast where no operator knows the other routers",
        cel=None,
        only=Reader.LONE,
        broken=lambda spec: "" if spec["transport"] == "Unicast" and "unicastPeers" not in spec else None,
        reads=("transport", "unicastPeers"),
        field="unicastPeers",
    ),
    Rule(
        message="must be of the family of the first address, in which the election runs",
        cel=None,
        only=Reader.LONE,
        broken=_first_foreign_peer,
        reads=("addresses", "unicastPeers"),
        field="unicastPeers",
    ),
    Rule(
        message="go with transport: Unicast only",
        cel=None,
        only=Reader.LONE,
        broken=lambda spec: "" if "unicastPeers" in spec and spec["transport"] != "Unicast" else None,
        reads=("transport", "unicastPeers"),
        field="unicastPeers",
    ),
)

SPEC = Record(description="What the virtual router is to be.", required=("addresses",), fields=_FIELDS, rules=_RULES)
