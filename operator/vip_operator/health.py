"""The health endpoint: 200 while the reconcile loop turns. Never a word about the API or the nodes."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

STUCK_AFTER_S = 180.0
"""The loop turns at least once a minute; a call to the API takes at most 35 s."""


ANY_ADDRESS = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 probes come to the pod's address
"""Every address of both families: a pod of an IPv6 cluster is probed at its IPv6 address."""


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ANY_ADDRESS == "::" else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Beating(Protocol):
    """Something with a heartbeat on the monotonic clock."""

    beat_at: float


def serve(port: int, loop: Beating) -> ThreadingHTTPServer:
    """Answer on `port` in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            alive = time.monotonic() - loop.beat_at < STUCK_AFTER_S
            self.send_response(200 if alive else 500)
            self.end_headers()
            self.wfile.write(b"ok\n" if alive else b"the reconcile loop is stuck\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
            """Probes are not worth a line."""

    server = _Server((ANY_ADDRESS, port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
