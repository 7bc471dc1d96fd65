"""Which scripts are run, and what becomes of what they do. The process that runs them is real."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from vip_speaker.checks.script import ScriptCheck

from tests.netns import wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="scripts have to be root's")


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    directory = tmp_path / "scripts"
    directory.mkdir(mode=0o755)
    return directory


def put(directory: Path, name: str, text: str = "exit 0\n", mode: int = 0o755) -> Path:
    path = directory / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(mode)
    return path


def run(directory: Path | None, name: str, *args: str, timeout_s: float = 10, refused: str | None = None, then=None):
    async def once():
        check = ScriptCheck(directory, refused=refused)
        result = await check.run(
            {"name": name, "args": args, "key": "k"}, timeout_s=timeout_s, environment={"VIP": "web", "VRID": "51"}
        )
        if then is not None:
            await then(check)
        return result.good, result.reason

    return asyncio.run(once())


async def ended(check: ScriptCheck) -> None:
    async with asyncio.timeout(20):
        while check.busy("k"):
            await asyncio.sleep(0.01)


@needs_root
def test_exit_status_zero_is_good(scripts):
    put(scripts, "ok", "echo all is well\n")
    assert run(scripts, "ok") == (True, "ok succeeded")


@needs_root
def test_the_last_line_is_the_reason(scripts):
    put(scripts, "no", "echo first; echo; echo 'the  last' >&2; echo; exit 7\n")
    assert run(scripts, "no") == (False, "no ended with status 7: the  last")
    put(scripts, "kill", "kill -9 $$\n")
    assert run(scripts, "kill") == (False, "kill was ended by SIGKILL")


@needs_root
def test_arguments_and_environment(scripts):
    put(scripts, "show", 'echo "$#:$1:$2 $VIP $VRID $HOME"; cat; exit 1\n')
    assert run(scripts, "show", "a b", "$(id)") == (False, "show ended with status 1: 2:a b:$(id) web 51")


@needs_root
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "there is no absent in {at}"),
        ("plain", "plain is not executable by this user"),
        ("loose", "loose can be written by others"),
        ("group", "group can be written by others"),
        ("strange", "strange is not root's"),
        ("directory", "directory is not a regular file"),
        ("out", "out is a link out of the scripts directory"),
        ("nothing", "nothing cannot be run: Exec format error"),
        ("gone", "gone cannot be run: No such file or directory"),
    ],
)
def test_what_is_not_run_fails_and_says_why(scripts, name, reason):
    put(scripts, "plain", mode=0o644)
    put(scripts, "loose", mode=0o757)
    put(scripts, "group", mode=0o775)
    os.chown(put(scripts, "strange"), 65534, 65534)
    (scripts / "directory").mkdir()
    (scripts / "out").symlink_to("/bin/true")
    (scripts / "nothing").write_bytes(b"\0\1\2")
    (scripts / "nothing").chmod(0o755)
    (scripts / "gone").write_text("#!/no/such/shell\n")
    (scripts / "gone").chmod(0o755)
    if name == "plain" and os.geteuid() == 0:
        reason = "plain is not executable by this user"  # root needs an x bit too
    assert run(scripts, name) == (False, reason.format(at=scripts))


@needs_root
def test_a_directory_that_others_may_write(scripts):
    put(scripts, "ok")
    scripts.chmod(0o777)
    assert run(scripts, "ok") == (False, "scripts can be written by others")


@needs_root
def test_links_within_the_directory_are_how_a_configmap_is_mounted(scripts):
    (scripts / "..data").mkdir()
    put(scripts / "..data", "ok")
    (scripts / "ok").symlink_to("..data/ok")
    assert run(scripts, "ok") == (True, "ok succeeded")


def test_no_directory_and_no_user():
    no_directory = "no scripts directory is configured (--scripts-dir, or the chart's speaker.scripts)"
    assert run(None, "ok") == (False, no_directory)
    assert run(Path("/nonexistent"), "ok", refused="not as root") == (False, "not as root")


@needs_root
def test_a_timeout_ends_the_whole_group(scripts, tmp_path):
    put(scripts, "slow", f"sleep 300 & echo $! > {tmp_path}/child; sleep 300\n")
    began = time.monotonic()
    assert run(scripts, "slow", timeout_s=0.5, then=ended) == (False, "slow did not end within 0.5 s")
    assert time.monotonic() - began < 15
    wait_for(lambda: not alive(int((tmp_path / "child").read_text())), what="its child is gone")


@needs_root
def test_what_ignores_term_is_killed_two_seconds_later(scripts, tmp_path):
    put(scripts, "deaf", f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done\n")
    began = time.monotonic()

    async def check_it_goes_on(check: ScriptCheck) -> None:
        assert check.busy("k"), "not run again meanwhile"
        await ended(check)

    assert run(scripts, "deaf", timeout_s=0.5, then=check_it_goes_on)[0] is False
    assert time.monotonic() - began >= 2.5
    wait_for(lambda: not alive(int((tmp_path / "pid").read_text())), what="it is gone")


@needs_root
def test_children_do_not_outlive_a_script_nor_hold_it_up(scripts, tmp_path):
    put(scripts, "leaves", f"sleep 300 & echo $! > {tmp_path}/child; exit 0\n")
    began = time.monotonic()
    assert run(scripts, "leaves") == (True, "leaves succeeded")
    assert time.monotonic() - began < 8
    wait_for(lambda: not alive(int((tmp_path / "child").read_text())), what="its child is gone")


@needs_root
def test_output_is_bounded(scripts):
    put(scripts, "many", "i=0; while [ $i -lt 10000 ]; do echo line $i; i=$((i+1)); done; exit 1\n")
    assert run(scripts, "many") == (False, "many ended with status 1: line 9999")
    put(scripts, "yes", "exec yes\n")
    good, reason = run(scripts, "yes")
    assert not good
    assert reason.startswith("yes was ended by SIGPIPE: printed more than")
    put(scripts, "wide", "head -c 100000 /dev/zero | tr '\\0' x; exit 1\n")
    assert len(run(scripts, "wide")[1]) < 250


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
