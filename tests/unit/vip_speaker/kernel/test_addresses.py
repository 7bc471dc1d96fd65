"""Which prefix a virtual address has on a link, and the requests that carry it."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
from vip_speaker.kernel import Assigned, Link, LinkAddress, codec, plan_addresses, removal_requests
from vip_speaker.kernel.addresses import ADDRESS_PROTOCOL, addition, removal, renewal


def link(*addresses: str, ifindex: int = 7) -> Link:
    return Link(
        ifindex=ifindex,
        name=f"eth{ifindex}",
        addresses=tuple(
            LinkAddress(ip=one.ip, prefix_length=one.network.prefixlen) for one in map(ip_interface, addresses)
        ),
    )


def plan(on: Link, *addresses: str, own: tuple[str, ...] = (), parent: Link | None = None) -> list[str]:
    wanted = [(ip_address(text.split("/")[0]), int(text.split("/")[1]) if "/" in text else None) for text in addresses]
    planned = plan_addresses(on, wanted, own={ip_address(one) for one in own}, parent=parent)
    assert {one.ifindex for one in planned} == {on.ifindex}
    return [str(one) for one in planned]


@pytest.mark.parametrize(
    ("on", "wanted", "planned"),
    [
        (link("10.0.0.1/24"), ["10.0.0.100/24"], ["10.0.0.100/32"]),
        (link("10.0.0.1/24"), ["10.0.0.100"], ["10.0.0.100/32"]),
        (link("10.1.0.1/24"), ["10.0.0.100/24"], ["10.0.0.100/24"]),
        (link(), ["10.0.0.100"], ["10.0.0.100/32"]),
        (link(), ["10.0.0.100/32"], ["10.0.0.100/32"]),
        # only the first one of a subnet carries it
        (link(), ["10.0.0.100/24", "10.0.0.101/24", "10.0.1.1/24"], ["10.0.0.100/24", "10.0.0.101/32", "10.0.1.1/24"]),
        (link(), ["10.0.0.100", "10.0.0.101/24"], ["10.0.0.100/32", "10.0.0.101/24"]),
        # a /32 of somebody else's is another address all the same: it came first
        (link("10.0.0.9/32"), ["10.0.0.100/24"], ["10.0.0.100/32"]),
        (link("fd00::1/64"), ["fd00::100/64", "fe80::100/64"], ["fd00::100/128", "fe80::100/64"]),
        (link("fe80::1/64"), ["fe80::100", "fe80::101"], ["fe80::100/128", "fe80::101/128"]),
        (link(), ["fd00::100/64", "fe80::100", "fe80::101"], ["fd00::100/128", "fe80::100/64", "fe80::101/128"]),
        # an owner's address is on the link already: asking for it as it is there makes the kernel say EEXIST
        (link("10.0.0.1/24"), ["10.0.0.1/24"], ["10.0.0.1/24"]),
    ],
)
def test_the_prefix_depends_on_what_the_link_has(on: Link, wanted: list[str], planned: list[str]) -> None:
    assert plan(on, *wanted) == planned


def test_planning_again_changes_nothing() -> None:
    held = link("10.0.0.100/24", "10.0.0.101/32")
    own = ("10.0.0.100", "10.0.0.101")
    assert plan(held, "10.0.0.100/24", "10.0.0.101/24", own=own) == ["10.0.0.100/24", "10.0.0.101/32"]


def test_a_subnet_of_another_virtual_router_counts() -> None:
    assert plan(link("10.0.0.100/24"), "10.0.0.200/24", own=("10.0.0.100",)) == ["10.0.0.200/32"]


def test_the_parent_serves_a_virtual_mac_but_not_its_link_local_address() -> None:
    parent = link("10.0.0.1/24", "fe80::1/64")
    child = link(ifindex=8)
    assert plan(child, "10.0.0.100/24", "fe80::100", parent=parent) == ["10.0.0.100/32", "fe80::100/64"]


@pytest.mark.parametrize("ip", ["10.0.0.100", "fd00::100"])
def test_requests_say_what_they_should(ip: str) -> None:
    address = ip_address(ip)
    one = Assigned(ifindex=7, ip=address, prefix_length=address.max_prefixlen)
    message = codec.decode(codec.ifaddrmsg, addition(one, 4))
    assert message.get_attr("IFA_ADDRESS") == ip
    assert message.get_attr("IFA_PROTO") == ADDRESS_PROTOCOL
    assert message.get_attr("IFA_CACHEINFO")["ifa_valid"] == 4
    assert message.get_attr("IFA_CACHEINFO")["ifa_preferred"] == (4 if address.version == 4 else 0)
    assert message.get_attr("IFA_FLAGS") == (0x200 if address.version == 4 else 0x202)  # NOPREFIXROUTE, NODAD
    assert message["header"]["flags"] == 0x601  # REQUEST, EXCL, CREATE
    assert codec.decode(codec.ifaddrmsg, renewal(one, 4))["header"]["flags"] == 0x501  # REPLACE for EXCL
    forever = codec.decode(codec.ifaddrmsg, renewal(one, None)).get_attr("IFA_CACHEINFO")
    assert forever["ifa_valid"] == 0xFFFFFFFF


def test_the_last_will_wants_no_answer() -> None:
    one = Assigned(ifindex=7, ip=ip_address("10.0.0.100"), prefix_length=32)
    assert removal_requests([one]) == [removal(one)]
    message = codec.decode(codec.ifaddrmsg, removal(one))
    assert (message["header"]["type"], message["header"]["flags"]) == (21, 1)
    assert (message["index"], message["prefixlen"], message.get_attr("IFA_LOCAL")) == (7, 32, "10.0.0.100")


def test_assigned_addresses_of_both_families_can_be_sorted() -> None:
    ones = [Assigned(ifindex=1, ip=ip_address(ip), prefix_length=32) for ip in ("fd00::1", "10.0.0.2", "10.0.0.1")]
    assert [str(one.ip) for one in sorted(ones)] == ["10.0.0.1", "10.0.0.2", "fd00::1"]
