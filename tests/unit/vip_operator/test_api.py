"""Whatever is not an answer of an API server is an ApiException, which the loop outlives."""

import socket
import threading

import pytest
from kubernetes import client
from vip_operator.api import Api, ApiException
from vip_operator.store import VIPS


def answering(text):
    """An address where every connection gets `text` and its end."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(text)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listening


def answer(content, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n{content}".encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\r\n\r\n",
        answer("<html>please log in</html>"),
        answer("{}"),
        answer("[]"),
        answer('{"a": 1}')[:-4],
        answer("{}", "404 Not Found"),
    ],
)
def test_a_list_of_something_else_is_an_api_exception(text):
    listening = answering(text)
    port = listening.getsockname()[1]
    api = Api(client.Configuration(host=f"http://127.0.0.1:{port}"), namespace="kube-vrrp")
    try:
        with pytest.raises(ApiException):
            api.list(VIPS, config_map="cm")
    finally:
        listening.close()


def test_nobody_there_is_an_api_exception():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(ApiException):
        Api(client.Configuration(host=f"http://127.0.0.1:{port}"), namespace="kube-vrrp").cluster_uid()
