"""What a lone router holds follows its links: deleted, made again, given another MAC, not ready yet."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.alone import OWN, Alone, alone, document
from tests.netns import Host
from tests.peers import VirtualRouter

pytestmark = pytest.mark.netns

A, B = "10.9.0.10", "10.9.0.11"


@pytest.fixture(name="lone")
def _lone() -> Iterator[Alone]:
    with alone() as here:
        yield here
        print(here.router.log[-3000:])  # pytest shows it for a test that failed


def _own_links(host: Host) -> list[str]:
    return [line.split(":")[1].split("@")[0].strip() for line in host.ip("-o", "link").splitlines() if "kv4-" in line]


def test_a_deleted_virtual_mac_link_is_made_again(lone: Alone) -> None:
    lone.start({"a": document("a", A, vrid=1, virtualMAC=True), "b": document("b", B, vrid=2)}, a=A, b=B)
    (link,) = _own_links(lone.host)
    with lone.never_absent(B):
        lone.host.ip("link", "delete", link)
        lone.eventually(lambda: _own_links(lone.host), "the link is there again")
        lone.wait_held(A, "a")
        assert lone.on_links()[f"{A}/32"].startswith("kv4-")
        lone.eventually(lambda: not lone.problems("a"), "nothing is wrong")
    lone.no_bug()


def test_the_parent_of_a_virtual_mac_made_again(lone: Alone) -> None:
    lone.start({"a": document("a", A, vrid=1, virtualMAC=True), "b": document("b", B, vrid=2)}, a=A, b=B)
    lone.host.ip("link", "delete", "eth0")
    lone.eventually(lambda: lone.state("a").get("state") == lone.state("b").get("state") == "FAULT", "FAULT")
    assert "eth0" in lone.state("a")["reason"] + lone.state("b")["reason"]
    lone.network.connect(lone.host, f"{OWN}/24")
    lone.wait_held(A, "a")
    lone.wait_held(B, "b")
    assert lone.on_links()[f"{A}/32"].startswith("kv4-")
    assert len(_own_links(lone.host)) == 1
    lone.no_bug()


def test_a_link_that_was_elsewhere_while_nobody_looked(lone: Alone) -> None:
    """Moved to another network namespace and back, as by hand or by a CNI plugin. It has the index from before."""
    lone.start({"a": document("a", A, vrid=1, priority=200, advertisementInterval="1s")}, a=A)
    child, before = lone.router.child(), lone.host.ip("-o", "link", "show", "eth0").split(":")[0]
    elsewhere = lone.network.host("elsewhere")
    elsewhere.ip("link", "delete", "eth0")
    os.kill(child, signal.SIGSTOP)
    lone.host.ip("link", "set", "eth0", "name", "away0", "netns", str(elsewhere.path))
    elsewhere.ip("link", "set", "away0", "name", "eth0", "netns", str(lone.host.path))
    os.kill(child, signal.SIGCONT)
    assert lone.host.ip("-o", "link", "show", "eth0").split(":")[0] == before
    lone.eventually(lambda: lone.state("a").get("state") == "FAULT", "its link is down")
    lone.host.ip("address", "add", f"{OWN}/24", "dev", "eth0")
    lone.host.ip("link", "set", "eth0", "up")
    came_back = time.time()
    lone.wait_held(A, "a")
    lone.capture.wait_advert(since=came_back, vrid=1)
    assert lone.router.child() == child, "the same router"
    other = type(lone.router)(lone.neighbour, VirtualRouter(addresses=("10.9.0.10/32",), vrid=1, priority=250))
    with other:
        lone.eventually(lambda: lone.state("a").get("state") == "BACKUP", "it hears a better one")
    lone.no_bug()


def test_a_link_whose_end_was_not_seen_coming_ends_no_other_virtualip(lone: Alone) -> None:
    """What moves to its second link says farewell under its former identity, on a link that is closed."""
    lone.host.ip("link", "add", "eth1", "type", "bridge")
    lone.host.ip("link", "add", "port", "master", "eth1", "type", "veth", "peer", "name", "port-peer")
    for name in ("port", "port-peer", "eth1"):
        lone.host.ip("link", "set", name, "up")
    lone.host.ip("address", "add", "10.9.1.5/24", "dev", "eth1")
    second = "10.9.1.11"
    lone.start(
        {
            "a": document("a", A, vrid=1, interfaces=["eth0", "eth1"]),
            "b": document("b", second, vrid=2, interfaces=["eth1"]),
        },
        a=A,
        b=second,
    )
    child = lone.router.child()
    with lone.never_absent(second):
        os.kill(child, signal.SIGSTOP)
        lone.host.ip("link", "delete", "eth0")
        os.kill(child, signal.SIGCONT)
        lone.eventually(lambda: lone.on_links().get(f"{A}/32") == "eth1", "it moved")
        time.sleep(1)
        assert lone.router.child() == child, "the same router"
    lone.no_bug()


def test_a_new_mac_of_the_link_is_announced_at_once_and_at_every_refresh(lone: Alone) -> None:
    often = {"repeat": 1, "delay": "0s", "refresh": "1s"}
    lone.start({"a": document("a", A, vrid=1, announcements=often)}, a=A)
    changed, mac = time.time(), "02:00:00:00:00:99"
    lone.host.ip("link", "set", "eth0", "address", mac)
    lone.eventually(lambda: mac in lone.announced(A, since=changed), "announced")
    known = time.time()
    lone.eventually(lambda: len(lone.announced(A, since=known)) >= 2, "refreshed")
    assert set(lone.announced(A, since=known)) == {mac}
    lone.no_bug()


def test_a_router_started_during_duplicate_detection_takes_part_after_it(lone: Alone) -> None:
    """An address that is tentative still cannot be sent from."""
    lone.host.ip("link", "set", "eth0", "down")
    lone.host.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1", "net.ipv6.conf.eth0.dad_transmits=3")
    lone.router.manifests = {"six": document("six", "fd00:9::100", vrid=6)}
    lone.host.ip("link", "set", "eth0", "up")
    lone.router.start()
    lone.eventually(lambda: lone.state("six").get("state") == "FAULT", "nothing to send from")
    assert "tentative" in lone.host.ip("-6", "addr", "show", "dev", "eth0")
    lone.wait_held("fd00:9::100", "six")
    lone.no_bug()


def test_a_waiting_vip_hears_who_is_there_on_a_link_made_again(lone: Alone) -> None:
    text = yaml.safe_load(document("a", A, vrid=1, virtualRouterID=None, priority=None))
    text["assignment"] = {"priority": 100}
    lone.start({"a": yaml.safe_dump(text)})
    lone.eventually(lambda: "virtualRouterID" in lone.state("a").get("reason", ""), "it waits for a VRID")
    lone.host.ip("link", "delete", "eth0")
    lone.eventually(lambda: lone.state("a").get("state") == "FAULT", "no link")
    lone.network.connect(lone.host, f"{OWN}/24")
    other = type(lone.router)(lone.neighbour, VirtualRouter(addresses=("10.9.0.50/32",), vrid=77, interval_ms=100))
    with other:
        lone.eventually(
            lambda: [one["vrid"] for one in lone.state("a").get("link", {}).get("heard", ())] == [77],
            "the neighbour's VRID is known",
        )
    lone.no_bug()


BUG = """\
import sys
if "vip_speaker.router" in sys.orig_argv:
    from vip_speaker.router.documents import Documents
    Documents.look_within = lambda self, wait_ns: 1 // 0
