"""A proxy in front of the test cluster's API server, which plays faults to the product's own requests.

It listens beside the API server, with the API server's certificate. `detour` has what speakers and operators say to
the `kubernetes` Service go there; kubelets, kubectl and the rest reach the API server as ever. Every request is noted.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.cluster.embedded import Cluster

PORT = 6444
SERVICE = "10.96.0.1"
TABLE = "kube_vrrp_detour"
SPEAKER, OPERATOR = "speaker", "operator"
VIPS = "/apis/kube-vrrp.io/v1alpha1/virtualips"
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "accept-encoding", "keep-alive"}
PATIENCE_S = 420.0  # longer than any watch lasts


def failure(status: int) -> dict[str, Any]:
    """The Status object that comes with an answer that is not 2xx."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "played by a test"}


GONE = json.dumps({"type": "ERROR", "object": failure(410)}).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came in; `client` is who sent it, from the address `source`; `at_s` is CLOCK_MONOTONIC."""

    at_s: float
    client: str
    source: str
    method: str
    path: str
    is_watch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What becomes of the requests that `concerns` chooses, for as long as it is played.

    Watches that are under way are cut when it begins, unless it only delays them; what hangs is cut when it ends.
    `status`: answered so. `hang`: never answered, and watches stay silent. `reset`: the connection ends without an
    answer. `garbage`: 200 and no JSON. `empty`: lists have no items; watches end with 410 when it begins and when it
    ends, and are silent meanwhile. `delay_s`: each answer, and each event of a watch, is late by this much.
    """

    status: int | None = None
    hang: bool = False
    reset: bool = False
    garbage: bool = False
    empty: bool = False
    delay_s: float = 0.0
    concerns: Callable[[Request], bool] = field(default=lambda _: True)


