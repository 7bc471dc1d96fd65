"""What each answer of the API server means, as a table and through the reflector."""

import pytest
from vip_speaker.agent.answers import EFFECTS, Answer, Effect, of_event, of_status
from vip_speaker.agent.api import SILENCE_S, ApiError
from vip_speaker.agent.reflector import (
    LIST_PAUSE_S,
    LIST_SPREAD_S,
    LONGEST_DELAY_S,
    RELIST_S,
    WATCH_S,
    Reflector,
)
from vip_speaker.agent.store import Store

from tests.agent_fakes import FakeApi, refusal, vip

KEPT = [400, 401, 403, 404, 408, 409, 410, 418, 429, 500, 502, 503, 504, None, 0]


def test_every_answer_has_an_effect():
    assert set(EFFECTS) == set(Answer)


def test_only_deletion_and_lists_can_take_a_vip_away():
    takers = {a for a, e in EFFECTS.items() if e in (Effect.RELEASE, Effect.REPLACE, Effect.CONFIRM)}
    assert takers == {Answer.DELETED, Answer.LISTED, Answer.EMPTY_LIST}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (None, Answer.UNREACHABLE), (0, Answer.UNREACHABLE), (400, Answer.GONE), (401, Answer.UNAUTHORIZED),
        (403, Answer.FORBIDDEN), (404, Answer.NOT_FOUND), (409, Answer.OTHER_STATUS), (410, Answer.GONE),
        (429, Answer.TOO_MANY), (500, Answer.SERVER_ERROR), (503, Answer.SERVER_ERROR), (599, Answer.SERVER_ERROR),
    ],
)  # fmt: skip
def test_statuses(status, answer):
    assert of_status(status) is answer


@pytest.mark.parametrize(
    ("kind", "code", "answer"),
    [
        ("ADDED", None, Answer.CHANGED), ("MODIFIED", None, Answer.CHANGED), ("DELETED", None, Answer.DELETED),
        ("BOOKMARK", None, Answer.BOOKMARK), ("ERROR", 410, Answer.GONE), ("ERROR", 500, Answer.SERVER_ERROR),
        ("ERROR", None, Answer.UNREACHABLE), ("NONSENSE", None, Answer.OTHER_STATUS),
    ],
)  # fmt: skip
def test_events(kind, code, answer):
    assert of_event(kind, code) is answer


class Bench:
    """A reflector over a fake API and a clock that its own sleeping moves."""

    def __init__(self, *vips: str, holding: bool = True) -> None:
        self.now = 0.0
        self.api = FakeApi(*(vip(name) for name in vips))
        self.store = Store()
        self.holding = holding
        self.reflector = Reflector(self.api, self.store, holding=lambda: self.holding, clock=lambda: self.now)

    def turn(self) -> float:
        wait = self.reflector.turn()
        self.now += wait
        return wait

    def names(self) -> list[str]:
        return sorted(self.store.all())


def test_a_list_then_a_watch_from_its_version():
    bench = Bench("a")
    assert bench.turn() == 0
    assert bench.names() == ["a"]
    bench.api.events.append([{"type": "ADDED", "object": vip("b", version=11)}])
    bench.turn()
    assert bench.names() == ["a", "b"]
    assert bench.api.watched == ["10"]
    bench.api.events.append([{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "40"}}}])
    bench.turn()
    bench.turn()
    assert bench.api.watched == ["10", "11", "40"]


def test_deleted_is_deleted():
    bench = Bench("a", "b")
    bench.turn()
    bench.api.events.append([{"type": "DELETED", "object": vip("a", version=12)}])
    bench.turn()
    assert bench.names() == ["b"]


def test_the_deletion_of_a_former_object_of_that_name_is_none():
    bench = Bench("a")
    bench.turn()
    bench.api.events.append([{"type": "DELETED", "object": vip("a", uid="former", version=12)}])
    bench.turn()
    assert bench.names() == ["a"]


@pytest.mark.parametrize("status", KEPT)
def test_a_refused_list_keeps_everything(status):
    bench = Bench("a")
    bench.turn()
    bench.api.refuse_list = refusal(status)
    bench.reflector._version = None
    for _ in range(200):
        assert bench.turn() > 0
    assert bench.names() == ["a"]
    bench.api.refuse_list = None
    bench.turn()
    assert bench.names() == ["a"]


@pytest.mark.parametrize("status", KEPT)
def test_a_refused_watch_keeps_everything_and_ends_no_loop(status):
    bench = Bench("a")
    bench.turn()
    bench.api.refuse_watch = refusal(status)
    for _ in range(50):
        bench.turn()
    assert bench.names() == ["a"]
    bench.api.refuse_watch = None
    bench.api.objects.append(vip("b"))
    bench.reflector._version = None
    bench.turn()
    assert bench.names() == ["a", "b"]


