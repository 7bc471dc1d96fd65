"""What happens to the link and its addresses under a running router."""

from __future__ import annotations

import time

from tests.scene import ADDRESS, ADDRESS6, BUSY_MS, V3, VIP4, VIP6, Scene


def test_deleted_address_comes_back(lan: Scene) -> None:
    lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    deleted = lan.mark()
    lan.first.ip("addr", "del", f"{VIP4}/32", "dev", "eth0")
    lan.eventually(lambda: lan.longest_none(since=deleted) > 0, "the deletion was seen")
    lan.wait_holder(lan.first, timeout=2)
    assert lan.longest_none(since=deleted) <= BUSY_MS
    lan.stays(lan.first, seconds=0.3)


def test_vanished_interface_is_a_fault_and_its_return_heals(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    mac = lan.first.mac()
    lan.first.ip("link", "delete", "eth0")
    lan.wait_holder(lan.second)
    lan.eventually(lambda: first.document().get("state") == "FAULT", "FAULT in the state file")
    assert "eth0" in first.document()["reason"]
    lan.network.connect(lan.first, f"{ADDRESS['first']}/24", mac=mac)
    lan.wait_holder(lan.first)
    lan.eventually(lambda: first.document().get("state") == "MASTER", "MASTER in the state file")


def test_link_down_is_a_fault_at_once(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.first.ip("link", "set", "eth0", "down")
    lan.eventually(lambda: first.document().get("state") == "FAULT", "FAULT in the state file", timeout=2)
    assert not lan.first.has(VIP4)
    lan.first.ip("link", "set", "eth0", "up")
    lan.wait_holder(lan.first)


def test_lost_primary_address_is_a_fault(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    lost = lan.mark()
    lan.first.ip("addr", "del", f"{ADDRESS['first']}/24", "dev", "eth0")
    lan.eventually(lambda: first.document().get("state") == "FAULT", "FAULT in the state file", timeout=3)
    lan.wait_holder(lan.second)
    lan.never_two(since=lost)
    lan.first.ip("addr", "add", f"{ADDRESS['first']}/24", "dev", "eth0")
    lan.wait_holder(lan.first)


def test_changed_primary_address_is_the_new_source(lan: Scene) -> None:
    lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    changed = lan.mark()
    lan.first.ip("addr", "add", "192.168.137.77/24", "dev", "eth0")
    lan.first.run("sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=1")
    lan.first.ip("addr", "del", f"{ADDRESS['first']}/24", "dev", "eth0")
    lan.capture.wait_advert(since=changed.time, source="192.168.137.77", priority=210, timeout=5)
    lan.stays(lan.first, seconds=0.3)
    assert not [one for one in lan.capture.adverts(since=time.time() - 0.2) if one.source != "192.168.137.77"]


def test_virtual_mac_stays_the_same_on_the_other_host(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210, virtual_mac=True))
    lan.wait_holder(lan.first)
    lan.ours(lan.second, V3.with_(priority=200, virtual_mac=True)).wait_listens()
    _client_sees_the_virtual_mac(lan)
    sources = {row[0] for row in lan.capture.fields("vrrp.prio == 210", "eth.src")}
    assert sources == {"00:00:5e:00:01:33"}
    first.stop()
    lan.wait_holder(lan.second)
    _client_sees_the_virtual_mac(lan)
    assert "00:00:5e" not in lan.first.ip("link"), "the link with the virtual MAC went with the router"
    lan.never_two()


def test_virtual_mac_against_keepalived(lan: Scene) -> None:
    """keepalived's parent link may announce the VIP with its own MAC (arp_announce stays 0); only ours is judged."""
    lan.peer("keepalived", lan.second, V3.with_(priority=200, virtual_mac=True)).start()
    lan.wait_holder(lan.second)
    lan.client.run("ping", "-c1", "-W2", VIP4)
    lan.ours(lan.first, V3.with_(priority=210, virtual_mac=True))
    lan.wait_holder(lan.first)
    _client_sees_the_virtual_mac(lan)
    lan.never_two()


def _client_sees_the_virtual_mac(lan: Scene) -> None:
    lan.client.run("ping", "-c1", "-W2", VIP4)
    assert "00:00:5e:00:01:33" in lan.client.ip("neigh", "show", VIP4)


def test_mixed_families_move_together(lan: Scene) -> None:
    mixed = V3.with_(addresses=(f"{VIP4}/32", f"{VIP6}/128"))
    first = lan.ours(lan.first, mixed.with_(priority=210))
    for ipv6 in (False, True):
        lan.wait_holder(lan.first, ipv6=ipv6)
    lan.peer("keepalived", lan.second, mixed.with_(priority=200)).start()
    assert not lan.capture.adverts(destination="ff02::12"), "the second family moves along unadvertised"
    first.stop()
    for ipv6 in (False, True):
        lan.wait_holder(lan.second, ipv6=ipv6)
    lan.client.run("ping", "-c1", "-W2", VIP6)
    lan.never_two()


def test_two_vips_on_one_link_are_independent(lan: Scene) -> None:
    web, db = V3, V3.with_(name="db", vrid=52, addresses=("192.168.137.199/32",))
    lan.ours(lan.first, web.with_(priority=210), db.with_(priority=100))
    second = lan.ours(lan.second, web.with_(priority=200), db.with_(priority=150))
    lan.wait_holder(lan.first)
    lan.eventually(lambda: lan.second.has("192.168.137.199"), "the other VIP is on the other host")
    lan.eventually(lambda: not lan.first.has("192.168.137.199"), "and on no other, who may have been there first")
    second.stop()
    lan.eventually(lambda: lan.first.has("192.168.137.199"), "both are on the survivor")
    assert ADDRESS6["first"] in lan.first.ip("addr")
    lan.never_two()