class ApiProxy:
    """`play` a fault for a while; `requests` are all that came."""

    def __init__(self, cluster: Cluster) -> None:
        self.requests: list[Request] = []
        self.fault: Fault | None = None
        self.over = threading.Event()
        self._cluster = cluster
        pki = cluster.folder / "control-plane" / "pki"
        self._serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._serving.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        self._calling = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._api = ("127.0.0.1", int(json.loads((cluster.folder / "cluster.json").read_text())["port"]))
        self._watches: dict[int, tuple[Request, socket.socket]] = {}
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Where the proxy listens, on the cluster's link."""
        return self._cluster.lan.address(10)

    def __enter__(self) -> Self:
        with self._cluster.host("control-plane").entered():
            listening = socket.create_server((self.address, PORT))
        self._server = _Server(listening, self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._cut(lambda _: True)
        self._thread.join()

    @contextlib.contextmanager
    def play(self, fault: Fault) -> Iterator[None]:
        """Have `fault` in force inside the block."""
        assert self.fault is None
        self.over = threading.Event()
        self.fault = fault
        if not fault.delay_s:
            self._cut(fault.concerns)
        try:
            yield
        finally:
            self.fault = None
            self.over.set()

    def since(self, at_s: float, client: str) -> list[Request]:
        """What `client` asked from then on."""
        return [r for r in list(self.requests) if r.at_s >= at_s and r.client == client]

    def watching(self, client: str) -> dict[str, set[str]]:
        """The paths that each `client` watches now, by its address."""
        found: dict[str, set[str]] = {}
        with self._lock:
            for request, _ in self._watches.values():
                if request.client == client:
                    found.setdefault(request.source, set()).add(request.path)
        return found

    def concerned(self, request: Request) -> Fault | None:
        """The fault that this request meets."""
        fault = self.fault
        return fault if fault is not None and fault.concerns(request) else None

    def call(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> http.client.HTTPConnection:
        """The same request to the API server."""
        there = http.client.HTTPSConnection(*self._api, timeout=PATIENCE_S, context=self._calling)
        there.request(method, target, body=body or None, headers=headers)
        return there

    @contextlib.contextmanager
    def watched(self, request: Request, connection: socket.socket) -> Iterator[None]:
        """A watch that a fault can cut."""
        with self._lock:
            self._watches[id(request)] = request, connection
        try:
            yield
        finally:
            with self._lock:
                del self._watches[id(request)]

    def _cut(self, concerns: Callable[[Request], bool]) -> None:
        with self._lock:
            for request, connection in self._watches.values():
                if concerns(request):
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, proxy: ApiProxy) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.proxy = proxy

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, peer = self.socket.accept()
        plain.settimeout(PATIENCE_S)
        return plain, peer

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection: a slow handshake holds up no other."""
        tls = self.proxy._serving.wrap_socket(request, server_side=True)
        with contextlib.suppress(OSError), tls:
            super().finish_request(tls, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the base)
        """The proxy notes requests itself."""

    def handle_any(self) -> None:
        proxy = self.server.proxy
        url = urlsplit(self.path)
        request = Request(
            at_s=time.monotonic(),
            source=self.client_address[0],
            # speakers use their node's address, operators their pod's
            client=OPERATOR if self.client_address[0].startswith("10.244.") else SPEAKER,
            method=self.command,
            path=url.path,
            is_watch=parse_qs(url.query).get("watch", [""])[0] in ("true", "1"),
        )
        proxy.requests.append(request)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault, over = proxy.concerned(request), proxy.over
        if fault is None or (fault.delay_s and request.is_watch):
            self._forward(request, body)
        elif fault.delay_s:
            time.sleep(fault.delay_s)
            self._forward(request, body)
        elif fault.hang:
            self._hang(over)
        elif fault.empty:
            self._empty(request, body, over)
        elif fault.status is not None:
            self._answer(fault.status, json.dumps(failure(fault.status)).encode())
        elif fault.garbage:
            self._answer(200, b"<html>please log in</html>", "text/html")
        else:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 (their names in the base)

    def _answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _hang(self, over: threading.Event) -> None:
        over.wait(PATIENCE_S)
        self.close_connection = True

    def _empty(self, request: Request, body: bytes, over: threading.Event) -> None:
        if request.is_watch:
            self._begin_watch(200, "application/json")
            over.wait(PATIENCE_S)
            self._chunk(GONE)
            self._chunk(b"")
            return
        self._forward(request, body, change=lambda answer: {**answer, "items": []} if "items" in answer else answer)

    def _forward(self, request: Request, body: bytes, change: Callable[[Any], Any] | None = None) -> None:
        proxy = self.server.proxy
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            there = proxy.call(self.command, self.path, body, headers)
        except OSError:
            self.close_connection = True
            return
        with contextlib.closing(there):
            assert there.sock is not None
            with proxy.watched(request, there.sock) if request.is_watch else contextlib.nullcontext():
                self._relay(request, there, change)

    def _relay(self, request: Request, there: http.client.HTTPConnection, change: Callable[[Any], Any] | None) -> None:
        try:
            answer = there.getresponse()
            kind = answer.getheader("Content-Type") or "application/json"
            if request.is_watch and answer.status == 200:
                self._relay_watch(request, answer, kind)
                return
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        if change is not None and answer.status == 200:
            content = json.dumps(change(json.loads(content))).encode()
        self._answer(answer.status, content, kind)

    def _relay_watch(self, request: Request, answer: http.client.HTTPResponse, kind: str) -> None:
        proxy = self.server.proxy
        self._begin_watch(answer.status, kind)
        with contextlib.suppress(OSError, http.client.HTTPException):
            while line := answer.readline():
                fault = proxy.concerned(request)
                if fault is not None and fault.delay_s:
                    time.sleep(fault.delay_s)
                self._chunk(line)
        fault, over = proxy.concerned(request), proxy.over
        if fault is None or fault.reset:
            self.close_connection = True
        elif fault.hang:
            self._hang(over)  # half open: the client is told nothing of it
        elif fault.empty or fault.status == 410:
            self._chunk(GONE)
            self._chunk(b"")
        else:
            self._chunk(b"")

    def _begin_watch(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()


@contextlib.contextmanager
def detour(cluster: Cluster) -> Iterator[ApiProxy]:
    """The product's requests go through the proxy inside the block: new ones at once, and the API server is started
    anew so that none of the old connections is left.
    """
    hosts = [cluster.host(node.name) for node in cluster.nodes]
    with ApiProxy(cluster) as proxy:
        turn = f"ip daddr {SERVICE} tcp dport 443 dnat to {proxy.address}:{PORT}"
        chains = [
            f"chain {hook} {{ type nat hook {hook} priority -110; {turn}; }}" for hook in ("prerouting", "output")
        ]
        try:
            for host in hosts:
                host.run("nft", "-f", "-", stdin=f"table ip {TABLE} {{\n{chr(10).join(chains)}\n}}\n")
            cluster.stop_api()
            cluster.start_api()
            yield proxy
        finally:
            for host in hosts:
                host.run("nft", "delete", "table", "ip", TABLE, check=False)
