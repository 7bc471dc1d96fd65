"""The state directory: what is written is read, a reader sees whole documents, and a hostile directory stops nobody."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from vip_speaker import statedirectory
from vip_speaker.statedirectory import (
    MAXIMUM_FILE_BYTES,
    MAXIMUM_FILES,
    AlreadyHeldError,
    NoStateDirectoryError,
    StateDirectory,
)
from vip_speaker.statefile import (
    Contribution,
    HeardRouter,
    Link,
    PriorityParts,
    SplitBrain,
    VirtualIPState,
    parse_state,
)

FULL = VirtualIPState(
    name="web",
    state="MASTER",
    uid="0d6c5a70-6f0e-4a2f-9f0a-4b5f8a3f6f61",
    observedGeneration=3,
    effectivePriority=200,
    priorityParts=PriorityParts(
        base=210, contributions=(Contribution(name="httpd", value=-10, reason="httpd not running", change=-10),)
    ),
    interface="eth0",
    primaryAddress="192.168.137.201",
    virtualRouterID=51,
    version=2,
    addresses=("192.168.137.200",),
    since="2026-11-23T18:00:00.123456Z",
    reason="nothing heard from 192.168.137.202 for 3.219 s",
    master="192.168.137.201",
    peerPriority=200,
    problems=("web.yaml: spec.priority: 300 is not from 1 to 255; the last good manifest is in force",),
    splitBrain=SplitBrain(source="192.168.137.202", since="2026-11-23T18:00:01.000000Z"),
    link=Link(
        subnets=("192.168.137.0/24",),
        heard=(HeardRouter(vrid=51, version=2, family=4, source="192.168.137.202", priority=200),),
    ),
)


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path)


def test_what_is_written_is_read(directory):
    bare = VirtualIPState(name="alone", state="INIT")
    directory.write(FULL)
    directory.write(bare)
    assert directory.read_all() == [bare, FULL]


def test_the_document_is_the_one_of_the_docs(directory):
    """docs/state-file.md shows this document; both sides of the contract read it."""
    text = (Path(__file__).parents[3] / "docs" / "state-file.md").read_text()
    shown = json.loads(text.split("```json\n")[1].split("```")[0])
    directory.write(FULL)
    assert json.loads((directory.path / "web.vip.json").read_text()) == shown
    assert parse_state(shown) == FULL


def test_a_document_is_replaced_never_rewritten(directory):
    """Who has the old one open keeps it whole."""
    directory.write(FULL)
    path = directory.path / "web.vip.json"
    with path.open() as before:
        directory.write(VirtualIPState(name="web", state="BACKUP"))
        assert json.load(before)["state"] == "MASTER"
    assert json.loads(path.read_text())["state"] == "BACKUP"
    assert [entry.name for entry in directory.path.iterdir()] == ["web.vip.json"]


def test_everyone_may_read_whatever_the_umask(directory):
    before = os.umask(0o077)
    try:
        directory.write(FULL)
    finally:
        os.umask(before)
    assert stat.S_IMODE((directory.path / "web.vip.json").stat().st_mode) == 0o644


def test_a_temporary_file_left_by_a_crash_is_in_nobodys_way(directory):
    (directory.path / "web.vip.json.new").write_text("half a docum")
    assert directory.read_all() == []
    directory.write(FULL)
    assert directory.read_all() == [FULL]


def test_a_link_planted_for_the_writer_is_replaced_and_not_followed(directory, tmp_path_factory):
    victim = tmp_path_factory.mktemp("elsewhere") / "victim"
    victim.write_text("untouched")
    for name in ("web.vip.json", "web.vip.json.new"):
        (directory.path / name).symlink_to(victim)
    directory.write(FULL)
    assert victim.read_text() == "untouched"
    assert directory.read_all() == [FULL]


def test_a_hostile_directory(directory):
    directory.write(FULL)
    base = directory.path
    outside = base.parent / "outside.json"
    outside.write_text(json.dumps({"name": "link", "state": "MASTER"}))
    (base / "link.vip.json").symlink_to(outside)
    os.mkfifo(base / "fifo.vip.json")
    (base / "directory.vip.json").mkdir()
    (base / "huge.vip.json").write_bytes(b" " * (MAXIMUM_FILE_BYTES + 1))
    with (base / "sparse.vip.json").open("wb") as sparse:
        sparse.truncate(1 << 40)
    (base / "nojson.vip.json").write_text("state: MASTER")
    (base / "binary.vip.json").write_bytes(b"\xff\xfe\x00")
    (base / "deep.vip.json").write_text("[" * 100_000)
    (base / "list.vip.json").write_text("[]")
    (base / "empty.vip.json").write_text("{}")
    (base / "other.vip.json").write_text(json.dumps({"name": "web", "state": "MASTER"}))
    (base / "state.vip.json").write_text(json.dumps({"name": "state", "state": "KING"}))
    (base / "unrelated").write_text("x")
    (base / "dangling.vip.json").symlink_to("nowhere")

    states, skipped = directory.scan()
    assert states == [FULL]
    assert {entry.name.removesuffix(".vip.json"): entry.reason for entry in skipped} == {
        "link": "is a symbolic link",
        "dangling": "is a symbolic link",
        "fifo": "is not a regular file",
        "directory": "is not a regular file",
        "huge": f"has more than {MAXIMUM_FILE_BYTES} bytes",
        "sparse": f"has more than {MAXIMUM_FILE_BYTES} bytes",
        "nojson": "is not JSON",
        "binary": "is not JSON",
        "deep": "is not JSON",
        "list": "is not a JSON object",
        "empty": "name has the wrong type",
        "other": "is the document of web",
        "state": "state has the wrong type",
    }


def test_who_knows_a_name_finds_it_among_however_many(directory):
    for number in range(MAXIMUM_FILES + 500):
        (directory.path / f"junk{number}").touch()
    names = [f"web{number}" for number in range(20)]
    for name in names:
        directory.write(VirtualIPState(name=name, state="MASTER"))
    assert set(directory.look(wanted=[*names, "not-there"]).states) == set(names)


@pytest.mark.parametrize("name", ["web.vip.json", "web.vip.json.new"])
def test_a_directory_in_the_way_of_the_writer_is_put_aside(directory, name):
    (directory.path / name).mkdir()
    (directory.path / name / "not empty").touch()
    for state in ("BACKUP", "MASTER"):
        directory.write(VirtualIPState(name="web", state=state))
        assert [one.state for one in directory.read_all()] == [state]
    assert len(list(directory.path.glob(".web.vip.json*"))) == 1


def test_the_number_of_entries_is_bounded(directory):
    for number in range(MAXIMUM_FILES + 50):
        (directory.path / f"x{number}.vip.json").touch()
    states, skipped = directory.scan()
    assert (states, len(skipped)) == ([], MAXIMUM_FILES)


def test_removing_and_clearing(directory):
    directory.write(FULL)
    directory.write_metrics({"adverts_sent": 3})
    (directory.path / "stranger").write_text("stays")
    directory.remove("web")
    directory.remove("web")
    assert directory.read_all() == []
    directory.write(FULL)
    (directory.path / "old.vip.json.new").write_text("")
    directory.clear()
    assert [entry.name for entry in directory.path.iterdir()] == ["stranger"]


def test_metrics_are_a_file_of_their_own_and_no_vip(directory):
    directory.write_metrics({"vips": {"web": {"adverts_sent": 3}}})
    directory.write(VirtualIPState(name="metrics", state="INIT"))
    assert directory.read_metrics() == {"vips": {"web": {"adverts_sent": 3}}}
    assert [state.name for state in directory.read_all()] == ["metrics"]
    (directory.path / "metrics.json").write_text("[]")
    assert directory.read_metrics() is None


@pytest.mark.parametrize("name", ["", "../web", "a/b", ".hidden", "x" * 300, "nul\0"])
def test_a_name_that_leads_out_of_the_directory_is_refused(directory, name):
    with pytest.raises(ValueError, match="cannot be the name"):
        directory.write(VirtualIPState(name=name, state="INIT"))


def test_without_a_directory(tmp_path):
    directory = StateDirectory(tmp_path / "missing")
    with pytest.raises(NoStateDirectoryError):
        directory.read_all()
    with pytest.raises(NoStateDirectoryError):
        directory.write(FULL)
    directory.create()
    directory.write(FULL)
    assert directory.read_all() == [FULL]


def test_the_directory_may_be_made_anew(directory):
    directory.write(FULL)
    directory.clear()
    directory.path.rmdir()
    directory.create()
    directory.write(FULL)
    assert directory.read_all() == [FULL]


def test_a_reader_beside_a_writer_only_sees_whole_documents(directory):
    long = VirtualIPState(name="web", state="BACKUP", reason="x" * 100_000)
    directory.write(FULL)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            directory.write(long)
            directory.write(FULL)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        end = time.monotonic() + 0.5
        seen = 0
        while time.monotonic() < end:
            states, skipped = directory.scan()
            assert (len(states), skipped) == (1, [])
            assert states[0] in (FULL, long)
            seen += 1
    finally:
        done.set()
        writer.join()
    assert seen > 10


def test_the_lock_tells_whether_a_router_runs(directory):
    assert directory.router_runs() is None
    program = (
        "import sys; from vip_speaker.statedirectory import StateDirectory; d = StateDirectory(sys.argv[1]); d.hold();"
        "print('held', flush=True); sys.stdin.read()"
    )
    packages = Path(sys.modules[StateDirectory.__module__].__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(directory.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(packages)},
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "held\n"
        assert directory.router_runs()
        with pytest.raises(AlreadyHeldError, match="another router uses this state directory"):
            directory.hold()
        other.kill()
        other.wait()
    assert directory.router_runs() is False, "kill -9 lets go of it"
    directory.hold()
    assert StateDirectory(directory.path).router_runs()
    os.close(directory._lock)


def test_a_reader_that_looks_at_the_lock_keeps_no_router_from_starting(directory):
    """Who asks whether a router runs has the lock for a moment."""
    directory.hold()
    os.close(directory._lock)
    reader = os.open(directory.path / "router.lock", os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH | fcntl.LOCK_NB)
    leaves = threading.Timer(0.02, os.close, [reader])
    leaves.start()
    directory.hold()
    leaves.join()
    os.close(directory._lock)


def a_full_directory(path: Path) -> None:
    path.mkdir()
    (path / "not empty").touch()


def a_strangers_file(path: Path) -> None:
    path.touch(mode=0o600)
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize(
    "trap",
    [os.mkfifo, lambda path: path.symlink_to(path.with_name("victim")), a_full_directory, a_strangers_file],
    ids=["FIFO", "symlink", "directory", "file of another user"],
)
def test_nothing_that_has_the_locks_name_keeps_a_router_from_starting(directory, trap):
    """In a pod the router has no rights over other users' files: such a lock would be in its way as a FIFO is."""
    victim = directory.path / "victim"
    victim.write_text("untouched")
    before = victim.stat()
    trap(directory.path / "router.lock")
    directory.hold()
    lock = (directory.path / "router.lock").lstat()
    assert (stat.S_ISREG(lock.st_mode), stat.S_IMODE(lock.st_mode), lock.st_uid) == (True, 0o644, os.geteuid())
    assert lock.st_ino == os.fstat(directory._lock).st_ino
    assert StateDirectory(directory.path).router_runs()
    assert (victim.read_text(), victim.stat().st_mode) == ("untouched", before.st_mode)
    os.close(directory._lock)


