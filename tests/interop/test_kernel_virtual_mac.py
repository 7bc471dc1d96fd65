"""Virtual MAC links of a real kernel: who answers ARP with which MAC, and what the parent is like afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from vip_speaker.kernel import KernelError, mac_of
from vip_speaker.kernel.netlink import Requests

from tests.interop.kernel_lab import assign, eth0, opened
from tests.netns import Host, Network, wait_for

pytestmark = pytest.mark.netns

SETTINGS = ("net.ipv4.conf.eth0.arp_ignore", "net.ipv4.conf.eth0.arp_announce")


@pytest.fixture(name="hosts")
def _hosts() -> Iterator[tuple[Host, Host]]:
    with Network() as network:
        yield network.host("a", "10.9.0.1/24", "fd00:9::1/64"), network.host("b", "10.9.0.2/24", "fd00:9::2/64")


def settings(host: Host) -> list[str]:
    return host.run("sysctl", "-n", *SETTINGS).split()


def test_addresses() -> None:
    assert mac_of(7, 4) == "00:00:5e:00:01:07"
    assert mac_of(255, 6) == "00:00:5e:00:02:ff"


@pytest.mark.parametrize(
    ("version", "vip", "peer", "mac"),
    [(4, "10.9.0.100", "10.9.0.2", "00:00:5e:00:01:33"), (6, "fd00:9::100", "fd00:9::2", "00:00:5e:00:02:33")],
)
def test_neighbours_learn_the_virtual_mac(
    hosts: tuple[Host, Host], version: int, vip: str, peer: str, mac: str
) -> None:
    holder, client = hosts
    before = settings(holder)
    with opened(holder) as kernel:
        link = kernel.create_virtual_mac(eth0(kernel), 51, version)
        assert (link.mac, link.kind, link.up) == (mac, "macvlan", False)
        assert kernel.create_virtual_mac(eth0(kernel), 51, version) == link
        assert holder.addresses(link.name) == []
        assigned = kernel.plan_addresses(
            link,
            [(ip_address(vip), None), *([(ip_address("fe80::100"), None)] if version == 6 else [])],
            parent=eth0(kernel),
        )
        assert kernel.add(assigned, 60) == []

        def reached() -> bool:
            return " 1 received" in client.run("ping", "-n", "-c1", "-W1", vip, check=False)

        wait_for(reached, what="the client reaches the address")
        assert mac in client.ip("neigh", "show", vip)
        assert {one.split("/")[0] for one in holder.addresses(link.name)} == {str(one.ip) for one in assigned}
        if version == 6:
            assert " 1 received" in client.run("ping", "-n", "-c1", "-W2", "fe80::100%eth0", check=False)
        # traffic from the address must not teach the client the parent's MAC
        holder.run("ping", "-n", "-c1", "-W1", "-I", vip, peer, check=False)
        assert mac in client.ip("neigh", "show", vip)
        assert kernel.remove(assigned) == []
        assert "state DOWN" in holder.ip("link", "show", link.name)
        kernel.remove_virtual_mac(link)
        assert link.name not in holder.ip("link")
        assert settings(holder) == before


def test_a_backup_sends_nothing_from_the_virtual_mac(hosts: tuple[Host, Host]) -> None:
    holder, _ = hosts
    with opened(holder) as kernel:
        link = kernel.create_virtual_mac(eth0(kernel), 51, 6)
        assert holder.run("cat", f"/sys/class/net/{link.name}/statistics/tx_packets", check=False).strip() in ("0", "")
        assert kernel.find_interface(["kv*", "eth0"], ip_address("10.9.0.100")) == eth0(kernel)


def test_the_parent_stays_as_it_was_told_until_the_last_one_is_gone(hosts: tuple[Host, Host]) -> None:
    holder, _ = hosts
    holder.run("sysctl", "-qw", "net.ipv4.conf.eth0.arp_ignore=2")
    with opened(holder) as kernel:
        one, two = (kernel.create_virtual_mac(eth0(kernel), vrid, 4) for vrid in (51, 52))
        assert settings(holder) == ["2", "2"]
        kernel.remove_virtual_mac(one)
        assert settings(holder) == ["2", "2"]
        kernel.remove_virtual_mac(two)
        assert settings(holder) == ["2", "0"]


def test_a_name_that_is_taken_is_an_error(hosts: tuple[Host, Host]) -> None:
    holder, _ = hosts
    with opened(holder) as kernel:
        parent = eth0(kernel)
        holder.ip("link", "add", f"kv4-{parent.ifindex}-51", "type", "bridge")
        with pytest.raises(KernelError, match="EEXIST"):
            kernel.create_virtual_mac(parent, 51, 4)


def test_closing_removes_the_links(hosts: tuple[Host, Host]) -> None:
    holder, _ = hosts
    with opened(holder) as kernel:
        kernel.create_virtual_mac(eth0(kernel), 51, 4)
    assert "kv4-" not in holder.ip("link")
    assert settings(holder) == ["0", "0"]


def test_the_last_will_leaves_nothing(hosts: tuple[Host, Host]) -> None:
    holder, _ = hosts
    with opened(holder) as kernel:
        link = kernel.create_virtual_mac(eth0(kernel), 51, 4)
        assert kernel.add(assign(kernel, "10.9.0.100", link=link), 60) == []
        will = kernel.virtual_mac_removal_requests()
        with holder.entered():
            guard = Requests(0)
        assert guard.send(will) == []
        guard.close()
        assert link.name not in holder.ip("link")
        assert settings(holder) == ["0", "0"]
        assert kernel.read_events()
        assert link.ifindex not in kernel.links
        again = kernel.create_virtual_mac(eth0(kernel), 51, 4)
        assert again.ifindex != link.ifindex
        assert settings(holder) == ["1", "2"]
