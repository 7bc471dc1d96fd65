"""kopf's watches against a small API server on loopback: what ends them, and that they begin anew."""

import gc
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kopf
import pytest
from vip_operator import watch
from vip_operator.store import NODES, Store

from tests.netns import wait_for
from tests.sockets import patience_with

NAMES = {"nodes": False, "pods": True, "configmaps": True, "namespaces": False}


def resource(name, namespaced):
    return {
        "name": name, "singularName": name[:-1], "kind": name.title(), "namespaced": namespaced,
        "verbs": ["list", "watch", "get", "patch"],
    }  # fmt: skip


def group(name, version):
    return {"name": name, "preferredVersion": {"version": version}, "versions": [{"version": version}]}


DISCOVERY = {
    "/api": {"versions": ["v1"]},
    "/apis": {"groups": [group("apps", "v1"), group("kube-vrrp.io", "v1alpha1")]},
    "/api/v1": {"resources": [resource(*each) for each in NAMES.items()]},
    "/apis/apps/v1": {"resources": [resource("daemonsets", True)]},
    "/apis/kube-vrrp.io/v1alpha1": {"resources": [resource("virtualips", False)]},
}


def node(name):
    return {"metadata": {"name": name, "uid": name, "resourceVersion": "5"}}


class ApiServer(ThreadingHTTPServer):
    """Nodes are what `nodes` names; `refuse` is the status that every other request gets while it is set. Watches last
    until `watches` changes, and end by the book unless `abruptly`.
    """

    daemon_threads = True

    def handle_error(self, *_):
        """A client that went away."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.nodes = ["one"]
        self.refuse = None
        self.watches, self.abruptly = 0, False
        self.requests, self.tokens = [], set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        self.server.requests.append(path)
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.refuse is not None:
            self.answer(self.server.refuse, {"kind": "Status", "code": self.server.refuse, "message": "refused"})
        elif path in DISCOVERY:
            self.answer(200, DISCOVERY[path])
        elif "watch=true" in query:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for name in self.server.nodes if path.endswith("/nodes") else ():
                self.chunk(json.dumps({"type": "ADDED", "object": node(name)}).encode() + b"\n")
            began = self.server.watches
            while self.server.refuse is None and self.server.watches == began:
                time.sleep(0.02)
            if self.server.refuse is not None or not self.server.abruptly:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.close_connection = True
        else:
            names = self.server.nodes if path.endswith("/nodes") else []
            items = [node(name) for name in names]
            self.answer(200, {"kind": "List", "metadata": {"resourceVersion": "5"}, "items": items})

    def chunk(self, content):
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def answer(self, status, document):
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def api():
    server = ApiServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.refuse = 503
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def followed(api):
    """A store that is kept by watches, how often something may have been missed, and when it is forgotten."""
    store, stop, relists, forgotten = Store(config_map="cm"), threading.Event(), [], []
    thread = threading.Thread(
        target=watch.follow,
        args=(store,),
        kwargs={
            "namespace": "kube-vrrp",
            "login": lambda: kopf.ConnectionInfo(server=api.url, token=str(time.monotonic())),
            "poke": lambda: None,
            "relist": lambda: relists.append(time.monotonic()),
            "forget": lambda: forgotten.append(time.monotonic()) or store.forget(),
            "anew": watch.Anew(),
            "served": lambda: True,
            "stop": stop,
        },
    )
    thread.start()
    wait_for(lambda: store.get(NODES, "one"), what="the first list")
    yield store, relists, forgotten
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    gc.collect()  # connections that kopf left behind, while a warning about them is expected


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_they_go_on_after_a_while_of_any_answer_without_a_storm_of_requests(api, followed, status):
    store, relists, _ = followed
    assert relists, "after kopf's list there is one of ours: kopf's does not say what is gone"
    api.refuse = status
    before = len(api.requests)
    time.sleep(1)
    asked = len(api.requests) - before
    assert asked < 60, asked  # five watches, discovery, and delays that grow from 0.2 s; without them it is thousands
    api.nodes = ["one", "two"]
    api.refuse = None
    wait_for(lambda: store.get(NODES, "two"), what="what came meanwhile is seen", timeout=30)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("abruptly", [False, True], ids=["by the book", "abruptly"])
def test_watches_that_are_cut_are_begun_anew_and_what_a_store_that_was_set_back_does_not_have_is_gone(
    api, followed, abruptly
):
    """The versions tell nothing: they are the same."""
    store, _, forgotten = followed
    time.sleep(0.5)
    assert not forgotten
    api.nodes, api.abruptly = ["two"], abruptly
    api.watches += 1
    wait_for(lambda: forgotten and store.get(NODES, "two"), what="the other history is seen", timeout=20)
    assert store.get(NODES, "one") is None


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_request_has_the_token_of_its_moment(api, followed):
    wait_for(lambda: len(api.tokens) > 5, what="tokens differ")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_watches_whose_peer_is_gone_without_a_word_are_given_up_by_the_kernel(api, followed):
    expected = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 15_000}
    wait_for(lambda: sum("nodes" in path for path in api.requests) > 1, what="the watch of nodes")
    found = patience_with(api.server_address[1])
    assert found
    assert all(one == expected for one in found), found


def test_a_watch_is_lost_where_it_is_resumed_before_its_time():
    now, anew = 0.0, watch.Anew()
    session = watch.Session(lambda: None, anew, clock=lambda: now)
    session.note("/nodes", is_watch=False)
    session.note("/nodes", is_watch=True)
    session.note("/pods", is_watch=True)
    assert not anew.take()
    now += watch.WATCH_S
    session.note("/nodes", is_watch=True)
    assert not anew.take()  # it had its time
    now += 100
    session.note("/nodes", is_watch=False)
    session.note("/nodes", is_watch=True)
    assert not anew.take()  # kopf listed, after a 410
    session.note("/nodes", is_watch=True)
    assert anew.take() == "the watch of /nodes was cut"
    assert not anew.take()


def test_waits_grow_and_begin_anew_after_a_good_while():
    now = 0.0
    pace = watch.Paced(clock=lambda: now)
    waits = []
    for _ in range(12):
        waits.append(pace.delay_s())
        now += waits[-1]
    assert waits[0] == 0
    assert 0.1 <= waits[1] <= 0.2
    assert 5 <= waits[-1] <= 10
    now += watch.WELL_AFTER_S + 1
    assert pace.delay_s() == 0
