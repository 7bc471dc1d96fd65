"""A real systemd as PID 1 on a host of a test network, to run the units that come with the router.

It has namespaces of its own for processes, mounts, host name and control groups, and the network of its `Host`. Killing
it ends everything in it; its root is in memory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.netns import CommandError, Host, run, wait_for

CHECKOUT = Path(__file__).resolve().parent.parent
BOOT = Path(__file__).with_name("systemd_boot.sh")
_CGROUPS = Path("/sys/fs/cgroup")


def can_run() -> bool:
    """Whether systemd is installed and version 2 of the control groups is mounted, alone or beside version 1."""
    return Path("/lib/systemd/systemd").exists() and _unified() is not None


def _unified() -> Path | None:
    return next((one for one in (_CGROUPS, _CGROUPS / "unified") if (one / "cgroup.procs").exists()), None)


class SystemdHost:
    """`with SystemdHost(host) as machine: machine.systemctl("start", "vip-speaker")`."""

    def __init__(self, host: Host) -> None:
        unified = _unified()
        assert unified is not None
        self.host = host
        self.folder = Path(tempfile.mkdtemp(prefix=f"{host.namespace}-systemd-"))
        self.group = unified / self.folder.name
        self._boot: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.group.mkdir()
        # the group first: it is the root of what systemd sees
        enter = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
        apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup"]
        with (self.folder.with_suffix(".log")).open("w") as log:
            self._boot = self.host.start(
                "sh", "-c", enter, "sh", str(self.group), *apart, str(BOOT), str(self.folder), str(CHECKOUT),
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            wait_for(self._has_booted, what=f"systemd runs on {self.host.name}\n{self.log}", timeout=60, poll=0.1)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """What systemd printed."""
        return self.folder.with_suffix(".log").read_text(errors="replace")

    @property
    def pid(self) -> int | None:
        """systemd, as this side counts."""
        assert self._boot is not None
        with contextlib.suppress(OSError, ValueError):
            children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text().split()
            return int(children[0]) if children else None
        return None

    def run(self, *command: str, check: bool = True) -> str:
        """Run on the host; the standard output."""
        return run("nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", "--", *command, check=check)

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """`systemctl …` on the host; the standard output."""
        return self.run("systemctl", "--no-pager", *arguments, check=check)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", unit, f"--property={name}", "--value").strip()

    def write(self, path: str, text: str) -> None:
        """A file of the host."""
        run(
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            "--",
            "sh",
            "-c",
            'mkdir -p "${1%/*}"; cat >"$1"',
            "sh",
            path,
            stdin=text,
        )

    def _has_booted(self) -> bool:
        if self.pid is None:
            return False
        try:
            return self.systemctl("is-system-running", check=False).strip() in ("running", "degraded")
        except CommandError:
            return False

    def close(self) -> None:
        """Cut its power."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._boot is not None
        self._boot.wait(10)
        wait_for(self._removed, what=f"{self.group} is empty")
        shutil.rmtree(self.folder)
        self.folder.with_suffix(".log").unlink()

    def _removed(self) -> bool:
        try:
            for below in sorted(self.group.rglob("*/"), reverse=True):
                below.rmdir()
            self.group.rmdir()
        except OSError:
            return not self.group.exists()
        return True
