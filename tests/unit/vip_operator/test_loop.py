"""When the loop lists: nothing that was asked for is lost, and an outage is no busy loop."""

import threading
import time

import pytest
from vip_operator.api import ApiException
from vip_operator.lease import Lease
from vip_operator.loop import RELIST_SOON_S, Loop
from vip_operator.plan import Plan
from vip_operator.store import KINDS, Store

from tests.netns import wait_for


class Api:
    namespace = "vrrp"

    def __init__(self):
        self.asked = 0
        self.refusal = None
        self.addresses = frozenset()
        self.listed = []
        self.between = lambda _kind: None

    def cluster_uid(self):
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        return "cluster"

    def api_server(self):
        if not self.addresses:
            raise ApiException(status=403)
        return self.addresses

    def list(self, kind, *, config_map):
        assert config_map == "cm"
        self.listed.append(kind)
        self.between(kind)
        return [], 1

    def version(self):
        return 1


def started(api):
    lease = Lease(api, name="lease", holder="a", config_map="cm")
    loop = Loop(api, Store(config_map="cm"), lease, config_map="cm", ask_anew=lambda _: None)
    thread = threading.Thread(target=loop.run)
    thread.start()
    return loop, thread


def test_what_may_have_been_missed_while_listing_is_listed_again():
    api = Api()
    asked = []

    def relist_once(kind):
        if kind == KINDS[-1] and not asked:
            asked.append(kind)
            loop.relist()

    api.between = relist_once
    lease = Lease(api, name="lease", holder="a", config_map="cm")
    loop = Loop(api, Store(config_map="cm"), lease, config_map="cm", ask_anew=lambda _: None)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        wait_for(lambda: len(api.listed) >= 2 * len(KINDS), what="a second list", timeout=4 * RELIST_SOON_S)
    finally:
        loop.stop()
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("addresses", [frozenset(), frozenset({"192.168.137.1"})])
def test_a_plan_knows_where_the_api_server_is_unless_that_is_not_allowed(monkeypatch, addresses):
    api, worlds = Api(), []
    api.addresses = addresses
    monkeypatch.setattr("vip_operator.loop.plan", lambda world: worlds.append(world) or Plan(changes=()))
    loop, thread = started(api)
    try:
        wait_for(lambda: worlds, what="a plan", timeout=10)
    finally:
        loop.stop()
        thread.join(10)
    assert worlds[0].api_server == addresses


def test_an_api_server_that_is_not_there_is_not_asked_without_a_pause():
    api = Api()
    api.refusal = ApiException(status=503)
    loop, thread = started(api)
    try:
        time.sleep(1)
        assert 1 <= api.asked <= 2
    finally:
        loop.stop()
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("wrote_last", "pauses"),
    [
        (True, [(0.02, 0.2), (0.18, 0.2), (0.2, 0.2)]),
        (False, [(0.02, 1.0), (0.98, 1.0), (1.0, 1.0)]),
    ],
)
def test_planning_takes_a_tenth_of_the_time_but_is_not_put_off_for_long(monkeypatch, wrote_last, pauses):
    """The replica that does not write plans too, less often."""
    store = Store(config_map="cm")
    lease = Lease(Api(), name="lease", holder="a", config_map="cm")
    lease.is_incumbent = wrote_last
    loop = Loop(Api(), store, lease, config_map="cm", ask_anew=lambda _: None)
    durations = iter((0.0, 0.02, 0.5))
    monkeypatch.setattr("vip_operator.loop.plan", lambda _: time.sleep(next(durations)) or Plan(changes=()))
    for least, most in pauses:
        loop._plan("uid")
        assert least - 0.01 <= loop._pause_until - time.monotonic() <= most


def test_the_pause_counts_from_the_last_plan_and_there_is_none_while_a_turn_left_changes():
    api = Api()
    lease = Lease(api, name="lease", holder="a", config_map="cm")
    loop = Loop(api, Store(config_map="cm"), lease, config_map="cm", ask_anew=lambda _: None)

    def waited(seconds):
        loop.poke()
        began = time.monotonic()
        loop._wait(seconds)
        return time.monotonic() - began

    loop._pause_until = time.monotonic() + 1.0
    assert waited(0.0) < 0.5
    assert waited(30.0) > 0.4, "what is left of it"
    assert waited(30.0) < 0.5, "it is over"


def test_a_bug_that_keeps_a_virtualip_from_being_judged_is_told_once(monkeypatch, caplog):
    loop = Loop(
        Api(),
        Store(config_map="cm"),
        Lease(Api(), name="lease", holder="a", config_map="cm"),
        config_map="cm",
        ask_anew=lambda _: None,
    )
    bugs = iter([{"web": KeyError("x")}, {"web": KeyError("x")}, {"web": KeyError("y")}, {}, {"web": KeyError("y")}])
    monkeypatch.setattr("vip_operator.loop.plan", lambda _: Plan(changes=(), bugs=next(bugs)))
    told = []
    for _ in range(5):
        caplog.clear()
        loop._plan("uid")
        told.append(sum("web: a bug" in record.getMessage() for record in caplog.records))
    assert told == [1, 0, 1, 0, 1]
