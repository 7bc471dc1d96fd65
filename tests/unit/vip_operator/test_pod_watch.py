"""Counting ready pods: lists, events and what an API that does not answer leaves."""

from kubernetes.client import ApiException
from vip_api.model import LabelSelector
from vip_operator.plan.world import PodQuery
from vip_operator.pod_watch import FORGET_AFTER_S, LASTED_S, LONGEST_DELAY_S, PodCounter, PodWatch

QUERY = PodQuery(namespace="shop", selector=LabelSelector(match_labels=(("app", "web"),)))


def pod(uid, node="node1", *, ready=True, deleting=False):
    metadata = {"uid": uid, **({"deletionTimestamp": "now"} if deleting else {})}
    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": status}


class FakePods:
    def __init__(self):
        self.pods, self.events, self.error, self.asked = [], [], None, []

    def list_pods(self, namespace, selector):
        self.asked.append((namespace, selector))
        if self.error is not None:
            raise self.error
        return self.pods, "7"

    def watch_pods(self, namespace, selector, version):
        assert version == "7"
        yield from self.events


def refuse(*_):
    raise ApiException(status=403, reason="Forbidden")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def counter(source, clock=None):
    return PodCounter(source, QUERY, lambda: None, clock=clock or Clock())


def test_ready_pods_that_stay_are_counted_by_node():
    source = FakePods()
    source.pods = [pod("a"), pod("b"), pod("c", "node2"), pod("d", ready=False), pod("e", deleting=True)]
    found = counter(source)
    assert found.ready() is None
    found.turn()
    assert source.asked == [("shop", "app=web")]
    assert found.ready() == {"node1": 2, "node2": 1}


def test_events_change_the_count_and_only_what_matters_is_told():
    source, told = FakePods(), []
    found = PodCounter(source, QUERY, lambda: told.append(found.ready()))
    source.pods = [pod("a")]
    source.events = [
        {"type": "MODIFIED", "object": pod("a")},
        {"type": "ADDED", "object": pod("b", ready=False)},
        {"type": "MODIFIED", "object": pod("b")},
        {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "5"}}},
        {"type": "MODIFIED", "object": pod("a", deleting=True)},
        {"type": "DELETED", "object": pod("a")},
        {"type": "DELETED", "object": pod("b")},
    ]
    found.turn()
    assert told == [{"node1": 1}, {"node1": 2}, {"node1": 1}, {}]


def test_an_error_in_the_watch_lists_again():
    source = FakePods()
    source.events = [{"type": "ERROR", "object": {"code": 410}}, {"type": "ADDED", "object": pod("a")}]
    found = counter(source)
    assert found.turn() <= 1
    assert found.ready() == {}


def test_a_watch_that_always_ends_at_once_is_asked_for_less_and_less_often_and_what_was_listed_counts():
    """Whoever may list and not watch, or a proxy that holds nothing open."""
    source, told = FakePods(), []
    source.watch_pods = refuse
    found = PodCounter(source, QUERY, lambda: told.append((found.ready(), found.problem)), clock=Clock())
    delays = [found.turn() for _ in range(8)]
    assert 0 < delays[0] <= 1
    assert delays[-1] >= LONGEST_DELAY_S / 2
    assert set(map(str, told)) == {"({}, '')"}


def test_a_watch_that_lasted_is_followed_by_the_next_at_once():
    source, clock = FakePods(), Clock()
    found = counter(source, clock=clock)
    source.watch_pods = lambda *_: (setattr(clock, "now", clock.now + LASTED_S), iter(()))[1]
    assert found.turn() == 0


def test_an_outage_is_waited_for_before_the_count_is_given_up():
    source, clock = FakePods(), Clock()
    source.pods = [pod("a")]
    found = counter(source, clock=clock)
    found.turn()
    source.error = OSError("refused")
    assert found.turn() > 0
    clock.now = FORGET_AFTER_S - 1
    found.turn()
    assert found.ready() == {"node1": 1}
    assert found.problem == ""
    clock.now = FORGET_AFTER_S
    found.turn()
    assert found.ready() is None
    assert found.problem == "pods of namespace shop: OSError"
    source.error = None
    found.turn()
    assert found.ready() == {"node1": 1}
    assert found.problem == ""


def test_what_is_forbidden_is_said_at_once_and_once():
    source, told = FakePods(), []
    source.error = ApiException(status=403, reason="Forbidden")
    found = PodCounter(source, QUERY, lambda: told.append(1))
    found.turn()
    found.turn()
    assert "rbac.podNamespaces" in found.problem
    assert told == [1]


def test_what_nobody_asks_for_any_more_is_followed_no_longer():
    source = FakePods()
    source.error = ApiException(status=403, reason="Forbidden")
    watch = PodWatch(source, lambda: None)
    watch.want(frozenset({QUERY}))
    (followed,) = watch._counters.values()
    watch.want(frozenset())
    assert followed.stopped.is_set()
    assert watch.ready() == watch.problems() == {}
