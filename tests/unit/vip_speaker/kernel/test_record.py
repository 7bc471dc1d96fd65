"""Leftovers of an earlier router, and the file that remembers them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from vip_speaker.kernel import Assigned, Link, LinkAddress, Record
from vip_speaker.kernel.addresses import ADDRESS_PROTOCOL
from vip_speaker.kernel.record import leftovers

OURS = Assigned(ifindex=7, ip=ip_address("10.0.0.100"), prefix_length=32)
OTHER = Assigned(ifindex=7, ip=ip_address("fd00::100"), prefix_length=128)


def on_link(*addresses: tuple[Assigned, int]) -> dict[int, Link]:
    there = tuple(
        LinkAddress(ip=one.ip, prefix_length=one.prefix_length, protocol=protocol) for one, protocol in addresses
    )
    return {7: Link(ifindex=7, name="eth0", addresses=there)}


def test_what_was_written_is_read_in_the_same_boot_only(tmp_path: Path) -> None:
    Record(tmp_path / "held", boot="one").write([OURS, OTHER])
    assert Record(tmp_path / "held", boot="one").load() == {OURS, OTHER}
    assert Record(tmp_path / "held", boot="two").load() == frozenset()
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


def test_the_boot_is_that_of_this_machine_by_default(tmp_path: Path) -> None:
    Record(tmp_path / "held").write([OURS])
    assert Record(tmp_path / "held").load() == {OURS}


def test_the_same_content_is_not_written_twice(tmp_path: Path) -> None:
    record = Record(tmp_path / "held", boot="one")
    record.write([OURS])
    written = (tmp_path / "held").stat().st_ino
    record.write([OURS])
    assert (tmp_path / "held").stat().st_ino == written
    record.write([])
    assert record.load() == frozenset()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"{}",
        b'{"boot": "one"}',
        b'{"boot": "one", "addresses": [[1]]}',
        b'{"boot": "one", "addresses": [[7, "x", 32]]}',
        b"\xff",
        b"[" * 100_000,
        b'{"boot": "one", "addresses": [[Infinity, "10.0.0.1", 32]]}',
        b'{"boot": "one", "addresses": [[7, ["10.0.0.1"], 32]]}',
    ],
)
def test_nonsense_is_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "held").write_bytes(content)
    assert Record(tmp_path / "held", boot="one").load() == frozenset()


def test_a_fifo_or_symlink_in_its_place_is_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert Record(tmp_path / "fifo", boot="one").load() == frozenset()
    Record(tmp_path / "held", boot="one").write([OURS])
    (tmp_path / "link").symlink_to(tmp_path / "held")
    assert Record(tmp_path / "link", boot="one").load() == frozenset()


TRAPS: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "symlink": lambda path: path.symlink_to(path.with_name("victim")),
    "directory": lambda path: (path / "with something in it").mkdir(parents=True),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", ["held", ".held.new"])
def test_what_is_in_its_way_is_replaced_and_never_written_through(tmp_path: Path, name: str, trap: str) -> None:
    (tmp_path / "victim").write_text("untouched")
    TRAPS[trap](tmp_path / name)
    writer = threading.Thread(target=lambda: Record(tmp_path / "held", boot="one").write([OURS]), daemon=True)
    writer.start()  # a FIFO without a reader would block it for ever
    writer.join(10)
    assert not writer.is_alive()
    assert Record(tmp_path / "held", boot="one").load() == {OURS}
    assert (tmp_path / "victim").read_text() == "untouched"


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        Record(tmp_path / "gone" / "held", boot="one").write([OURS])


@pytest.mark.parametrize(
    ("protocol", "recorded", "alone", "marks", "left"),
    [
        (ADDRESS_PROTOCOL, False, True, True, True),  # marked, the record was lost
        (ADDRESS_PROTOCOL, False, False, True, False),  # marked, but another router runs: it is that one's
        (ADDRESS_PROTOCOL, True, False, True, True),
        (0, True, True, True, False),  # the kernel keeps marks and there is none: somebody else put it there since
        (3, True, True, True, False),
        (0, True, True, False, True),  # an old kernel
        (0, True, False, False, True),
        (0, False, True, False, False),
    ],
)
def test_leftovers(*, protocol: int, recorded: bool, alone: bool, marks: bool, left: bool) -> None:
    links = on_link((OURS, protocol))
    found = leftovers(links, {OURS} if recorded else frozenset(), alone=alone, marks=marks)
    assert found == ((OURS,) if left else ())
