"""A machine of the test cluster: a network namespace, and processes in further namespaces of their own.

`Machine` is rebuilt from its name and folder alone, so that another process (`make demo-down`) can go on with it.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from tests.cluster.embedded import cgroups
from tests.cluster.embedded.command import run, succeeds
from tests.netns import wait_for

BOOT = Path(__file__).with_name("machine_boot.py")
NETNS_FOLDER = Path("/run/netns")
INSIDE = "/run/machine"  # where a machine sees its own folder


class Machine:
    """One host: power it on, start programs in it, cut its power."""

    def __init__(self, *, hostname: str, netns: str, cgroup: str, folder: Path, binaries: Path) -> None:
        self.hostname = hostname
        self.netns = netns
        self.cgroup = cgroup
        self.folder = folder
        self._binaries = binaries

    @property
    def _pid_file(self) -> Path:
        return self.folder / "boot.pid"

    @property
    def pid(self) -> int | None:
        """The machine's first process as this side counts, or None while it is off."""
        try:
            pid = int(self._pid_file.read_text())
            # the process ID may have been given to another process since: ours is in our network namespace
            if Path(f"/proc/{pid}/ns/net").samefile(NETNS_FOLDER / self.netns):
                return pid
        except (OSError, ValueError):
            pass
        return None

    def power_on(self) -> None:
        """Boot: the network namespace must exist already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "pids", ignore_errors=True)
        (self.folder / "pids").mkdir()
        (self.folder / "log").mkdir(exist_ok=True)
        pid = run(
            sys.executable, "-I", "-S", str(BOOT),
            self.hostname, str(NETNS_FOLDER / self.netns), str(self.folder), str(self._binaries),
        )  # fmt: skip
        self._pid_file.write_text(pid)

    def power_off(self) -> None:
        """Kill everything in the machine at once."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: self.pid is None, what=f"{self.hostname} is off", poll=0.02)
        self._pid_file.unlink(missing_ok=True)

    def _enter(self, *, network: bool = True) -> list[str]:
        pid = self.pid
        if pid is None:
            raise RuntimeError(f"{self.hostname} is off")
        enter = ["nsenter", f"--target={pid}", "--mount", "--pid", "--uts", "--ipc"]
        return [*enter, "--net", "--"] if network else [*enter, "--"]

    def command(self, *argv: str) -> list[str]:
        """The arguments that run `argv` in this machine, for a caller that starts it itself."""
        return [*self._enter(), *argv]

    def exec(self, *argv: str, timeout_s: float = 120) -> str:
        """Run in the machine to the end; what it printed. CommandFailedError when it fails."""
        return run(*self.command(*argv), timeout_s=timeout_s)

    def start(self, name: str, *argv: str, network: bool = True) -> None:
        """Start a program that goes on; its output is appended to log/NAME.log of the machine's folder.

        With `network=False` it keeps this side's network namespace.
        """
        script = f'setsid "$@" >>/var/log/{name}.log 2>&1 </dev/null & echo $! >{INSIDE}/pids/{name}'
        env = {
            "PATH": f"{INSIDE}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TMPDIR": "/run/tmp",
            "HOME": INSIDE,
            "GOGC": "75",  # a little processor time for less memory: several clusters may share a machine
        }
        # a proxy of the person who runs this cannot reach the machine's neighbours
        inherited = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        start = [*cgroups.enter(self.cgroup), *self._enter(network=network), "sh", "-c", script, "sh"]
        run(*start, *argv, env={**inherited, **env})

    def running(self, name: str) -> bool:
        """Whether the program started under this name still runs."""
        try:
            inside_pid = int((self.folder / "pids" / name).read_text())
        except (OSError, ValueError):
            return False
        return self.pid is not None and succeeds(*self.command("kill", "-0", str(inside_pid)))

    def stop(self, name: str, *, how: str = "KILL") -> None:
        """Send the signal to a started program and wait for its end."""
        inside_pid = (self.folder / "pids" / name).read_text().strip()
        succeeds(*self.command("kill", f"-{how}", inside_pid))
        wait_for(lambda: not self.running(name), what=f"{name} on {self.hostname} ended", timeout=30)

    def signal(self, name: str, how: str) -> None:
        """Send a signal, such as STOP or CONT, to a started program."""
        self.exec("kill", f"-{how}", (self.folder / "pids" / name).read_text().strip())

    def log(self, name: str) -> str:
        """What a started program has printed."""
        return (self.folder / "log" / f"{name}.log").read_text(errors="replace")
