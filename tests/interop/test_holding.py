"""What a lone router holds follows its documents: nothing is dropped, doubled or put off on the way."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.alone import Alone, alone, document
from tests.netns import Host

pytestmark = pytest.mark.netns

A, B, C = "10.9.0.10", "10.9.0.11", "10.9.0.12"
# A subnet that the host has no address in: there a VIP keeps its prefix.
FAR, FAR_TOO = "203.0.113.9", "203.0.113.10"


@pytest.fixture(name="lone")
def _lone() -> Iterator[Alone]:
    with alone() as here:
        yield here
        print(here.router.log[-3000:])  # pytest shows it for a test that failed
        here.no_bug()


def test_a_prefix_that_changes_is_followed_without_a_gap(lone: Alone) -> None:
    lone.start({"far": document("far", f"{FAR}/24", vrid=9)}, far=f"{FAR}/24")
    with lone.never_absent(FAR):
        lone.write("far", document("far", f"{FAR}/25", vrid=9))
        lone.eventually(lambda: lone.holds(f"{FAR}/25") and not lone.holds(f"{FAR}/24"), "/25 alone")


def test_the_prefix_follows_the_hosts_own_address_in_the_subnet(lone: Alone) -> None:
    lone.start({"far": document("far", f"{FAR}/24", vrid=9)}, far=f"{FAR}/24")
    with lone.never_absent(FAR):
        lone.host.ip("addr", "add", "203.0.113.1/24", "dev", "eth0")
        lone.eventually(lambda: lone.holds(f"{FAR}/32") and not lone.holds(f"{FAR}/24"), "/32: the subnet is there")
    assert lone.holds("203.0.113.1/24"), "the host's own address does not go with the prefix of the VIP"
    lone.host.ip("addr", "del", "203.0.113.1/24", "dev", "eth0")
    lone.eventually(lambda: lone.holds(f"{FAR}/24") and not lone.holds(f"{FAR}/32"), "/24: nobody else has the subnet")


def test_another_vip_of_the_subnet_takes_the_prefix_over(lone: Alone) -> None:
    texts = {"b": document("b", f"{FAR}/24", vrid=9), "c": document("c", f"{FAR_TOO}/24", vrid=10)}
    lone.start(texts, b=FAR, c=FAR_TOO)
    assert (lone.holds(f"{FAR}/24"), lone.holds(f"{FAR_TOO}/32")) == (True, True)
    lone.remove("b")
    lone.eventually(lambda: not lone.holds(FAR), "released")
    lone.eventually(lambda: lone.holds(f"{FAR_TOO}/24") and not lone.holds(f"{FAR_TOO}/32"), "c has the subnet now")


@pytest.mark.parametrize(("giver", "taker"), [("a", "z"), ("z", "a")])
def test_an_address_that_moves_to_another_vip_is_held_by_it(lone: Alone, giver: str, taker: str) -> None:
    texts = {giver: document(giver, A, B, vrid=1), taker: document(taker, C, vrid=2)}
    lone.start(texts, **{giver: B, taker: C})
    lone.write(giver, document(giver, A, vrid=1))
    lone.write(taker, document(taker, C, B, vrid=2))
    lone.eventually(lambda: B in " ".join(lone.state(taker).get("addresses", ())), "the taker knows of it")
    lone.wait_held(B, taker)
    time.sleep(0.5)
    assert all(lone.holds(one) for one in (A, B, C)), lone.on_links()
    assert (lone.state(giver)["state"], lone.state(taker)["state"]) == ("MASTER", "MASTER")
    assert not lone.problems(giver) + lone.problems(taker)


def test_a_renamed_vip_is_held_once_and_stays(lone: Alone) -> None:
    lone.start({"old": document("old", A, vrid=1)}, old=A)
    lone.write("new", document("new", A, vrid=1))
    lone.remove("old")
    lone.wait_held(A, "new")
    lone.eventually(lambda: not lone.state("old"), "the old name is gone")
    with lone.never_absent(A):
        time.sleep(1.5)  # as long as the old one may have waited for a successor
    assert list(lone.on_links()).count(f"{A}/32") == 1


def test_announcements_that_change_are_in_force_at_once(lone: Alone) -> None:
    often = {"repeat": 1, "delay": "0s", "refresh": "1s"}
    lone.start({"a": document("a", A, vrid=1, announcements=often)}, a=A)
    began = time.time()
    lone.eventually(lambda: len(lone.announced(A, since=began)) >= 2, "refreshed every second")
    lone.write("a", document("a", A, vrid=1, announcements=often | {"refresh": "0s"}))
    time.sleep(0.5)
    quiet = time.time()
    time.sleep(2.5)
    assert lone.announced(A, since=quiet) == []
    lone.write("a", document("a", A, vrid=1, announcements=often))
    lone.eventually(lambda: len(lone.announced(A, since=quiet)) >= 2, "refreshed again")


def test_a_junk_file_with_a_long_name_does_no_harm(lone: Alone) -> None:
    lone.start({"a": document("a", A, vrid=1)}, a=A)
    with lone.never_absent(A):
        (lone.config / f"{'x' * 240}.yaml").write_text("{")
        lone.eventually(lambda: "xxx.yaml" in lone.router.log, "it was looked at")
        lone.write("b", document("b", B, vrid=2))
        lone.wait_held(B, "b")
    assert sorted(file.name for file in lone.router.state.glob("*.vip.json")) == ["a.vip.json", "b.vip.json"]


def test_a_directory_that_cannot_be_read_keeps_everything(lone: Alone) -> None:
    """Root reads whatever the mode, so it is a mount that goes bad: /proc of a process that ends."""
    lone.start({"a": document("a", A, vrid=1)}, a=A)
    with lone.never_absent(A), _unreadable(lone):
        time.sleep(0.5)
        os.kill(lone.router.pid, 1)  # have a look now
        lone.eventually(lambda: "Too many levels of symbolic links" in lone.router.log, "the trouble is in the log")
        time.sleep(0.5)
    lone.write("a", document("a", A, B, vrid=1))
    os.kill(lone.router.pid, 1)
    lone.wait_held(B, "a", timeout=15)


@contextlib.contextmanager
def _unreadable(lone: Alone) -> Iterator[None]:
    """The directory's path leads in circles for a while: neither there nor known to be gone."""
    aside = lone.config.with_name("aside")
    lone.config.rename(aside)
    lone.config.symlink_to(lone.config.name)
    try:
        yield
    finally:
        lone.config.unlink()
        aside.rename(lone.config)


