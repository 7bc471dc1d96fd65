"""Manifests change while the router runs: whatever way an editor writes, whatever is wrong with the new one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.peers import KubeVrrp, manifest
from tests.scene import V3, VIP4, VIP6, Scene


def by_rename(target: Path, text: str) -> None:
    new = target.with_name(f".{target.name}.new")
    new.write_text(text)
    new.rename(target)


def by_copy(target: Path, text: str) -> None:
    source = target.parent.parent / "source"
    source.write_text(text)
    shutil.copy(source, target)


def as_vim(target: Path, text: str) -> None:
    """Backup by rename, a new file under the old name, the backup removed."""
    swap, backup = target.with_name(f".{target.name}.swp"), target.with_name(f"{target.name}~")
    swap.write_bytes(b"b0VIM 8.2")
    target.rename(backup)
    target.write_text(text)
    backup.unlink()
    swap.unlink()


def in_place(target: Path, text: str) -> None:
    """A writer that is slow: what is there in between is no document."""
    with target.open("w") as file:
        for start in range(0, len(text), 20):
            file.write(text[start : start + 20])
            file.flush()
            time.sleep(0.01)


@pytest.mark.parametrize("write", [by_rename, by_copy, as_vim, in_place], ids=lambda one: one.__name__)
def test_changed_priority_is_on_the_wire_and_moves_nothing(lan: Scene, write: Callable[[Path, str], None]) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    changed = lan.mark()
    write(first.config / "web.yaml", manifest(V3.with_(priority=150)))
    lan.capture.wait_advert(since=changed.time, priority=150, interval_ms=100, timeout=5)
    assert lan.longest_none(since=changed) == 0
    assert not lan.capture.adverts(since=changed.time, priority=0)
    lan.stays(lan.first, seconds=0.5)


def test_deleted_manifest_releases(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    deleted = lan.mark()
    with lan.probe() as probe:
        time.sleep(0.2)
        (first.config / "web.yaml").unlink()
        lan.wait_holder(lan.second)
        time.sleep(0.2)
    assert lan.capture.adverts(since=deleted.time, priority=0)
    assert probe.lost == 0
    lan.never_two()


def test_what_is_deleted_everywhere_waits_for_no_successor(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210, interval_ms=2000))
    lan.wait_holder(lan.first)
    deleted = lan.mark()
    document = yaml.safe_load(manifest(V3.with_(priority=210, interval_ms=2000)))
    document["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    by_rename(first.config / "web.yaml", yaml.safe_dump(document))
    lan.eventually(lambda: not lan.first.has(VIP4), "the address is gone", timeout=1.5)
    assert lan.capture.adverts(since=deleted.time, priority=0)
    lan.eventually(lambda: not (first.state / "web.vip.json").exists(), "and so is its state")


@pytest.mark.parametrize("text", ["{", "kind: VirtualIP\n", ""], ids=["broken", "half", "empty"])
def test_bad_manifest_keeps_the_last_good_one(lan: Scene, text: str) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    by_rename(first.config / "web.yaml", text)
    lan.eventually(lambda: first.document().get("problems"), "the problem is in the state file", timeout=5)
    lan.stays(lan.first, seconds=0.5)
    by_rename(first.config / "web.yaml", manifest(V3.with_(priority=180)))
    lan.capture.wait_advert(priority=180, timeout=5)
    lan.eventually(lambda: not first.document().get("problems"), "the problem is gone from the state file")


def test_removed_and_remade_directory(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    shutil.rmtree(first.config)
    lan.eventually(lambda: not lan.holders4.now, "released", timeout=15)
    first.config.mkdir()
    by_rename(first.config / "web.yaml", manifest(V3.with_(priority=180)))
    lan.wait_holder(lan.first, timeout=15)


def test_added_manifest_starts_and_leaves_others_alone(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    added = lan.mark()
    by_rename(
        first.config / "db.yaml", manifest(V3.with_(name="db", vrid=52, addresses=("192.168.137.199/32",), priority=90))
    )
    lan.eventually(lambda: lan.first.has("192.168.137.199"), "the new VIP")
    assert lan.longest_none(since=added) == 0


def test_added_and_removed_address(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    changed = lan.mark()
    first.replace_manifest(V3.with_(priority=210, addresses=(f"{VIP4}/32", "192.168.137.198/32")))
    lan.eventually(lambda: lan.first.has("192.168.137.198"), "the second address")
    first.replace_manifest(V3.with_(priority=210))
    lan.eventually(lambda: not lan.first.has("192.168.137.198"), "the second address is gone")
    assert lan.longest_none(since=changed) == 0


@pytest.mark.parametrize(
    "addresses",
    [(f"{VIP4}/32", f"{VIP6}/64"), ("fe80::137:200/64", f"{VIP6}/64", f"{VIP4}/32")],
    ids=["of IPv6", "of IPv4"],
)
def test_the_last_address_of_the_other_family_is_removed(lan: Scene, addresses: tuple[str, ...]) -> None:
    router, last = V3.with_(priority=210, addresses=addresses), addresses[-1].split("/")[0]
    first = lan.ours(lan.first, router)
    lan.wait_holder(lan.first, ipv6=router.ipv6)
    lan.eventually(lambda: lan.first.has(last), "both families are there")
    child, changed = first.child(), lan.mark()
    first.replace_manifest(router.with_(addresses=addresses[:-1]))
    lan.eventually(lambda: not lan.first.has(last), "it is gone")
    lan.stays(lan.first, seconds=0.5, ipv6=router.ipv6)
    assert lan.longest_none(since=changed, ipv6=router.ipv6) == 0
    assert first.child() == child, f"the router goes on\n{first.log}"


def test_changed_vrid_on_both_keeps_one_holder_throughout(lan: Scene) -> None:
    first = lan.ours(lan.first, V3.with_(priority=210))
    second = lan.ours(lan.second, V3.with_(priority=200))
    lan.wait_holder(lan.first)
    changed = lan.mark()
    with lan.probe() as probe:
        _rename_vrid(second)
        time.sleep(1)
        _rename_vrid(first)
        lan.capture.wait_advert(vrid=77, priority=210, since=changed.time)
        time.sleep(1)
    assert probe.lost == 0
    lan.stays(lan.first, seconds=0.5)
    lan.never_two()


def _rename_vrid(peer: KubeVrrp) -> None:
    peer.replace_manifest(peer.routers[0].with_(vrid=77))
