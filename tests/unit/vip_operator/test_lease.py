"""The lease: one writer at a time, nothing written while there is nothing to write, and a quick change of hands."""

import copy

import pytest
from vip_operator.api import WRITE_S, ApiException
from vip_operator.executor import TURN_S
from vip_operator.lease import DURATION_S, GIVE_BACK_AFTER_S, RENEW_AFTER_S, Hold, Lease
from vip_operator.loop import Loop
from vip_operator.plan import Plan
from vip_operator.plan.changes import ClearEntry
from vip_operator.store import Store


class FakeLeases:
    """The API's Lease, with its optimistic locking."""

    namespace = "vrrp"

    def __init__(self):
        self.lease = None
        self.writes = 0
        self.down = False
        self.config_map = {"metadata": {"name": "speaker", "uid": "u1"}}

    def request(self, method, path, *, body=None, **_):
        if self.down:
            raise ApiException(status=503)
        if path == "/api/v1/namespaces/vrrp/configmaps/speaker" and self.config_map is not None:
            return self.config_map
        if method == "GET":
            if self.lease is None or "configmaps" in path:
                raise ApiException(status=404)
            return copy.deepcopy(self.lease)
        if method == "POST" and self.lease is not None:
            raise ApiException(status=409)
        if method == "PUT" and body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiException(status=409)
        self.writes += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.writes)
        return self.lease

    def write(self, method, path, *, body):
        self.on_write()
        answer = self.request(method, path, body=body)
        self.on_answer()
        return answer

    def on_write(self):
        pass

    def on_answer(self):
        pass


@pytest.fixture
def bench():
    class Bench:
        now = 0.0
        api = FakeLeases()

        def lease(self, holder):
            return Lease(self.api, name="lease", holder=holder, config_map="speaker", clock=lambda: self.now)

    Bench.api = FakeLeases()
    return Bench()


def test_who_writes_again_has_missed_nothing(bench):
    a = bench.lease("a")
    assert not a.is_incumbent
    assert a.take() is Hold.TAKEN_OVER
    assert a.take() is Hold.MINE
    bench.now += GIVE_BACK_AFTER_S
    assert a.give_back_if_idle() is None
    assert a.take() is Hold.MINE
    assert a.is_incumbent


def test_it_goes_with_the_speakers_template(bench):
    bench.lease("a").take()
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "speaker", "uid": "u1"}
    assert bench.api.lease["metadata"]["ownerReferences"] == [owner]
    bench.now += DURATION_S
    bench.api.config_map = {"metadata": {"name": "speaker", "uid": "u2"}}
    bench.lease("b").take()
    bench.now += DURATION_S
    bench.lease("b").take()
    # who changes an owner may need the right to delete
    assert bench.api.lease["metadata"]["ownerReferences"] == [owner]


def test_without_a_template_it_has_no_owner_and_is_taken_all_the_same(bench):
    bench.api.config_map = None
    assert bench.lease("a").take() is Hold.TAKEN_OVER
    assert bench.api.lease["metadata"]["ownerReferences"] == []


def test_one_that_is_deleted_while_it_is_held_is_not_made_anew_before_its_time(bench):
    """The garbage collector deletes it when the chart is removed and installed again in the same moment."""
    a, b = bench.lease("a"), bench.lease("b")
    a.take()
    assert b.take() is Hold.REFUSED
    bench.api.lease = None
    bench.now += RENEW_AFTER_S / 2
    assert a.take() is Hold.MINE, "it does not know"
    assert b.take() is Hold.REFUSED
    bench.now += RENEW_AFTER_S
    assert a.take() is Hold.REFUSED
    bench.now += DURATION_S
    assert b.take() is Hold.TAKEN_OVER
    assert a.take() is Hold.REFUSED


def test_only_one_has_it(bench):
    a, b = bench.lease("a"), bench.lease("b")
    a.take()
    assert b.take() is Hold.REFUSED
    assert not b.is_incumbent
    bench.now += GIVE_BACK_AFTER_S
    a.give_back_if_idle()
    assert b.take() is Hold.TAKEN_OVER
    assert a.take() is Hold.REFUSED
    assert not a.is_incumbent


