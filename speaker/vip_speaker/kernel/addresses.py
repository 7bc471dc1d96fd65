"""Virtual addresses as they are put on a link: prefix, flags, and the requests that add, renew and remove them.
Pure.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network

from vip_speaker.kernel import codec
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.links import (
    FOREVER,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    RTM_DELADDR,
    RTM_NEWADDR,
    Key,
    Link,
)
from vip_speaker.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST

IPAddress = IPv4Address | IPv6Address

# IFA_PROTO, the kernel's "who put this address here" (since 5.18; older ones ignore it). 0..3 are the kernel's own;
# this one is in nobody's list (not 112, VRRP's protocol number, which another VRRP daemon may choose).
ADDRESS_PROTOCOL = 183
_UNIVERSE, _LINK = 0, 253  # scopes, rtnetlink(7)
_ADDITION_FLAGS = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A virtual address with the prefix it has on the link."""

    ifindex: int
    ip: IPAddress
    prefix_length: int

    @property
    def key(self) -> Key:
        """What tells it from any other address: its `key_of`, at half the cost."""
        return self.ifindex, self.prefix_length, self.ip.packed

    def __str__(self) -> str:
        return f"{self.ip}/{self.prefix_length}"

    def __lt__(self, other: Assigned) -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[int, int, bytes, int]:
        return self.ifindex, self.ip.version, self.ip.packed, self.prefix_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What the kernel refused for one address. `error.code` is the errno.

    EEXIST: the address is on the link already and not ours (left alone); ENODEV: the link is gone; EADDRNOTAVAIL:
    the address is gone; ETIME: its lifetime had run out before the renewal.
    """

    assigned: Assigned
    error: KernelError


def plan_addresses(
    link: Link,
    addresses: Iterable[tuple[IPAddress, int | None]],
    *,
    own: AbstractSet[IPAddress] = frozenset(),
    parent: Link | None = None,
) -> tuple[Assigned, ...]:
    """`addresses` (with the prefix length that the document gives, or None) as they go on `link`, in their order.

    IPv4 is a /32 whatever the prefix: a second address of a subnet depends on the first, so removing a VIP that came
    first would remove the node's own. Only in a subnet where the link (and `parent`, for a virtual MAC) has no other
    address does the first one keep its prefix, without which its neighbours could not be reached. IPv6 is a /128; of
    link-local addresses the first keeps /64 on a link that has none, for the same reason. `own` are our addresses: of
    those only one that keeps its prefix counts as another address.
    """
    # A link-local address needs its route on the very link; in any other subnet the parent's route serves the child.
    others = _others(link, own) | ({one for one in _others(parent, own) if not _scoped(one)} if parent else set())
    planned: list[Assigned] = []
    for ip, given in addresses:
        prefix_length: int = ip.max_prefixlen
        wanted = 64 if _scoped(ip) else given if ip.version == 4 else None
        if wanted is not None and wanted < ip.max_prefixlen:
            subnet = ip_network((ip, wanted), strict=False)
            if not any(other.version == ip.version and other in subnet for other in others - {ip}):
                prefix_length = wanted
                others.add(ip)
        planned.append(Assigned(ifindex=link.ifindex, ip=ip, prefix_length=prefix_length))
    return tuple(planned)


def _others(link: Link, own: AbstractSet[IPAddress]) -> set[IPAddress]:
    """The addresses on the link whose subnet is there without us, or because of an address of ours that keeps its
    prefix.
    """
    return {one.ip for one in link.addresses if one.ip not in own or one.prefix_length < one.ip.max_prefixlen}


def _scoped(ip: IPAddress) -> bool:
    """Whether the address means something on one link only: IPv6 link-local."""
    return ip.version == 6 and ip.is_link_local


@lru_cache(maxsize=1 << 15)  # a node has at most 255 virtual routers with 64 addresses per link and family
def renewal(assigned: Assigned, lifetime_s: int | None) -> bytes:
    """The request that sets the lifetime anew to `lifetime_s` seconds (None: for ever); it brings back an address
    that is gone.

    Encoding takes 0.1 ms, so each is made once: call it ahead of the moment that it is needed in.
    """
    return _request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, assigned, lifetime_s)


def addition(assigned: Assigned, lifetime_s: int | None) -> bytes:
    """The request that puts the address on its link for `lifetime_s` seconds (None: for ever); refused when it is
    there.
    """
    message = renewal(assigned, lifetime_s)
    return message[:6] + _ADDITION_FLAGS.to_bytes(2, sys.byteorder) + message[8:]


@lru_cache(maxsize=1 << 15)
def removal(assigned: Assigned) -> bytes:
    """The request that takes the address off, wanting no answer: it can be sent as it is by anyone (last will)."""
    family = socket.AF_INET if assigned.ip.version == 4 else socket.AF_INET6
    fields = {"family": family, "prefixlen": assigned.prefix_length, "index": assigned.ifindex}
    text = str(assigned.ip)
    return codec.encode(
        codec.ifaddrmsg, RTM_DELADDR, NLM_F_REQUEST, fields, [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    )


def removal_requests(assigned: Sequence[Assigned]) -> list[bytes]:
    """`removal` of each, for the last will."""
    return [removal(one) for one in assigned]


def _request(kind: int, flags: int, assigned: Assigned, lifetime_s: int | None) -> bytes:
    text = str(assigned.ip)
    valid = FOREVER if lifetime_s is None else lifetime_s
    ipv4 = assigned.ip.version == 4
    address_flags = 0 if assigned.prefix_length < assigned.ip.max_prefixlen else IFA_F_NOPREFIXROUTE
    if not ipv4:
        # Duplicate detection would fail against the former master, RFC 9568 section 8.2.2 allows to go without. A
        # preferred lifetime of 0 (deprecated) keeps the node from choosing a VIP as the source of its own traffic.
        address_flags |= IFA_F_NODAD
    attributes = [
        ("IFA_LOCAL", text),
        ("IFA_ADDRESS", text),
        ("IFA_FLAGS", address_flags),
        ("IFA_PROTO", ADDRESS_PROTOCOL),
        ("IFA_CACHEINFO", {"ifa_preferred": valid if ipv4 else 0, "ifa_valid": valid, "cstamp": 0, "tstamp": 0}),
    ]
    if ipv4 and assigned.prefix_length < 31:
        subnet = ip_network((assigned.ip, assigned.prefix_length), strict=False)
        attributes.append(("IFA_BROADCAST", str(subnet.broadcast_address)))
    fields = {
        "family": socket.AF_INET if ipv4 else socket.AF_INET6,
        "prefixlen": assigned.prefix_length,
        "flags": address_flags & 0xFF,
        "scope": _LINK if _scoped(assigned.ip) else _UNIVERSE,
        "index": assigned.ifindex,
    }
    return codec.encode(codec.ifaddrmsg, kind, NLM_F_REQUEST | flags, fields, attributes)
