"""The cgroups of a cluster: one directory under its name in every hierarchy, one inside for each machine.

A machine's own programs run in `system` inside that, beside a node's pods, as systemd has it. So the kernel gives each
machine the same share of the processor, as if it had its own: an API server outside of all groups has as many shares as
it has busy threads, and leaves hardly any for all pods of all nodes together.

Works on version 1 (also the hybrid layout) and, where the root of the hierarchy may be given controllers, version 2.
"""

import shlex
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def _is_v2() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if _is_v2():
        return [ROOT]
    return sorted({path.resolve() for path in ROOT.iterdir() if path.is_dir()})


def create(group: str) -> None:
    """Make `group` (slashes separate levels) in every hierarchy, ready to hold pods."""
    _create(group)
    if _is_v2():
        _enable_controllers(ROOT / group)


def _create(group: str) -> None:
    for hierarchy in _hierarchies():
        parent = hierarchy
        for level in group.split("/"):
            if _is_v2():
                _enable_controllers(parent)
            child = parent / level
            child.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                # version 1: a new cpuset has none, and refuses every process until it has
                if not _is_v2() and (child / setting).exists() and not (child / setting).read_text().strip():
                    (child / setting).write_text((parent / setting).read_text())
            parent = child


def share(group: str, machines: int) -> None:
    """Have `group` get as much of the processor as that many groups beside it."""
    for hierarchy in _hierarchies():
        for setting, each in (("cpu.shares", 1024), ("cpu.weight", 100)):
            if (hierarchy / group / setting).exists():
                (hierarchy / group / setting).write_text(str(each * machines))


def enter(group: str) -> list[str]:
    """The start of a command line that runs what follows among the own programs of the machine whose group this is."""
    own = f"{group}/system"
    _create(own)
    files = shlex.join(str(hierarchy / own / "cgroup.procs") for hierarchy in _hierarchies())
    return ["sh", "-c", f'for each in {files}; do echo $$ >"$each" || exit 1; done; exec "$@"', "sh"]


def _enable_controllers(group: Path) -> None:
    for controller in (group / "cgroup.controllers").read_text().split():
        (group / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(group: str, *, limit_s: float = 20) -> None:
    """Remove `group` with all below it; its processes may still be dying."""
    deadline = time.monotonic() + limit_s
    for hierarchy in _hierarchies():
        top = hierarchy / group
        while top.exists():
            try:
                for path in sorted(top.rglob("*/"), reverse=True):
                    path.rmdir()
                top.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def exists(group: str) -> bool:
    """Whether anything of `group` is left."""
    return any((hierarchy / group).exists() for hierarchy in _hierarchies())