def test_a_lock_that_is_held_stays_whatever_is_in_it(directory):
    directory.hold()
    os.truncate(directory.path / "router.lock", 1 << 30)
    with pytest.raises(AlreadyHeldError):
        StateDirectory(directory.path).hold()
    assert (directory.path / "router.lock").stat().st_ino == os.fstat(directory._lock).st_ino
    os.close(directory._lock)


class Reads:
    """Which files are read while the context is open."""

    def __init__(self, monkeypatch):
        self.names = []
        load = statedirectory._load
        monkeypatch.setattr(
            statedirectory, "_load", lambda directory, name: self.names.append(name) or load(directory, name)
        )


def aged(directory):
    """Until file times tell a further version."""
    time.sleep(1.2 * statedirectory.SETTLED_NS / 1e9)
    return directory


def test_looking_again_reads_only_what_changed(directory, monkeypatch):
    for name in ("a", "b", "c"):
        directory.write(VirtualIPState(name=name, state="INIT"))
    first = aged(directory).look()
    assert sorted(first.states) == ["a", "b", "c"]
    reads = Reads(monkeypatch)
    assert directory.look(first) is first
    directory.write_metrics({"a": 1})
    second = directory.look(first)
    assert second.states is first.states
    assert reads.names == []
    directory.write(VirtualIPState(name="b", state="MASTER"))
    directory.remove("c")
    third = directory.look(second)
    assert {name: one.state for name, one in third.states.items()} == {"a": "INIT", "b": "MASTER"}
    assert third.states["a"] is first.states["a"]
    assert reads.names == ["b.vip.json"]


def test_looking_again_misses_no_version_however_quick_the_writer(directory):
    seen = None
    for number in range(300):
        state = VirtualIPState(name="web", state=("MASTER", "BACKUP")[number % 2], observedGeneration=number % 10)
        directory.write(state)
        seen = directory.look(seen)
        assert seen.states["web"] == state


def test_looking_again_at_a_directory_made_anew_or_full_of_traps(directory, tmp_path):
    directory.write(VirtualIPState(name="web", state="INIT"))
    os.mkfifo(directory.path / "fifo.vip.json")
    (directory.path / "other.vip.json").write_text('{"name": "web", "state": "MASTER"}')
    look = aged(directory).look(directory.look())
    assert {name: one.state for name, one in look.states.items()} == {"web": "INIT"}
    shutil.rmtree(directory.path)
    with pytest.raises(NoStateDirectoryError):
        directory.look(look)
    directory.create()
    assert directory.look(look).states == {}
