"""tcp and http against real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from vip_speaker.checks import target
from vip_speaker.checks.http import HttpCheck
from vip_speaker.checks.tcp import TcpCheck


class Handler(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self):
        self.asked.append((self.path, self.headers["Host"]))
        status = int(self.path.partition("?")[0].strip("/").split("/")[0] or 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.end_headers()
        self.wfile.write(b"a secret, and healthy")

    def log_message(self, *_):
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        Handler.asked.clear()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def http(port, path="/", *, timeout_s=10.0, allow_local=True, host="127.0.0.1", scheme="http", **expect):
    check = {"url": f"{scheme}://{host}:{port}{path}", "expect": expect, "allowLocal": allow_local}
    result = asyncio.run(HttpCheck().run(check, timeout_s=timeout_s, environment={}))
    return result.good, result.reason


def tcp(host, port, *, allow_local=True, timeout_s=10.0):
    check = {"host": host, "port": port, "allowLocal": allow_local}
    result = asyncio.run(TcpCheck().run(check, timeout_s=timeout_s, environment={}))
    return result.good, result.reason


@pytest.mark.parametrize(
    ("path", "expect", "good", "reason"),
    [
        ("/", {}, True, "answered with status 200"),
        ("/204", {}, True, "answered with status 204"),
        ("/503", {}, False, "answered with status 503"),
        ("/302", {}, False, "answered with status 302"),
        ("/302", {"status": [302]}, True, "answered with status 302"),
        ("/200", {"status": [404, 500]}, False, "answered with status 200"),
        ("/200", {"body": "healthy"}, True, "answered with status 200"),
        ("/200", {"body": "sick"}, False, "answered with status 200, but not with the text expected"),
    ],
)
def test_http(port, path, expect, good, reason):
    assert http(port, path, **expect) == (good, reason)


def test_reasons_hold_no_content(port):
    for path in ("/200", "/500"):
        assert "secret" not in http(port, path, body="nowhere")[1]


@contextlib.contextmanager
def listening(answer: bytes = b"", *, drip: bool = False) -> Iterator[int]:
    """Takes one connection, says `answer`, and nothing more until the other side hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(answer)
                for _ in range(400):
                    if drip:
                        connection.sendall(b"x")
                    elif connection.recv(4096) == b"":
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_says_nothing_more(answer):
    with listening(answer) as port:
        began = time.monotonic()
        assert http(port, timeout_s=0.3) == (False, "no answer within 0.3 s")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_drips(answer):
    with listening(answer, drip=True) as port:
        began = time.monotonic()
        assert http(port, timeout_s=0.5, body="never")[0] is False
        assert time.monotonic() - began < 5


def test_what_is_not_http():
    with listening(b"SSH-2.0-OpenSSH\r\n") as port:
        assert http(port) == (False, "no answer: BadStatusLine")
    with listening(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        assert http(port, scheme="https") == (False, "no answer: TLS failed")


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert tcp("127.0.0.1", port) == (False, f"127.0.0.1 port {port}: Connection refused")
    assert http(port) == (False, "no answer: Connection refused")


def test_tcp(port):
    assert tcp("127.0.0.1", port) == (True, f"127.0.0.1 port {port} answers")
    assert tcp("localhost", port)[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1", "::ffff:127.0.0.1", "169.254.1.1"])
def test_local_targets_have_to_be_allowed(port, host):
    good, reason = tcp(host, port, allow_local=False)
    assert not good
    assert reason.endswith("is this node itself or only its own link, and allowLocal is not set")
    assert http(port, host=f"[{host}]" if ":" in host else host, allow_local=False)[0] is False


def test_a_name_that_does_not_exist():
    assert tcp("no-such-host.invalid", 80) == (False, "no-such-host.invalid port 80: its name cannot be resolved")


def test_the_query_is_asked_too(port):
    assert http(port, "/200?ready=1&deep")[0]
    assert Handler.asked == [("/200?ready=1&deep", f"127.0.0.1:{port}")]


@pytest.mark.parametrize("host", ["[fd00::abc]", "[fd00::abc]:8080", "web.example.com"])
def test_the_host_is_the_one_of_the_url(port, monkeypatch, host):
    resolves_to(monkeypatch, ("127.0.0.1", port))
    check = {"url": f"http://{host}", "allowLocal": True}
    result = asyncio.run(HttpCheck().run(check, timeout_s=10, environment={}))
    assert (result.good, Handler.asked) == (True, [("/", host)])


def resolves_to(monkeypatch, *addresses):
    """Whatever the host is."""

    async def addresses_of(_host, _port, *, allow_local):
        return [(socket.AF_INET, address) for address in addresses]

    monkeypatch.setattr(target, "addresses_of", addresses_of)


@contextlib.contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """An address that takes no connection: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()


@pytest.mark.parametrize("order", [1, -1])
def test_one_address_that_is_silent_or_refuses_is_no_matter_where_another_answers(port, monkeypatch, order):
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = server.getsockname()
    with silent() as nobody:
        resolves_to(monkeypatch, *[refusing, nobody, ("127.0.0.1", port)][::order])
        assert tcp("several.example.com", 80, timeout_s=2)[0]
        assert http(80, host="several.example.com", timeout_s=2)[0]


def test_a_connection_that_comes_second_is_closed(port, monkeypatch):
    made = []
    plain = target.socket.socket

    class Counted(plain):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            if "fileno" not in keywords:  # those are the server's
                made.append(self)

    resolves_to(monkeypatch, ("127.0.0.1", port), ("127.0.0.1", port), ("127.0.0.1", port))
    monkeypatch.setattr(target.socket, "socket", Counted)
    assert tcp("several.example.com", 80)[0]
    ours = [one for one in made if one.family == socket.AF_INET and one.fileno() != -1]
    assert ours == [], "nothing is left open"
    assert len(made) >= 3


class SilentNameServer:
    """Answers for no name until `answer` is set."""

    def __init__(self, monkeypatch):
        self.answer = threading.Event()
        self.asked: list[str] = []
        monkeypatch.setattr(target.socket, "getaddrinfo", self._look_up)

    def _look_up(self, host, port, **_):
        self.asked.append(host)
        self.answer.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def test_a_silent_name_server_costs_no_request_to_an_address(port, monkeypatch):
    names = SilentNameServer(monkeypatch)

    async def run():
        for number in range(70):
            check = {"host": f"web{number}.example.com", "port": 80, "allowLocal": True}
            await TcpCheck().run(check, timeout_s=0.01, environment={})
        check = {"url": f"http://127.0.0.1:{port}/", "allowLocal": True}
        result = await HttpCheck().run(check, timeout_s=5, environment={})
        names.answer.set()
        while target.looked_up:
            await asyncio.sleep(0.01)
        return result

    assert asyncio.run(run()).good


def test_one_name_is_looked_up_once_at_a_time(port, monkeypatch):
    names = SilentNameServer(monkeypatch)

    async def run():
        check = {"host": "web.example.com", "port": port, "allowLocal": True}
        first = [await TcpCheck().run(check, timeout_s=0.02, environment={}) for _ in range(5)]
        names.answer.set()
        return first, await TcpCheck().run(check, timeout_s=10, environment={})

    first, last = asyncio.run(run())
    assert {one.good for one in first} == {False}
    assert last.good
    assert names.asked == ["web.example.com"]
    assert tcp("web.example.com", port)[0]
    assert len(names.asked) == 2