def test_delays_grow_to_a_bound_and_start_anew_after_an_answer():
    bench = Bench("a")
    bench.turn()
    bench.api.refuse_watch = bench.api.refuse_list = refusal(503)
    waits = [bench.turn() for _ in range(12)]
    assert 0.1 <= waits[0] <= 0.2
    assert 2.5 <= waits[-1] <= 5
    bench.api.refuse_watch = bench.api.refuse_list = None
    bench.turn()
    bench.api.events.append([{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "11"}}}])
    bench.turn()
    bench.api.refuse_watch = refusal(503)
    assert bench.turn() <= 0.2


def test_a_watch_that_ends_at_once_and_empty_is_not_asked_for_again_at_once():
    bench = Bench("a")
    bench.turn()
    waits = [bench.turn() for _ in range(7)]  # less than LIST_PAUSE_S
    assert 0.1 <= waits[0] <= 0.2
    assert 2.5 <= waits[-1] <= 5
    assert bench.names() == ["a"]


def test_a_watch_in_which_not_even_a_bookmark_comes_is_followed_by_a_list():
    bench = Bench("a")
    bench.turn()

    def silence(version, seconds):
        bench.now += SILENCE_S
        raise refusal(None)

    bench.api.watch = silence
    bench.turn()
    bench.api.objects = [vip("b")]  # set back by a backup: its version is below the one that was watched from
    bench.turn()
    assert bench.names() == ["b"]


@pytest.mark.parametrize("code", [400, 410])
def test_a_version_that_is_too_old_leads_to_a_list_which_shows_missed_deletions(code):
    bench = Bench("a", "b")
    bench.turn()
    bench.api.objects = [vip("b")]
    bench.api.events.append([{"type": "ERROR", "object": {"code": code, "message": "too old"}}])
    bench.turn()
    assert bench.names() == ["a", "b"]
    bench.turn()
    assert bench.names() == ["b"]


def test_an_empty_list_is_asked_for_again_before_anything_is_released():
    bench = Bench("a")
    bench.turn()
    bench.api.objects = []
    bench.reflector._version = None
    assert bench.turn() == 10
    assert bench.names() == ["a"]
    bench.turn()
    assert bench.names() == []


def test_an_empty_list_that_was_a_mistake_takes_nothing():
    bench = Bench("a")
    bench.turn()
    bench.api.objects = []
    bench.reflector._version = None
    bench.turn()
    bench.api.objects = [vip("a")]
    bench.turn()
    assert bench.names() == ["a"]


def test_an_empty_list_from_before_an_outage_confirms_none_after_it():
    bench = Bench("a")
    bench.turn()
    bench.api.objects = []
    bench.reflector._version = None
    bench.turn()
    bench.api.refuse_list = refusal(None)
    while bench.now < 600:
        bench.turn()
    bench.api.refuse_list = None
    assert bench.turn() == 10
    assert bench.names() == ["a"]
    bench.turn()
    assert bench.names() == []


def test_a_node_without_vips_believes_the_first_empty_list():
    bench = Bench(holding=False)
    assert bench.turn() == 0
    assert bench.store.listed.is_set()


def test_a_crd_that_is_gone_for_five_minutes_releases():
    bench = Bench("a")
    bench.turn()
    bench.api.refuse_list = refusal(404)
    bench.api.served = False
    bench.reflector._version = None
    while bench.now < 300:
        bench.turn()
        assert bench.names() == ["a"]
    for _ in range(5):
        bench.turn()
    assert bench.names() == []


def test_discovery_that_does_not_answer_is_no_denial():
    bench = Bench("a")
    bench.turn()
    bench.api.refuse_list = refusal(404)
    bench.api.served = ApiError(503, "")
    bench.reflector._version = None
    while bench.now < 1000:
        bench.turn()
    assert bench.names() == ["a"]


def test_a_crd_that_comes_back_in_time_is_no_loss():
    bench = Bench("a")
    bench.turn()
    bench.api.refuse_list = refusal(404)
    bench.api.served = False
    bench.reflector._version = None
    while bench.now < 200:
        bench.turn()
    bench.api.served = True
    bench.turn()
    bench.api.served = False
    while bench.now < 400:
        bench.turn()
    assert bench.names() == ["a"]


def test_it_lists_anew_now_and_then_whatever_it_may_have_missed():
    bench = Bench("a")
    bench.turn()
    bench.api.objects = [vip("b")]
    bench.now += 1800
    bench.turn()
    assert bench.names() == ["b"]


def lasting(bench, seconds=None):
    """Watches of the fake last so long by the bench's clock: their whole time, or only so many seconds."""

    def watch(version, whole):
        bench.api.watched_for.append(whole)
        bench.now += whole if seconds is None else min(seconds, whole)
        return iter(())

    bench.api.watch = watch


def set_back(bench):
    """A store of before: the list is of a version that the watch has passed, so it will never show this."""
    bench.api.objects = [vip("b")]


def until_listed(bench):
    """Turns until the list of the store that was set back is in force; the time it took."""
    began = bench.now
    while bench.names() != ["b"]:
        bench.turn()
        assert bench.now - began < 60
    return bench.now - began


