"""The document's steps as `systemctl start, stop, status`, on two hosts that each run a systemd of their own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.peers import TUTORIAL, manifest
from tests.scene import ADDRESS, Scene
from tests.systemd_host import SystemdHost, can_run

pytestmark = pytest.mark.skipif(not can_run(), reason="no systemd, or no cgroup version 2")

UNIT = "vip-speaker"


@pytest.fixture
def pair(lan: Scene) -> Iterator[tuple[SystemdHost, SystemdHost]]:
    with ExitStack() as stack:
        yield (
            _machine(stack, SystemdHost(lan.first), priority=210),
            _machine(stack, SystemdHost(lan.second), priority=200),
        )


def _machine(stack: ExitStack, machine: SystemdHost, *, priority: int) -> SystemdHost:
    stack.enter_context(machine)
    machine.write("/etc/kube-vrrp/web.yaml", manifest(TUTORIAL.with_(priority=priority)))
    return machine


def status(machine: SystemdHost) -> str:
    """What `systemctl status` says of the VIP."""
    told = re.search(r"Status: \"(.*)\"", machine.systemctl("status", UNIT, check=False))
    return told[1] if told else ""


def test_the_documents_steps(lan: Scene, pair: tuple[SystemdHost, SystemdHost]) -> None:
    first, second = pair
    for machine in pair:
        machine.systemctl("start", UNIT)  # returns when the router is ready
        assert machine.show(UNIT, "ActiveState") == "active"
    lan.wait_holder(lan.first)
    lan.eventually(lambda: status(first) == "MASTER web", "status says MASTER")
    lan.eventually(lambda: status(second) == f"BACKUP web (master {ADDRESS['first']})", "and the other who is")

    stopped = lan.mark()
    first.systemctl("stop", UNIT)
    lan.wait_holder(lan.second)
    assert lan.capture.adverts(since=stopped.time, priority=0)
    assert first.show(UNIT, "Result") == "success"

    first.systemctl("start", UNIT)
    lan.wait_holder(lan.first)
    lan.never_two(since=stopped)


def test_a_reload_reads_the_manifests_and_a_crash_is_survived(
    lan: Scene, pair: tuple[SystemdHost, SystemdHost]
) -> None:
    first, _ = pair
    first.systemctl("start", UNIT)
    lan.wait_holder(lan.first)
    guard = first.show(UNIT, "MainPID")

    first.write("/etc/kube-vrrp/web.yaml", manifest(TUTORIAL.with_(priority=190)))
    first.systemctl("reload", UNIT)
    lan.capture.wait_advert(priority=190)
    assert first.show(UNIT, "MainPID") == guard

    first.systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
    lan.eventually(lambda: first.show(UNIT, "MainPID") not in ("0", guard), "systemd starts it anew")
    assert first.show(UNIT, "NRestarts") == "1"
    lan.wait_holder(lan.first)


def test_a_script_runs_in_the_unit_of_the_checks(lan: Scene, pair: tuple[SystemdHost, SystemdHost]) -> None:
    first, _ = pair
    script = "#!/bin/sh\nid -un\nexit 1\n"
    first.write("/etc/kube-vrrp-scripts/answer", script)
    first.run("chmod", "755", "/etc/kube-vrrp-scripts/answer")
    entry = "  track:\n    - {name: answer, weight: -20, script: {name: answer, interval: 1s, timeout: 1s, fall: 1}}\n"
    first.write("/etc/kube-vrrp/web.yaml", manifest(TUTORIAL) + entry)
    asks = f"[Service]\nExecStart=\nExecStart={_command(first)} --checks-socket /run/kube-vrrp-checks/sock\n"
    first.write(f"/etc/systemd/system/{UNIT}.service.d/checks.conf", asks)
    # the Python of the machine that runs the tests may lie in a home
    first.write(f"/etc/systemd/system/{UNIT}-checks.service.d/home.conf", "[Service]\nProtectHome=read-only\n")
    first.systemctl("daemon-reload")
    first.systemctl("start", f"{UNIT}-checks", UNIT)
    lan.capture.wait_advert(priority=190, timeout=15)
    status = ["/opt/kube-vrrp/bin/vip-speaker", "status", "--state-dir", "/run/kube-vrrp", "-o", "wide"]
    lan.eventually(lambda: f"{UNIT}-checks: -20" in first.run(*status), "it ran as the dynamic user of that unit")


def _command(machine: SystemdHost) -> str:
    lines = machine.run("cat", f"/etc/systemd/system/{UNIT}.service").splitlines()
    return next(line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart="))


def test_a_configuration_that_allows_no_start_is_not_tried_for_ever(pair: tuple[SystemdHost, SystemdHost]) -> None:
    first, _ = pair
    first.write(f"/etc/systemd/system/{UNIT}.service.d/strict.conf", _strict(first))
    first.write("/etc/kube-vrrp/web.yaml", "kind: VirtualIP\n")
    first.systemctl("daemon-reload")
    first.systemctl("start", UNIT, check=False)
    assert first.show(UNIT, "ExecMainStatus") == "2"
    time.sleep(1.5)  # longer than RestartSec
    assert (first.show(UNIT, "ActiveState"), first.show(UNIT, "NRestarts")) == ("failed", "0")


def _strict(machine: SystemdHost) -> str:
    command = _command(machine).replace("/etc/kube-vrrp ", "/etc/kube-vrrp/web.yaml ")
    return f"[Service]\nExecStart=\nExecStart={command}\n"
