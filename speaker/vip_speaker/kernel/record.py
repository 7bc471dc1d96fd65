"""What an earlier router left on the links, and how to know it from what is somebody else's.

A mark on each address (IFA_PROTO) tells it where the kernel has marks. Older kernels forget who added an address, so
the router writes down what it is about to add, with the boot and the network namespace that the link numbers belong to.
Others in the pod may write to that directory too: what they put in the way neither blocks the router nor is followed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from ipaddress import ip_address
from pathlib import Path

from vip_speaker.kernel.addresses import ADDRESS_PROTOCOL, Assigned
from vip_speaker.kernel.links import Link
from vip_speaker.replace import replace_file

_LIMIT_BYTES = 4 << 20  # 16,000 addresses


class Record:
    """The addresses that this node's router holds or is about to add, in a file. Survives the router, not the boot."""

    def __init__(self, path: Path, *, boot: str | None = None) -> None:
        self._path = path
        self._boot = boot if boot is not None else _boot_and_namespace()
        self._written: frozenset[Assigned] | None = None

    def load(self) -> frozenset[Assigned]:
        """What was written in this boot and network namespace; empty when there is nothing or nothing that makes
        sense.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as opened:
                content = json.loads(opened.read(_LIMIT_BYTES))
            if content["boot"] != self._boot:
                return frozenset()
            return frozenset(
                Assigned(ifindex=int(ifindex), ip=ip_address(ip), prefix_length=int(prefix_length))
                for ifindex, ip, prefix_length in content["addresses"]
            )
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return frozenset()

    def write(self, assigned: Iterable[Assigned]) -> None:
        """Replace the file, unless it says the same already. Call it before the addresses are added. OSError."""
        wanted = frozenset(assigned)
        if wanted == self._written:
            return
        rows = [[one.ifindex, str(one.ip), one.prefix_length] for one in wanted]
        text = json.dumps({"boot": self._boot, "addresses": rows}).encode()
        name = self._path.name
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            replace_file(directory, name, text, temporary=f".{name}.new", mode=0o644)
        finally:
            os.close(directory)
        self._written = wanted


def leftovers(
    links: Mapping[int, Link], recorded: AbstractSet[Assigned], *, alone: bool, marks: bool
) -> tuple[Assigned, ...]:
    """The addresses on `links` that an earlier router of ours put there.

    `marks`: the kernel keeps IFA_PROTO; then an address without our mark is somebody else's, recorded or not.
    `alone`: no other router runs in this namespace; else what carries the mark may be held by that one, and only
    what was recorded is ours.
    """
    found = []
    for link in links.values():
        for one in link.addresses:
            here = Assigned(ifindex=link.ifindex, ip=one.ip, prefix_length=one.prefix_length)
            if (one.protocol == ADDRESS_PROTOCOL) if marks else (one.protocol == 0 and here in recorded):
                if not alone and here not in recorded:
                    continue
                found.append(here)
    return tuple(found)


def _boot_and_namespace() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/thread-self/ns/net').stat().st_ino}"
