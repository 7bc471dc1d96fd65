"""What systemd is told (sd_notify): that we are ready, and who is master, for `systemctl status`."""

from __future__ import annotations

import contextlib
import os
import socket


def is_listened_to() -> bool:
    """Whether a service manager listens."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(message: str) -> None:
    """Send `READY=1`, `STATUS=…` to the service manager; nothing happens where none listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as connection, contextlib.suppress(OSError):
        connection.sendto(message.encode(), address)
