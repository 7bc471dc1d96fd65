"""What a tracked file may hold, and what may be in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from vip_speaker.health.facts import Verdict
from vip_speaker.health.files import HostFiles, number_in, presence


@pytest.mark.parametrize(
    ("content", "number"),
    [("10", 10), ("10\n", 10), (" -7 \n", -7), ("+3", 3), ("0", 0), ("", 0), ("\n", 0), ("4294967295", 4294967295)],
)
def test_a_number(tmp_path, content, number):
    file = tmp_path / "value"
    file.write_text(content)
    fact = number_in(file, file)
    assert fact.number == number
    assert fact.verdict is (Verdict.BAD if number else Verdict.GOOD)


def test_a_missing_file_is_zero(tmp_path):
    assert number_in(tmp_path / "value", tmp_path / "value").number == 0
    assert number_in(tmp_path / "no" / "value", tmp_path / "value").number == 0
    assert presence(tmp_path / "value", tmp_path / "value").verdict is Verdict.BAD


@pytest.mark.parametrize("content", ["ten", "1 2", "0x10", "1e3", "12345678901", "1" * 65, "\0\0"])
def test_no_number(tmp_path, content):
    file = tmp_path / "value"
    file.write_text(content)
    fact = number_in(file, file)
    assert (fact.verdict, fact.number) == (Verdict.BAD, None)
    assert fact.reason == f"{file} does not hold a number"


def test_hostile_files_are_neither_followed_nor_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "directory").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 30)
    reasons = {one.name: number_in(one, one).reason.rsplit("/", 1)[1] for one in tmp_path.iterdir()}
    assert reasons == {
        "fifo": "fifo is not a regular file",
        "link": "link is a symbolic link",
        "directory": "directory is not a regular file",
        "huge": "huge does not hold a number",
    }
    assert all(presence(one, one).verdict is Verdict.GOOD for one in tmp_path.iterdir())


def test_in_a_container_only_what_is_mounted_is_found(tmp_path):
    host = HostFiles(root=tmp_path, directories=(Path("/run/web"), Path("/srv")))
    assert host.locate(Path("/run/web/a/b")) == tmp_path / "run" / "web" / "a" / "b"
    assert host.locate(Path("/srv/x")) == tmp_path / "srv" / "x"
    assert [host.locate(Path(p)) for p in ("/run/website/a", "/run/web.d", "/etc/x", "/")] == [None] * 4
    assert HostFiles(root=tmp_path).locate(Path("/run/web/a")) is None
    assert HostFiles().locate(Path("/etc/x")) == Path("/etc/x")


def test_a_link_may_not_lead_out_of_what_is_mounted(tmp_path):
    host = HostFiles(root=tmp_path / "host", directories=(Path("/srv"),))
    inside = tmp_path / "host" / "srv" / "one"
    inside.mkdir(parents=True)
    (tmp_path / "host" / "srv" / "current").symlink_to("one")
    (tmp_path / "host" / "srv" / "away").symlink_to("/etc")
    assert not host.leads_out(tmp_path / "host" / "srv" / "current" / "file")
    assert host.leads_out(tmp_path / "host" / "srv" / "away" / "hostname")
    assert not HostFiles().leads_out(Path("/etc/hostname"))


def test_links_in_a_circle_lead_nowhere(tmp_path):
    located = tmp_path / "srv" / "circle" / "value"
    (tmp_path / "srv").mkdir()
    located.parent.symlink_to("circle")
    assert not HostFiles(root=tmp_path, directories=(Path("/srv"),)).leads_out(located)
    assert presence(located, located).reason == f"{located} cannot be looked at: Too many levels of symbolic links"
    assert number_in(located, located).reason == f"{located} cannot be read: Too many levels of symbolic links"
