"""Which link a virtual router runs on, and which address it speaks from. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from vip_speaker.kernel.links import IPAddress, Link


def find_interface(
    links: Iterable[Link], patterns: Sequence[str], address: IPAddress, *, own: AbstractSet[IPAddress] = frozenset()
) -> Link | None:
    """The link of a virtual router whose first address is `address`; None when there is none (yet).

    With `patterns` (names or globs): the first of them that any link matches decides, and among the links that it
    matches one that is up, then the lower ifindex. Without: the link whose subnet holds the address, by an address that
    is not one of `own`; the longest prefix wins, then a link that is up, then the lower ifindex. Every link holds a
    link-local subnet, so a first address in fe80::/10 is found only where exactly one link other than loopback has a
    link-local address. A port of a bridge or bond carries no addresses of its own and is taken only when named.
    """
    candidates = sorted((link for link in links if not link.loopback), key=_up_then_oldest)
    for pattern in patterns:
        found = next((link for link in candidates if fnmatchcase(link.name, pattern)), None)
        if found is not None:
            return found
    if patterns:
        return None
    holding = [
        (one.prefix_length, link)
        for link in candidates
        for one in link.addresses
        if one.ip not in own and one.prefix_length < one.ip.max_prefixlen and one.contains(address)
    ]
    if address.is_link_local and address.version == 6 and len({link.ifindex for _, link in holding}) != 1:
        return None
    return max(holding, key=lambda pair: pair[0])[1] if holding else None  # max() keeps the first of equals


def primary_address(link: Link, version: int, own: AbstractSet[IPAddress]) -> IPAddress | None:
    """The source of advertisements (RFC 9568 section 1.7, Primary IPvX Address), never one of `own`; None when there
    is none.

    IPv4: the first address that is not secondary, one with a subnet before a /32 and one of global scope before a
    link-local one. IPv6: the link-local address, as section 5.1.2.1 demands.
    """
    ours = [one for one in link.addresses if one.ip.version == version and one.ip not in own and one.usable]
    if version == 6:
        return next((one.ip for one in ours if one.ip.is_link_local), None)
    ours.sort(key=lambda one: (one.secondary, one.ip.is_link_local, one.prefix_length == 32))
    return ours[0].ip if ours else None


def _up_then_oldest(link: Link) -> tuple[bool, int]:
    return not link.up, link.ifindex
