"""What may exist once on this host: a VRID per link and IP version, an address. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vip_speaker.vrrp.types import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one VIP takes for itself. `rank`: who wins; 0 still holds what it is leaving, 1 takes part, 2 is new."""

    name: str
    rank: int
    ifindex: int
    interface: str
    version: int
    vrid: int
    addresses: frozenset[IPAddress]


def find_conflicts(claims: Iterable[Claim]) -> dict[str, str]:
    """By name, with whom a VIP is in conflict and over which field. Of two the one in force wins, then the name."""
    routers: dict[tuple[int, int, int], str] = {}
    addresses: dict[IPAddress, str] = {}
    conflicts: dict[str, str] = {}
    for claim in sorted(claims, key=lambda one: (one.rank, one.name)):
        key = (claim.ifindex, claim.version, claim.vrid)
        shared = min((one for one in claim.addresses if one in addresses), key=str, default=None)
        if key in routers:
            conflicts[claim.name] = f"spec.virtualRouterID: {claim.vrid} is that of {routers[key]} on {claim.interface}"
        elif shared is not None:
            conflicts[claim.name] = f"spec.addresses: {shared} is an address of {addresses[shared]}"
        else:
            routers[key] = claim.name
            addresses.update(dict.fromkeys(claim.addresses, claim.name))
    return conflicts
