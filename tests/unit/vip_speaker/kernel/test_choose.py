"""Which link, and which source address."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
from vip_speaker.kernel import Link, LinkAddress
from vip_speaker.kernel.choose import find_interface, primary_address

SECONDARY, TENTATIVE = 0x01, 0x40


def link(ifindex: int, name: str, *addresses: str, up: bool = True, loopback: bool = False, flags: int = 0) -> Link:
    return Link(
        ifindex=ifindex,
        name=name,
        up=up,
        loopback=loopback,
        addresses=tuple(
            LinkAddress(ip=one.ip, prefix_length=one.network.prefixlen, flags=flags)
            for one in map(ip_interface, addresses)
        ),
    )


def found(links: list[Link], address: str, *, patterns: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> str | None:
    chosen = find_interface(links, patterns, ip_address(address), own={ip_address(one) for one in own})
    return chosen.name if chosen else None


NODE = [
    link(1, "lo", "127.0.0.1/8", "10.0.0.100/8", loopback=True),
    link(2, "eth0", "10.0.0.1/16", "fe80::2/64"),
    link(3, "eth1", "10.0.5.1/24", "fe80::3/64"),
    link(4, "bond0"),
]


def test_patterns_go_first_to_last() -> None:
    assert found(NODE, "10.0.0.100", patterns=("bond*", "eth0")) == "bond0"
    assert found(NODE, "10.0.0.100", patterns=("wlan?", "eth*")) == "eth0"
    assert found(NODE, "10.0.0.100", patterns=("wlan0",)) is None
    assert found(NODE, "127.0.0.9", patterns=("lo", "*")) == "eth0"


def test_a_pattern_prefers_a_link_that_is_up() -> None:
    assert found([link(2, "eth0", up=False), link(3, "eth1")], "10.0.0.100", patterns=("eth*",)) == "eth1"
    assert found([link(2, "eth0", up=False)], "10.0.0.100", patterns=("eth*",)) == "eth0"


def test_without_patterns_the_subnet_decides() -> None:
    assert found(NODE, "10.0.5.100") == "eth1"
    assert found(NODE, "10.0.6.100") == "eth0"
    assert found(NODE, "10.1.0.100") is None
    assert found([*reversed(NODE)], "10.0.6.100") == "eth0"


def test_an_address_of_ours_makes_no_subnet() -> None:
    assert found([link(2, "eth0", "10.0.0.100/24")], "10.0.0.100", own=("10.0.0.100",)) is None
    assert found([link(2, "eth0", "10.0.0.100/32")], "10.0.0.100") is None


def test_a_link_local_address_must_be_unambiguous() -> None:
    assert found(NODE, "fe80::100") is None
    assert found(NODE[:2], "fe80::100") == "eth0"
    assert found(NODE, "fe80::100", patterns=("eth1",)) == "eth1"


@pytest.mark.parametrize(
    ("on", "version", "own", "expected"),
    [
        (link(2, "eth0", "10.0.0.1/24", "10.0.0.2/24"), 4, (), "10.0.0.1"),
        (link(2, "eth0", "10.0.0.100/32", "10.0.0.1/24"), 4, ("10.0.0.100",), "10.0.0.1"),
        (link(2, "eth0", "10.0.0.9/32", "10.0.0.1/24"), 4, (), "10.0.0.1"),
        (link(2, "eth0", "169.254.1.1/16", "10.0.0.1/24"), 4, (), "10.0.0.1"),
        (link(2, "eth0", "10.0.0.9/32"), 4, (), "10.0.0.9"),
        (link(2, "eth0", "10.0.0.100/24"), 4, ("10.0.0.100",), None),
        (link(2, "eth0", "fd00::1/64", "fe80::2/64"), 6, (), "fe80::2"),
        (link(2, "eth0", "fe80::100/128", "fe80::2/64"), 6, ("fe80::100",), "fe80::2"),
        (link(2, "eth0", "fd00::1/64"), 6, (), None),
        (link(2, "eth0", "fe80::2/64", flags=TENTATIVE), 6, (), None),
    ],
)
def test_primary_address(on: Link, version: int, own: tuple[str, ...], expected: str | None) -> None:
    chosen = primary_address(on, version, {ip_address(one) for one in own})
    assert (str(chosen) if chosen else None) == expected


def test_a_secondary_address_comes_last() -> None:
    first = LinkAddress(ip=ip_address("10.0.0.2"), prefix_length=24, flags=SECONDARY)
    second = LinkAddress(ip=ip_address("10.0.0.1"), prefix_length=24)
    on = Link(ifindex=2, name="eth0", addresses=(first, second))
    assert primary_address(on, 4, frozenset()) == second.ip
