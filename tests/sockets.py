"""The sockets that this process has open, as its kernel knows them, whichever library opened them."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

PATIENCE = {
    "SO_KEEPALIVE": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "TCP_KEEPIDLE": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "TCP_KEEPINTVL": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "TCP_KEEPCNT": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "TCP_USER_TIMEOUT": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
}
"""What says how long a connection waits for a peer that is silent."""


def patience_with(port: int) -> list[dict[str, int]]:
    """`PATIENCE` of each TCP connection that this process has to `port` of whatever host."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            descriptor = os.dup(int(entry.name))
        except OSError:
            continue  # closed meanwhile
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            continue
        with socket.socket(fileno=descriptor) as one:
            try:
                peer = one.getpeername()
            except OSError:
                continue
            if one.family in (socket.AF_INET, socket.AF_INET6) and peer[1] == port:
                found.append({option: one.getsockopt(*key) for option, key in PATIENCE.items()})
    return found
