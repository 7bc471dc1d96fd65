"""An API server that is gone without a word: no FIN, no RST, nothing answers, as after its machine lost power.

In `tests/cluster/faults` a proxy plays silence while its kernel goes on to acknowledge: there only the missing
bookmarks show it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable

import aiohttp
import kopf
from kubernetes import client
from vip_operator import watch
from vip_speaker.agent.api import Api, ApiError

from tests.netns import Host, Network, wait_for

PORT = 8080
ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n"


def agent_watches(url: str, begun: Callable[[], None]) -> None:
    """Until the agent's watch ends."""
    api = Api(client.Configuration(host=url), namespace="kube-vrrp")
    with contextlib.suppress(ApiError):
        for _ in api.watch("1", 300):
            begun()


def operator_watches(url: str, begun: Callable[[], None]) -> None:
    """Until a watch of the operator's ends, in the session that kopf has from it."""

    async def follow() -> None:
        session = watch.Session(lambda: kopf.ConnectionInfo(server=url), watch.Anew())
        try:
            async with session.open().aiohttp_session.get(url) as response:
                with contextlib.suppress(aiohttp.ClientError):
                    async for _ in response.content:
                        begun()
        finally:
            await session.close()

    asyncio.run(follow())


def test_a_watch_is_given_up_within_seconds() -> None:
    with Network() as network:
        node, server = network.host("node", "192.0.2.1/24"), network.host("server", "192.0.2.2/24")
        with server.entered():
            listening = socket.create_server(("192.0.2.2", PORT))
        begun: list[str] = []
        ended: dict[str, float] = {}

        def follow(name: str, watches: Callable[[str, Callable[[], None]], None], node: Host) -> None:
            with node.entered():
                watches(f"http://192.0.2.2:{PORT}", lambda: begun.append(name))
            ended[name] = time.monotonic()

        watchers = [
            threading.Thread(target=follow, args=(each.__name__, each, node), daemon=True)
            for each in (agent_watches, operator_watches)
        ]
        with listening, contextlib.ExitStack() as connections:
            for thread in watchers:
                thread.start()
                connection, _ = listening.accept()
                connections.enter_context(connection)
                connection.recv(65536)
                connection.sendall(ANSWER)
            wait_for(lambda: len(begun) == 2, what="both watch")
            server.run(
                "nft", "add table inet gone; add chain inet gone in { type filter hook input priority 0; policy drop; }"
            )
            silent_since = time.monotonic()
            wait_for(lambda: len(ended) == 2, what="both watches are given up", timeout=25)
        for name, at in ended.items():
            assert 8 < at - silent_since < 20, (name, at - silent_since)