def test_a_watch_that_ended_by_its_timeout_is_resumed_without_a_list():
    bench = Bench("a")
    bench.turn()
    lasting(bench)
    set_back(bench)
    bench.turn()
    bench.turn()
    assert bench.api.watched_for == [WATCH_S, WATCH_S]
    assert bench.names() == ["a"]


def test_a_watch_that_ended_before_its_time_is_resumed_at_once_and_followed_by_a_list_within_seconds():
    bench = Bench("a")
    bench.turn()
    lasting(bench, 100)
    bench.turn()
    set_back(bench)
    lasting(bench)
    assert bench.turn() == 0
    assert bench.names() == ["a"]
    assert bench.api.watched_for[-1] <= LIST_SPREAD_S
    bench.turn()
    assert bench.names() == ["b"]


@pytest.mark.parametrize("status", [each for each in KEPT if each not in (400, 404, 410)])
def test_whatever_else_ends_a_watch_is_followed_by_a_list_of_the_store_that_answers_then(status):
    """However long nothing answers; what is known is kept meanwhile."""
    bench = Bench("a")
    bench.turn()
    bench.now += 100
    bench.api.refuse_watch = bench.api.refuse_list = refusal(status)
    while bench.now < 600:
        bench.turn()
    assert bench.names() == ["a"]
    bench.api.refuse_watch = bench.api.refuse_list = None
    set_back(bench)
    assert until_listed(bench) <= LONGEST_DELAY_S


def test_an_error_inside_a_watch_is_followed_by_a_list():
    bench = Bench("a")
    bench.turn()
    bench.now += 100
    bench.api.events.append([{"type": "ERROR", "object": {"code": 500, "message": "etcd"}}])
    bench.turn()
    set_back(bench)
    lasting(bench)
    assert until_listed(bench) <= LIST_SPREAD_S + 1


def test_one_set_back_right_after_another_is_seen_in_time_too():
    bench = Bench("a")
    bench.turn()
    bench.api.refuse_watch = refusal(None)
    bench.turn()
    bench.api.refuse_watch = None
    set_back(bench)
    lasting(bench)
    assert until_listed(bench) <= LIST_PAUSE_S + 1


def test_a_load_balancer_that_cuts_every_watch_after_a_second_does_not_make_a_list_of_each():
    bench = Bench("a")
    lists = []
    listing = bench.api.list
    bench.api.list = lambda: lists.append(bench.now) or listing()
    lasting(bench, 1.5)
    while bench.now < 600:
        bench.turn()
    assert 600 / (LIST_PAUSE_S + LIST_SPREAD_S + 2) <= len(lists) <= 600 / LIST_PAUSE_S + 1


def test_nodes_whose_watches_are_cut_together_do_not_list_together():
    times = []
    for _ in range(100):
        bench = Bench("a")
        bench.turn()
        bench.now += 100
        lasting(bench, 0.5)
        bench.turn()
        set_back(bench)
        lasting(bench)
        times.append(until_listed(bench))
    assert max(times) <= LIST_SPREAD_S + 1
    assert len([t for t in times if t <= LIST_SPREAD_S / 2]) < 90


def test_garbage_is_survived():
    bench = Bench("a")
    bench.turn()
    bench.api.events.append([{"type": "ADDED", "object": {"nonsense": True}}])
    assert bench.turn() > 0
    bench.turn()
    assert bench.names() == ["a"]


def test_it_is_stale_once_nothing_answered_for_a_while_and_no_longer_with_the_first_answer():
    bench = Bench("a")
    assert not bench.reflector.is_stale()
    bench.turn()
    bench.now += RELIST_S * 0.4  # a quiet watch is no silence; sooner than the next list, whatever its jitter
    assert not bench.reflector.is_stale()
    bench.api.refuse_watch = bench.api.refuse_list = refusal(None)
    bench.turn()
    assert not bench.reflector.is_stale()
    bench.now += 4
    bench.turn()
    bench.now += 2
    assert bench.reflector.is_stale()
    bench.api.refuse_watch = bench.api.refuse_list = None
    bench.turn()
    assert not bench.reflector.is_stale()


def test_a_watch_that_was_opened_is_an_answer_before_its_first_event():
    bench = Bench("a")
    bench.turn()
    bench.api.refuse_watch = refusal(None)
    bench.turn()
    bench.now += 10
    seen = []

    def silent(_version, _seconds):
        def events():
            seen.append(bench.reflector.is_stale())
            yield from ()

        return events()

    bench.api.watch = silent
    bench.turn()
    assert seen == [False]


def test_an_agent_that_starts_in_an_outage_knows_that_it_is_one():
    bench = Bench("a")
    bench.api.refuse_list = refusal(None)
    bench.turn()
    bench.now += 5
    assert bench.reflector.is_stale()
    assert not bench.store.listed.is_set()
