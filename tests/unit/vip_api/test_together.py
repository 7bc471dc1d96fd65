"""Claims of two documents on one name, address or VRID."""

from typing import Any

import pytest
from vip_api.model import VirtualIP
from vip_api.parse import check_together, parse_document

from tests.documents import whole


def vip(name: str, *addresses: str, vrid: int | None = 51, assigned: int | None = None, **spec: Any) -> VirtualIP:
    document = whole({"addresses": list(addresses), "virtualRouterID": vrid} | spec) | {"metadata": {"name": name}}
    if assigned is not None:
        document["assignment"] = {"virtualRouterID": assigned}
    found = parse_document(document)
    assert isinstance(found, VirtualIP), found
    return found


def claims(*vips: VirtualIP) -> list[tuple[int, str]]:
    return [(conflict.index, conflict.path) for conflict in check_together(vips)]


VRID = [(1, "spec.virtualRouterID")]


def test_nothing_in_common():
    assert claims() == []
    assert claims(vip("a", "10.0.0.7"), vip("b", "10.0.0.8", vrid=52), vip("c", "10.0.0.9", vrid=53)) == []


def test_one_name_twice_is_all_that_is_said():
    assert claims(vip("a", "10.0.0.7"), vip("a", "10.0.0.7")) == [(1, "metadata.name")]


def test_an_address_of_another():
    a, b = vip("a", "10.0.0.7/24"), vip("b", "10.0.0.8", "10.0.0.7", vrid=52)
    (conflict,) = check_together([a, b])
    assert (conflict.index, str(conflict)) == (1, 'spec.addresses[1]: 10.0.0.7 is an address of VirtualIP "a"')


def test_the_third_has_a_claim_of_the_first():
    assert claims(vip("a", "10.0.0.7"), vip("b", "10.0.0.8", vrid=52), vip("c", "10.0.0.9")) == [
        (2, "spec.virtualRouterID")
    ]


@pytest.mark.parametrize(
    ("a", "b", "same_link"),
    [
        ({"interfaces": ["eth0"]}, {"interfaces": ["eth0"]}, True),
        ({"interfaces": ["eth0"]}, {"interfaces": ["eth1"]}, False),
        ({"interfaces": ["eth0", "eth1"]}, {"interfaces": ["eth2", "eth*"]}, True),
        ({"interfaces": ["eth?"]}, {"interfaces": ["eth2"]}, True),
        ({"interfaces": ["eth0"]}, {}, True),
        ({}, {}, True),
    ],
)
def test_one_vrid_on_what_may_be_one_link(a, b, same_link):
    assert claims(vip("a", "10.0.0.7", **a), vip("b", "10.0.0.8", **b)) == (VRID if same_link else [])


@pytest.mark.parametrize(
    ("a", "b", "same_link"),
    [
        ("10.0.0.7", "10.0.0.8", True),
        ("10.0.0.7", "10.0.1.8", False),
        ("10.0.0.7/23", "10.0.1.8", True),
        ("10.0.0.7/32", "10.0.0.8/25", True),
        ("10.0.0.7/25", "10.0.0.129/25", False),
        ("2001:db8::7", "2001:db8::8", True),
        ("2001:db8::7", "2001:db8:0:1::8", False),
        ("10.0.0.7", "2001:db8::7", False),
    ],
)
def test_one_vrid_in_what_may_be_one_subnet(a, b, same_link):
    assert claims(vip("a", a), vip("b", b)) == (VRID if same_link else [])


def test_the_families_have_vrids_of_their_own():
    a = vip("a", "10.0.0.7", "2001:db8::7", interfaces=["eth0"])
    assert claims(a, vip("b", "2001:db8::8", "10.0.0.8", interfaces=["eth0"])) == []


def test_vips_without_a_vrid_do_not_collide():
    assert claims(vip("a", "10.0.0.7", vrid=None), vip("b", "10.0.0.8", vrid=None)) == []


def test_the_assigned_vrid_counts():
    assert claims(vip("a", "10.0.0.7", vrid=None, assigned=7), vip("b", "10.0.0.8", vrid=None, assigned=7)) == VRID
    assert claims(vip("a", "10.0.0.7", vrid=7, assigned=8), vip("b", "10.0.0.8", vrid=7)) == []


def test_a_link_local_address_may_be_on_two_links():
    a = vip("a", "fe80::1", interfaces=["eth0"])
    assert claims(a, vip("b", "fe80::1", interfaces=["eth1"])) == []
    assert claims(a, vip("b", "fe80::1", interfaces=["eth0"], vrid=52)) == [(1, "spec.addresses[0]")]
