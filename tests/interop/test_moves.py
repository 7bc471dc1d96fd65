"""Planned moves lose no packet, whoever succeeds and whatever the client remembers; unplanned ones are short."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime

import pytest

from tests.scene import ADDRESS, BUSY_MS, V3, V3_IPV6, Scene

SUCCESSORS = ("kube-vrrp", "keepalived", "frr")


@pytest.mark.parametrize("lan", [0, 1], indirect=True, ids=["no-forwarding", "ip-forward"])
@pytest.mark.parametrize("successor", SUCCESSORS)
def test_stop_loses_no_packet(lan: Scene, successor: str) -> None:
    first, _ = lan.pair("kube-vrrp", successor, V3)
    with contextlib.ExitStack() as stack:
        warm, cold = (stack.enter_context(lan.probe(cold=cold)) for cold in (False, True))
        time.sleep(0.4)
        stopped = lan.mark()
        assert first.stop() == 0
        lan.wait_holder(lan.second)
        time.sleep(0.4)
    assert (warm.lost, cold.lost) == (0, 0), f"silence {warm.silence_ms:.0f} and {cold.silence_ms:.0f} ms"
    assert lan.longest_none(since=stopped) == 0
    lan.never_two()


@pytest.mark.parametrize("successor", ["kube-vrrp", "keepalived"])
def test_losing_to_a_better_one_loses_no_packet(lan: Scene, successor: str) -> None:
    lan.ours(lan.second, V3.with_(priority=200))
    lan.wait_holder(lan.second)
    with contextlib.ExitStack() as stack:
        warm, cold = (stack.enter_context(lan.probe(cold=cold)) for cold in (False, True))
        time.sleep(0.2)
        lan.peer(successor, lan.first, V3.with_(priority=210)).start()
        lan.wait_holder(lan.first)
        time.sleep(0.4)
    assert (warm.lost, cold.lost) == (0, 0), f"silence {warm.silence_ms:.0f} and {cold.silence_ms:.0f} ms"
    lan.never_two()


@pytest.mark.parametrize(("successor", "tolerated"), [("kube-vrrp", 0), ("keepalived", 10)])
def test_stop_loses_no_packet_over_ipv6(lan: Scene, successor: str, tolerated: int) -> None:
    """The kernel acknowledges an IPv6 address before it routes to it; keepalived announces at once."""
    first, _ = lan.pair("kube-vrrp", successor, V3_IPV6)
    with contextlib.ExitStack() as stack:
        warm, cold = (stack.enter_context(lan.probe(ipv6=True, cold=cold)) for cold in (False, True))
        time.sleep(0.4)
        assert first.stop() == 0
        lan.wait_holder(lan.second, ipv6=True)
        time.sleep(0.4)
    lost = max(warm.lost, cold.lost)
    assert lost <= tolerated, f"{lost} lost, silence {warm.silence_ms:.0f} and {cold.silence_ms:.0f} ms"
    lan.never_two()


def test_stop_without_a_successor_leaves_all_the_same(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 3
    assert not lan.first.has(V3.addresses[0].split("/")[0])


def test_demotion_moves_the_vip_in_a_squeeze_and_loses_no_packet(lan: Scene) -> None:
    first, _ = lan.pair("kube-vrrp", "keepalived", V3.with_(interval_ms=1000))
    with lan.probe() as warm:
        time.sleep(0.3)
        demoted = lan.mark()
        first.replace_manifest(V3.with_(priority=150, interval_ms=1000))
        lan.wait_holder(lan.second, timeout=8)
        time.sleep(0.3)
    assert warm.lost == 0
    successor = lan.capture.adverts(priority=200, since=demoted.time)[0]
    squeeze = lan.capture.adverts(priority=150, since=demoted.time)[0]
    assert successor.time - squeeze.time < 0.5, "far below the master-down interval of 3.2 s"
    lan.never_two()


def test_demotion_with_nobody_better_moves_nothing(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, V3.with_(priority=100)).start()
    first.replace_manifest(V3.with_(priority=150))
    lan.capture.wait_advert(priority=150, interval_ms=100)
    lan.stays(lan.first, seconds=0.8)
    assert not lan.capture.adverts(priority=100)


@pytest.mark.parametrize(("first_kind", "second_kind"), [("keepalived", "kube-vrrp"), ("kube-vrrp", "kube-vrrp")])
def test_cut_cable_costs_a_master_down_interval(lan: Scene, first_kind: str, second_kind: str) -> None:
    lan.pair(first_kind, second_kind, V3)
    with lan.probe() as probe:
        time.sleep(0.3)
        cut = lan.mark()
        lan.network.unplug(lan.first)
        lan.wait_holder(lan.second)
        time.sleep(0.1)
    assert 200 <= probe.silence_ms <= 322 + BUSY_MS
    lan.network.plug(lan.first)
    lan.wait_holder(lan.first)
    lan.never_two(since=cut)


def test_no_preemption_when_told_so(lan: Scene) -> None:
    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    lan.wait_holder(lan.second)
    lan.ours(lan.first, V3.with_(priority=210, preempt=False))
    time.sleep(1)
    lan.stays(lan.second, seconds=1)
    assert not lan.capture.adverts(priority=210)


def test_preemption_after_its_delay(lan: Scene) -> None:
    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    lan.wait_holder(lan.second)
    first = lan.ours(lan.first, V3.with_(priority=210, preempt_delay_s=2))
    took_over = lan.capture.wait_advert(priority=210, timeout=20).time
    # of the last start: a machine that stands still for 200 ms has the guard start another router
    backup = [line.split(" ", 1)[0] for line in first.log.splitlines() if "INIT → BACKUP" in line][-1]
    assert 1.9 <= took_over - datetime.fromisoformat(backup).timestamp() <= 3.5
    lan.wait_holder(lan.first)
    lan.never_two()


def test_a_take_back_warns_of_nobody(lan: Scene) -> None:
    second = lan.ours(lan.second, V3.with_(priority=200))
    lan.wait_holder(lan.second)
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    told = f"the former master still advertises ({ADDRESS['second']})"
    lan.eventually(lambda: told in first.log, "its last advertisement is heard")
    assert "another master" not in first.log + second.log


def test_delay_does_not_hold_back_a_takeover_from_a_dead_master(lan: Scene) -> None:
    second = lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    lan.wait_holder(lan.second)
    first = lan.ours(lan.first, V3.with_(priority=210, preempt_delay_s=30))
    lan.eventually(lambda: first.document().get("state") == "BACKUP", "the router listens")
    second.stop()
    lan.wait_holder(lan.first, timeout=5)
