"""What a virtual node's kernel hears and says: addresses and links as rtnetlink has them, and the socket of events."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from vip_speaker.kernel import codec
from vip_speaker.kernel.links import FOREVER, IFA_F_NODAD, IFA_F_PERMANENT
from vip_speaker.vrrp.types import IPAddress


@dataclass(slots=True, kw_only=True)
class Address:
    """One on a link. `expires_at_ns`: when the kernel takes it away, None for never."""

    ip: IPAddress
    prefix_length: int
    protocol: int = 0
    flags: int = IFA_F_PERMANENT
    scope: int = 0
    valid_s: int = FOREVER
    expires_at_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request about an address says."""

    flags: int
    ifindex: int
    ip: IPAddress
    prefix_length: int
    address_flags: int
    scope: int
    protocol: int
    valid_s: int


@lru_cache(maxsize=4096)
def address_request(message: bytes) -> Asked:
    decoded = codec.decode(codec.ifaddrmsg, message)
    lifetime = decoded.get_attr("IFA_CACHEINFO")
    return Asked(
        flags=decoded["header"]["flags"],
        ifindex=decoded["index"],
        ip=ip_address(decoded.get_attr("IFA_LOCAL")),
        prefix_length=decoded["prefixlen"],
        address_flags=decoded.get_attr("IFA_FLAGS") or 0,
        scope=decoded["scope"],
        protocol=decoded.get_attr("IFA_PROTO") or 0,
        valid_s=FOREVER if lifetime is None else lifetime["ifa_valid"],
    )


def index_of(message: bytes) -> int:
    return int(codec.decode(codec.ifinfmsg, message)["index"])


def address_message(kind: int, ifindex: int, one: Address) -> bytes:
    """IFA_ADDRESS in front, as from a broadcast link."""
    family = socket.AF_INET if one.ip.version == 4 else socket.AF_INET6
    if one.ip.version == 6 and not one.flags & (IFA_F_NODAD | IFA_F_PERMANENT):
        raise AssertionError("the router adds IPv6 addresses without duplicate detection")
    body = struct.pack("=BBBBI", family, one.prefix_length, one.flags & 0xFF, one.scope, ifindex)
    for number, value in (
        (1, one.ip.packed),
        (2, one.ip.packed),
        (8, struct.pack("=I", one.flags)),
        (6, struct.pack("=IIII", one.valid_s, one.valid_s, 0, 0)),
        (11, bytes([one.protocol])),
    ):
        body += struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4)
    return codec.HEADER.pack(codec.HEADER.size + len(body), kind, 0, 0, 0) + body


@lru_cache(maxsize=4096)
def link_message(kind: int, facts: tuple[int, str, str, str, int, int], settings: bytes = b"") -> bytes:
    ifindex, name, mac, driver, parent, flags = facts
    attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_MTU", 1500)]
    if parent:
        attributes.append(("IFLA_LINK", parent))
    attributes.append(("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", driver)]}))
    message = codec.encode(codec.ifinfmsg, kind, 0, {"index": ifindex, "flags": flags}, attributes)
    if settings:
        ipv4 = struct.pack("=HH", 4 + len(settings), socket.AF_INET) + settings
        message += struct.pack("=HH", 4 + len(ipv4), 26) + ipv4  # IFLA_AF_SPEC
        message = len(message).to_bytes(4, "little") + message[4:]
    return message


class Events:
    """The socket that tells of changes, for `vip_speaker.kernel.watch`."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.closed = self.overflowed = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def put(self, message: bytes) -> None:
        self.waiting.append(message)

    def overflow(self) -> None:
        """What was to be told is lost."""
        self.waiting.clear()
        self.overflowed = True

    def recv(self, size: int) -> bytes:
        if self.overflowed:
            self.overflowed = False
            raise OSError(errno.ENOBUFS, "no buffer space")
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.popleft()

    def close(self) -> None:
        self.closed = True
        os.close(self._fd)
