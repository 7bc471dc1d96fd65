"""The agent's connections, over real sockets on loopback."""

import socket
import threading

import pytest
from kubernetes import client
from vip_speaker.agent.api import Api, ApiError

from tests.sockets import patience_with


def test_a_watch_whose_peer_is_gone_without_a_word_is_given_up_by_the_kernel():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        api = Api(client.Configuration(host=f"http://127.0.0.1:{port}"), namespace="kube-vrrp")

        def answer_and_hold():
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=answer_and_hold)
        thread.start()
        watch = api.watch("1", 300)
        assert next(watch) == {}
        found = patience_with(port)
        watch.close()
        thread.join(timeout=10)
    expected = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 15_000}
    assert found == [expected]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"kind": "Status", "message": "virtualips \\"web\\" not found", "code": 404}', 'virtualips "web" not found'),
        ("<html>", "<html>"),
        ("[1]", "[1]"),
        ("{}", "{}"),
    ],
)
def test_a_refusal_is_told_in_words(content, told):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        api = Api(client.Configuration(host=f"http://127.0.0.1:{listening.getsockname()[1]}"), namespace="kube-vrrp")

        def refuse():
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(65536)
                connection.sendall(
                    f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()
                )

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ApiError) as raised:
            api.apply_status("web", uid="uid", status={}, manager="manager")
        thread.join(timeout=10)
    assert (raised.value.status, str(raised.value)) == (404, f"404: {told}")
