"""Somebody else uses what is ours: a VRID, an address, both. What users are told, and that other VIPs do not notice."""

from __future__ import annotations

import time
from itertools import pairwise

from tests.netns import Host
from tests.peers import KubeVrrp, VirtualRouter
from tests.scene import ADDRESS, V2, V3, VIP4, Scene

#: A VIP that has nothing to do with the conflict.
BESIDE = VirtualRouter(addresses=("192.168.137.199/32",), name="beside", vrid=60, interval_ms=100, priority=210)
MASTER = V3.with_(priority=210)


def sentence(router: KubeVrrp, name: str = "web") -> str:
    """Everything that the state document says in words."""
    document = router.document(name)
    return " ".join([document.get("reason", ""), *document.get("problems", [])])


def undisturbed(lan: Scene, host: Host, *, since: float) -> None:
    """The VIP beside is advertised on its grid, and never moved."""

    def times() -> list[float]:
        return [one.time for one in lan.capture.adverts(since=since, vrid=BESIDE.vrid, source=ADDRESS[host.name])]

    lan.eventually(lambda: len(times()) >= 5, "advertisements of the VIP beside")
    assert max(after - before for before, after in pairwise(times())) < 0.3
    assert host.has(BESIDE.addresses[0].split("/")[0])


def test_two_vips_with_one_vrid_in_one_directory(lan: Scene) -> None:
    """The one in force stays, the new one is FAULT and says with whom; it takes part once the VRID is free."""
    first = lan.ours(lan.first, MASTER, BESIDE)
    lan.wait_holder(lan.first)
    began = lan.mark()
    late = V3.with_(name="a-late-one", addresses=("192.168.137.198/32",))
    first.replace_manifest(late)
    lan.eventually(lambda: first.document("a-late-one").get("state") == "FAULT", "the new one is refused", timeout=5)
    assert "virtualRouterID: 51 is that of web on eth0" in sentence(first, "a-late-one")
    lan.stays(lan.first, seconds=0.5)
    assert not lan.first.has("192.168.137.198")
    undisturbed(lan, lan.first, since=began.time)
    (first.config / "web.yaml").unlink()
    lan.eventually(lambda: lan.first.has("192.168.137.198"), "the VRID is free for the other")


def test_a_foreign_router_with_our_vrid_and_other_addresses(lan: Scene) -> None:
    """One VRID, one virtual router: the better one wins, whoever it is, and each side says so. Others do not notice."""
    first = lan.ours(lan.first, MASTER, BESIDE)
    lan.wait_holder(lan.first)
    began = lan.mark()
    foreign = V3.with_(addresses=("192.168.137.77/32",), priority=220)
    keepalived = lan.peer("keepalived", lan.second, foreign).start()
    lan.eventually(lambda: first.document().get("master") == ADDRESS["second"], "the master is named", timeout=10)
    assert first.document()["state"] == "BACKUP"
    assert f"{ADDRESS['second']} has a higher priority" in sentence(first)
    lan.eventually(lambda: "other addresses" in sentence(first), "that it serves other addresses is said", timeout=5)
    assert "192.168.137.77" in sentence(first)
    undisturbed(lan, lan.first, since=began.time)
    keepalived.stop()
    lan.wait_holder(lan.first)


def test_a_weaker_foreign_router_with_our_vrid_is_a_split_brain_until_it_is_gone(lan: Scene) -> None:
    """It does not hear us (another password, a broken switch): it is named while it lasts, and not for ever."""
    first = lan.ours(lan.first, MASTER, BESIDE)
    lan.wait_holder(lan.first)
    began = lan.mark()
    lan.second.run("nft", "-f", "-", stdin=DEAF)
    keepalived = lan.peer("keepalived", lan.second, V3.with_(priority=100, addresses=("192.168.137.77/32",))).start()
    lan.eventually(lambda: first.document().get("splitBrain"), "the split brain is reported", timeout=15)
    assert first.document()["splitBrain"]["source"] == ADDRESS["second"]
    lan.stays(lan.first, seconds=0.5)
    undisturbed(lan, lan.first, since=began.time)
    keepalived.stop()
    lan.eventually(lambda: not first.document().get("splitBrain"), "it is over", timeout=20)


DEAF = """\
table netdev deaf {
  chain in {
    type filter hook ingress device "eth0" priority 0;
    ip protocol 112 drop
  }
}
"""


def test_a_foreign_router_with_our_address_under_another_vrid(lan: Scene) -> None:
    """Who starts into that stays BACKUP and says who serves; when it is gone, ours takes over."""
    keepalived = lan.peer("keepalived", lan.second, V3.with_(vrid=77, priority=100)).start()
    lan.wait_holder(lan.second)
    began = lan.mark()
    first = lan.ours(lan.first, MASTER, BESIDE)
    lan.eventually(lambda: "as VRID 77" in sentence(first), "the state says who serves", timeout=10)
    assert ADDRESS["second"] in sentence(first)
    lan.stays(lan.second, seconds=1.5)
    assert first.document()["state"] == "BACKUP"
    lan.never_two(since=began, doubles=0)
    undisturbed(lan, lan.first, since=lan.mark().time - 1)
    keepalived.stop()
    lan.wait_holder(lan.first, timeout=5)
    lan.eventually(lambda: "VRID 77" not in sentence(first), "it is over", timeout=20)


