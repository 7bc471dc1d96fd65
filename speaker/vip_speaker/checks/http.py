"""Whether a GET request is answered as expected. Reasons hold the status code or the kind of error, never content.

http.client reads, in a thread; at the timeout its socket is shut under it. A certificate is not verified: this asks
whether a server works, as the kubelet's probes do, and most targets are bare addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vip_speaker.checks.server import Result
from vip_speaker.checks.target import THREADS, TargetError, connected, words

_MAXIMUM_BODY_BYTES = 64 * 1024


class HttpCheck:
    """One request per run; redirects are not followed."""

    def __init__(self) -> None:
        self._unverified = ssl.create_default_context()
        self._unverified.check_hostname = False
        self._unverified.verify_mode = ssl.CERT_NONE

    def busy(self, key: str) -> bool:  # noqa: ARG002 nothing outlives its result
        """Never."""
        return False

    def close(self) -> None:
        """There is nothing to end."""

    async def run(self, check: Mapping[str, Any], *, timeout_s: float, environment: Mapping[str, str]) -> Result:  # noqa: ARG002
        """Good when status and body are as `expect` says."""
        open_sockets: list[socket.socket] = []
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask(check, timeout_s, open_sockets)
        except TimeoutError:
            return Result(good=False, reason=f"no answer within {timeout_s:g} s")
        except TargetError as error:
            return Result(good=False, reason=str(error))
        except (OSError, http.client.HTTPException) as error:
            return Result(good=False, reason=f"no answer: {_class_of(error)}")
        finally:
            for one in open_sockets:  # wakes the thread that may still read
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    async def _ask(self, check: Mapping[str, Any], timeout_s: float, open_sockets: list[socket.socket]) -> Result:
        url = urlsplit(check["url"])
        assert url.hostname is not None
        port = url.port or (443 if url.scheme == "https" else 80)
        connection = await connected(url.hostname, port, allow_local=check["allowLocal"])
        connection.settimeout(timeout_s)
        open_sockets.append(connection)
        tls = self._unverified if url.scheme == "https" else None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(THREADS, _request, connection, check, tls, open_sockets)


def _request(
    connection: socket.socket,
    check: Mapping[str, Any],
    tls: ssl.SSLContext | None,
    open_sockets: list[socket.socket],
) -> Result:
    """In a thread: ask over a connection that is there."""
    url = urlsplit(check["url"])
    assert url.hostname is not None
    client = http.client.HTTPConnection(url.hostname, 80)  # without a port it would take an IPv6 address for both
    try:
        client.sock = connection
        if tls is not None:
            client.sock = tls.wrap_socket(connection, server_hostname=url.hostname, do_handshake_on_connect=False)
            open_sockets.append(client.sock)  # the plain one has given its descriptor away
            client.sock.do_handshake()
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {"Host": url.netloc, "User-Agent": "kube-vrrp", "Connection": "close"}
        client.request("GET", path, headers=headers)
        answer = client.getresponse()
        return _judge(answer, check.get("expect") or {})
    finally:
        client.close()
        connection.close()


def _judge(answer: http.client.HTTPResponse, expect: Mapping[str, Any]) -> Result:
    wanted = expect.get("status") or range(200, 300)
    if answer.status not in wanted:
        return Result(good=False, reason=f"answered with status {answer.status}")
    text = expect.get("body")
    if text is not None and text.encode() not in answer.read(_MAXIMUM_BODY_BYTES):
        return Result(good=False, reason=f"answered with status {answer.status}, but not with the text expected")
    return Result(good=True, reason=f"answered with status {answer.status}")


def _class_of(error: BaseException) -> str:
    """The kind of error without anything that the other side said."""
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return words(error) if isinstance(error, OSError) else type(error).__name__
