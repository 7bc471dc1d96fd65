"""Where the addresses of each IP version go. That the links come to be is tried on real kernels in tests/interop."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from vip_api.model import VirtualAddress
from vip_speaker.kernel import KernelError, Link
from vip_speaker.router.places import Place, find_places
from vip_speaker.router.resolution import Resolved
from vip_speaker.vrrp.types import SECOND, Config, Identity

ETH0 = Link(ifindex=2, name="eth0", mac="02:00:00:00:00:01")


class FakeKernel:
    """Makes the links of virtual MACs but for those it refuses, and remembers in which order."""

    def __init__(self, *refused: int) -> None:
        self.links = {ETH0.ifindex: ETH0}
        self.made: list[int] = []
        self.refused = refused

    @property
    def virtual_mac_links(self) -> set[int]:
        return self.links.keys() - {ETH0.ifindex}

    def create_virtual_mac(self, parent: Link, vrid: int, version: int) -> Link:
        assert parent is ETH0
        if version in self.refused:
            raise KernelError("as told")
        self.made.append(version)
        mac = f"00:00:5e:00:0{1 if version == 4 else 2}:{vrid:02x}"
        link = self.links[10 + version] = Link(ifindex=10 + version, name=f"vrrp{version}", mac=mac)
        return link

    def remove_virtual_mac(self, link: Link) -> None:
        del self.links[link.ifindex]


def resolved(*addresses: str, source: str = "10.0.0.1", virtual_mac: bool = False) -> Resolved:
    ips = tuple(map(ip_address, addresses))
    return Resolved(
        ifindex=ETH0.ifindex,
        interface=ETH0.name,
        mac=ETH0.mac,
        own_addresses=frozenset(),
        config=Config(
            identity=Identity(version=3, vrid=51),
            priority=100,
            advertisement_interval_ns=SECOND,
            primary_address=ip_address(source),
            addresses=ips,
        ),
        addresses=tuple(VirtualAddress(ip=ip) for ip in ips),
        advertised=ips,
        virtual_mac=virtual_mac,
    )


def test_the_link_itself_serves_every_version():
    kernel, here = FakeKernel(), Place(ifindex=2, mac=ETH0.mac)
    assert find_places(resolved("10.0.0.100"), kernel) == {4: here}  # type: ignore[arg-type]
    assert find_places(resolved("10.0.0.100", "fe80::1"), kernel) == {4: here, 6: here}  # type: ignore[arg-type]
    assert kernel.made == []


def test_a_virtual_mac_has_a_link_per_version():
    kernel = FakeKernel()
    places = find_places(resolved("fe80::1", "10.0.0.100", virtual_mac=True), kernel)  # type: ignore[arg-type]
    assert places == {
        4: Place(ifindex=14, mac="00:00:5e:00:01:33"),
        6: Place(ifindex=16, mac="00:00:5e:00:02:33"),
    }
    assert kernel.made == [4, 6]


def test_of_the_links_of_a_virtual_mac_all_are_made_or_none():
    kernel, both = FakeKernel(6), resolved("10.0.0.100", "fe80::1", virtual_mac=True)
    with pytest.raises(KernelError):
        find_places(both, kernel)  # type: ignore[arg-type]
    assert kernel.virtual_mac_links == set()
    find_places(resolved("10.0.0.100", virtual_mac=True), kernel)  # type: ignore[arg-type]
    with pytest.raises(KernelError):
        find_places(both, kernel)  # type: ignore[arg-type]
    assert kernel.virtual_mac_links == {14}, "what was there before is in use"


def test_advertisements_have_a_place_even_where_no_address_has_their_version():
    only_six = resolved("fe80::1", source="10.0.0.1")
    assert find_places(only_six, FakeKernel()).keys() == {4, 6}  # type: ignore[arg-type]
