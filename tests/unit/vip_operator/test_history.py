"""The loop: whether the API server's store was set back, and when it lists."""

import contextlib
import threading
from types import SimpleNamespace

import pytest
from vip_operator.api import ApiException
from vip_operator.loop import Loop
from vip_operator.store import KINDS, NODES, VIPS, SetBackError, Store

from tests.netns import wait_for


class FakeApi:
    """Lists are of `at`, and of `bodies`; `lists` are the kinds that were asked for."""

    namespace = "kube-vrrp"

    def __init__(self, at=10):
        self.at, self.lists, self.failing, self.bodies = at, [], None, {}

    def version(self):
        return self.at

    def cluster_uid(self):
        return "cluster"

    def api_server(self):
        raise ApiException(status=403)

    def list(self, kind, *, config_map):
        self.lists.append(kind)
        if self.failing == kind:
            self.failing = None
            raise ApiException(status=503)
        return self.bodies.get(kind, []), self.at


class Made:
    """A loop with a store, whose plans are only noted: what was known of VirtualIPs. `run` is until the block ends."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr("vip_operator.loop.RELIST_SOON_S", 0.3)
        monkeypatch.setattr("vip_operator.loop.ERROR_RETRY_S", 0.1)
        self.api, self.store, self.asked = FakeApi(), Store(config_map="cm"), []
        lease = SimpleNamespace(give_back=lambda: None, give_back_if_idle=lambda: None)
        self.loop = Loop(self.api, self.store, lease, config_map="cm", ask_anew=self.asked.append)
        self.planned, self.plans = threading.Event(), []
        monkeypatch.setattr(self.loop, "_once", self._plan)

    def _plan(self, _):
        found = self.store.get(VIPS, "web")
        self.plans.append(found and found["metadata"]["resourceVersion"])
        self.planned.set()
        return 60.0

    @contextlib.contextmanager
    def run(self):
        thread = threading.Thread(target=self.loop.run)
        thread.start()
        try:
            yield
        finally:
            self.loop.stop()
            thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.fixture
def made(monkeypatch):
    return Made(monkeypatch)


def vip(version):
    return {"metadata": {"name": "web", "uid": "u", "resourceVersion": str(version)}}


@pytest.mark.parametrize("kind", [VIPS, NODES])
def test_nothing_is_planned_from_what_a_store_that_was_set_back_does_not_have_and_new_watches_are_asked_for(made, kind):
    """Whatever is listed is below what was seen; what is there counts once the old watches have ended."""
    made.store.put(kind, vip(11))
    made.api.bodies = {VIPS: [vip(9)]}
    with made.run():
        wait_for(lambda: made.asked, what="new watches are asked for")
        assert not made.plans
        made.loop.forget()
        assert made.planned.wait(timeout=20)
    assert made.plans == ["9"]


def test_a_present_version_below_what_was_seen_is_noticed_without_a_list(made, monkeypatch):
    monkeypatch.setattr("vip_operator.loop.CHECK_S", 0.0)
    with made.run():
        assert made.planned.wait(timeout=20)
        made.api.at = 5
        made.loop.poke()
        wait_for(lambda: made.asked, what="new watches are asked for")


def test_an_answer_to_a_write_that_is_of_an_earlier_version_is_followed_by_lists_before_the_next_plan(
    made, monkeypatch
):
    def write(cluster_uid):
        if not made.asked:
            raise SetBackError("web has version 9, 11 was there before")
        return made._plan(cluster_uid)

    monkeypatch.setattr(made.loop, "_once", write)
    with made.run():
        assert made.planned.wait(timeout=20)
    assert made.api.lists == [*KINDS, *KINDS]
    assert len(made.asked) == 1


def test_when_the_watches_have_ended_everything_is_listed_before_the_next_plan(made):
    """Also where no version tells: the present one has passed what was seen, and the object has one that it had."""
    made.api.bodies = {VIPS: [vip(10)]}
    with made.run():
        assert made.planned.wait(timeout=20)
        made.planned.clear()
        made.api.bodies, made.api.at, made.api.failing = {VIPS: [vip(7)]}, 20, KINDS[-1]
        made.loop.forget()
        assert made.planned.wait(timeout=20)
    assert made.plans == ["10", "7"]
    assert not made.asked


def test_nothing_is_planned_before_every_kind_was_listed(made):
    made.api.failing = KINDS[2]
    with made.run():
        made.loop.poke()
        assert made.planned.wait(timeout=20)
    assert made.api.lists[:3] == list(KINDS[:3])
    assert made.api.lists[3:8] == list(KINDS)


def test_it_lists_again_when_something_may_have_been_missed_but_not_all_the_time(made):
    with made.run():
        assert made.planned.wait(timeout=20)
        made.planned.clear()
        before = len(made.api.lists)
        for _ in range(50):
            made.loop.relist()
        assert len(made.api.lists) == before
        assert made.planned.wait(timeout=20)
    assert len(made.api.lists) == before + len(KINDS)
