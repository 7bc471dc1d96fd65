"""Silence on a real kernel: new askers get no answer, those who know the address keep it; nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from vip_speaker.kernel import Record
from vip_speaker.kernel.netlink import Requests
from vip_speaker.kernel.silence import NETLINK_NETFILTER

from tests.interop.kernel_lab import assign, opened, program, running
from tests.netns import Host, Network, wait_for

pytestmark = pytest.mark.netns

VIP, VIP6 = "10.9.0.100", "fd00:9::100"


@pytest.fixture(name="hosts")
def _hosts() -> Iterator[tuple[Host, Host, Host]]:
    """The holder of the addresses, a neighbour that will know them, and one that will not."""
    with Network() as network:
        yield (
            network.host("a", "10.9.0.1/24", "fd00:9::1/64"),
            network.host("b", "10.9.0.2/24", "fd00:9::2/64"),
            network.host("c", "10.9.0.3/24", "fd00:9::3/64"),
        )


def reaches(host: Host, address: str) -> bool:
    return " 1 received" in host.run("ping", "-n", "-c1", "-W1", address, check=False)


@pytest.mark.parametrize(("vip", "own"), [(VIP, "10.9.0.1"), (VIP6, "fd00:9::1")])
def test_new_askers_get_no_answer_and_known_ones_keep_theirs(
    hosts: tuple[Host, Host, Host], vip: str, own: str
) -> None:
    holder, knows, asks = hosts
    with opened(holder) as kernel:
        assigned = assign(kernel, VIP, VIP6)
        kernel.prepare(assigned, 60)
        assert kernel.add(assigned, 60) == []
        wait_for(lambda: reaches(knows, vip), what="the neighbour knows the address")
        kernel.silence([ip_address(VIP), ip_address(VIP6)])
        assert not reaches(asks, vip)
        assert reaches(asks, own)
        assert reaches(knows, vip)
        kernel.silence([ip_address(vip)])  # again
        kernel.unsilence([ip_address(VIP), ip_address(VIP6)])
        asks.ip("neigh", "flush", "all")
        wait_for(lambda: reaches(asks, vip), what="the holder answers again")
        kernel.unsilence([ip_address(VIP)])  # is not silent any more


@pytest.mark.parametrize(("vip", "client"), [(VIP, "10.9.0.3"), (VIP6, "fd00:9::3")])
def test_a_silent_holder_does_not_ask_from_the_address_either(
    hosts: tuple[Host, Host, Host], vip: str, client: str
) -> None:
    holder, _, asks = hosts
    with opened(holder) as kernel:
        assert kernel.add(assign(kernel, VIP, VIP6), 60) == []
        kernel.silence([ip_address(vip)])
        holder.run("ping", "-n", "-c1", "-W1", "-I", vip, client, check=False)
        assert vip not in asks.ip("neigh", "show")


def test_the_table_is_gone_when_the_process_is_killed(hosts: tuple[Host, Host, Host]) -> None:
    holder, _, asks = hosts
    text = f"""
        kernel = Kernel.open()
        assert kernel.add(plan(kernel, kernel.link_named("eth0"), "{VIP}"), 600) == []
        kernel.silence([ip_address("{VIP}")])
        assert kernel.silence_removal_requests() == []
        print("ready")
        time.sleep(600)
    """
    with running(program(holder, text)):
        assert VIP in holder.run("nft", "list", "ruleset")
        assert not reaches(asks, VIP)
    wait_for(lambda: holder.run("nft", "list", "tables") == "", what="the tables are gone")
    asks.ip("neigh", "flush", "all")
    wait_for(lambda: reaches(asks, VIP), what="the address answers")


def test_two_routers_in_one_namespace_keep_apart(hosts: tuple[Host, Host, Host]) -> None:
    holder, _, _ = hosts
    with opened(holder) as one, opened(holder) as two:
        one.silence([ip_address(VIP)])
        two.silence([ip_address(VIP)])
        assert holder.run("nft", "list", "tables").count("kube-vrrp-") == 4
        two.unsilence([ip_address(VIP)])
        assert holder.run("nft", "list", "ruleset").count(VIP) == 1


def test_silence_is_quick_at_the_moment_that_counts(hosts: tuple[Host, Host, Host]) -> None:
    holder, _, _ = hosts
    with opened(holder) as kernel:
        assigned = assign(kernel, *(f"10.9.0.{n}" for n in range(100, 164)))
        kernel.prepare(assigned, 60)
        addresses = [one.ip for one in assigned]
        fastest = 1.0
        for _ in range(20):  # the machine is shared: one undisturbed run tells
            start = time.perf_counter()
            kernel.silence(addresses)
            fastest = min(fastest, time.perf_counter() - start)
            kernel.unsilence(addresses)
        assert fastest < 0.005


def test_a_kernel_that_knows_no_owners_is_cleaned_up_by_others(
    hosts: tuple[Host, Host, Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    holder, _, asks = hosts
    monkeypatch.setattr("vip_speaker.kernel.silence._TABLE_F_OWNER", 0x80)  # a flag that this kernel does not know
    with opened(holder) as kernel:
        assert kernel.add(assign(kernel, VIP), 60) == []
        kernel.silence([ip_address(VIP)])
        assert "flags owner" not in holder.run("nft", "list", "ruleset")
        assert not reaches(asks, VIP)
        will = kernel.silence_removal_requests()
        with holder.entered():
            guard = Requests(NETLINK_NETFILTER)
        assert guard.send(will) == []
        assert holder.run("nft", "list", "tables") == ""
        guard.close()
    monkeypatch.undo()
    for family in ("arp", "ip6"):
        holder.run("nft", "add", "table", family, "kube-vrrp-4711")
    with opened(holder) as kernel:
        assert kernel.sweep(Record(tmp_path / "held"))[1:] == ["nftables table kube-vrrp-4711"]
    assert holder.run("nft", "list", "tables") == ""
