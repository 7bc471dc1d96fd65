"""What others in the pod may put into the shared directories, while a MASTER advertises every 100 ms."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.peers import KubeVrrp
from tests.scene import ADDRESS, V3, Mark, Scene

INTERVAL_S = 0.1
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
    path.symlink_to("/etc/passwd")


def a_sparse_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


TRAPS: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "symlink": a_symlink,
    "directory": Path.mkdir,
    "sparse file of 1 GB": a_sparse_file,
}


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
    """It is replaced by the document it stood in for; nothing is written through it."""
    router = master(lan)
    began = lan.mark()
    for name in ("web.vip.json", "web.vip.json.new", "metrics.json"):
        (router.state / name).unlink(missing_ok=True)
        TRAPS[trap](router.state / name)
    router.replace_manifest(V3.with_(priority=220))
    lan.eventually(lambda: document(router).get("effectivePriority") == 220, "the document is back", timeout=5)
    assert not (router.state / "web.vip.json").is_symlink()
    lan.stays(lan.first, seconds=1.2)
    on_the_grid(lan, since=began, least=10)


def document(router: KubeVrrp) -> dict[str, object]:
    """As the agent reads it: a FIFO would block a plain open."""
    return router.document() if (router.state / "web.vip.json").is_file() else {}


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
