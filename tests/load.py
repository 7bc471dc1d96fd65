"""A machine that is short of something: processors kept busy, and a memory cgroup that a router cannot grow in."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.netns import wait_for
from tests.peers import KubeVrrp

CGROUPS = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """As many processes that do nothing but run."""
    running = [subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


class MemoryCgroup:
    """A cgroup of this test alone, of either version, without a limit at first."""

    def __init__(self) -> None:
        self._v1 = (CGROUPS / "memory").is_dir()
        parent = CGROUPS / "memory" if self._v1 else CGROUPS
        self.path = parent / f"kube-vrrp-{os.getpid()}-{secrets.token_hex(3)}"
        self.path.mkdir()
        if not self._file("limit").exists():
            self.path.rmdir()
            raise FileNotFoundError("the memory controller is not delegated here")

    def _file(self, what: str) -> Path:
        names = {"limit": ("memory.limit_in_bytes", "memory.max"), "usage": ("memory.usage_in_bytes", "memory.current")}
        return self.path / names[what][0 if self._v1 else 1]

    def limit(self, bytes_: int | None) -> None:
        """No process in it gets more memory than that; None: no limit."""
        none = "-1" if self._v1 else "max"
        self._file("limit").write_text(none if bytes_ is None else str(bytes_))

    @property
    def usage(self) -> int:
        """What its processes have now."""
        return int(self._file("usage").read_text())

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed in it."""
        lines = (self.path / ("memory.oom_control" if self._v1 else "memory.events")).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def close(self) -> None:
        """Remove it; whoever is in it is somebody else's to end."""
        self.limit(None)
        wait_for(lambda: not (self.path / "cgroup.procs").read_text(), what="the cgroup is empty")
        self.path.rmdir()


class Confined(KubeVrrp):
    """Our router, guard and all, started inside a cgroup."""

    cgroup: MemoryCgroup

    def command(self) -> list[str]:
        enter = f'echo $$ > {self.cgroup.path}/cgroup.procs && exec "$@"'
        return ["sh", "-c", enter, "sh", *super().command()]


class Unprivileged(KubeVrrp):
    """Our router as in a pod: without the right to real-time scheduling and locked memory."""

    def command(self) -> list[str]:
        return ["setpriv", "--bounding-set", "-sys_nice,-ipc_lock,-sys_resource", *super().command()]
