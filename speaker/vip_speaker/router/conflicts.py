"""What may exist once on this host: a VRID per link and IP version, an address (a link-local one per link). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vip_speaker.vrrp.types import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one VIP takes for itself. `rank`: who wins; 0 still holds what it is leaving, 1 takes part with what it has,
    2 takes part and wants something else, 3 is new.
    """

    name: str
    rank: int
    ifindex: int
    interface: str
    version: int
    vrid: int
    addresses: frozenset[IPAddress]

    @property
    def virtual_router(self) -> tuple[int, int, int]:
        """What a VRID is unique in, and the VRID."""
        return self.ifindex, self.version, self.vrid

    def is_within(self, other: Claim) -> bool:
        """Whether it takes nothing that `other` does not."""
        return self.virtual_router == other.virtual_router and self.taken <= other.taken

    @property
    def taken(self) -> set[tuple[int, IPAddress]]:
        """What nobody else may have: IPv6 link-local addresses mean something on their link only."""
        return {(self.ifindex if ip.version == 6 and ip.is_link_local else 0, ip) for ip in self.addresses}


def find_conflicts(claims: Iterable[Claim]) -> dict[str, str]:
    """By name, with whom a VIP is in conflict and over which field. Of two the one in force wins, then the name."""
    routers: dict[tuple[int, int, int], str] = {}
    addresses: dict[tuple[int, IPAddress], str] = {}
    conflicts: dict[str, str] = {}
    for claim in sorted(claims, key=lambda one: (one.rank, one.name)):
        key, taken = claim.virtual_router, claim.taken
        shared = min((one for one in taken if one in addresses), key=lambda one: str(one[1]), default=None)
        if key in routers:
            conflicts[claim.name] = f"spec.virtualRouterID: {claim.vrid} is that of {routers[key]} on {claim.interface}"
        elif shared is not None:
            conflicts[claim.name] = f"spec.addresses: {shared[1]} is an address of {addresses[shared]}"
        else:
            routers[key] = claim.name
            addresses.update(dict.fromkeys(taken, claim.name))
    return conflicts
