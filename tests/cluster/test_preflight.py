"""What a person is told on a machine that cannot run the test cluster."""

import os
import platform
from pathlib import Path

import pytest

from tests.cluster.embedded import preflight


def test_another_system_is_told_to_use_linux(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(preflight.CannotRunError, match="needs Linux, this is Darwin"):
        preflight.check()


def test_a_user_is_told_to_become_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(preflight.CannotRunError, match="needs root"):
        preflight.check()


def test_missing_packages_are_named_where_they_cannot_be_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "NEEDED", {"no-such-program": "a-package", "/no/such/file": "another"})
    monkeypatch.setattr(preflight.shutil, "which", lambda *_, **__: None)
    with pytest.raises(preflight.CannotRunError, match="a-package, another"):
        preflight.check()


def test_missing_packages_are_announced_before_they_are_installed(monkeypatch, capsys):
    installed: list[tuple[str, ...]] = []
    monkeypatch.setattr(preflight, "NEEDED", {"no-such-program": "a-package"})
    monkeypatch.setattr(preflight.shutil, "which", lambda name, **_: "/usr/bin/apt-get" if name == "apt-get" else None)

    def record(*argv: str, **_: object) -> str:
        if argv[0].endswith("apt-install"):
            assert "a-package" in capsys.readouterr().out
            installed.append(argv[1:])
        return ""

    monkeypatch.setattr(preflight, "run", record)
    monkeypatch.setattr(preflight, "_cgroups_writable", lambda: True)
    preflight.check()
    assert installed == [("a-package",)]


def test_a_checkout_where_the_nodes_cover_it_is_refused(monkeypatch):
    monkeypatch.setattr(preflight, "REPOSITORY", Path("/var/lib/checkouts/kube-vrrp"))
    monkeypatch.setattr(preflight, "_packages", lambda: None)
    monkeypatch.setattr(preflight, "_cgroups_writable", lambda: True)
    with pytest.raises(preflight.CannotRunError, match="move it"):
        preflight.check()
