"""Answers routers: one request is one packet, and so is its answer. Of one key never two run at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

# More than any request: 32 arguments of 256 characters, escaped.
_MAXIMUM_REQUEST_BYTES = 128 * 1024
# Runs at once, of all routers: 64 checks of 4 VIPs. More is a mistake, and is said.
_MAXIMUM_RUNS = 256
_MAXIMUM_CONNECTIONS = 4
_MAXIMUM_REASON = 400
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: process, user, group


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended; `good` is None where nothing was run."""

    good: bool | None
    reason: str


class Check(Protocol):
    """One kind of check."""

    async def run(self, check: Mapping[str, Any], *, timeout_s: float, environment: Mapping[str, str]) -> Result:
        """The result, not much later than after `timeout_s`."""
        ...

    def busy(self, key: str) -> bool:
        """Whether the last run of that key still goes on, though its result was told."""
        ...

    def close(self) -> None:
        """End what still goes on; before the process ends."""
        ...


class Server:
    """Serves one connection that is there, or all that come to a listening socket."""

    def __init__(self, kinds: Mapping[str, Check]) -> None:
        self._kinds = kinds
        self._runs: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._connections: set[socket.socket] = set()
        self._ended = asyncio.Event()

    async def serve(self, *, listener: socket.socket | None, connection: socket.socket | None) -> None:
        """Until the only connection ends, or SIGTERM."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        if connection is not None:
            self._take(connection)
        if listener is not None:
            listener.setblocking(False)
            loop.add_reader(listener, self._accept, listener)
        self._only = listener is None
        await self._ended.wait()
        for task in tuple(self._runs.values()):
            task.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)
        for kind in self._kinds.values():
            kind.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            if len(self._connections) >= _MAXIMUM_CONNECTIONS or not _may_ask(connection):
                connection.close()
            else:
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connections.add(connection)
        asyncio.get_running_loop().add_reader(connection, self._read, connection)

    def _read(self, connection: socket.socket) -> None:
        try:
            message = connection.recv(_MAXIMUM_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message:
            self._ask(connection, message)
        else:
            self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(connection)
        self._connections.discard(connection)
        for (owner, _), task in tuple(self._runs.items()):
            if owner == id(connection):
                task.cancel()
        connection.close()
        if self._only:
            self._ended.set()

    def _ask(self, connection: socket.socket, message: bytes) -> None:
        request = json.loads(message)
        key = (id(connection), request["key"])
        kind = self._kinds[request["kind"]]
        if key in self._runs or kind.busy(request["key"]):
            _answer(connection, request["id"], Result(good=None, reason="the last run has not ended"))
        elif len(self._runs) >= _MAXIMUM_RUNS:
            _answer(connection, request["id"], Result(good=False, reason="too many checks run at once"))
        else:
            self._runs[key] = asyncio.create_task(self._run(connection, key, kind, request))

    async def _run(self, connection: socket.socket, key: tuple[int, str], kind: Check, request: Any) -> None:
        try:
            result = await kind.run(
                request["check"] | {"key": request["key"]},
                timeout_s=request["timeout_ms"] / 1000,
                environment=request["environment"],
            )
        except Exception as error:  # whatever it is, the others go on, and the router is told
            sys.stderr.write(f"vip-speaker: checks: {request['key']}: {error!r}\n")
            result = Result(good=False, reason=f"cannot be run: {type(error).__name__}")
        finally:
            del self._runs[key]
        _answer(connection, request["id"], result)


def _may_ask(connection: socket.socket) -> bool:
    """Root, which a router is, and who we are ourselves."""
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (0, os.geteuid())


def _answer(connection: socket.socket, number: int, result: Result) -> None:
    answer = {"id": number, "good": result.good, "reason": result.reason[:_MAXIMUM_REASON]}
    with contextlib.suppress(OSError):  # a router that does not read, or is gone, has no result
        connection.send(json.dumps(answer).encode())
