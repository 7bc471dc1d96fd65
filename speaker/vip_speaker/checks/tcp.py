"""Whether a TCP connection can be made."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

from vip_speaker.checks.server import Result
from vip_speaker.checks.target import TargetError, addresses_of, words


class TcpCheck:
    """Connects, and hangs up at once."""

    def busy(self, key: str) -> bool:  # noqa: ARG002 nothing outlives its result
        """Never."""
        return False

    def close(self) -> None:
        """There is nothing to end."""

    async def run(self, check: Mapping[str, Any], *, timeout_s: float, environment: Mapping[str, str]) -> Result:  # noqa: ARG002
        """Good when one of the host's addresses takes the connection in time."""
        target = f"{check['host']} port {check['port']}"
        try:
            async with asyncio.timeout(timeout_s):
                await _connect(check["host"], check["port"], allow_local=check["allowLocal"])
        except TimeoutError:
            return Result(good=False, reason=f"{target} did not answer within {timeout_s:g} s")
        except TargetError as error:
            return Result(good=False, reason=f"{target}: {error}")
        except OSError as error:
            return Result(good=False, reason=f"{target}: {words(error)}")
        return Result(good=True, reason=f"{target} answers")


async def _connect(host: str, port: int, *, allow_local: bool) -> None:
    problem: OSError = TargetError("has no address")
    loop = asyncio.get_running_loop()
    for family, address in await addresses_of(host, port, allow_local=allow_local):
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            try:
                await loop.sock_connect(connection, address)
                return
            except OSError as error:
                problem = error
    raise problem
