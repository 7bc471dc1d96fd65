"""The router dies, freezes, or everything of it dies: no second holder, and soon a new one."""

from __future__ import annotations

import os
import signal
import time

from tests.scene import BUSY_MS, V3, Scene

SKEW_MS = 56 / 256 * 100


def test_killed_router_leaves_no_second_holder(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, V3.with_(priority=200, preempt=False)).start().wait_listens()
    time.sleep(0.3)  # it has heard the first
    killed = lan.mark()
    os.kill(first.child(), signal.SIGKILL)
    lan.wait_holder(lan.second, timeout=5)
    assert lan.longest_none(since=killed) <= SKEW_MS + BUSY_MS
    assert lan.capture.adverts(since=killed.time, priority=0), "the last will was carried out"
    lan.never_two(since=killed)
    lan.wait_holder(lan.first)  # the guard started a new router


def test_frozen_router_is_ended(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, V3.with_(priority=200, preempt=False)).start().wait_listens()
    time.sleep(0.3)  # it has heard the first
    frozen, child = lan.mark(), first.child()
    os.kill(child, signal.SIGSTOP)
    lan.wait_holder(lan.second, timeout=8)
    lan.eventually(lambda: not lan.first.has("192.168.137.200"), "the address is gone from the frozen one")
    lan.never_two(since=frozen, overlap_ms=700, doubles=120)
    lan.eventually(lambda: first.below() not in ([], [child]), "the guard started a new router")


def test_everything_killed_the_kernel_removes_the_address(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    first.kill()
    began = time.monotonic()
    lan.eventually(lambda: not lan.first.has("192.168.137.200"), "the address expired", timeout=5)
    assert time.monotonic() - began <= 3.5
    lan.wait_holder(lan.second)


def test_leftovers_are_swept_before_the_first_packet(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210), options=("--address-lifetime", "0"))
    lan.wait_holder(lan.first)
    first.kill()
    assert lan.first.has("192.168.137.200"), "without a lifetime it stays, as keepalived's does"
    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    lan.eventually(lambda: lan.second.has("192.168.137.200"), "the second took over")
    first.launch()
    lan.wait_holder(lan.second)
    lan.wait_holder(lan.first)
