"""Addresses and links of a real kernel: lifetimes, what others do to them, and what is swept."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from vip_speaker.kernel import AddressChanged, Kernel, LinkChanged, Overflow, Record, codec
from vip_speaker.kernel.addresses import removal_requests
from vip_speaker.kernel.netlink import Requests

from tests.interop.kernel_lab import assign, eth0, events_until, opened, program, running
from tests.netns import Host, Network, wait_for

pytestmark = pytest.mark.netns

VIP, VIP6 = "10.9.0.100", "fd00:9::100"


@pytest.fixture(name="network")
def _network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture(name="host")
def _host(network: Network) -> Host:
    return network.host("a", "10.9.0.1/24", "fd00:9::1/64")


@pytest.fixture(name="kernel")
def _kernel(host: Host) -> Iterator[Kernel]:
    with opened(host) as kernel:
        yield kernel


def lost(event: object) -> bool:
    return isinstance(event, AddressChanged) and event.own and not event.present


def add_with_mark(host: Host, ip: str, protocol: int) -> None:
    """`ip addr add … proto …`, which older versions of `ip` lack."""
    with host.entered():
        requests = Requests(0)
        fields = {"family": 2, "prefixlen": 32, "index": socket.if_nametoindex("eth0")}
    attributes = [("IFA_LOCAL", ip), ("IFA_ADDRESS", ip), ("IFA_PROTO", protocol)]
    assert requests.send([codec.encode(codec.ifaddrmsg, 20, 0x601, fields, attributes)]) == []
    requests.close()


def test_links_are_known_at_once(kernel: Kernel, host: Host) -> None:
    link = eth0(kernel)
    assert (link.kind, link.up, link.running, link.mac) == ("veth", True, True, host.mac())
    assert {"10.9.0.1", "fd00:9::1"} <= {str(one.ip) for one in link.addresses}
    chosen = kernel.find_interface([], ip_address(VIP))
    assert chosen is not None
    assert chosen.ifindex == link.ifindex
    assert str(kernel.primary_address(link, 4)) == "10.9.0.1"
    assert str(kernel.primary_address(link, 6)).startswith("fe80::")


def test_add_renew_remove(kernel: Kernel, host: Host) -> None:
    assigned = assign(kernel, VIP, VIP6)
    assert kernel.add(assigned, 30) == []
    assert f"{VIP}/32" in host.addresses()
    assert f"{VIP6}/128" in host.addresses()
    shown = host.ip("addr", "show", "eth0")
    assert "deprecated dynamic noprefixroute" in shown
    assert "tentative" not in shown
    assert kernel.own_addresses == {ip_address(VIP), ip_address(VIP6)}
    assert str(kernel.primary_address(eth0(kernel), 4)) == "10.9.0.1"
    assert kernel.add(assigned, 30) == []  # again: a renewal
    assert kernel.renew(assigned, 30) == []
    assert kernel.remove(assigned) == []
    assert not host.has(VIP)
    assert not host.has(VIP6)
    assert kernel.remove(assigned) == []  # gone already
    assert [one.error.code for one in kernel.renew(assigned, 30)] == [errno.EADDRNOTAVAIL] * 2
    assert kernel.own_addresses == frozenset()
    # what we did ourselves is no news, also when it is read late
    assert [one for one in kernel.read_events() if isinstance(one, AddressChanged)] == []


def test_nobody_renews_and_the_address_goes(kernel: Kernel, host: Host) -> None:
    assigned = assign(kernel, VIP, VIP6)
    start = time.monotonic()
    assert kernel.add(assigned, 2) == []
    gone: dict[str, float] = {}

    def both() -> bool:
        for event in kernel.read_events():
            if lost(event):
                assert isinstance(event, AddressChanged)
                assert event.expired
                gone[str(event.ip)] = time.monotonic() - start
        return len(gone) == 2

    wait_for(both, what="both addresses expired", timeout=10, poll=0.005)
    assert not host.has(VIP)
    assert not host.has(VIP6)
    assert all(1.9 <= seconds <= 4 for seconds in gone.values()), gone
    assert [one.error.code for one in kernel.renew(assigned, 2)] == [errno.ETIME] * 2
    assert not host.has(VIP)
    assert kernel.add(assigned, 30) == []
    assert host.has(VIP)


def test_renewal_keeps_the_address(kernel: Kernel, host: Host) -> None:
    assigned = assign(kernel, VIP, VIP6)
    assert kernel.add(assigned, 2) == []
    end = time.monotonic() + 5
    while time.monotonic() < end:
        time.sleep(0.4)
        assert kernel.renew(assigned, 2) == []
        assert host.has(VIP)
        assert host.has(VIP6)
    assert [one for one in kernel.read_events() if isinstance(one, AddressChanged)] == []


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_deletion_by_someone_else_is_told_and_undone(kernel: Kernel, host: Host, vip: str) -> None:
    assigned = assign(kernel, vip)
    assert kernel.add(assigned, 30) == []
    host.ip("addr", "del", str(assigned[0]), "dev", "eth0")
    events = events_until(kernel, lost, what="the deletion is told")
    event = next(one for one in events if lost(one))
    assert isinstance(event, AddressChanged)
    assert not event.expired
    assert kernel.add(assigned, 30) == []
    assert host.has(vip)
    assert not any(map(lost, kernel.read_events()))


def test_deletion_and_renewal_before_the_event_is_read(kernel: Kernel, host: Host) -> None:
    assigned = assign(kernel, VIP)
    assert kernel.add(assigned, 30) == []
    host.ip("addr", "del", f"{VIP}/32", "dev", "eth0")
    assert kernel.renew(assigned, 30) == []  # brings it back
    assert host.has(VIP)
    kernel.read_events()
    assert eth0(kernel).address(ip_address(VIP)) is not None


def test_add_and_remove_in_quick_turns_leave_the_right_picture(kernel: Kernel, host: Host) -> None:
    addresses = [f"10.9.1.{n}" for n in range(1, 101)]
    assigned = assign(kernel, *addresses)
    for _ in range(5):
        assert kernel.add(assigned, 30) == []
        assert kernel.renew(assigned, 30) == []
        assert kernel.remove(assigned) == []
    assert kernel.add(assigned[:50], 30) == []
    for _ in range(100):
        assert [one for one in kernel.read_events() if isinstance(one, AddressChanged)] == []
    there = {str(one.ip) for one in eth0(kernel).addresses}
    assert there & set(addresses) == set(addresses[:50])
    assert sum(host.has(one) for one in addresses[40:60]) == 10


def test_the_nodes_own_address_is_left_alone(kernel: Kernel, host: Host) -> None:
    for text in ("10.9.0.1", "10.9.0.1/24", "fd00:9::1"):
        failures = kernel.add(assign(kernel, text), 2)
        assert [one.error.code for one in failures] == [errno.EEXIST], text
        assert "not ours" in str(failures[0].error) or "already assigned" in str(failures[0].error)
    assert kernel.own_addresses == frozenset()
    assert host.addresses().count("10.9.0.1/24") == 1
    assert host.addresses().count("fd00:9::1/64") == 1
    assert "forever" in host.ip("addr", "show", "dev", "eth0", "to", "10.9.0.1")


def test_removing_a_vip_that_came_first_leaves_the_nodes_own_address(network: Network) -> None:
    host = network.host("bare")
    with opened(host) as kernel:
        first = assign(kernel, "10.9.5.100/24")
        assert str(first[0]) == "10.9.5.100/24"
        assert kernel.add(first, 30) == []
        assert "10.9.5.0/24" in host.ip("route")
        kernel.read_events()
        second = assign(kernel, "10.9.5.101/24")
        assert str(second[0]) == "10.9.5.101/32"
        assert kernel.add(second, 30) == []
        assert kernel.remove(first) == []
        assert host.has("10.9.5.101")
    other = network.host("node", "10.9.5.1/24")
    with opened(other) as kernel:
        vip = assign(kernel, "10.9.5.100/24")
        assert str(vip[0]) == "10.9.5.100/32"
        assert kernel.add(vip, 30) == []
        assert kernel.remove(vip) == []
        assert other.has("10.9.5.1")


def test_carrier_loss_and_return(kernel: Kernel, network: Network, host: Host) -> None:
    network.unplug(host)
    events_until(
        kernel,
        lambda one: isinstance(one, LinkChanged) and one.after is not None and not one.after.running,
        what="carrier loss is told",
    )
    assert eth0(kernel).up
    assert not eth0(kernel).running
    network.plug(host)
    events_until(
        kernel,
        lambda one: isinstance(one, LinkChanged) and one.after is not None and one.after.running,
        what="the carrier's return is told",
    )


def test_a_link_deleted_and_made_again_is_another_one(kernel: Kernel, host: Host) -> None:
    before = eth0(kernel)
    assert kernel.add(assign(kernel, VIP), 30) == []
    host.ip("link", "del", "eth0")
    events_until(
        kernel,
        lambda one: isinstance(one, LinkChanged) and one.ifindex == before.ifindex and one.after is None,
        what="the deletion is told",
    )
    assert kernel.link_named("eth0") is None
    assert kernel.own_addresses == frozenset()
    failures = kernel.add(kernel.plan_addresses(before, [(ip_address(VIP), None)]), 30)
    assert [one.error.code for one in failures] == [errno.ENODEV]
    host.ip("link", "add", "eth0", "type", "bridge")
    events_until(
        kernel,
        lambda one: isinstance(one, LinkChanged) and one.before is None,
        what="the new link is told",
    )
    assert eth0(kernel).ifindex != before.ifindex
    assert eth0(kernel).kind == "bridge"


def test_a_rename_is_told(kernel: Kernel, host: Host) -> None:
    host.ip("link", "set", "eth0", "down")
    host.ip("link", "set", "eth0", "name", "lan0")
    host.ip("link", "set", "lan0", "up")
    events_until(
        kernel,
        lambda one: isinstance(one, LinkChanged) and one.after is not None and one.after.name == "lan0",
        what="the rename is told",
    )
    assert kernel.link_named("eth0") is None


def test_an_address_of_the_node_that_changes_is_told(kernel: Kernel, host: Host) -> None:
    host.ip("addr", "add", "10.8.0.1/24", "dev", "eth0")
    events_until(
        kernel,
        lambda one: isinstance(one, AddressChanged) and one.present and not one.own,
        what="the new address is told",
    )
    assert kernel.find_interface([], ip_address("10.8.0.9")) == eth0(kernel)
    host.ip("addr", "del", "10.8.0.1/24", "dev", "eth0")
    events_until(kernel, lambda one: isinstance(one, AddressChanged) and not one.present, what="its removal is told")
    assert kernel.find_interface([], ip_address("10.8.0.9")) is None


def test_a_port_that_leaves_a_bridge_is_not_gone(kernel: Kernel, host: Host) -> None:
    host.ip("link", "add", "br9", "type", "bridge")
    host.ip("link", "set", "eth0", "master", "br9")
    port = eth0(kernel).ifindex
    events_until(
        kernel,
        lambda one: isinstance(one, LinkChanged) and one.after is not None and one.after.master != 0,
        what="a port",
    )
    host.ip("link", "set", "eth0", "nomaster")
    host.ip("link", "add", "marker", "type", "bridge")
    events = events_until(
        kernel,
        lambda one: isinstance(one, LinkChanged) and one.after is not None and one.after.name == "marker",
        what="everything before was told",
    )
    told = [one for one in events if isinstance(one, LinkChanged) and one.ifindex == port]
    assert told
    assert all(one.after is not None for one in told)
    assert eth0(kernel).master == 0
    assert "10.9.0.1" in {str(one.ip) for one in eth0(kernel).addresses}


def test_lost_events_are_made_up_for(kernel: Kernel, host: Host) -> None:
    assigned = assign(kernel, VIP, VIP6)
    assert kernel.add(assigned, 60) == []
    kernel._watch.events.setsockopt(1, 8, 2048)  # SO_RCVBUF: so small that it overflows
    host.ip("addr", "del", f"{VIP}/32", "dev", "eth0")
    for index in range(60):
        host.ip("addr", "add", f"10.7.0.{index + 1}/32", "dev", "eth0")
    events = events_until(kernel, lambda one: isinstance(one, Overflow), what="the overflow is told")
    assert eth0(kernel).address(ip_address("10.7.0.60")) is not None
    assert [str(one.ip) for one in events if lost(one)] == [VIP]


def test_the_last_will_needs_no_answer(kernel: Kernel, host: Host) -> None:
    assigned = assign(kernel, VIP, VIP6)
    assert kernel.add(assigned, 60) == []
    with host.entered():
        guard = Requests(0)
    try:
        assert guard.send(removal_requests(assigned)) == []
    finally:
        guard.close()
    assert not host.has(VIP)
    assert not host.has(VIP6)


def test_sweep_after_sigkill_takes_ours_and_nothing_else(host: Host, tmp_path: Path) -> None:
    host.ip("addr", "add", "10.9.0.50/32", "dev", "eth0", "valid_lft", "600", "preferred_lft", "600")
    add_with_mark(host, "10.9.0.51", 112)
    text = f"""
        kernel = Kernel.open()
        assert kernel.alone
        link = kernel.link_named("eth0")
        assigned = plan(kernel, link, "{VIP}", "{VIP6}")
        Record(Path("{tmp_path}/held")).write(assigned)
        assert kernel.add(assigned, 600) == []
        virtual = kernel.create_virtual_mac(link, 51, 4)
        assert kernel.add(plan(kernel, virtual, "10.9.0.101"), 600) == []
        print("ready")
        time.sleep(600)
    """
    with running(program(host, text)):
        assert host.has(VIP)
        with opened(host) as second:  # beside a router that lives: nothing of its own in the record, nothing is taken
            assert not second.alone
            assert second.sweep(Record(tmp_path / "none")) == []
        assert host.has(VIP)
    assert host.has(VIP)
    assert host.has(VIP6)
    (tmp_path / "held").unlink()  # the mark alone must do
    with opened(host) as kernel:
        assert kernel.alone
        host.run("nft", "add", "table", "arp", "kube-vrrp-1")
        host.run("nft", "add", "table", "arp", "others")
        swept = kernel.sweep(Record(tmp_path / "held"))
        assert f"{VIP}/32 on eth0" in swept
        assert f"{VIP6}/128 on eth0" in swept
        assert "nftables table kube-vrrp-1" in swept
        assert any(one.startswith("link kv4-") for one in swept)
        assert kernel.sweep(Record(tmp_path / "held")) == []
    assert not host.has(VIP)
    assert not host.has(VIP6)
    assert "kv4-" not in host.ip("link")
    assert {"10.9.0.50/32", "10.9.0.51/32", "10.9.0.1/24", "fd00:9::1/64"} <= set(host.addresses())
    assert host.run("nft", "list", "tables").split() == ["table", "arp", "others"]
