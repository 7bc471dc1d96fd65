"""What is wrong with documents only beside each other: one file or directory, or all that one node was told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from .model import IPAddress, Problem, VirtualIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict(Problem):
    """A problem of the document at `index` of those judged, with an earlier one, which is in the right."""

    index: int


def check_together(vips: Sequence[VirtualIP]) -> list[Conflict]:
    """Names, addresses and VRIDs that two of the documents claim. Of two the earlier one is in the right.

    Whether two are on one link only the node knows for sure. Here they are unless that can be ruled out: by
    `interfaces` without a common name, or, where one leaves the choice to the node, by the subnets of their first
    addresses (/24 and /64 where no prefix length is given).
    """
    return [
        Conflict(path=problem.path, message=problem.message, index=index)
        for index, later in enumerate(vips)
        for earlier in vips[:index]
        for problem in _between(earlier, later)
    ]


def _between(earlier: VirtualIP, later: VirtualIP) -> Iterable[Problem]:
    if earlier.name == later.name:
        yield Problem(path="metadata.name", message=f'there is another VirtualIP named "{earlier.name}"')
        return
    one_link = _may_share_link(earlier, later)
    if one_link and _election(earlier) == _election(later):
        yield Problem(
            path="spec.virtualRouterID",
            message=f'VRID {_election(later)[0]} is in use by VirtualIP "{earlier.name}"; '
            "give it another one, or name different interfaces where they are on different links",
        )
    taken = {address.ip for address in earlier.spec.addresses}
    for index, address in enumerate(later.spec.addresses):
        if address.ip in taken and (one_link or not address.ip.is_link_local):
            yield Problem(
                path=f"spec.addresses[{index}]",
                message=f'{address.ip} is an address of VirtualIP "{earlier.name}"',
            )


def _election(vip: VirtualIP) -> tuple[int | str, int]:
    """VRID and family; a VIP that has no VRID yet is equal to no other."""
    assigned = vip.assignment.virtual_router_id if vip.assignment is not None else None
    return assigned or vip.spec.virtual_router_id or vip.name, vip.spec.addresses[0].ip.version


def _may_share_link(one: VirtualIP, other: VirtualIP) -> bool:
    if one.spec.interfaces and other.spec.interfaces:
        pairs = product(one.spec.interfaces, other.spec.interfaces)
        return any(a == b or fnmatchcase(a, b) or fnmatchcase(b, a) for a, b in pairs)
    a, b = _subnet(one), _subnet(other)
    return a.version == b.version and bool(a.overlaps(b))


def _subnet(vip: VirtualIP) -> IPv4Network | IPv6Network:
    address = vip.spec.addresses[0]
    ip: IPAddress = address.ip
    length = address.prefix_length
    if length is None or length == ip.max_prefixlen:
        length = 24 if ip.version == 4 else 64
    return ip_network((ip, length), strict=False)