def test_who_comes_back_after_another_wrote_has_to_look_again(bench):
    a, b = bench.lease("a"), bench.lease("b")
    for one in (a, b, a):
        assert one.take() is Hold.TAKEN_OVER
        one.give_back()


def test_one_that_vanished_is_succeeded_after_its_time_by_our_own_clock(bench):
    a, b = bench.lease("a"), bench.lease("b")
    a.take()
    assert b.take() is Hold.REFUSED
    bench.now += DURATION_S - 0.1
    assert b.take() is Hold.REFUSED
    bench.now += 0.1
    assert b.take() is Hold.TAKEN_OVER


def test_one_that_lives_is_not_succeeded(bench):
    a, b = bench.lease("a"), bench.lease("b")
    for _ in range(20):
        assert a.take() in (Hold.MINE, Hold.TAKEN_OVER)
        assert b.take() is Hold.REFUSED
        bench.now += RENEW_AFTER_S


def test_it_is_renewed_before_it_could_expire_and_not_for_every_write(bench):
    a = bench.lease("a")
    a.take()
    for _ in range(10):
        a.take()
    assert bench.api.writes == 1
    bench.now += RENEW_AFTER_S
    a.take()
    assert bench.api.writes == 2


def test_idle_costs_one_write_and_then_none(bench):
    a = bench.lease("a")
    a.take()
    assert a.give_back_if_idle() == GIVE_BACK_AFTER_S
    bench.now += GIVE_BACK_AFTER_S
    assert a.give_back_if_idle() is None
    assert bench.api.lease["spec"]["holderIdentity"] == ""
    for _ in range(10):
        bench.now += 60
        assert a.give_back_if_idle() is None
    assert bench.api.writes == 2


def test_a_race_is_lost_without_an_error(bench):
    a, b = bench.lease("a"), bench.lease("b")
    a.take()
    a.give_back()
    get = bench.api.request

    def raced(method, path, **options):
        answer = get(method, path, **options)
        if method == "GET":
            bench.api.request = get
            a.take()
        return answer

    bench.api.request = raced
    assert b.take() is Hold.REFUSED
    assert a.take() is Hold.MINE


def test_whose_answer_was_lost_is_told_of_the_other_writer_all_the_same(bench):
    """The API server has the lease as ours, so by it nobody else wrote; but what was planned is from before that."""
    a, b = bench.lease("a"), bench.lease("b")
    for one in (a, b):
        one.take()
        one.give_back()

    def lost():
        raise ApiException(status=0)

    bench.api.on_answer = lost
    with pytest.raises(ApiException):
        a.take()
    bench.api.on_answer = lambda: None
    assert bench.api.lease["spec"]["holderIdentity"] == "a"
    assert a.take() is Hold.TAKEN_OVER
    assert a.take() is Hold.MINE


def test_an_answer_that_took_too_long_gives_no_right_to_write(bench):
    """Its time counts from before it was asked for: another one may have it by the time that the answer is here."""
    a, b = bench.lease("a"), bench.lease("b")

    def slow():
        assert b.take() is Hold.REFUSED
        bench.now += DURATION_S

    bench.api.on_answer = slow
    assert a.take() is Hold.REFUSED
    bench.api.on_answer = lambda: None
    assert b.take() is Hold.TAKEN_OVER
    assert a.take() is Hold.REFUSED


def test_another_s_time_counts_from_after_the_look_at_it(bench):
    """It may have renewed at any moment before the answer."""
    a, b = bench.lease("a"), bench.lease("b")
    a.take()
    request = bench.api.request

    def slow(method, path, **options):
        answer = request(method, path, **options)
        bench.now += 2
        return answer

    bench.api.request = slow
    assert b.take() is Hold.REFUSED
    bench.api.request = request
    bench.now += DURATION_S - 0.1
    assert b.take() is Hold.REFUSED
    bench.now += 0.1
    assert b.take() is Hold.TAKEN_OVER


def test_a_write_that_begins_last_ends_before_the_lease():
    """Renewed so long ago, begun so late in its turn, given up by us, then by an API server that had it just before."""
    assert RENEW_AFTER_S + TURN_S + 2 * WRITE_S <= DURATION_S


