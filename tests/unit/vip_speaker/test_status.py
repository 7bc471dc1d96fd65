"""What `vip-speaker status` prints."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path

import pytest
from vip_speaker import status
from vip_speaker.statedirectory import StateDirectory
from vip_speaker.statefile import Contribution, PriorityParts, SplitBrain, VirtualIPState, timestamp
from vip_speaker.status import duration, print_table, run_status

NOW = 1_795_456_800.0
WEB = VirtualIPState(
    name="web",
    state="BACKUP",
    effectivePriority=200,
    priorityParts=PriorityParts(
        base=210, contributions=(Contribution(name="httpd", value=-10, reason="httpd not running", change=-10),)
    ),
    interface="eth0",
    primaryAddress="192.168.137.201",
    virtualRouterID=51,
    version=2,
    addresses=("192.168.137.200", "192.168.137.199"),
    since=timestamp(NOW - 252),
    reason="192.168.137.202 has a higher priority",
    master="192.168.137.202",
    peerPriority=205,
)
DATABASE = VirtualIPState(
    name="database",
    state="MASTER",
    effectivePriority=254,
    priorityParts=PriorityParts(base=254),
    interface="eth1",
    primaryAddress="fe80::1",
    virtualRouterID=7,
    version=3,
    addresses=("fe80::7",),
    since=timestamp(NOW - 5),
    reason="nothing heard from fe80::2 for 3.009 s",
    master="fe80::1",
)
NEW = VirtualIPState(name="new", state="INIT", addresses=("10.0.0.1",), reason="no link holds 10.0.0.1")

TABLE = """\
NAME       ADDRESS           VRID     STATE    MASTER            PRIORITY   FOR
database   fe80::7           7        MASTER   fe80::1           254        5s
web        192.168.137.200   51       BACKUP   192.168.137.202   200        4m12s
new        10.0.0.1          <none>   INIT     <none>            <none>     <none>
"""


class Held:
    """A state directory that a router holds, and the output of status."""

    def __init__(self, path: Path) -> None:
        self.directory = StateDirectory(path)
        self.directory.hold()
        self.out, self.err = io.StringIO(), io.StringIO()

    def run(self, output: str = "table") -> int:
        self.out, self.err = io.StringIO(), io.StringIO()
        return run_status(self.directory, output=output, watch=False, out=self.out, err=self.err)


@pytest.fixture
def held(tmp_path):
    held = Held(tmp_path)
    yield held
    os.close(held.directory._lock)


def printed(columns, states):
    out = io.StringIO()
    print_table(states, columns, NOW, out)
    return out.getvalue()


def test_the_table():
    assert printed(status.TABLE, [DATABASE, WEB, NEW]) == TABLE


def test_wide_says_where_and_why():
    lines = printed(status.WIDE, [DATABASE, WEB]).splitlines()
    assert lines[0].split() == [*TABLE.split("\n", 1)[0].split(), "ADDRESSES", "INTERFACE", "SINCE", "REASON"]
    assert lines[2].endswith(
        "   192.168.137.200,192.168.137.199   eth0        2026-11-23T17:55:48.000000Z"
        "   192.168.137.202 has a higher priority; httpd not running: -10"
    )


def test_json_is_the_list_of_documents(held):
    held.directory.write(WEB)
    held.directory.write(DATABASE)
    assert held.run("json") == 0
    documents = json.loads(held.out.getvalue())
    assert [document["name"] for document in documents] == ["database", "web"]
    assert documents[1] == json.loads((held.directory.path / "web.vip.json").read_text())


def test_problems_and_split_brain_are_said_beside_the_table(held):
    split = SplitBrain(source="192.168.137.9", since="2026-11-23T18:00:01.000000Z")
    held.directory.write(
        VirtualIPState(name="web", state="MASTER", problems=("spec.vrid: no such field",), splitBrain=split)
    )
    os.mkfifo(held.directory.path / "trap.vip.json")
    assert held.run() == 0
    assert held.out.getvalue().count("\n") == 2
    assert held.err.getvalue().splitlines() == [
        "Warning: web: spec.vrid: no such field",
        "Warning: web: split brain: 192.168.137.9 is MASTER too, since 2026-11-23T18:00:01.000000Z",
        "Warning: skipped trap.vip.json: it is not a regular file",
    ]


def test_a_router_without_vips(held):
    assert held.run() == 0
    assert "No VIPs" in held.err.getvalue()
    assert held.run("json") == 0
    assert json.loads(held.out.getvalue()) == []


def test_no_router_here(tmp_path):
    err = io.StringIO()
    directory = StateDirectory(tmp_path / "missing")
    assert run_status(directory, output="table", watch=False, out=io.StringIO(), err=err) == 1
    assert err.getvalue().startswith(f"No router runs on this host: {tmp_path / 'missing'} does not exist.")
    assert "systemctl start vip-speaker" in err.getvalue()


def test_documents_in_a_directory_that_was_made_anew_are_believed(tmp_path):
    """The lock went with the former directory, the router goes on."""
    directory = StateDirectory(tmp_path)
    directory.write(DATABASE)
    out, err = io.StringIO(), io.StringIO()
    assert run_status(directory, output="table", watch=False, out=out, err=err) == 0
    assert "database" in out.getvalue()


def test_an_empty_directory_is_no_router(tmp_path):
    err = io.StringIO()
    assert run_status(StateDirectory(tmp_path), output="table", watch=False, out=io.StringIO(), err=err) == 1
    assert err.getvalue() == (
        f"No router runs on this host: {tmp_path} has no state of one. "
        "If its state is elsewhere, name it with --state-dir.\n"
    )


def test_what_a_killed_router_left_is_not_shown_as_its_state(tmp_path):
    directory = StateDirectory(tmp_path)
    directory.write(DATABASE)
    (tmp_path / "router.lock").touch()
    out, err = io.StringIO(), io.StringIO()
    assert run_status(directory, output="table", watch=False, out=out, err=err) == 1
    assert out.getvalue() == ""
    assert "is left from one that has ended" in err.getvalue()
    assert f"database MASTER since {DATABASE.since}" in err.getvalue()


def test_nothing_from_the_lan_reaches_the_terminal_as_a_control_character(held):
    held.directory.write(VirtualIPState(name="web", state="BACKUP", reason="\x1b[2J\n\u202egone", master="\r\x07"))
    assert held.run("wide") == 0
    assert held.out.getvalue().count("\n") == 2
    assert "?[2J??gone" in held.out.getvalue()
    assert "\x1b" not in held.out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (252, "4m12s"), (2700, "45m"), (18_720, "5h12m"),
        (7 * 3600, "7h"), (26 * 3600, "26h"), (49 * 3600, "2d"),
    ],
)  # fmt: skip
def test_durations_read_like_kubectls(seconds, text):
    assert duration(NOW, timestamp(NOW - seconds)) == text


def test_no_instant_no_duration():
    assert (duration(NOW, ""), duration(NOW, "yesterday")) == ("", "")


class Watched(io.StringIO):
    """Output of a watch that ends, as by Ctrl-C, when `end` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()

    def flush(self) -> None:
        if self.end.is_set():
            raise KeyboardInterrupt

    def wait_for(self, text: str) -> None:
        limit = time.monotonic() + 20
        while text not in self.getvalue():
            assert time.monotonic() < limit, self.getvalue()
            time.sleep(0.01)


@pytest.mark.parametrize("output", ["table", "json"])
def test_watch_prints_what_changes_and_nothing_else(held, monkeypatch, output):
    monkeypatch.setattr(status, "POLL_SECONDS", 0.01)
    held.directory.write(WEB)
    held.directory.write(DATABASE)
    out, err = Watched(), Watched()

    def watch() -> None:
        with pytest.raises(KeyboardInterrupt):
            run_status(held.directory, output=output, watch=True, out=out, err=err)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        out.wait_for("web")
        held.directory.write(DATABASE)  # the same again
        held.directory.write(VirtualIPState(name="web", state="FAULT", reason="eth0 is down", problems=("odd",)))
        out.wait_for("FAULT")
        err.wait_for("Warning: web: odd")
        held.directory.remove("web")
        err.wait_for("web: removed")
        os.close(held.directory._lock)
        err.wait_for("The router does not run any more.")
        held.directory.hold()
        err.wait_for("The router runs again.")
    finally:
        out.end.set()
        thread.join()
    assert out.getvalue().count("database") == 1
    assert out.getvalue().count("NAME") == (1 if output == "table" else 0)
