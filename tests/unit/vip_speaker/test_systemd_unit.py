"""The systemd unit: systemd itself accepts it, and it says what the guard relies on."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from vip_speaker import cli, options

UNIT = Path(__file__).parents[3] / "packaging" / "systemd" / "vip-speaker.service"
CHECKS = UNIT.with_name("vip-speaker-checks.service")


def service(unit: Path = UNIT) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return dict(parser["Service"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("source", [UNIT, CHECKS], ids=lambda unit: unit.name)
def test_systemd_accepts_it(tmp_path, source):
    """With a program that exists on this machine in place of the installed one."""
    unit = tmp_path / source.name
    unit.write_text(source.read_text().replace("/opt/kube-vrrp/bin/vip-speaker", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if source.name in line]
    assert (done.returncode, ours) == (0, [])


def test_its_command_line_is_one_of_ours():
    command = service()["ExecStart"].split()
    parsed = cli.parser().parse_args(command[1:])
    assert command[0].endswith("/bin/vip-speaker")
    assert parsed.command == "router"
    assert str(parsed.state_dir) == f"/run/{service()['RuntimeDirectory']}"
    assert str(parsed.config) == f"/etc/{service()['ConfigurationDirectory']}"


def test_it_says_what_the_guard_relies_on():
    unit = service()
    assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "all"), "the guard's child notifies"
    assert unit["KillMode"] == "mixed", "SIGTERM to the guard alone"
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert set(unit["CapabilityBoundingSet"].split()) == {"CAP_NET_ADMIN", "CAP_NET_RAW"}
    assert unit["RestartPreventExitStatus"] == "2"
    assert float(unit["TimeoutStopSec"]) > options.DEFAULT_GRACE_SECONDS
    assert {"AF_NETLINK", "AF_PACKET", "AF_INET", "AF_INET6", "AF_UNIX"} <= set(unit["RestrictAddressFamilies"].split())


def test_the_unit_of_the_checks_is_one_that_the_router_can_ask():
    unit = service(CHECKS)
    parsed = cli.parser().parse_args(unit["ExecStart"].split()[1:])
    assert parsed.command == "checks"
    assert str(parsed.socket.parent) == f"/run/{unit['RuntimeDirectory']}"
    assert unit["RuntimeDirectoryMode"] == "0755", "the router has no right to pass by modes"
    assert unit["DynamicUser"] == "yes", "scripts are not run as root"
    assert unit["CapabilityBoundingSet"] == ""
