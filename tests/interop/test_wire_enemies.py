"""What neighbours may send, by mistake or on purpose, and what it must not do."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.layers.vrrp import VRRPv3

from tests.netns import Host
from tests.peers import VirtualRouter
from tests.scene import ADDRESS, V2, V2_PASS, V3, VIP4, Scene


def advertisement(*, priority: int, vrid: int = 51, ttl: int = 255, **fields: object) -> bytes:
    """A v3 advertisement from the client's address, right unless `fields` make it wrong."""
    message = VRRPv3(vrid=vrid, priority=priority, adv=10, addrlist=[VIP4], **fields)
    frame = Ether(dst="01:00:5e:00:00:12", src="02:00:00:00:00:99")
    return bytes(frame / IP(src=ADDRESS["client"], dst="224.0.0.18", ttl=ttl) / message)


@contextmanager
def flood(host: Host, frame: bytes, *, every_s: float) -> Iterator[None]:
    """Send `frame` again and again, at once and every so often."""
    with host.entered():
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    opened.bind(("eth0", 0))
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(every_s):
            opened.send(frame)

    opened.send(frame)
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()
        opened.close()


def mastered(lan: Scene, router: VirtualRouter = V3) -> None:
    """Ours master on the first, a keepalived backup on the second."""
    lan.ours(lan.first, router.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, router.with_(priority=100)).start()


JUNK = {
    "checksum": advertisement(priority=250, chksum=0xDEAD),
    "truncated": advertisement(priority=250)[:-6],
    "other VRID": advertisement(priority=250, vrid=99),
    "ttl": advertisement(priority=250, ttl=64),
}


@pytest.mark.parametrize("kind", JUNK)
def test_junk_neither_delays_adverts_nor_deposes(lan: Scene, kind: str) -> None:
    """keepalived sends 2 adverts in 10 s under such a flood, and an advert with a wrong checksum deposed it."""
    mastered(lan)
    began = lan.mark()
    with flood(lan.client, JUNK[kind], every_s=0.04):
        lan.stays(lan.first, seconds=2)
    times = [one.time for one in lan.capture.adverts(since=began.time, source=ADDRESS["first"])]
    assert len(times) >= 18
    assert statistics.median(after - before for before, after in pairwise(times)) == pytest.approx(0.1, abs=0.01)
    assert not lan.capture.adverts(since=began.time, source=ADDRESS["second"])


def test_flood_of_priority_0_is_answered_within_bounds(lan: Scene) -> None:
    mastered(lan)
    began = lan.mark()
    with flood(lan.client, advertisement(priority=0), every_s=0.005):
        lan.stays(lan.first, seconds=2)
    answers = lan.capture.adverts(since=began.time, source=ADDRESS["first"])
    asked = len(lan.capture.adverts(since=began.time, source=ADDRESS["client"], priority=0))
    assert asked > 150
    assert len(answers) <= 20 + 5 + 25, f"{len(answers)} adverts for {asked} packets"


def test_flood_of_lower_priority_makes_no_arp_storm(lan: Scene) -> None:
    mastered(lan)
    time.sleep(0.3)
    began = lan.mark()
    with flood(lan.client, advertisement(priority=50), every_s=0.005):
        lan.stays(lan.first, seconds=2)
    gratuitous = lan.capture.matching(rf"who-has {VIP4} \(ff:ff:ff:ff:ff:ff\) tell {VIP4}", since=began.time)
    assert len(gratuitous) <= 10, gratuitous


def test_better_priority_deposes_and_is_reported_when_it_stays(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    with flood(lan.client, advertisement(priority=250), every_s=0.05):
        lan.eventually(lambda: not lan.holders4.now, "the VIP was given up")
        lan.eventually(lambda: first.document().get("master") == ADDRESS["client"], "the state names the master")
        time.sleep(0.5)
        assert not lan.holders4.now
    lan.wait_holder(lan.first)


def test_wrong_password_is_not_heard_and_named(lan: Scene) -> None:
    first = lan.ours(lan.first, V2_PASS.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, V2_PASS.with_(priority=220, password="2222")).start()
    lan.eventually(lambda: lan.second.has(VIP4), "each believes itself alone")
    time.sleep(2.5)
    assert lan.first.has(VIP4)
    told = first.log + str(first.document())
    assert ADDRESS["second"] in told
    assert "authentication" in told.lower() or "password" in told.lower()


def test_other_version_keeps_a_starting_router_backup(lan: Scene) -> None:
    lan.peer("keepalived", lan.second, V2.with_(priority=100)).start()
    lan.wait_holder(lan.second)
    first = lan.ours(lan.first, V3.with_(priority=210, interval_ms=500))
    time.sleep(1)
    lan.stays(lan.second, seconds=2.5)
    told = first.log + str(first.document())
    assert ADDRESS["second"] in told
    assert "version" in told.lower()
    lan.never_two()
