from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address

import pytest
from vip_api import model
from vip_api.model import (
    Assignment,
    Authentication,
    Transport,
    VirtualAddress,
    VirtualIP,
    VirtualIPSpec,
)
from vip_speaker.kernel import Link, LinkAddress
from vip_speaker.router.resolution import (
    Resolved,
    Unusable,
    Waiting,
    address_lifetime_s,
    resolve,
)
from vip_speaker.vrrp.timing import own_master_down_interval_ns
from vip_speaker.vrrp.types import MS, SECOND, Peer

ETH0 = Link(
    ifindex=2,
    name="eth0",
    mac="02:00:00:00:00:01",
    up=True,
    running=True,
    addresses=(
        LinkAddress(ip=ip_address("192.168.137.201"), prefix_length=24),
        LinkAddress(ip=ip_address("fe80::1"), prefix_length=64),
    ),
)


@dataclass
class FakeKernel:
    """One link; its choice of links and addresses is tried on real kernels in tests/interop."""

    link: Link | None = ETH0
    own_addresses: frozenset = frozenset()
    primary: dict = field(default_factory=lambda: {4: ip_address("192.168.137.201"), 6: ip_address("fe80::1")})

    def find_interface(self, patterns, address):
        return self.link

    def primary_address(self, link, version):
        return self.primary.get(version)


def vip(*addresses, assignment=None, **spec):
    ips = tuple(VirtualAddress(ip=ip_address(one)) for one in addresses or ("192.168.137.200",))
    spec.setdefault("virtual_router_id", 51)
    return VirtualIP(name="web", spec=VirtualIPSpec(addresses=ips, **spec), assignment=assignment)


def resolved(document, **kwargs):
    answer = resolve(document, FakeKernel(), **kwargs)
    assert isinstance(answer, Resolved), answer
    return answer


def test_a_lone_document_is_carried_out_as_it_stands():
    answer = resolved(vip(priority=210, version=2, preempt=False, preempt_delay_ms=3000))
    config = answer.config
    assert (config.priority, config.identity.vrid, config.identity.version) == (210, 51, 2)
    assert (config.preempt, config.preempt_delay_ns) == (False, 3 * SECOND)
    assert config.identity.advertisement_interval_ns == config.advertisement_interval_ns == SECOND
    assert (answer.ifindex, answer.interface, answer.mac) == (2, "eth0", ETH0.mac)


def test_without_a_priority_it_is_100_as_the_rfc_has_it():
    assert resolved(vip()).config.priority == 100


def test_the_interval_is_no_part_of_a_v3_identity():
    slow, fast = (resolved(vip(advertisement_interval_ms=ms)).config for ms in (1000, 10))
    assert slow.identity == fast.identity
    assert fast.advertisement_interval_ns == 10 * MS


@pytest.mark.parametrize(
    ("base", "contribution", "effective"), [(100, 5, 105), (250, 50, 254), (10, -50, 1), (255, -9, 255)]
)
def test_checks_move_the_priority_within_1_to_254_and_never_an_owner(base, contribution, effective):
    assert resolved(vip(priority=base), contribution=contribution).config.priority == effective


def test_a_lone_document_needs_a_vrid():
    answer = resolve(vip(virtual_router_id=None), FakeKernel())
    assert isinstance(answer, Unusable)
    assert answer.reason.startswith("spec.virtualRouterID: is required")


def test_no_link_is_said_with_the_field():
    answer = resolve(vip(interfaces=("ens9", "bond*")), FakeKernel(link=None))
    assert answer == Unusable(reason="spec.interfaces: no link of this host is called ens9 or bond*")
    answer = resolve(vip(), FakeKernel(link=None))
    assert "subnet of 192.168.137.200" in answer.reason


def test_a_link_without_an_address_of_the_family_is_a_fault():
    answer = resolve(vip(), FakeKernel(primary={}))
    assert answer == Unusable(reason="eth0 has no IPv4 address to send from")