def test_a_password_file_that_is_gone_for_a_moment_keeps_the_vip(lone: Alone) -> None:
    secret = lone.router.directory / "password"
    secret.write_text("1111\n")
    text = document("a", A, vrid=1, version=2, advertisementInterval="1s", authentication=_from(str(secret)))
    lone.start({"a": text}, a=A)
    with lone.never_absent(A):
        secret.unlink()
        os.kill(lone.router.pid, 1)
        lone.eventually(lambda: str(secret) in lone.problems("a"), "said in problems")
        lone.capture.wait_advert(since=time.time(), vrid=1, priority=255)
        secret.write_text("1111\n")
        os.kill(lone.router.pid, 1)
        lone.eventually(lambda: not lone.problems("a"), "all is well")


def _from(path: str) -> dict[str, str]:
    return {"type": "PASS", "passwordFile": path}


def test_a_document_that_returns_while_its_vip_leaves_costs_nothing(lone: Alone) -> None:
    """At an interval of 1 s it waits a second for a successor."""
    text = document("a", A, vrid=1, priority=254, advertisementInterval="1s", preempt=True)
    lone.start({"a": text}, a=A)
    with lone.never_absent(A):
        removed = time.time()
        lone.remove("a")
        lone.capture.wait_advert(since=removed, priority=0)
        lone.write("a", text)
        lone.capture.wait_advert(since=time.time(), priority=254)
        time.sleep(1.5)
    assert lone.state("a")["state"] == "MASTER"


def test_a_file_that_is_touched_without_end_puts_nothing_off(lone: Alone) -> None:
    lone.start({"a": document("a", A, vrid=1)}, a=A)
    done = threading.Event()

    def touch() -> None:
        while not done.wait(0.03):
            (lone.config / "x.log").write_text("x")

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        time.sleep(0.2)
        lone.write("b", document("b", B, vrid=2))
        lone.wait_held(B, "b", timeout=4)  # a comparison every 10 s would have found it too
    finally:
        done.set()
        toucher.join()


@pytest.mark.parametrize("prefix_length", [32, 24])
@pytest.mark.parametrize(
    "end", [lambda one: one.stop(), lambda one: os.kill(one.child(), 9)], ids=["stopped", "killed"]
)
def test_an_address_that_somebody_else_put_there_stays_theirs(
    lone: Alone, prefix_length: int, end: Callable[[object], None]
) -> None:
    lone.host.ip("addr", "add", f"{A}/{prefix_length}", "dev", "eth0")
    with lone.never_absent(A):
        lone.start({"a": document("a", A, B, vrid=1, priority=254)}, a=B)
        lone.eventually(lambda: A in lone.problems("a"), "said in problems")
        end(lone.router)
        lone.eventually(lambda: not lone.holds(B) or "starting a new one" in lone.router.log, "ours goes")
    assert lone.holds(f"{A}/{prefix_length}")


