"""The command line: what is refused, what is passed on, and that the guard does not carry what it does not need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import vip_speaker
from vip_speaker import cli, options, statedirectory
from vip_speaker.statefile import VirtualIPState

from tests.netns import wait_for

PACKAGES = Path(vip_speaker.__file__).parents[1]


def test_the_default_directory_is_one(capsys):
    assert Path(options.DEFAULT_STATE_DIRECTORY) == statedirectory.DEFAULT_STATE_DIRECTORY


def router_arguments(*arguments: str) -> list[str]:
    return cli.router_arguments(cli.parser().parse_args(["router", *arguments]))


def test_the_router_is_given_every_option():
    assert router_arguments("--config", "vips") == [
        "--config", "vips", "--state-dir", "/run/kube-vrrp", "--address-lifetime", "auto", "--grace", "25",
        "--log-format", "plain", "--log-level", "info",
    ]  # fmt: skip
    given = [
        "--config", "a b.yaml", "--state-dir", "/x", "--node", "n1", "--address-lifetime", "0", "--grace", "1.5",
        "--scripts-dir", "/s", "--checks-socket", "/c", "--files-root", "/host",
        "--files-dir", "/a", "--files-dir", "/b",
        "--log-format", "json", "--log-level", "debug",
    ]  # fmt: skip
    assert router_arguments(*given) == given


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["router"], "--config"),
        (["router", "--config", "x", "--address-lifetime", "1"], "'1' is neither auto, 0 nor a whole number"),
        (["router", "--config", "x", "--address-lifetime", "-5"], "--address-lifetime"),
        (["router", "--config", "x", "--address-lifetime", "²"], "is neither auto"),
        (["router", "--config", "x", "--grace", "nan"], "'nan' is not a number of seconds"),
        (["router", "--config", "x", "--grace", "soon"], "'soon' is not a number of seconds"),
        (["status", "-o", "yaml"], "invalid choice: 'yaml'"),
        (["check"], "PATH"),
    ],
)
def test_what_cannot_be_is_refused_by_name(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["router", "--help"], ["status", "--help"], ["check", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0
    assert "usage: vip-speaker" in capsys.readouterr().out


def test_status_without_a_router(tmp_path, capsys):
    assert cli.main(["status", "--state-dir", str(tmp_path / "none")]) == 1
    assert "No router runs on this host" in capsys.readouterr().err


@pytest.mark.parametrize(("variable", "directory"), [(None, "/run/kube-vrrp"), ("", "/run/kube-vrrp"), ("/x", "/x")])
def test_the_environment_may_say_where_the_state_is(monkeypatch, variable, directory):
    if variable is None:
        monkeypatch.delenv("KUBE_VRRP_STATE_DIR", raising=False)
    else:
        monkeypatch.setenv("KUBE_VRRP_STATE_DIR", variable)
    assert str(cli.parser().parse_args(["status"]).state_dir) == directory
    assert str(cli.parser().parse_args(["status", "--state-dir", "/y"]).state_dir) == "/y"


def test_status_into_a_pipe_that_closes(tmp_path):
    """`vip-speaker status | head -1` ends without a traceback."""
    directory = statedirectory.StateDirectory(tmp_path)
    directory.hold()
    for number in range(64):
        directory.write(VirtualIPState(name=f"vip{number}", state="BACKUP", reason="x" * 5000))
    command = f"{sys.executable} -m vip_speaker status -o wide --state-dir {tmp_path} | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
    )  # fmt: skip
    os.close(directory._lock)
    assert done.stdout.startswith("NAME")
    assert done.stderr == ""


def test_the_command_line_imports_nothing_heavy():
    program = (
        "import sys; before = set(sys.modules); import vip_speaker.cli; vip_speaker.cli.parser();"
        "print(sorted(m for m in set(sys.modules) - before"
        " if m.split('.')[0] in ('scapy', 'pyroute2', 'yaml', 'asyncio', 'kubernetes', 'vip_api', 'json')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


@pytest.mark.netns
def test_router_becomes_the_guard_of_the_routers_program(tmp_path):
    """With another `vip_speaker.router` in front on the path, to see what is started, and how small the guard is."""
    stub = tmp_path / "stub" / "vip_speaker"
    (stub / "router").mkdir(parents=True)
    (stub / "__init__.py").touch()
    (stub / "router" / "__init__.py").touch()
    (stub / "router" / "__main__.py").write_text(
        "import json, os, pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        f"file = pathlib.Path({str(tmp_path)!r}, 'started')\n"
        "file.with_suffix('.new').write_text(json.dumps([os.environ.get('NOTIFY_SOCKET'), *sys.argv[1:]]))\n"
        "file.with_suffix('.new').rename(file)\n"
        "signal.pause()\n"
    )
    program = f"import sys; sys.path.insert(0, {str(PACKAGES)!r}); from vip_speaker.cli import main; sys.exit(main())"
    guard = subprocess.Popen(
        [sys.executable, "-c", program, "router", "--config", "x.yaml", "--node", "n1"],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "stub"), "NOTIFY_SOCKET": "/run/notify"},
    )
    try:
        wait_for((tmp_path / "started").exists, what="the router's program runs")
        assert '"/run/notify", "--config", "x.yaml"' in (tmp_path / "started").read_text()
        resident = Path(f"/proc/{guard.pid}/status").read_text().split("VmRSS:")[1].split()[0]
        assert int(resident) < 12 * 1024
        guard.send_signal(signal.SIGTERM)
        assert guard.wait(20) == 0
    finally:
        guard.kill()
        guard.wait()
