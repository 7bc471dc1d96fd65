"""What the router needs of the host that it starts on, and what it learns of it. Nothing here changes anything."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from vip_speaker.kernel.errors import KernelError

OLDEST_KERNEL = (5, 4)
_CAP_NET_ADMIN = 12


def check_requirements(*, release: str | None = None, status: str | None = None) -> None:
    """Raise KernelError when the kernel is older than 5.4 or this process may not change the network."""
    release = os.uname().release if release is None else release
    version = re.match(r"(\d+)\.(\d+)", release)
    if version and (int(version[1]), int(version[2])) < OLDEST_KERNEL:
        raise KernelError(
            f"this node's kernel is {release}; kube-vrrp needs {'.'.join(map(str, OLDEST_KERNEL))} or newer"
        )
    if status is None:
        status = Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace")
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    if effective and not int(effective[1], 16) >> _CAP_NET_ADMIN & 1:
        raise KernelError("the router lacks the capability NET_ADMIN: it cannot put addresses on a link")


def keeps_marks(release: str | None = None) -> bool:
    """Whether the kernel (of this release) keeps IFA_PROTO."""
    release = os.uname().release if release is None else release
    version = re.match(r"(\d+)\.(\d+)", release)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 18)


def claim_namespace() -> socket.socket | None:
    """The name that one router per network namespace holds while it lives; None when another one has it.

    Anybody in the namespace can take the name. All that follows is that the next router sweeps by its record alone.
    """
    claimed = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claimed.bind("\0kube-vrrp/router")
    except OSError:
        claimed.close()
        return None
    return claimed
