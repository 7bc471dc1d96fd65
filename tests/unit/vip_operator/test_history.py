"""The loop: whether the API server's store was set back, and when it lists."""

import threading
from types import SimpleNamespace

import pytest
from vip_operator.api import ApiException
from vip_operator.loop import Loop
from vip_operator.store import KINDS, NODES, VIPS, SetBackError, Store


class FakeApi:
    """Lists are empty and of `at`; `lists` are the kinds that were asked for."""

    namespace = "kube-vrrp"

    def __init__(self, at=10):
        self.at, self.lists, self.failing = at, [], None

    def version(self):
        return self.at

    def cluster_uid(self):
        return "cluster"

    def list(self, kind, *, config_map):
        self.lists.append(kind)
        if self.failing == kind:
            self.failing = None
            raise ApiException(status=503)
        return [], self.at


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("vip_operator.loop.RELIST_SOON_S", 0.3)
    monkeypatch.setattr("vip_operator.loop.ERROR_RETRY_S", 0.1)
    api, store = FakeApi(), Store(config_map="cm")
    lease = SimpleNamespace(give_back=lambda: None, give_back_if_idle=lambda: None)
    loop = Loop(api, store, lease, config_map="cm")
    planned = threading.Event()
    monkeypatch.setattr(loop, "_once", lambda _: planned.set() or 60.0)
    return loop, api, store, planned


def vip(version):
    return {"metadata": {"name": "web", "uid": "u", "resourceVersion": str(version)}}


def test_a_present_version_below_what_was_seen_ends_the_loop(made):
    loop, _, store, planned = made
    store.put(VIPS, vip(11))
    with pytest.raises(SetBackError):
        loop.run()
    assert not planned.is_set()


def test_a_list_below_what_was_seen_ends_the_loop(made):
    loop, _, store, _ = made
    store.put(NODES, {"metadata": {"name": "one", "uid": "u", "resourceVersion": "12"}})
    with pytest.raises(SetBackError):
        loop.run()


def test_nothing_is_planned_before_every_kind_was_listed(made):
    loop, api, _, planned = made
    api.failing = KINDS[2]
    thread = threading.Thread(target=loop.run)
    thread.start()
    loop.poke()
    assert planned.wait(timeout=20)
    loop.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert api.lists[:3] == list(KINDS[:3])
    assert api.lists[3:8] == list(KINDS)


def test_it_lists_again_when_something_may_have_been_missed_but_not_all_the_time(made):
    loop, api, _, planned = made
    thread = threading.Thread(target=loop.run)
    thread.start()
    assert planned.wait(timeout=20)
    planned.clear()
    before = len(api.lists)
    for _ in range(50):
        loop.relist()
    assert len(api.lists) == before
    assert planned.wait(timeout=20)
    loop.stop()
    thread.join(timeout=10)
    assert len(api.lists) == before + len(KINDS)