def test_an_owner_announces_the_address_that_its_host_has_and_says_nothing_of_it(lone: Alone) -> None:
    lone.host.ip("addr", "add", f"{A}/24", "dev", "eth0")
    with lone.never_absent(A):
        lone.start({"a": document("a", A, B, vrid=1)}, a=B)
        lone.eventually(lambda: lone.announced(A, since=0), "announced")
        time.sleep(2.5)  # as long as until a refused address is tried again
        assert not lone.problems("a")
        assert "cannot hold" not in lone.router.log
    lone.host.ip("addr", "del", f"{A}/24", "dev", "eth0")
    lone.eventually(lambda: lone.holds(f"{A}/32"), "ours, since the host has it no more")


def test_the_broadcast_address_of_the_link_is_a_fault_until_the_document_names_another(lone: Alone) -> None:
    lone.start({"a": document("a", "10.9.0.255", vrid=1)})
    lone.eventually(lambda: lone.state("a").get("state") == "FAULT", "FAULT")
    state = lone.state("a")
    assert state["reason"] == "spec.addresses: 10.9.0.255 is the broadcast address of eth0's subnet 10.9.0.0/24"
    assert state["interface"] == "eth0"
    lone.write("a", document("a", A, vrid=1))
    lone.wait_held(A, "a")


def _settings(host: Host) -> list[str]:
    return host.run("sysctl", "-n", "net.ipv4.conf.eth0.arp_ignore", "net.ipv4.conf.eth0.arp_announce").split()


def _own_links(host: Host) -> list[str]:
    return [line.split(":")[1].split("@")[0].strip() for line in host.ip("-o", "link").splitlines() if "kv4-" in line]


def test_no_virtual_mac_link_is_left_when_it_is_not_wanted_any_more(lone: Alone) -> None:
    before = _settings(lone.host)
    lone.start({"a": document("a", A, vrid=7, virtualMAC=True)}, a=A)
    (first,) = _own_links(lone.host)
    assert _settings(lone.host) != before
    lone.write("a", document("a", A, vrid=8, virtualMAC=True))
    lone.eventually(lambda: _own_links(lone.host) not in ([first], []), "a link for the new VRID")
    lone.eventually(lambda: len(_own_links(lone.host)) == 1, "the link of the old VRID is gone")
    lone.wait_held(A, "a")
    lone.write("a", document("a", A, vrid=8))
    lone.eventually(lambda: lone.on_links().get(f"{A}/32") == "eth0", "held on the link itself")
    lone.eventually(lambda: _own_links(lone.host) == [], "no link of ours is left")
    lone.eventually(lambda: _settings(lone.host) == before, "the link's settings are as they were")
    lone.wait_held(A, "a")


def test_a_vip_that_did_not_hold_leaves_no_virtual_mac_link_either(lone: Alone) -> None:
    """BACKUP: its link is down and carries nothing."""
    before = _settings(lone.host)
    quiet = {"priority": 1, "advertisementInterval": "10s"}
    lone.start({"a": document("a", A, vrid=7, virtualMAC=True, **quiet)})
    lone.eventually(lambda: lone.state("a").get("state") == "BACKUP", "BACKUP")
    lone.eventually(lambda: len(_own_links(lone.host)) == 1, "its link")
    lone.write("a", document("a", A, vrid=7, **quiet))
    lone.eventually(lambda: _own_links(lone.host) == [], "no link of ours is left")
    lone.eventually(lambda: _settings(lone.host) == before, "the link's settings are as they were")


def test_all_addresses_of_many_vips_outlive_an_address_of_the_host(lone: Alone) -> None:
    """255 VIPs at 100 ms: whatever is done for each of them, what is due goes out and stays alive in between."""
    count = 255
    vips = {f"v{n}": document(f"v{n}", f"10.9.1.{n}", vrid=n, priority=200) for n in range(1, count + 1)}

    def held() -> int:
        return sum(one.startswith("10.9.1.") for one in lone.on_links())

    lone.start(vips)
    lone.eventually(lambda: held() == count, "all are held", timeout=60)
    time.sleep(1)
    log = len(lone.router.log)
    with lone.never_absent("10.9.1.1"), lone.never_absent("10.9.1.255"):
        lone.host.ip("addr", "add", "10.9.0.77/24", "dev", "eth0")
        time.sleep(3)
    assert held() == count
    assert "→" not in lone.router.log[log:], lone.router.log[log:]
