"""Whether a TCP connection can be made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from vip_speaker.checks.server import Result
from vip_speaker.checks.target import TargetError, connected, words


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
                connection = await connected(check["host"], check["port"], allow_local=check["allowLocal"])
                connection.close()
        except TimeoutError:
            return Result(good=False, reason=f"{target} did not answer within {timeout_s:g} s")
        except TargetError as error:
            return Result(good=False, reason=f"{target}: {error}")
        except OSError as error:
            return Result(good=False, reason=f"{target}: {words(error)}")
        return Result(good=True, reason=f"{target} answers")
