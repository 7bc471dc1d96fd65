"""Checks move the priority on the wire, and with it the VIP, if and only if somebody better is there."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.peers import KubeVrrp, VirtualRouter, manifest
from tests.scene import V3, Scene


def tracked(router: VirtualRouter, *entries: dict[str, Any]) -> dict[str, str]:
    """The manifest of `router` with these checks."""
    document = yaml.safe_load(manifest(router))
    document["spec"]["track"] = list(entries)
    return {router.name: yaml.safe_dump(document)}


def ours(lan: Scene, router: VirtualRouter, *entries: dict[str, Any], **options: Any) -> KubeVrrp:
    return lan.ours(lan.first, router, manifests=tracked(router, *entries), **options)


def effective(router: KubeVrrp, priority: int) -> bool:
    return router.document().get("effectivePriority") == priority


def parts(router: KubeVrrp) -> dict[str, tuple[int, str]]:
    listed = (router.document().get("priorityParts") or {}).get("contributions", [])
    return {one["name"]: (one["value"], one["reason"]) for one in listed}


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """A program under a name that nothing else on this machine has."""
    path = tmp_path / f"hd{os.getpid()}"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
    yield path


@contextlib.contextmanager
def running(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([str(program), "600"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_an_interface_that_goes_down_moves_the_vip_and_back(lan: Scene) -> None:
    lan.first.ip("link", "add", "ens9", "type", "veth", "peer", "name", "ens9-other")
    for link in ("ens9", "ens9-other"):
        lan.first.ip("link", "set", link, "up")
    lan.peer("keepalived", lan.second, V3.with_(priority=208)).start()
    lan.wait_holder(lan.second)
    first = ours(lan, V3.with_(priority=205), {"name": "uplink", "weight": 5, "interface": {"name": "ens9"}})
    lan.wait_holder(lan.first)
    assert effective(first, 210)
    with lan.probe() as warm:
        time.sleep(0.3)
        lan.first.ip("link", "set", "ens9-other", "down")
        lan.wait_holder(lan.second)
        lan.eventually(lambda: parts(first) == {"uplink": (0, "ens9 has no carrier")}, "status says why")
        time.sleep(0.3)
        lan.first.ip("link", "set", "ens9-other", "up")
        lan.wait_holder(lan.first)
        time.sleep(0.3)
    assert warm.lost == 0
    assert lan.capture.adverts(priority=205), "the lower priority was on the wire"
    lan.never_two()


def test_a_file_moves_the_vip_by_its_number(lan: Scene, tmp_path: Path) -> None:
    value = tmp_path / "value"
    lan.peer("keepalived", lan.second, V3.with_(priority=205)).start()
    lan.wait_holder(lan.second)
    value.write_text("10\n")
    first = ours(lan, V3.with_(priority=200), {"name": "value", "weight": 1, "file": {"path": str(value)}})
    lan.wait_holder(lan.first)
    lan.capture.wait_advert(priority=210)
    with lan.probe() as warm:
        time.sleep(1.2)
        written = time.time()
        value.write_text("0\n")
        lan.wait_holder(lan.second)
        time.sleep(0.3)
    assert warm.lost == 0
    assert lan.capture.wait_advert(priority=205, since=written).time - written < 0.5
    lan.eventually(lambda: effective(first, 200), "the state file follows")
    lan.never_two()