"""


def test_an_exception_in_a_callback_ends_the_router_and_the_guard_cleans_up(
    lone: Alone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BUG)
    environment = lone.router.environment()
    environment["PYTHONPATH"] += f":{tmp_path}"
    monkeypatch.setattr(lone.router, "environment", lambda: environment)
    lone.start({"a": document("a", A, vrid=1)}, a=A)
    child, failed = lone.router.child(), time.time()
    os.kill(child, signal.SIGHUP)
    lone.capture.wait_advert(since=failed, vrid=1, priority=0)
    lone.eventually(lambda: not Path(f"/proc/{child}").exists(), "the router has ended")
    assert "ZeroDivisionError" in lone.router.log
    lone.eventually(lambda: "status 1" in lone.router.log and "starting a new one" in lone.router.log, "the guard saw")
    lone.wait_held(A, "a")


def test_killed_during_a_change_of_identity_it_is_given_up_under_both(lone: Alone) -> None:
    """A backup that has not yet heard of the change waits for nothing."""
    lone.start({"a": document("a", A, vrid=1)}, a=A)
    changed = time.time()
    lone.write("a", document("a", A, vrid=2))
    lone.capture.wait_advert(since=changed, vrid=2, priority=255)
    child, killed = lone.router.child(), time.time()
    os.kill(child, signal.SIGKILL)
    lone.capture.wait_advert(since=killed, vrid=2, priority=0)
    lone.capture.wait_advert(since=killed, vrid=1, priority=0)
