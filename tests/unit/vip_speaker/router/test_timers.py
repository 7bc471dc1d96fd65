import pytest
from vip_speaker.router.timers import Deadline, TimerQueue


def recorder(log, name):
    return Deadline(lambda now_ns: log.append((name, now_ns)))


def test_deadlines_run_in_the_order_of_their_instants():
    queue, log = TimerQueue(), []
    late, early = recorder(log, "late"), recorder(log, "early")
    queue.set(late, 20)
    queue.set(early, 10)
    assert queue.next_at_ns() == 10
    queue.run_due(30)
    assert log == [("early", 30), ("late", 30)]
    assert queue.next_at_ns() is None


def test_what_is_not_due_waits():
    queue, log = TimerQueue(), []
    queue.set(recorder(log, "a"), 10)
    queue.run_due(9)
    assert log == []
    assert queue.next_at_ns() == 10


def test_a_deadline_that_was_moved_does_not_run_at_its_former_instant():
    queue, log = TimerQueue(), []
    deadline = recorder(log, "a")
    queue.set(deadline, 10)
    queue.set(deadline, 50)
    queue.run_due(20)
    assert log == []
    queue.run_due(50)
    assert log == [("a", 50)]


def test_a_deadline_that_was_withdrawn_does_not_run():
    queue, log = TimerQueue(), []
    deadline = recorder(log, "a")
    queue.set(deadline, 10)
    queue.set(deadline, None)
    queue.run_due(20)
    assert log == []


def test_a_callback_that_sets_its_deadline_to_now_does_not_starve_the_others():
    queue, log = TimerQueue(), []

    def again(now_ns):
        log.append("again")
        queue.set(busy, now_ns)

    busy = Deadline(again)
    queue.set(busy, 10)
    queue.set(recorder(log, "other"), 10)
    queue.run_due(10)
    assert log == ["again", ("other", 10)]
    assert queue.next_at_ns() == 10


@pytest.mark.parametrize("instants", [(None,), (99,), (None, 99), (99, None), (15,)])
def test_a_callback_can_withdraw_or_move_another_that_is_due(instants):
    queue, log = TimerQueue(), []
    second = recorder(log, "second")

    def first(_now_ns):
        for at_ns in instants:
            queue.set(second, at_ns)

    queue.set(Deadline(first), 10)
    queue.set(second, 11)
    queue.run_due(20)
    assert log == []
    assert queue.next_at_ns() == instants[-1]
    queue.run_due(99)
    assert log == ([("second", 99)] if instants[-1] else [])


def test_a_deadline_that_was_withdrawn_while_due_can_be_set_again():
    queue, log = TimerQueue(), []
    second = recorder(log, "second")
    queue.set(Deadline(lambda _: queue.set(second, None)), 10)
    queue.set(second, 10)
    queue.run_due(10)
    queue.set(second, 20)
    queue.run_due(20)
    assert log == [("second", 20)]


def test_setting_the_same_instant_again_leaves_one_entry():
    queue, log = TimerQueue(), []
    deadline = recorder(log, "a")
    for _ in range(1000):
        queue.set(deadline, 10)
    assert len(queue._heap) == 1
    queue.run_due(10)
    assert log == [("a", 10)]
