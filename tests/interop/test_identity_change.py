"""What two routers must share to hear each other changes on a live VIP, and reaches them seconds apart.

Each change is made on the MASTER first, undone on the BACKUP first, with a client asking a thousand times a second.
In between the other one does not know of it for longer than its master-down interval: as long as that, it is a node
that never hears of the change.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns import run
from tests.peers import KubeVrrp, VirtualRouter
from tests.probe import Probe
from tests.scene import ADDRESS, V2, V2_PASS, V3, VIP4, Scene

#: Longer than a master-down interval: 0.32 s at 100 ms, 3.3 s at 1 s.
LAG_S = {3: 1.0, 2: 4.0}


@dataclass(frozen=True, slots=True)
class Change:
    """`before` and `after`; `told` are fields of an advertisement that only one who knows of the change sends."""

    before: VirtualRouter
    after: VirtualRouter
    told: dict[str, object]
    lag_s: float = LAG_S[3]


#: Of VRID 51 (RFC 9568 section 7.3).
VIRTUAL_MAC = "00:00:5e:00:01:33"

V3_SECOND = V3.with_(interval_ms=1000)

CHANGES = {
    "vrid": Change(V3, V3.with_(vrid=77), {"vrid": 77}),
    "interval": Change(V3, V3.with_(interval_ms=200), {"interval_ms": 200}),
    "transport": Change(V3, V3.with_(unicast_peers=("other",)), {}),
    "interface": Change(V3, V3.with_(interface="eth1"), {"source": "192.168.138.202"}),
    "virtual MAC": Change(V3, V3.with_(virtual_mac=True), {}),
    "addresses": Change(V3, V3.with_(addresses=(f"{VIP4}/32", "192.168.137.198/32")), {}),
    "version": Change(V3_SECOND, V2, {"version": 2}, LAG_S[2]),
    "password": Change(V2, V2_PASS, {"authtype": "simple"}, LAG_S[2]),
    "interval of version 2": Change(V2, V2.with_(interval_ms=2000), {"interval_ms": 2000}, LAG_S[2]),
}


def second_links(lan: Scene) -> None:
    """An `eth1` on either router's host, on the same switch: what is said on one link is heard on the other."""
    for number, host in ((201, lan.first), (202, lan.second)):
        host.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1")  # or both links answer for either's addresses
        port = f"q-{host.name}"
        host.ip("link", "add", "eth1", "type", "veth", "peer", "name", port, "netns", lan.network.switch)
        host.ip("addr", "add", f"192.168.138.{number}/24", "dev", "eth1")
        run("ip", "-n", lan.network.switch, "link", "set", port, "master", "br0", "up")
        host.ip("link", "set", "eth1", "up")


def of(host: str, router: VirtualRouter) -> VirtualRouter:
    """The router of one host: its peer is the other one."""
    other = ADDRESS["second" if host == "first" else "first"]
    peers = (other,) if router.unicast_peers else ()
    return router.with_(priority=210 if host == "first" else 200, unicast_peers=peers)


def told(router: KubeVrrp, to: VirtualRouter) -> Callable[[], object]:
    """Whether the router has read its new document: it says so in its log."""
    lines = router.log.count("document is in force")
    router.replace_manifest(of(router.host.name, to))
    return lambda: router.log.count("document is in force") > lines


def unanswered_ms(probe: Probe) -> float:
    """The longest time in which no question was answered; a busy machine may keep the prober from asking."""
    longest = 0.0
    since: int | None = None
    for sent, received in zip(probe.sent_ns, probe.received_ns, strict=True):
        if received:
            since = None
            continue
        since = sent if since is None else since
        longest = max(longest, (sent - since) / 1e6 + 1)
    return longest


@pytest.mark.parametrize("name", CHANGES)
def test_change_on_a_live_vip(lan: Scene, name: str) -> None:
    change = CHANGES[name]
    if name == "interface":
        second_links(lan)
    first = lan.ours(lan.first, of("first", change.before))
    lan.wait_holder(lan.first)
    second = lan.ours(lan.second, of("second", change.before))
    lan.eventually(lambda: second.document().get("master") == ADDRESS["first"], "the second hears the first")
    began = lan.mark()
    with lan.probe() as probe:
        for to, order in ((change.after, (first, second)), (change.before, (second, first))):
            for router in order:
                lan.eventually(told(router, to), f"{router.host.name} has read it", timeout=5)
                time.sleep(change.lag_s if router is order[0] else 0.3)
    spells = lan.holders4.spells(since_ns=began.monotonic_ns)
    assert all(who == {"first"} for who, _ in spells), spells
    assert second.log.count("BACKUP → MASTER") == 0
    assert unanswered_ms(probe) <= change.before.interval_ms
    print(f"{name}: {probe.lost} lost, silence {probe.silence_ms:.1f} ms")
    _answers_alone(lan, since_ns=began.monotonic_ns)
    _knows(lan, first, second, change)


def _answers_alone(lan: Scene, *, since_ns: int) -> None:
    """Only the first host answered. It may do so with two MACs for the moment in which the addresses change links: new
    ones come before old ones go, and whichever a client takes, it reaches the first host.
    """
    answered = {mac for when, heard in list(lan.asker4.answers) if when >= since_ns for mac in heard}
    words = lan.first.ip("-o", "link").split()
    own = {mac for kind, mac in itertools.pairwise(words) if kind == "link/ether"}
    assert answered, "nobody answered"
    assert answered <= own | {VIRTUAL_MAC}, f"{answered - own} answered too"


def _knows(lan: Scene, first: KubeVrrp, second: KubeVrrp, change: Change) -> None:
    """Both had really changed: the BACKUP takes over as the new document says."""
    for router in (first, second):
        lan.eventually(told(router, change.after), f"{router.host.name} has read it", timeout=5)
    left = lan.mark()
    assert first.stop() == 0
    lan.wait_holder(lan.second)
    lan.capture.wait_advert(since=left.time, priority=200, timeout=5, **change.told)
    assert Path(second.state).exists()


def test_two_vips_swap_their_vrids(lan: Scene) -> None:
    """While one node knows and the other does not, the worse of two masters of one VRID waits; it never takes the other
    VIP's master for its own in the end.
    """
    web, db = V3, V3.with_(name="db", vrid=52, addresses=("192.168.137.199/32",))
    first = lan.ours(lan.first, web.with_(priority=210), db.with_(priority=100))
    lan.wait_holder(lan.first)
    second = lan.ours(lan.second, web.with_(priority=100), db.with_(priority=210))
    lan.eventually(lambda: lan.second.has("192.168.137.199") and not lan.first.has("192.168.137.199"), "each has one")
    for router, (own, other) in ((first, (210, 100)), (second, (100, 210))):
        router.replace_manifest(web.with_(vrid=52, priority=own))
        router.replace_manifest(db.with_(vrid=51, priority=other))
        time.sleep(1)
    lan.eventually(
        lambda: lan.holders4.now == {"first"} and lan.second.has("192.168.137.199"), "each has its own again", timeout=5
    )
    swapped = lan.mark()
    lan.capture.wait_advert(since=swapped.time, vrid=52, priority=210, source=ADDRESS["first"])
    lan.capture.wait_advert(since=swapped.time, vrid=51, priority=210, source=ADDRESS["second"])
    lan.stays(lan.first, seconds=1)
    assert not lan.first.has("192.168.137.199")
