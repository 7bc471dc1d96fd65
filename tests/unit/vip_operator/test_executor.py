"""The executor: every change tried, failures apart from each other, retried for ever with a growing delay."""

import threading
from dataclasses import replace

import pytest
from vip_operator.api import ApiException
from vip_operator.executor import AT_ONCE, LONGEST_DELAY_S, Executor
from vip_operator.plan.changes import ApplyDaemonSet, ApplyStatus, ClearEntry, DeletePod, Event
from vip_operator.store import VIPS, SetBackError, Store

from tests.operator_world import manifest


class FakeApi:
    def __init__(self):
        self.calls = []
        self.failing = {}
        self.on_call = lambda: None
        self.version = 0

    def _call(self, kind, name):
        self.calls.append((kind, name))
        self.on_call()
        if (kind, name) in self.failing:
            raise self.failing[kind, name]
        self.version += 1
        return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(self.version)}}

    def apply_status(self, name, uid, status):
        return self._call("status", name)

    def clear_entry(self, name, field_manager):
        return self._call("clear", f"{name}/{field_manager}")

    def apply_daemon_set(self, body):
        return self._call("daemonset", body["metadata"]["name"])

    def delete_pod(self, name, uid):
        self._call("pod", name)

    def create_event(self, vip, *, kind, reason, message, at):
        self._call("event", reason)


@pytest.fixture
def bench():
    class Bench:
        now = 0.0
        api = FakeApi()
        store = Store(config_map="cm")

        def __init__(self):
            self.api, self.store = FakeApi(), Store(config_map="cm")
            self.executor = Executor(self.api, self.store, clock=lambda: self.now)

        def run(self, *changes):
            self.api.calls.clear()
            return self.executor.carry_out(changes)

    return Bench()


def status(name, *events):
    return ApplyStatus(vip=name, uid=f"uid-{name}", status={"nodes": []}, events=events)


EVENT = Event(type="Normal", reason="MasterChanged", message="m")


def test_every_kind_is_carried_out(bench):
    changes = (
        ApplyDaemonSet(manifest=manifest()),
        status("web", EVENT),
        ClearEntry(vip="web", node="n", field_manager="m"),
        DeletePod(name="p", uid="u", node="n"),
    )
    assert bench.run(*changes) is None
    kinds = [kind for kind, _ in bench.api.calls]
    assert sorted(kinds[:-1]) == ["clear", "daemonset", "pod", "status"]
    assert kinds.index("status") < kinds.index("clear")
    assert kinds[-1] == "event"


def test_the_answer_is_in_the_store_before_the_watch_shows_it(bench):
    bench.run(status("web"))
    assert bench.store.get(VIPS, "web") is not None


@pytest.mark.parametrize(
    "error", [ApiException(status=403), ApiException(status=404), OSError("reset"), ValueError("?")]
)
def test_one_failure_stops_no_other_and_is_retried(bench, error):
    bench.api.failing["status", "a"] = error
    wait = bench.run(status("a", EVENT), status("b"))
    assert sorted(bench.api.calls) == [("status", "a"), ("status", "b")]
    assert wait is not None
    assert wait <= 0.2
    bench.run(status("a"), status("b"))
    assert bench.api.calls == [("status", "b")]
    bench.now += wait
    del bench.api.failing["status", "a"]
    assert bench.run(status("a", EVENT)) is None
    assert bench.api.calls == [("status", "a"), ("event", "MasterChanged")]


def test_delays_grow_to_a_bound_for_ever(bench):
    bench.api.failing["status", "a"] = ApiException(status=503)
    for _ in range(50):
        bench.now += bench.run(status("a"))
    assert LONGEST_DELAY_S / 2 <= bench.run(status("a")) <= LONGEST_DELAY_S


def test_a_failure_is_forgotten_with_its_change(bench):
    bench.api.failing["status", "a"] = ApiException(status=503)
    bench.run(status("a"))
    assert bench.run() is None
    assert bench.run(status("a")) is not None
    assert bench.api.calls == [("status", "a")]


def test_an_event_that_is_refused_is_no_failure(bench):
    bench.api.failing["event", "MasterChanged"] = ApiException(status=403)
    assert bench.run(status("a", EVENT)) is None


def test_a_turn_ends_and_what_waited_longest_comes_first(bench):
    changes = [status(f"vip{number:02}", EVENT) for number in range(20)]

    def slow():
        bench.now += 0.3

    bench.api.on_call = slow
    served = []
    while len(served) < len(changes):
        assert bench.run(*changes) == 0.0
        names = [name for _, name in bench.api.calls]
        assert 0 < len(names) < 12
        assert not set(names) & set(served)
        served += names
    assert set(served[:2]) <= {"vip00", "vip01", "vip02", "vip03"}


def test_what_nodes_act_on_goes_before_what_people_read(bench):
    def slow():
        bench.now += 0.3

    bench.api.on_call = slow
    told = [replace(status(f"a{number}"), urgent=False) for number in range(8)]
    assert bench.run(*told, status("web")) == 0.0
    assert ("status", "web") in bench.api.calls[:4]
    assert len(bench.api.calls) < 9


def test_events_wait_until_there_is_time_and_are_bounded(bench):
    def slow():
        bench.now += 0.3

    bench.api.on_call = slow
    changes = [status(f"vip{number:02}", EVENT) for number in range(8)]
    assert bench.run(*changes) == 0.0
    assert {kind for kind, _ in bench.api.calls} == {"status"}
    assert bench.executor.has_events
    bench.api.on_call = lambda: None
    written = len(bench.api.calls)
    assert bench.run() is None
    assert bench.api.calls == [("event", "MasterChanged")] * written
    assert not bench.executor.has_events


def test_calls_go_out_beside_each_other(bench):
    together = threading.Barrier(AT_ONCE, timeout=20)
    bench.api.on_call = together.wait
    assert bench.run(*(status(f"vip{number}") for number in range(AT_ONCE))) is None


def test_an_answer_older_than_what_was_known_ends_the_process_instead_of_being_written_again_for_ever(bench):
    bench.run(status("web"))
    bench.run(status("web"))
    bench.api.version = 0  # a backup was restored
    with pytest.raises(SetBackError):
        bench.run(status("web"))
