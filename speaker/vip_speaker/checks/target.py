"""Where a connection goes: names are resolved here, once, so that what was allowed is what is connected to."""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address
from typing import Any

from vip_api.values import is_local, parse_ip

# Names that nobody answers for occupy a thread each; others must get one all the same.
THREADS = ThreadPoolExecutor(max_workers=64)


class TargetError(OSError):
    """The target cannot be or is not allowed to be connected to."""


async def addresses_of(host: str, port: int, *, allow_local: bool) -> list[tuple[int, Any]]:
    """(family, socket address) of a host; TargetError where it has none, or only local ones that are not allowed."""
    ip = parse_ip(host)
    if ip is not None:
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        addresses: list[tuple[int, Any]] = [(family, (str(ip), port))]
    else:
        addresses = await _resolved(host, port)
    allowed = [one for one in addresses if allow_local or not _is_local(str(one[1][0]))]
    if not allowed:
        raise TargetError("is this node itself or only its own link, and allowLocal is not set")
    return allowed


async def _resolved(host: str, port: int) -> list[tuple[int, Any]]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(THREADS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        raise TargetError("its name cannot be resolved") from error
    return [(int(family), address) for family, _, _, _, address in found]


def words(error: OSError) -> str:
    """The kind of error: never what a library made of it, nor what the other side said."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


def _is_local(text: str) -> bool:
    """As `is_local`, whatever it is dressed in."""
    ip = ip_address(text.split("%", 1)[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return is_local(str(ip))
