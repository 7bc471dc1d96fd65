"""A kernel opened inside a host of the test network, and programs of ours run there as processes of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

from vip_speaker.kernel import Assigned, Kernel, Link
from vip_speaker.kernel.links import Event

from tests.netns import Host, wait_for

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PYTHONPATH = os.pathsep.join(str(CHECKOUT / part) for part in ("crds", "speaker"))

PRELUDE = """
import os, sys, time
from ipaddress import ip_address
from pathlib import Path
from vip_speaker.kernel import *
def plan(kernel, link, *addresses):
    return kernel.plan_addresses(link, [(ip_address(one), None) for one in addresses])
"""


@contextlib.contextmanager
def opened(host: Host) -> Iterator[Kernel]:
    """`Kernel.open()` inside the host's namespace."""
    with host.entered():
        kernel = Kernel.open()
    try:
        yield kernel
    finally:
        kernel.close()


def eth0(kernel: Kernel) -> Link:
    """The link on the switch."""
    link = kernel.link_named("eth0")
    assert link is not None
    return link


def assign(kernel: Kernel, *addresses: str, link: Link | None = None) -> tuple[Assigned, ...]:
    """`addresses` planned for eth0."""
    pairs = [(ip_address(one.split("/")[0]), int(one.split("/")[1]) if "/" in one else None) for one in addresses]
    return kernel.plan_addresses(link or eth0(kernel), pairs)


def events_until(kernel: Kernel, condition: Callable[[Event], bool], *, what: str, timeout: float = 20) -> list[Event]:
    """All events up to and with the first that meets `condition`."""
    seen: list[Event] = []

    def met() -> bool:
        fresh = kernel.read_events()
        seen.extend(fresh)
        return any(condition(one) for one in fresh)

    wait_for(met, what=what, timeout=timeout, poll=0.002)
    return seen


def program(host: Host, text: str, *wrapper: str) -> subprocess.Popen[str]:
    """Start Python code (after PRELUDE) on the host, below `wrapper`, with a pipe to read and one to write."""
    command = host.command(*wrapper, sys.executable, "-c", PRELUDE + textwrap.dedent(text))
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


@contextlib.contextmanager
def running(process: subprocess.Popen[str], word: str = "ready") -> Iterator[subprocess.Popen[str]]:
    """`process` once it has said `word`; killed at the end."""
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if line.strip() != word:
            process.kill()
            raise AssertionError(f"the program said {line!r}{process.stdout.read()}")
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
