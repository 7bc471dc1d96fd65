"""Where the addresses of a virtual router go: its link itself, or links with the MAC of its VRID on top of that."""

from __future__ import annotations

from dataclasses import dataclass

from vip_speaker.kernel import Kernel, KernelError
from vip_speaker.router.resolution import Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the addresses of one IP version go: a link, and the MAC that they are announced with."""

    ifindex: int
    mac: str


def find_places(resolved: Resolved, kernel: Kernel) -> dict[int, Place]:
    """By IP version, that of the advertisements included. Links for a virtual MAC are made, if need be; all or none of
    them, KernelError.
    """
    versions = {address.ip.version for address in resolved.addresses} | {resolved.config.primary_address.version}
    if not resolved.virtual_mac:
        return dict.fromkeys(sorted(versions), Place(ifindex=resolved.ifindex, mac=resolved.mac))
    vrid, parent = resolved.config.identity.vrid, kernel.links[resolved.ifindex]
    before = kernel.virtual_mac_links
    places: dict[int, Place] = {}
    try:
        for version in sorted(versions):
            link = kernel.create_virtual_mac(parent, vrid, version)
            places[version] = Place(ifindex=link.ifindex, mac=link.mac)
    except KernelError:
        for place in places.values():
            if place.ifindex not in before:
                kernel.remove_virtual_mac(kernel.links[place.ifindex])
        raise
    return places
