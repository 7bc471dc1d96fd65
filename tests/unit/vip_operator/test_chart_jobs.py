"""The chart's jobs against an HTTP server that answers as the API server does."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
import yaml
from kubernetes import client
from vip_operator import chart_jobs
from vip_operator.api import Api

TYPO = (500, "failed to create typed patch object (/bad; kube-vrrp.io/v1alpha1, Kind=VirtualIP): "
        ".spec.addreses: field not declared in schema")  # fmt: skip
INVALID = (422, 'VirtualIP.kube-vrrp.io "bad" is invalid: spec.virtualRouterID: Invalid value: 256')
MALFORMED = (400, "the body of the request was in an unknown format")
NOT_SERVED = (404, "the server could not find the requested resource")
BUSY = (500, "etcdserver: request timed out")


class Server:
    """`answers`: by the object's name, what is said to one PATCH after another; then, and to all others, it is
    accepted. `objects`: what a GET of a path finds.
    """

    def __init__(self):
        self.answers, self.asked, self.objects = {}, [], {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_PATCH(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                name = self.path.partition("?")[0].rpartition("/")[2]
                outer.asked.append(name)
                waiting = outer.answers.get(name)
                self.say(*(waiting.pop(0) if waiting else (200, "")))

            def do_GET(self):
                self.send(200, outer.objects[unquote(self.path)])

            def say(self, code, message):
                self.send(code, {"kind": "Status", "message": message, "code": code})

            def send(self, code, content):
                body = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def api(self):
        return Api(client.Configuration(host=f"http://127.0.0.1:{self.http.server_port}"), namespace="vrrp")


@pytest.fixture(autouse=True)
def all_that_is_logged(caplog):
    caplog.set_level("INFO")


@pytest.fixture
def server():
    made = Server()
    with contextlib.closing(made.http.socket):
        yield made
        made.http.shutdown()


@pytest.fixture
def vips(tmp_path):
    path = tmp_path / "vips.yaml"
    documents = [{"metadata": {"name": name}, "spec": {}} for name in ("first", "bad", "last")]
    path.write_text(yaml.safe_dump_all(documents))
    return path


def nobody_waits(_):
    raise AssertionError("it waits for what will not change")


@pytest.mark.parametrize("answer", [TYPO, INVALID, MALFORMED])
def test_one_that_is_refused_holds_up_no_other_and_is_not_tried_again(server, vips, caplog, monkeypatch, answer):
    monkeypatch.setattr(chart_jobs.time, "sleep", nobody_waits)
    server.answers["bad"] = [answer]
    assert chart_jobs.apply(server.api(), file=vips, timeout_s=100) == 1
    assert server.asked == ["first", "bad", "last"]
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        f"not applied: VirtualIP bad: {answer[1]}"
    ]
    assert caplog.records[-1].levelname == "ERROR", "the termination message is the end of the log"


def test_what_may_pass_is_tried_again_and_only_that(server, vips, caplog, monkeypatch):
    monkeypatch.setattr(chart_jobs, "POLL_S", 0)
    server.answers.update(first=[NOT_SERVED, BUSY], bad=[NOT_SERVED])
    assert chart_jobs.apply(server.api(), file=vips, timeout_s=100) == 0
    assert server.asked == ["first", "bad", "last", "first", "bad", "first"]
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


def test_what_is_not_applied_in_time_is_said_last(server, vips, caplog):
    server.answers["last"] = [BUSY]
    assert chart_jobs.apply(server.api(), file=vips, timeout_s=0) == 1
    assert caplog.records[-1].getMessage() == f"not applied: VirtualIP last: {BUSY[1]}"


def test_without_an_api_server_it_says_which_are_not_applied(server, vips, caplog):
    api = server.api()
    server.http.shutdown()
    server.http.socket.close()
    assert chart_jobs.apply(api, file=vips, timeout_s=0) == 1
    said = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert [s.split(":")[1] for s in said] == [" VirtualIP first", " VirtualIP bad", " VirtualIP last"]


def pod(name, node, *, ready):
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"conditions": conditions}}


def test_a_speaker_that_is_not_ready_is_named(server, caplog):
    server.objects = {
        "/apis/apps/v1/namespaces/vrrp/daemonsets/speaker": {
            "spec": {"selector": {"matchLabels": {"a": "b", "c": "d"}}},
            "status": {"desiredNumberScheduled": 3, "numberReady": 1},
        },
        "/api/v1/namespaces/vrrp/pods?labelSelector=a=b,c=d": {
            "items": [
                pod("speaker-x", "node1", ready=False),
                pod("speaker-y", "node2", ready=True),
                {"metadata": {"name": "speaker-z"}, "spec": {}, "status": {}},
            ]
        },
    }
    assert chart_jobs.check(server.api(), config_map="speaker", timeout_s=0) == 1
    assert caplog.records[-1].getMessage() == (
        "gave up after 0 s: 1 of 3 speakers are ready; not ready: speaker-x (node node1), speaker-z (node not chosen)"
    )
