"""Hosts on one switch, as network namespaces: what lab, interop tests and benchmarks run on.

Every name is made for one `Network`, so several runs on one machine do not meet. Leaving the `with` block ends every
process started here by its own pid and deletes the namespaces, and with them all links and addresses.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class CommandError(AssertionError):
    """A command in a namespace failed; the message has its output."""


def run(*command: str, check: bool = True, timeout: float = 30, stdin: str | None = None) -> str:
    """The standard output of `command`; its standard error goes into CommandError when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, input=stdin)
    if check and done.returncode != 0:
        raise CommandError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait_for(condition: Callable[[], object], *, what: str, timeout: float = 20, poll: float = 0.01) -> None:
    """Return once `condition()` is true; AssertionError naming `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout:g} s: {what}"
        time.sleep(poll)


class Host:
    """One network namespace with a link `eth0` on the switch."""

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.namespace = f"{network.prefix}-{name}"
        self.port = f"p-{name}"[:15]
        self._processes: list[subprocess.Popen[str]] = []

    @property
    def path(self) -> Path:
        """The namespace as a file."""
        return Path("/run/netns") / self.namespace

    def command(self, *command: str) -> list[str]:
        """`command` as it is started inside this namespace (mounts are shared with the test)."""
        return ["nsenter", f"--net={self.path}", "--", *command]

    def run(self, *command: str, check: bool = True, timeout: float = 30, stdin: str | None = None) -> str:
        """Run to the end inside the namespace; the standard output."""
        return run(*self.command(*command), check=check, timeout=timeout, stdin=stdin)

    def ip(self, *arguments: str, check: bool = True) -> str:
        """`ip …` inside the namespace."""
        return run("ip", "-n", self.namespace, *arguments, check=check)

    def start(
        self,
        *command: str,
        stdout: int | IO[str] = subprocess.DEVNULL,
        stderr: int | IO[str] | None = subprocess.STDOUT,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        """Start a process inside the namespace. It is ended with the network at the latest."""
        process = subprocess.Popen(
            self.command(*command), stdout=stdout, stderr=stderr, text=True, env=env, pass_fds=pass_fds
        )
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread inside the namespace, to open sockets there."""
        with inside(self.namespace):
            yield

    def addresses(self, device: str = "eth0") -> list[str]:
        """The addresses on `device`, with prefix, as `ip -o addr` lists them."""
        lines = self.ip("-o", "addr", "show", "dev", device, check=False).splitlines()
        return [line.split()[3] for line in lines]

    def has(self, address: str, device: str = "eth0") -> bool:
        """Whether `address` (without prefix) is on `device`."""
        return any(one.split("/")[0] == address for one in self.addresses(device))

    def mac(self, device: str = "eth0") -> str:
        """The link-layer address of `device`."""
        words = self.ip("-o", "link", "show", "dev", device).split()
        return words[words.index("link/ether") + 1]

    def end(self, process: subprocess.Popen[str], *, timeout: float = 10) -> int:
        """SIGTERM, wait, and SIGKILL when it does not listen; the exit status."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return process.returncode

    def close(self) -> None:
        for process in reversed(self._processes):
            self.end(process, timeout=3)
        for pid in run("ip", "netns", "pids", self.namespace, check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "delete", self.namespace, check=False)


class Network:
    """A switch (a bridge in a namespace of its own) and the hosts on it."""

    def __init__(self) -> None:
        self.prefix = f"kv{os.getpid():x}{secrets.token_hex(2)}"
        self.switch = f"{self.prefix}-switch"
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in reversed(self.hosts.values()):
            host.close()
        run("ip", "netns", "delete", self.switch, check=False)

    def host(self, name: str, *addresses: str) -> Host:
        """A new host with `addresses` (with prefix) on its `eth0`, up and without duplicate address detection."""
        host = Host(self, name)
        run("ip", "netns", "add", host.namespace)
        self.hosts[name] = host
        host.ip("link", "set", "lo", "up")
        self.connect(host, *addresses)
        return host

    def connect(self, host: Host, *addresses: str, mac: str | None = None) -> None:
        """Give the host its `eth0`, with `addresses`; again, when it was deleted."""
        host.ip("link", "add", "eth0", "type", "veth", "peer", "name", host.port, "netns", self.switch)
        if mac is not None:
            host.ip("link", "set", "eth0", "address", mac)
        host.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0", "net.ipv6.conf.eth0.accept_ra=0")
        for address in addresses:
            host.ip("addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
        run("ip", "-n", self.switch, "link", "set", host.port, "master", "br0", "up")
        host.ip("link", "set", "eth0", "up")
        wait_for(lambda: "LOWER_UP" in host.ip("link", "show", "eth0"), what=f"{host.name}'s link is up")

    def unplug(self, host: Host) -> None:
        """Pull the cable: the host sees its carrier go."""
        run("ip", "-n", self.switch, "link", "set", host.port, "down")

    def plug(self, host: Host) -> None:
        """Put the cable back."""
        run("ip", "-n", self.switch, "link", "set", host.port, "up")

    def isolate(self, host: Host) -> None:
        """The switch forwards nothing from or to the host, whose carrier stays."""
        run("ip", "-n", self.switch, "link", "set", host.port, "nomaster")

    def rejoin(self, host: Host) -> None:
        """Undo `isolate`."""
        run("ip", "-n", self.switch, "link", "set", host.port, "master", "br0")


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Have this thread inside a named namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(there)
        os.close(home)


@contextlib.contextmanager
def inside_new() -> Iterator[None]:
    """Have this thread inside a new namespace, which is gone with the last socket that was opened there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.unshare(CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), "unshare")
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "setns")