def test_a_foreign_router_that_comes_later_with_our_address(lan: Scene) -> None:
    """A MASTER does not leave for whoever names its address, or anybody could make it; it reports a split brain."""
    first = lan.ours(lan.first, MASTER, BESIDE)
    lan.wait_holder(lan.first)
    began = lan.mark()
    lan.peer("keepalived", lan.second, V3.with_(vrid=77, priority=250)).start()
    lan.eventually(lambda: first.document().get("splitBrain"), "the split brain is reported", timeout=15)
    assert first.document()["splitBrain"]["source"] == ADDRESS["second"]
    assert "as VRID 77" in sentence(first)
    assert lan.first.has(VIP4)
    undisturbed(lan, lan.first, since=began.time)


def test_a_foreign_router_with_the_other_version(lan: Scene) -> None:
    """The MASTER stays, and says who speaks the other version."""
    first = lan.ours(lan.first, V2.with_(priority=210), BESIDE)
    lan.wait_holder(lan.first)
    began = lan.mark()
    lan.peer("keepalived", lan.second, V3.with_(priority=250)).start()
    lan.eventually(lambda: "speaks VRRP version 3" in sentence(first), "the state says so", timeout=10)
    lan.eventually(lambda: first.document().get("splitBrain"), "the split brain is reported", timeout=15)
    assert lan.first.has(VIP4)
    undisturbed(lan, lan.first, since=began.time)


def test_a_second_set_of_routers_with_our_vrid(lan: Scene) -> None:
    """Another cluster on the same LAN, other addresses: one of the four is MASTER, the weaker cluster says why not."""
    ours = lan.ours(lan.first, MASTER, BESIDE)
    lan.wait_holder(lan.first)
    theirs = V3.with_(name="theirs", addresses=("192.168.137.77/32",), priority=200)
    other = lan.ours(lan.second, theirs)
    lan.eventually(lambda: "other addresses" in sentence(other, "theirs"), "the weaker one says why", timeout=10)
    began = lan.mark()
    assert VIP4 in sentence(other, "theirs")
    assert other.document("theirs")["state"] == "BACKUP"
    lan.stays(lan.first, seconds=0.7)
    assert not lan.second.has("192.168.137.77")
    assert ours.document()["state"] == "MASTER"
    undisturbed(lan, lan.first, since=began.time)


def test_a_stranger_who_answers_for_the_address(lan: Scene) -> None:
    """Noticed though it only ever answers, reported with its MAC, and not fought over."""
    lan.second.ip("addr", "add", f"{VIP4}/32", "dev", "eth0", "noprefixroute")
    first = lan.ours(lan.first, MASTER, BESIDE)
    lan.eventually(lambda: lan.first.has(VIP4), "MASTER")
    began = lan.mark()
    mac = lan.second.mac()
    lan.eventually(lambda: f"{mac} claims {VIP4}" in sentence(first), "the stranger is named", timeout=15)
    assert mac in first.log
    again = rf"who-has {VIP4} \(ff:ff:ff:ff:ff:ff\) tell {VIP4}"
    noticed = lan.mark()
    lan.eventually(lambda: lan.capture.matching(again, since=noticed.time - 0.3), "announced again", timeout=5)
    time.sleep(2)
    assert len(lan.capture.matching(again, since=noticed.time)) <= 8, "one round, and what was due after 5 s"
    assert first.document()["state"] == "MASTER"
    undisturbed(lan, lan.first, since=began.time)


def test_two_holders_who_meet_again(lan: Scene) -> None:
    """After a partition the clients of the one that leaves are told where the address is, not only by a refresh."""
    lan.ours(lan.first, MASTER)
    lan.wait_holder(lan.first)
    lan.ours(lan.second, V3.with_(priority=200))
    time.sleep(1)
    lan.network.isolate(lan.second)
    lan.eventually(lambda: lan.second.has(VIP4), "the cut-off one is MASTER too")
    # what a client on its side would know
    lan.client.ip("neigh", "replace", VIP4, "lladdr", lan.second.mac(), "dev", "eth0", "nud", "reachable")
    lan.network.rejoin(lan.second)
    lan.wait_holder(lan.first)
    met = time.monotonic()
    lan.eventually(lambda: lan.first.mac() in lan.client.ip("neigh", "show", VIP4), "the client knows", timeout=10)
    assert time.monotonic() - met < 3, "a client that heard nothing asks itself after 5 s and more"
