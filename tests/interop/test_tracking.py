"""Checks move the priority on the wire, and with it the VIP, if and only if somebody better is there."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from vip_api.model import CORDON_FACT
from vip_speaker.checks import confine

from tests.peers import KubeVrrp, VirtualRouter, descendants, manifest
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


def test_a_process_that_dies_moves_the_vip_at_once(lan: Scene, program: Path) -> None:
    lan.peer("keepalived", lan.second, V3.with_(priority=205, interval_ms=1000)).start()
    lan.wait_holder(lan.second)
    entry = {"name": "web-process", "weight": 10, "process": {"name": program.name}}
    with running(program) as process:
        first = ours(lan, V3.with_(priority=200, interval_ms=1000), entry)
        lan.wait_holder(lan.first)
        with lan.probe() as warm:
            time.sleep(1.2)
            killed = time.time()
            process.kill()
            lan.wait_holder(lan.second)
            time.sleep(0.3)
        squeeze = lan.capture.wait_advert(priority=200, since=killed)
        successor = lan.capture.wait_advert(priority=205, since=killed)
        assert warm.lost == 0
        assert successor.time - killed < 0.5, "far below the master-down interval of 3.2 s"
        print(
            f"death → asked {(squeeze.time - killed) * 1000:.1f} ms, successor {(successor.time - killed) * 1000:.1f}"
        )
        lan.eventually(lambda: parts(first) == {"web-process": (0, f"{program.name} not running")}, "status says why")
    with running(program):
        lan.wait_holder(lan.first)
        lan.capture.wait_advert(priority=210, since=killed)
    lan.never_two()


def test_a_demotion_with_nobody_better_moves_nothing(lan: Scene, program: Path) -> None:
    """The tutorial's numbers: 210 is not below 210."""
    lan.peer("keepalived", lan.second, V3.with_(priority=205)).start()
    lan.wait_holder(lan.second)
    with running(program) as process:
        ours(lan, V3.with_(priority=210), {"name": "web-process", "weight": 10, "process": {"name": program.name}})
        lan.wait_holder(lan.first)
        lan.capture.wait_advert(priority=220)
        process.kill()
        demoted = lan.capture.wait_advert(priority=210).time
        lan.stays(lan.first, seconds=1)
        assert not lan.capture.adverts(priority=205, since=demoted)