def test_an_outage_is_the_callers_to_retry_and_giving_back_never_fails(bench):
    a = bench.lease("a")
    a.take()
    bench.api.down = True
    a.give_back()
    with pytest.raises(ApiException):
        a.take()
    bench.api.down = False
    assert a.take() is Hold.MINE


def test_the_time_that_writing_takes_is_not_idle(bench):
    """A turn that is longer than the idle time would hand the lease to the other replica between any two turns."""
    a = bench.lease("a")
    loop = Loop(bench.api, Store(config_map="cm"), a, config_map="cm", ask_anew=lambda _: None)
    a.take()

    class SlowExecutor:
        has_events = False

        def carry_out(self, _changes):
            bench.now += 4 * GIVE_BACK_AFTER_S
            return 0.0

    loop._executor = SlowExecutor()
    change = ClearEntry(vip="web", node="n", field_manager="m")
    assert loop._carry_out(Plan(changes=(change,)), "cluster") == 0.0
    assert a.give_back_if_idle() == pytest.approx(GIVE_BACK_AFTER_S)
    bench.now += 2 * GIVE_BACK_AFTER_S
    assert a.give_back_if_idle() is None


def test_nothing_is_written_under_a_lease_that_ran_out_while_the_list_was_read(bench, monkeypatch):
    """An API server that is slow: the list after a takeover takes longer than the lease lasts."""
    a, b = bench.lease("a"), bench.lease("b")
    loop = Loop(bench.api, Store(config_map="cm"), a, config_map="cm", ask_anew=lambda _: None)
    plan = Plan(changes=(ClearEntry(vip="web", node="n", field_manager="m"),))
    written = []

    class Executor:
        has_events = False

        def carry_out(self, changes):
            written.append(changes)

    def slow_list(_kind):
        assert b.take() is Hold.REFUSED
        bench.now += DURATION_S
        assert b.take() is Hold.TAKEN_OVER

    loop._executor = Executor()
    monkeypatch.setattr(loop, "_list", slow_list)
    monkeypatch.setattr(loop, "_plan", lambda _cluster: plan)
    loop._deferred = True
    loop._carry_out(plan, "cluster")
    assert written == []


def test_the_lease_is_renewed_where_reading_the_list_took_a_while(bench, monkeypatch):
    a = bench.lease("a")
    loop = Loop(bench.api, Store(config_map="cm"), a, config_map="cm", ask_anew=lambda _: None)
    plan = Plan(changes=(ClearEntry(vip="web", node="n", field_manager="m"),))
    written = []

    class Executor:
        has_events = False

        def carry_out(self, changes):
            written.append((changes, bench.now - a._renewed_at))

    def slow_list(_kind):
        bench.now += DURATION_S - 1

    loop._executor = Executor()
    monkeypatch.setattr(loop, "_list", slow_list)
    monkeypatch.setattr(loop, "_plan", lambda _cluster: plan)
    loop._deferred = True
    loop._carry_out(plan, "cluster")
    assert written == [(plan.changes, 0.0)]


def test_a_list_that_fails_after_a_takeover_is_read_before_anything_is_written(bench, monkeypatch):
    a = bench.lease("a")
    loop = Loop(bench.api, Store(config_map="cm"), a, config_map="cm", ask_anew=lambda _: None)
    plan = Plan(changes=(ClearEntry(vip="web", node="n", field_manager="m"),))
    done = []

    class Executor:
        has_events = False

        def carry_out(self, _changes):
            done.append("write")

    def failing_list(_kind):
        raise ApiException(status=503)

    loop._executor = Executor()
    monkeypatch.setattr(loop, "_list", failing_list)
    monkeypatch.setattr(loop, "_plan", lambda _cluster: plan)
    loop._deferred = True
    with pytest.raises(ApiException):
        loop._carry_out(plan, "cluster")
    monkeypatch.setattr(loop, "_list", lambda _kind: done.append("list"))
    loop._carry_out(plan, "cluster")
    assert done == ["list", "write"]