@pytest.mark.parametrize(
    ("addresses", "prefix_length", "kind", "subnet"),
    [
        (["192.168.137.255"], 24, "broadcast", "192.168.137.0/24"),
        (["192.168.137.0"], 24, "network", "192.168.137.0/24"),
        (["192.168.137.200", "192.168.137.255"], 24, "broadcast", "192.168.137.0/24"),
        (["192.168.137.203"], 30, "broadcast", "192.168.137.200/30"),
        (["192.168.137.203"], 31, None, None),
        (["192.168.137.255"], 16, None, None),
        (["192.168.137.254"], 24, None, None),
        (["fe80::"], 24, None, None),
    ],
)
def test_an_address_that_no_host_of_the_links_subnet_can_have_is_a_fault(addresses, prefix_length, kind, subnet):
    own = LinkAddress(ip=ip_address("192.168.137.201"), prefix_length=prefix_length)
    kernel = FakeKernel(link=replace(ETH0, addresses=(own, ETH0.addresses[1])))
    answer = resolve(vip(*addresses), kernel)
    if kind is None:
        assert isinstance(answer, Resolved)
    else:
        reason = f"spec.addresses: {addresses[-1]} is the {kind} address of eth0's subnet {subnet}"
        assert answer == Unusable(reason=reason, link=kernel.link)


def test_the_prefix_of_a_virtual_address_makes_no_subnet_of_the_link():
    """One that came first keeps its prefix; another VIP that comes is not to be put out by it."""
    ours = LinkAddress(ip=ip_address("10.0.0.1"), prefix_length=25)
    kernel = FakeKernel(link=replace(ETH0, addresses=(*ETH0.addresses, ours)), own_addresses=frozenset({ours.ip}))
    assert isinstance(resolve(vip("10.0.0.127"), kernel), Resolved)


def test_an_assignment_decides_vrid_and_priority():
    assignment = Assignment(priority=252, virtual_router_id=77, peers=(model.Peer(node="a", priority=254),))
    config = resolved(vip(priority=1, virtual_router_id=None, assignment=assignment)).config
    assert (config.priority, config.identity.vrid, config.better_peer_named) == (252, 77, True)


def test_peers_stand_where_their_checks_put_them():
    peers = (
        model.Peer(node="a", priority=254, address=IPv4Address("192.168.137.9"), effective_priority=204),
        model.Peer(node="b", priority=250),
    )
    config = resolved(vip(assignment=Assignment(priority=252, virtual_router_id=77, peers=peers))).config
    assert config.peers == (Peer(priority=204, address=IPv4Address("192.168.137.9")), Peer(priority=250))
    assert resolved(vip()).config.peers == ()


@pytest.mark.parametrize(
    ("assigned", "effective", "better"),
    [
        (252, None, False),
        (252, 204, False),
        (200, 205, True),  # by a check that adds
        (254, None, True),
        (254, 205, True),
        (254, 204, False),  # no better: on equal terms it would not preempt us either
        (254, 194, False),  # its own check has failed, and further: it would be a worse master
    ],
)
def test_a_peer_is_better_if_its_checks_leave_it_above_ours(assigned, effective, better):
    peers = (model.Peer(node="b", priority=assigned, effective_priority=effective),)
    document = vip(assignment=Assignment(priority=253, virtual_router_id=77, peers=peers))
    ours = 253 if effective is None else 204
    config = resolved(document, contribution=ours - 253).config
    assert (config.priority, config.better_peer_named) == (ours, better)


def test_a_lone_router_is_told_of_nobody():
    assert not resolved(vip(priority=1)).config.better_peer_named


@pytest.mark.parametrize(
    ("assignment", "missing"),
    [(Assignment(), "virtualRouterID"), (Assignment(virtual_router_id=7), "priority")],
)
def test_what_the_operator_has_not_decided_is_waited_for(assignment, missing):
    answer = resolve(vip(assignment=assignment), FakeKernel())
    assert isinstance(answer, Waiting)
    assert missing in answer.reason
    assert answer.link is ETH0


def test_a_password_that_has_not_arrived_is_waited_for():
    document = vip(version=2, authentication=Authentication())
    assert isinstance(resolve(document, FakeKernel()), Waiting)
    assert resolved(document, password="1111").password == b"1111"


def test_the_ip_version_of_the_first_address_is_part_of_the_identity():
    """Advertisements are of that version, and who was not told yet hears those of the other one only."""
    one, other = resolved(vip("192.168.137.100", "fe80::100")), resolved(vip("fe80::100", "192.168.137.100"))
    assert one.config.identity != other.config.identity


