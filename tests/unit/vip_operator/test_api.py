"""Whatever is not an answer of an API server is an ApiException, which the loop outlives."""

import socket
import threading
import time

import pytest
from kubernetes import client
from vip_operator.api import WRITE_S, Api, ApiException
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


def test_the_api_server_is_where_its_service_leads_to(monkeypatch):
    api = Api(client.Configuration(), namespace="kube-vrrp")
    slices = {"endpoints": [{"addresses": ["192.168.137.1", "x"]}, {"addresses": ["fd00::1"]}, {}]}
    monkeypatch.setattr(api, "request", lambda *_: slices)
    assert sorted(map(str, api.api_server())) == ["192.168.137.1", "fd00::1"]
    slices["endpoints"] = [{"addresses": 1}]
    with pytest.raises(ApiException):
        api.api_server()


@pytest.mark.parametrize("prefix", ["", "(combined from similar events): "])
def test_why_pods_are_refused_is_said_without_what_is_of_one_event(monkeypatch, prefix):
    api = Api(client.Configuration(), namespace="kube-vrrp")
    why = 'violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)'
    message = f'{prefix}Error creating: pods "kube-vrrp-speaker-x7k2p" is forbidden: {why}'
    events = [
        {"reason": "FailedCreate", "lastTimestamp": "2026-01-01T00:00:01Z", "message": message},
        {"reason": "FailedCreate", "lastTimestamp": "2026-01-01T00:00:00Z", "message": "older"},
        {"reason": "SuccessfulDelete", "lastTimestamp": "2026-01-01T00:00:02Z", "message": "Deleted pod: x"},
    ]
    asked = []
    monkeypatch.setattr(api, "request", lambda *_, query: asked.append(query) or {"items": events})
    assert api.refused_pods("speaker") == f"the speaker's pods are forbidden: {why}"
    events[0]["message"] = "Error creating: etcdserver: request timed out"
    assert api.refused_pods("speaker") is None
    events[0]["message"] = message
    created = {"reason": "SuccessfulCreate", "message": "Created pod: kube-vrrp-speaker-b2v9n"}
    events.append({**created, "lastTimestamp": "2026-01-01T00:00:01Z"})
    assert api.refused_pods("speaker") is None, "a refusal stays among the Events for an hour, though it is over"
    assert "involvedObject.name=speaker" in asked[0]["fieldSelector"]


def test_a_write_is_given_up_by_both_sides_and_what_was_not_sent_is_thrown_away():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        configuration = client.Configuration(host=f"http://127.0.0.1:{listening.getsockname()[1]}")
        api = Api(configuration, namespace="kube-vrrp")
        raised = []

        def write():
            began = time.monotonic()
            with pytest.raises(ApiException):
                api.apply_status("web", "uid", {"nodes": []})
            raised.append(time.monotonic() - began)

        thread = threading.Thread(target=write)
        thread.start()
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(10)
            head = connection.recv(65536).split(b"\r\n")[0].decode()
            thread.join(timeout=10)
            with pytest.raises(ConnectionResetError):
                while connection.recv(65536):
                    pass
    assert f"timeout={WRITE_S * 1000:.0f}ms" in head
    assert WRITE_S <= raised[0] < WRITE_S + 2


@pytest.mark.parametrize(
    "write",
    [
        lambda api: api.apply_status("web", "uid", {}),
        lambda api: api.clear_entry("web", "manager"),
        lambda api: api.apply_daemon_set({"metadata": {"name": "speaker"}}),
        lambda api: api.delete_pod("speaker", "uid"),
    ],
)
def test_every_write_under_the_lease_is_bounded(write, monkeypatch):
    api, calls = Api(client.Configuration(), namespace="kube-vrrp"), []
    monkeypatch.setattr(api, "write", lambda method, path, **_: calls.append(method) or {})
    monkeypatch.setattr(api, "request", lambda *_, **__: pytest.fail("without a bound"))
    write(api)
    assert len(calls) == 1


def test_who_gives_up_everything_applies_nothing_not_even_an_empty_status(monkeypatch):
    """The API server keeps a line in managedFields for as long as a manager owns anything."""
    api, bodies = Api(client.Configuration(), namespace="kube-vrrp"), []
    monkeypatch.setattr(api, "write", lambda *_, body, **__: bodies.append(body) or {})
    api.clear_entry("web", "manager")
    assert bodies == [{"apiVersion": "kube-vrrp.io/v1alpha1", "kind": "VirtualIP", "metadata": {"name": "web"}}]
