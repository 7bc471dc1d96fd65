"""Where a connection goes: names are resolved here, once, so that what was allowed is what is connected to."""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address
from typing import Any

from vip_api.values import is_local, parse_ip

# Requests that are under way occupy a thread each.
THREADS = ThreadPoolExecutor(max_workers=64)
# So do names that nobody answers for, and longer than their runs: requests to addresses must not wait for these.
RESOLVERS = ThreadPoolExecutor(max_workers=64)

_Found = list[tuple[int, Any]]
# So many of a name's addresses are tried: more would only take descriptors from other checks.
_MAXIMUM_ADDRESSES = 16

looked_up: dict[tuple[str, int], Future[_Found]] = {}
"""The look-ups that are under way: all runs wait for the one that there is, so each name has one thread at most."""


class TargetError(OSError):
    """The target cannot be or is not allowed to be connected to."""


async def connected(host: str, port: int, *, allow_local: bool) -> socket.socket:
    """A connection, non-blocking, to whichever of the host's addresses takes one first; OSError where none does.

    All are tried at once: one that is silent must not use up the time of the others.
    """
    targets = await addresses_of(host, port, allow_local=allow_local)
    attempts = [asyncio.create_task(_connect(family, address)) for family, address in targets[:_MAXIMUM_ADDRESSES]]
    problem: OSError = TargetError("has no address")
    winner: socket.socket | None = None

    def close(attempt: asyncio.Task[socket.socket]) -> None:
        if not attempt.cancelled() and attempt.exception() is None and attempt.result() is not winner:
            attempt.result().close()

    try:
        for attempt in asyncio.as_completed(attempts):
            try:
                winner = await attempt
                return winner
            except OSError as error:
                problem = error
        raise problem
    finally:
        for one in attempts:
            one.cancel()
            one.add_done_callback(close)


async def _connect(family: int, address: Any) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


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


async def _resolved(host: str, port: int) -> _Found:
    look_up = looked_up.get((host, port))
    if look_up is None:
        look_up = looked_up[host, port] = RESOLVERS.submit(_look_up, host, port)
        look_up.add_done_callback(lambda _: looked_up.pop((host, port)))
    try:
        return await asyncio.shield(asyncio.wrap_future(look_up))
    except (OSError, UnicodeError) as error:
        raise TargetError("its name cannot be resolved") from error


def _look_up(host: str, port: int) -> _Found:
    """In a thread, which nothing ends but an answer."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
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
