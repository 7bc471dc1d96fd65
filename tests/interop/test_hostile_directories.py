"""What others in the pod may put into the shared directories, while a MASTER advertises every 100 ms."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from vip_speaker.statedirectory import AlreadyHeldError, StateDirectory

from tests.peers import KubeVrrp
from tests.scene import ADDRESS, V3, VIP4, Mark, Scene

INTERVAL_S = 0.1
MORE = "192.168.137.220"
UNTOUCHED = "nobody wrote here"
#: A test machine lends its processors to others; a loop that was held up by the directory is late again and again.
LATE_S, LATE_TIMES = 0.15, 3


def on_the_grid(lan: Scene, *, since: Mark, least: int) -> None:
    """The advertisements came every 100 ms, by tcpdump's clock. Waits for `least` intervals."""

    def times() -> list[float]:
        return [one.time for one in lan.capture.adverts(since=since.time, source=ADDRESS["first"])]

    lan.eventually(lambda: len(times()) > least, f"{least} intervals", timeout=5)
    gaps = [after - before for before, after in pairwise(times())]
    assert statistics.median(gaps) == pytest.approx(INTERVAL_S, abs=0.005)
    late = [gap for gap in gaps if gap > LATE_S]
    assert len(late) < LATE_TIMES, f"{len(late)} of {len(gaps)} late: {sorted(late)[-5:]}"
    assert max(gaps) < 3 * INTERVAL_S, "a BACKUP would have taken over"


def master(lan: Scene) -> KubeVrrp:
    router = lan.ours(lan.first, V3.with_(priority=210))
    lan.wait_holder(lan.first)
    return router


def a_symlink(path: Path) -> None:
    victim = path.parents[1] / "victim"
    victim.write_text(UNTOUCHED)
    path.symlink_to(victim)


def a_sparse_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


TRAPS: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "symlink": a_symlink,
    "directory": Path.mkdir,
    "sparse file of 1 GB": a_sparse_file,
}


def put(trap: Callable[[Path], None], path: Path) -> None:
    """In place of what the router wrote, which it may just be doing again."""
    while True:
        path.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):
            trap(path)
            return


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_place_of_a_document(lan: Scene, trap: str) -> None:
    """The last good document stays in force, the problem is in the state document, and the grid is kept."""
    router = master(lan)
    began = lan.mark()
    (router.config / "web.yaml").unlink()
    TRAPS[trap](router.config / "web.yaml")
    TRAPS[trap](router.config / "more.yaml")
    lan.eventually(lambda: router.document().get("problems"), "the problem is reported", timeout=5)
    assert "web.yaml: " in router.document()["problems"][0]
    lan.stays(lan.first, seconds=1.5)
    on_the_grid(lan, since=began, least=12)


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_the_state_directory(lan: Scene, trap: str) -> None:
    """It is replaced by what it stood in for, a document or the record of addresses; nothing is written through it."""
    router = master(lan)
    began = lan.mark()
    for name in ("web.vip.json", "web.vip.json.new", "metrics.json", "held", ".held.new"):
        put(TRAPS[trap], router.state / name)
    router.replace_manifest(V3.with_(priority=220, addresses=(*V3.addresses, f"{MORE}/32")))
    lan.eventually(lambda: says(router, "effectivePriority", 220), "the document is back", timeout=5)
    assert not (router.state / "web.vip.json").is_symlink()
    lan.eventually(lambda: MORE in lan.first.ip("addr"), "the added address is held", timeout=5)
    assert {VIP4, MORE} <= set(recorded(router))
    assert_nothing_written_through(router)
    lan.stays(lan.first, seconds=1.2)
    on_the_grid(lan, since=began, least=10)


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_the_state_directory_before_the_start(lan: Scene, trap: str) -> None:
    """The router starts, is alone in its directory, and records what it holds."""
    router = lan.peer("kube-vrrp", lan.first, V3.with_(priority=210))
    assert isinstance(router, KubeVrrp)
    router.state.mkdir()
    for name in ("router.lock", "held", ".held.new", "web.vip.json", "web.vip.json.new", "metrics.json"):
        TRAPS[trap](router.state / name)
    router.start()
    lan.wait_holder(lan.first)
    with pytest.raises(AlreadyHeldError):
        StateDirectory(router.state).hold()
    assert recorded(router) == [VIP4]
    lan.eventually(lambda: says(router, "state", "MASTER"), "the document is there", timeout=5)
    assert_nothing_written_through(router)
    lan.stays(lan.first, seconds=1.2)


def assert_nothing_written_through(router: KubeVrrp) -> None:
    """What the links lead to is as it was."""
    victim = router.directory / "victim"
    assert not victim.exists() or victim.read_text() == UNTOUCHED


def recorded(router: KubeVrrp) -> list[str]:
    """The addresses in the record, which is a plain file."""
    path = router.state / "held"
    assert stat.S_ISREG(path.lstat().st_mode)
    return sorted(ip for _, ip, _ in json.loads(path.read_text())["addresses"])


def says(router: KubeVrrp, field: str, value: object) -> bool:
    """Whether the agent reads that of the VIP: a plain open would wait for a FIFO, a plain read for a gigabyte."""
    return any(getattr(one, field) == value for one in StateDirectory(router.state).read_all())


@pytest.mark.parametrize("where", ["config", "state"])
@pytest.mark.parametrize("suffix", ["", ".yaml"])
def test_a_hundred_thousand_files(lan: Scene, where: str, suffix: str) -> None:
    """Written as fast as a neighbour can, while the router looks at the directory again and again."""
    router = master(lan)
    began = lan.mark()
    directory = router.config if where == "config" else router.state
    for number in range(100_000):
        os.close(os.open(directory / f"junk{number}{suffix}", os.O_CREAT | os.O_WRONLY))
    if where == "config":
        lan.eventually(
            lambda: any("too many files" in one for one in router.document().get("problems", [])),
            "the problem is reported",
            timeout=20,
        )
    router.replace_manifest(V3.with_(priority=220))
    lan.capture.wait_advert(since=began.time, priority=220, timeout=20)
    lan.eventually(lambda: router.document().get("effectivePriority") == 220, "the document follows", timeout=20)
    time.sleep(1)
    on_the_grid(lan, since=began, least=20)
    assert lan.holders4.now == {"first"}
