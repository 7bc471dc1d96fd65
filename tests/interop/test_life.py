"""One life of a pair, in every format and with every peer in both roles: election, wire, stop, return, crash."""

from __future__ import annotations

import time

import pytest

from tests.peers import VirtualRouter
from tests.scene import ADDRESS, BUSY_MS, V2, V2_PASS, V3, V3_IPV6, Scene

FORMATS = {"v2-pass": V2_PASS, "v2": V2, "v3-ipv4": V3, "v3-ipv6": V3_IPV6, "unicast": V3}
PAIRS = [
    ("kube-vrrp", "kube-vrrp"),
    ("kube-vrrp", "keepalived"),
    ("keepalived", "kube-vrrp"),
    ("kube-vrrp", "frr"),
    ("frr", "kube-vrrp"),
]


def left_out(kind: str, peer: str) -> bool:
    """FRR has no authentication and no unicast. Version 2 takes seconds for each life: keepalived's is with a password,
    ours and FRR's without.
    """
    if kind == "v2":
        return "keepalived" in peer
    return ("frr" in peer and kind in ("v2-pass", "unicast")) or (kind == "v2-pass" and "keepalived" not in peer)


LIVES = [
    pytest.param(kind, *pair, id=f"{kind}-{pair[0]}-{pair[1]}")
    for kind in FORMATS
    for pair in PAIRS
    if not left_out(kind, pair)
]


@pytest.mark.parametrize(("kind", "first_kind", "second_kind"), LIVES)
def test_start_stop_return_and_crash(lan: Scene, kind: str, first_kind: str, second_kind: str) -> None:
    router = FORMATS[kind]
    # election: the better one, and only it, speaks
    first = lan.peer(first_kind, lan.first, _router(kind, router, "second", 210)).start().wait_listens()
    lan.wait_holder(lan.first, ipv6=router.ipv6)
    second = lan.peer(second_kind, lan.second, _router(kind, router, "first", 200)).start().wait_listens()
    elected = lan.mark()
    _speaks_alone(lan, router, 210, unicast=kind == "unicast")
    assert not lan.capture.adverts(priority=200)
    assert lan.longest_none(since=elected, ipv6=router.ipv6) == 0

    # stop: priority 0, then the successor within its skew time
    stopped = lan.mark()
    first.stop()
    lan.wait_holder(lan.second, ipv6=router.ipv6)
    skew_ms = 56 / 256 * router.interval_ms
    assert lan.longest_none(since=stopped, ipv6=router.ipv6) <= skew_ms + BUSY_MS
    if kind != "unicast":
        assert lan.capture.adverts(since=stopped.time, priority=0), "said good-bye"

    # return: preemption, with nobody left without an address
    returned = lan.mark()
    first.launch()
    lan.wait_holder(lan.first, ipv6=router.ipv6)
    assert lan.longest_none(since=returned, ipv6=router.ipv6) == 0
    lan.never_two(since=elected)

    # crash, with the machine: nobody is left to clean up, the carrier is gone
    crashed = lan.mark()
    lan.network.unplug(lan.first)
    first.kill()
    lan.wait_holder(lan.second, ipv6=router.ipv6)
    assert lan.longest_none(since=crashed, ipv6=router.ipv6) <= 3 * router.interval_ms + skew_ms + BUSY_MS
    assert second.process is not None
    assert second.process.poll() is None
    lan.never_two(since=crashed)


def _router(kind: str, router: VirtualRouter, other: str, priority: int) -> VirtualRouter:
    peers = (ADDRESS[other],) if kind == "unicast" else ()
    return router.with_(priority=priority, unicast_peers=peers)


def _speaks_alone(lan: Scene, router: VirtualRouter, priority: int, *, unicast: bool) -> None:
    """tcpdump hears it, and tshark finds nothing wrong with what it sent."""
    if unicast:  # between the two hosts; the witness' port hears nothing
        time.sleep(0.5)
        assert not lan.capture.adverts()
        return
    lan.capture.wait_advert(priority=priority, version=router.version, vrid=51, interval_ms=router.interval_ms)
    checked = lan.capture.fields("vrrp", "vrrp.prio", "vrrp.checksum.status", "ip.ttl", "ipv6.hlim", "vrrp.auth_type")
    assert {(row[0], row[1]) for row in checked} == {(str(priority), "1")}
    assert {row[2] or row[3] for row in checked} == {"255"}
    if router.version == 2:
        assert {row[4] for row in checked} == {"1" if router.password else "0"}
