"""Where a squeeze cannot work, version 2 and peers that do not preempt: priority 0 on the wire, or nothing at all."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.capture import Advert
from tests.peers import KubeVrrp, VirtualRouter, manifest
from tests.scene import ADDRESS, V2, V3, Mark, Scene

BASE, BONUS, OTHER = 200, 10, 205
NOPREEMPT = V3.with_(preempt=False)
KINDS = pytest.mark.parametrize("router", [V2, NOPREEMPT], ids=["version-2", "nopreempt"])


def document(router: VirtualRouter, value: Path, *, named: int | None, stands: int | None = None) -> str:
    """Ours at 200 and the number in a file; `named`: the priority of the second node that the manifest names, `stands`:
    what its checks have made of that.
    """
    written: dict[str, Any] = yaml.safe_load(manifest(router.with_(priority=BASE)))
    written["spec"]["track"] = [{"name": "value", "weight": 1, "file": {"path": str(value)}}]
    if named is not None:
        peer = {"node": "second", "priority": named, "address": ADDRESS["second"]}
        peer |= {} if stands is None else {"effectivePriority": stands}
        written["assignment"] = {"priority": BASE, "virtualRouterID": router.vrid, "peers": [peer]}
    return yaml.safe_dump(written)


def master(lan: Scene, router: VirtualRouter, value: Path, *, named: int | None, stands: int | None = None) -> KubeVrrp:
    """Ours on the first host, MASTER at 210."""
    value.write_text(f"{BONUS}\n")
    first = lan.ours(lan.first, router, manifests={router.name: document(router, value, named=named, stands=stands)})
    lan.wait_holder(lan.first)
    lan.capture.wait_advert(priority=BASE + BONUS)
    return first


def demote(lan: Scene, value: Path) -> Mark:
    """The check fails now, at no particular phase."""
    time.sleep(1.1)  # what flaps is damped for a second
    failed = lan.mark()
    value.write_text("0\n")
    return failed


def given_up(lan: Scene, since: Mark) -> list[Advert]:
    return lan.capture.adverts(since=since.time, priority=0)


@KINDS
def test_a_better_node_that_is_named_takes_over_at_once(lan: Scene, tmp_path: Path, router: VirtualRouter) -> None:
    value = tmp_path / "value"
    master(lan, router, value, named=OTHER)
    lan.peer("keepalived", lan.second, router.with_(priority=OTHER)).start()
    with lan.probe() as warm:
        failed = demote(lan, value)
        lan.wait_holder(lan.second)
        time.sleep(0.3)
    successor = lan.capture.wait_advert(priority=OTHER, since=failed.time)
    assert successor.time - failed.time < 1, "a skew; the master-down interval of version 2 is 3.2 s"
    assert given_up(lan, failed), "asked by priority 0"
    assert {one.source for one in given_up(lan, failed)} == {ADDRESS["first"]}
    assert warm.lost == 0
    lan.never_two()


@KINDS
def test_priority_0_is_never_said_where_no_better_node_is_named(
    lan: Scene, tmp_path: Path, router: VirtualRouter
) -> None:
    """A better one is there, but it may be a worse one that answers."""
    value = tmp_path / "value"
    master(lan, router, value, named=None)
    lan.peer("keepalived", lan.second, router.with_(priority=OTHER)).start()
    failed = demote(lan, value)
    lan.capture.wait_advert(priority=BASE, since=failed.time)
    lan.stays(lan.first, seconds=1)
    if router.preempt:
        lan.wait_holder(lan.second)  # after its master-down interval, as VRRP has it
    assert not given_up(lan, failed)
    lan.never_two()


@KINDS
@pytest.mark.parametrize(("named", "stands"), [(BASE - BONUS, None), (OTHER, BASE - BONUS)], ids=["worse", "demoted"])
def test_nothing_moves_when_the_named_node_is_no_better(
    lan: Scene, tmp_path: Path, router: VirtualRouter, named: int, stands: int | None
) -> None:
    """Also where it was the better one until a check of its own failed."""
    value = tmp_path / "value"
    master(lan, router, value, named=named, stands=stands)
    lan.peer("keepalived", lan.second, router.with_(priority=BASE - BONUS)).start()
    failed = demote(lan, value)
    lan.capture.wait_advert(priority=BASE, since=failed.time)
    lan.stays(lan.first, seconds=1)
    assert not given_up(lan, failed)
    assert not lan.capture.adverts(since=failed.time, source=ADDRESS["second"])


@KINDS
def test_a_demoted_master_without_a_successor_keeps_the_vip(lan: Scene, tmp_path: Path, router: VirtualRouter) -> None:
    """A better node is named, but nobody is there: it asks, nobody answers, and not a packet is lost."""
    value = tmp_path / "value"
    first = master(lan, router, value, named=OTHER)
    with lan.probe() as warm:
        failed = demote(lan, value)
        lan.eventually(lambda: given_up(lan, failed), "it asks")
        lan.capture.wait_advert(priority=BASE, since=failed.time)
        lan.stays(lan.first, seconds=0.5)
    assert warm.lost == 0
    assert len(lan.holders4.spells(since_ns=failed.monotonic_ns)) == 1, "without one moment's break"
    lan.eventually(lambda: first.document().get("effectivePriority") == BASE, "the state file follows")
    assert first.document()["state"] == "MASTER"


def test_a_check_that_flaps_moves_the_vip_at_most_once_per_second(lan: Scene, tmp_path: Path) -> None:
    """Changed thirty times a second, it may change the priority once."""
    value, seconds, stop = tmp_path / "value", 4, threading.Event()
    lan.peer("keepalived", lan.second, V3.with_(priority=OTHER)).start()
    lan.wait_holder(lan.second)
    master(lan, V3, value, named=None)

    def flap() -> None:
        bad = True
        while not stop.wait(0.033):
            new = value.with_name("new")
            new.write_text("0\n" if bad else f"{BONUS}\n")
            new.rename(value)
            bad = not bad

    flapping = threading.Thread(target=flap)
    began = lan.mark()
    flapping.start()
    try:
        time.sleep(seconds)
    finally:
        stop.set()
        flapping.join()
    ended = time.monotonic()
    holders = [who for who, _ in lan.holders4.spells(since_ns=began.monotonic_ns) if len(who) == 1]
    moves = sum(before != after for before, after in itertools.pairwise(holders))
    elapsed = ended - began.monotonic_ns / 1e9
    assert 1 <= moves <= elapsed + 1, f"{moves} moves in {elapsed:.1f} s: {holders}"
    value.write_text(f"{BONUS}\n")
    lan.wait_holder(lan.first)
    lan.never_two()