def test_the_password_is_part_of_the_identity_and_cannot_be_read_from_it():
    document = vip(version=2, authentication=Authentication())
    one, other = (resolved(document, password=password).config.identity for password in ("1111", "2222"))
    assert one != other
    assert "1111" not in repr(one)


def test_unicast_peers_that_have_not_arrived_are_waited_for():
    peers = (model.Peer(node="a", priority=9), model.Peer(node="b", priority=8))
    assignment = Assignment(priority=1, virtual_router_id=7, peers=peers)
    assert isinstance(resolve(vip(transport=Transport.UNICAST, assignment=assignment), FakeKernel()), Waiting)
    known = (model.Peer(node="a", priority=9, address=ip_address("192.168.137.202")), peers[1])
    answer = resolved(
        vip(transport=Transport.UNICAST, assignment=Assignment(priority=1, virtual_router_id=7, peers=known))
    )
    assert answer.peers == (ip_address("192.168.137.202"),)


def test_what_a_unicast_peer_had_in_the_other_ip_version_is_waited_for_anew():
    """The election moved from IPv6 to IPv4, and its peers have not reported their addresses since."""
    peers = (model.Peer(node="a", priority=9, address=ip_address("fe80::1")),)
    assignment = Assignment(priority=1, virtual_router_id=7, peers=peers)
    assert isinstance(resolve(vip(transport=Transport.UNICAST, assignment=assignment), FakeKernel()), Waiting)
    both = (*peers, model.Peer(node="b", priority=8, address=ip_address("192.168.137.202")))
    assignment = Assignment(priority=1, virtual_router_id=7, peers=both)
    assert resolved(vip(transport=Transport.UNICAST, assignment=assignment)).peers == (ip_address("192.168.137.202"),)


def test_the_only_node_of_a_unicast_vip_has_nobody_to_wait_for():
    assignment = Assignment(priority=1, virtual_router_id=7)
    assert resolved(vip(transport=Transport.UNICAST, assignment=assignment)).peers == ()


def test_an_ipv6_router_without_a_link_local_address_is_given_one_that_all_derive_alike():
    answer = resolved(vip("2001:db8::200", "192.168.137.200"))
    derived = ip_address("fe80::5e00:233")
    assert [one.ip for one in answer.addresses] == [
        ip_address("2001:db8::200"),
        ip_address("192.168.137.200"),
        derived,
    ]
    assert answer.advertised == (ip_address("2001:db8::200"), derived)


def test_a_link_local_address_that_is_named_is_enough():
    answer = resolved(vip("2001:db8::200", "fe80::99"))
    assert [one.ip for one in answer.addresses] == [ip_address("2001:db8::200"), ip_address("fe80::99")]


def test_our_own_virtual_addresses_on_the_link_change_nothing():
    kernel = FakeKernel()
    before = resolve(vip(), kernel)
    held = ip_address("192.168.137.200")
    kernel.own_addresses = frozenset({held})
    kernel.link = Link(
        ifindex=2,
        name="eth0",
        mac=ETH0.mac,
        up=True,
        running=True,
        addresses=(*ETH0.addresses, LinkAddress(ip=held, prefix_length=32)),
    )
    assert resolve(vip(), kernel) == before


@pytest.mark.parametrize(
    ("version", "interval_ms", "priority", "expected_ms"),
    [(3, 100, 200, 321.875), (2, 1000, 200, 3218.75), (3, 10, 254, 30.078125)],
)
def test_the_master_down_interval(version, interval_ms, priority, expected_ms):
    config = resolved(vip(version=version, advertisement_interval_ms=interval_ms, priority=priority)).config
    assert own_master_down_interval_ns(config) == int(expected_ms * MS)


@pytest.mark.parametrize(
    ("interval_ms", "configured", "expected_s"),
    [(1000, None, 4), (100, None, 2), (1000, 0, None), (1000, 3, 4), (1000, 60, 60)],
)
def test_an_address_outlives_the_longest_wait_of_a_backup(interval_ms, configured, expected_s):
    config = resolved(vip(advertisement_interval_ms=interval_ms, priority=200)).config
    assert address_lifetime_s(config, configured) == expected_s