def test_two_checks_of_weight_zero_and_one_recovers(lan: Scene, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        file.touch()
    entries = [{"name": file.name, "file": {"path": str(file), "exists": True}} for file in files]
    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    first = ours(lan, V3.with_(priority=210), *entries)
    lan.wait_holder(lan.first)
    for file in files:
        file.unlink()
    lan.wait_holder(lan.second)
    lan.eventually(
        lambda: "two" in first.document()["reason"] and "one" in first.document()["reason"], "both are named"
    )
    files[0].touch()
    lan.eventually(lambda: first.document()["reason"] == f"two: {files[1]} does not exist", "only one is left")
    assert first.document()["state"] == "FAULT"
    lan.stays(lan.second, seconds=1)
    assert first.document()["state"] == "FAULT"
    files[1].touch()
    lan.wait_holder(lan.first)
    lan.never_two()


def script(directory: Path, name: str, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    path = directory / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_a_script_that_fails_three_times_moves_the_vip(lan: Scene, tmp_path: Path) -> None:
    with shared_directory() as at:
        flag = at / "broken"
        script(at / "scripts", "check", f'test -e {flag} || exit 0; echo "$VIP $VRID $STATE" says no; exit 3\n')
        lan.peer("keepalived", lan.second, V3.with_(priority=205)).start()
        lan.wait_holder(lan.second)
        entry = {"name": "chk", "weight": -10, "script": {"name": "check", "interval": "200ms", "fall": 3, "rise": 2}}
        first = ours(lan, V3.with_(priority=210), entry, options=("--scripts-dir", str(at / "scripts")))
        lan.wait_holder(lan.first)
        lan.eventually(lambda: parts(first) == {"chk": (0, "check succeeded")}, "it has run")
        failed = time.time()
        flag.touch()
        lan.wait_holder(lan.second)
        assert lan.capture.wait_advert(priority=200, since=failed).time - failed > 0.3, "not before the third failure"
        reason = "check ended with status 3: web 51 MASTER says no"
        lan.eventually(lambda: parts(first)["chk"][0] == -10, "the state file follows")
        assert parts(first)["chk"][1] == reason
        flag.unlink()
        lan.wait_holder(lan.first)
        lan.never_two()


def test_a_script_of_weight_zero_holds_out_until_its_first_result(lan: Scene) -> None:
    with shared_directory() as at:
        script(at / "scripts", "slow", "sleep 2\n")
        entry = {"name": "slow", "script": {"name": "slow", "interval": "5s"}}
        first = ours(lan, V3, entry, options=("--scripts-dir", str(at / "scripts")))
        lan.eventually(lambda: first.document().get("reason") == "slow: has not run yet", "it waits, and says for what")
        assert first.document()["state"] == "INIT"
        assert not lan.capture.adverts()
        lan.wait_holder(lan.first)


@contextlib.contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory that an unprivileged user reaches, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="tracking-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


HOSTILE = {
    "prints": "i=0; while [ $i -lt 10000 ]; do echo line $i; i=$((i+1)); done; exit 1\n",
    "floods": "exec yes\n",
    "hangs": "trap '' TERM; while :; do sleep 1; done\n",
    "forks": "for i in 1 2 3 4 5 6 7 8 9 10; do setsid sleep 300 & done; exit 0\n",
}


def test_hostile_checks_delay_no_advertisement(lan: Scene, tmp_path: Path) -> None:
    huge, fifo = tmp_path / "huge", tmp_path / "fifo"
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    os.mkfifo(fifo)
    pace = {"interval": "500ms", "timeout": "400ms"}
    entries = [{"name": name, "weight": 1, "script": {"name": name, **pace}} for name in HOSTILE]
    entries += [
        {"name": path.name, "weight": 1, "file": {"path": str(path)}} for path in (huge, fifo)
    ] + [
        # nobody answers for this address: the switch has no such host
        {"name": "hole", "weight": 1, "tcp": {"host": "192.168.137.77", "port": 80, **pace}},
        {"name": "web", "weight": 1, "http": {"url": "http://192.168.137.77/", **pace}},
    ]  # fmt: skip
    with shared_directory() as at:
        for name, text in HOSTILE.items():
            script(at / "scripts", name, text)
        first = ours(lan, V3.with_(priority=100), *entries, options=("--scripts-dir", str(at / "scripts")))
        lan.wait_holder(lan.first)
        lan.eventually(lambda: "did not" in str(parts(first).get("hole")), "checks run")
        since = time.time()
        time.sleep(5)
        adverts = lan.capture.adverts(since=since)
        found = parts(first)
    gaps = [after.time - before.time for before, after in itertools.pairwise(adverts)]
    print(f"{len(gaps)} gaps, the longest {max(gaps) * 1000:.1f} ms", found)
    assert len(adverts) >= 45
    assert sorted(gaps)[len(gaps) * 9 // 10] < 0.115, "nine of ten are on time"
    assert max(gaps) < 0.2
    assert found["prints"] == (0, "prints ended with status 1: line 9999")
    assert "floods" in found["floods"][1] and found["floods"][0] == 0
    assert found["hangs"] == (0, "hangs did not end within 0.4 s")
    assert found["forks"] == (1, "forks succeeded")
    assert found["huge"] == (0, f"{huge} does not hold a number")
    assert found["fifo"] == (0, f"{fifo} is not a regular file")
    lan.eventually(lambda: not strays(), "what a script left behind is gone")


#: Ignores TERM, and forks as fast as it may, whether or not it is allowed to.
BOMB = """exec perl -e '$SIG{TERM} = "IGNORE"; fork while 1' %s\n"""


def test_a_fork_bomb_ends_at_its_limits_and_delays_no_advertisement(lan: Scene) -> None:
    """It lives for the timeout and two seconds of grace, again and again."""
    with shared_directory() as at:
        script(at / "scripts", "bomb", BOMB % at)
        entry = {"name": "bomb", "weight": 1, "script": {"name": "bomb", "interval": "1s", "timeout": "1s"}}
        first = ours(lan, V3.with_(priority=100), entry, options=("--scripts-dir", str(at / "scripts")))
        lan.wait_holder(lan.first)
        most, since = 0, time.time()
        # a machine that is busy lets `ps` look now and then only, perhaps when it is over; it goes off again
        while time.time() < since + (5 if most > 100 else 30):
            most = max(most, sum(str(at) in one for one in commands()))
            time.sleep(0.1)
        adverts = lan.capture.adverts(since=since)
        lan.eventually(lambda: parts(first)["bomb"] == (0, "bomb did not end within 1 s"), "it is a failed check")
        first.stop()
        gaps = [after.time - before.time for before, after in itertools.pairwise(adverts)]
        print(f"{len(gaps)} gaps, the longest {max(gaps) * 1000:.1f} ms; at most {most} processes")
        assert 100 < most <= confine.MAXIMUM_PROCESSES, "it went off, and was bounded"
        assert max(gaps) < 0.3, "no peer would have taken over"
        assert "CRITICAL" not in first.log and "guard: " not in first.log, first.log[-3000:]
        lan.eventually(lambda: not any(str(at) in one for one in commands()), "nothing is left of it")


def strays() -> list[str]:
    return [line for line in commands() if line == "sleep 300"]


def commands() -> list[str]:
    """The command line of every process."""
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_checks_process_that_dies_is_started_again(lan: Scene) -> None:
    with shared_directory() as at:
        script(at / "scripts", "check", "exit 0\n")
        entry = {"name": "chk", "script": {"name": "check", "interval": "200ms"}}
        first = ours(lan, V3, entry, options=("--scripts-dir", str(at / "scripts")))
        lan.wait_holder(lan.first)
        killed = checks_process(first)
        os.kill(killed, signal.SIGKILL)
        lan.eventually(lambda: checks_process(first) not in (0, killed), "another one runs")
        lan.stays(lan.first, seconds=1)
        os.kill(checks_process(first), signal.SIGSTOP)
        stopped = checks_process(first)
        lan.eventually(lambda: checks_process(first) not in (0, stopped), "one that hangs is replaced too", timeout=30)
        lan.stays(lan.first, seconds=1)
        last = checks_process(first)
        first.stop()
        lan.eventually(lambda: not Path(f"/proc/{last}").exists(), "it ends with the router")


def checks_process(router: KubeVrrp) -> int:
    """The process that the router asks; 0 while there is none."""
    for pid in descendants(router.pid):
        with contextlib.suppress(OSError):
            if "vip_speaker.checks" in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
    return 0


def test_scripts_run_without_any_right(lan: Scene) -> None:
    with shared_directory() as at:
        look = 'id -u; grep -E "CapEff|CapBnd|NoNewPrivs" /proc/self/status; cat; echo end'
        script(at / "scripts", "look", f"echo $({look}); exit 1\n")
        entry = {"name": "look", "weight": 1, "script": {"name": "look"}}
        first = ours(lan, V3, entry, options=("--scripts-dir", str(at / "scripts")))
        lan.eventually(lambda: "end" in str(parts(first).get("look")), "it has run")
        said = parts(first)["look"][1]
    user, _, effective_set, _, bounding, _, no_new = said.split(": ", 1)[1].split()[:7]
    assert int(user) != 0
    assert int(effective_set, 16) == 0
    assert int(bounding, 16) == 0
    assert no_new == "1"


@pytest.mark.parametrize(("policy", "state"), [("Demote", "BACKUP"), ("Release", "INIT")])
def test_a_cordoned_node_gives_up_the_vip_by_its_policy(lan: Scene, policy: str, state: str) -> None:
    """What the agent writes when the operator's facts change."""

    def document(cordoned: bool) -> str:
        written = yaml.safe_load(manifest(V3))
        written["spec"] |= {"onCordon": policy}
        facts = [{"name": CORDON_FACT, "value": cordoned, "reason": "node first is cordoned"}]
        assignment = {"priority": 254, "virtualRouterID": 51, "facts": facts}
        return yaml.safe_dump(written | {"assignment": assignment})

    lan.peer("keepalived", lan.second, V3.with_(priority=200)).start()
    lan.wait_holder(lan.second)
    first = lan.ours(lan.first, V3, manifests={"web": document(False)})
    lan.wait_holder(lan.first)
    with lan.probe() as warm:
        time.sleep(0.3)
        new = first.config / ".web.new"
        new.write_text(document(True))
        new.rename(first.config / "web.yaml")
        lan.wait_holder(lan.second)
        lan.eventually(lambda: first.document().get("state") == state, f"{state} follows")
        time.sleep(0.3)
    assert warm.lost == 0
    if policy == "Release":
        assert first.document()["reason"] == "node first is cordoned"
    lan.never_two()
