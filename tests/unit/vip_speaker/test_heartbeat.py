"""When the guard calls a router frozen; all on a virtual clock."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vip_speaker.guard import IDLE_LIMIT_NS, LATENESS_MINIMUM_NS, MS, POSTPONEMENTS, SECOND, START_LIMIT_NS, Heartbeat
from vip_speaker.will import freeze_limit_ns

# The machine may be busy: no test here is about its speed.
unhurried = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

START = 1_000 * SECOND


class Clock:
    """A guard and a router on one clock: the router beats every `period_ns` until `frozen_at_ns`."""

    def __init__(self, *, interval_ns: int = 10 * MS) -> None:
        self.interval_ns = interval_ns
        self.idle = False
        self.period_ns = freeze_limit_ns(interval_ns) // 4
        self.heartbeat = Heartbeat(START)
        self.now_ns = START
        self.beat_ns = START
        self.frozen_at_ns = self.resumes_at_ns = 1 << 62

    def turn(self, late_ns: int = 0) -> bool:
        """Sleep to the guard's deadline, and `late_ns` longer, and look."""
        self.now_ns = max(self.now_ns, self.heartbeat.deadline_ns) + late_ns
        alive_ns = self.now_ns if self.now_ns >= self.resumes_at_ns else min(self.now_ns, self.frozen_at_ns)
        self.beat_ns = max(self.beat_ns, alive_ns - alive_ns % self.period_ns)
        return self.look()

    def look(self) -> bool:
        return self.heartbeat.look(
            beat_ns=self.beat_ns, fastest_interval_ns=self.interval_ns, idle=self.idle, now_ns=self.now_ns
        )


def test_a_router_that_beats_is_left_alone():
    clock = Clock()
    assert not any(clock.turn() for _ in range(1000))


@unhurried
@given(interval_ms=st.sampled_from([0, 10, 100, 1000, 40_950]), frozen_after_ms=st.integers(0, 20_000))
def test_a_frozen_router_is_found_in_time(interval_ms, frozen_after_ms):
    clock = Clock(interval_ns=interval_ms * MS)
    clock.frozen_at_ns = START + frozen_after_ms * MS
    while not clock.turn():
        assert clock.now_ns < START + 1_000 * SECOND
    quiet_ns = clock.now_ns - clock.beat_ns
    limit_ns = freeze_limit_ns(clock.interval_ns)
    # A router that freezes right after its first beat is seen by a look that was due then anyway.
    assert limit_ns <= quiet_ns <= limit_ns + (LATENESS_MINIMUM_NS if frozen_after_ms < 100 else 0)


@unhurried
@given(interval_ms=st.sampled_from([0, 10, 100, 1000, 40_950]), frozen_after_ms=st.integers(1_000, 20_000))
def test_a_router_that_holds_nothing_has_two_seconds_at_any_interval(interval_ms, frozen_after_ms):
    """A BACKUP without processor time that was killed for it could not succeed a master: a start takes seconds."""
    clock = Clock(interval_ns=interval_ms * MS)
    clock.idle = True
    clock.frozen_at_ns = START + frozen_after_ms * MS
    while not clock.turn():
        pass
    assert clock.now_ns - clock.beat_ns == max(freeze_limit_ns(clock.interval_ns), IDLE_LIMIT_NS)


@unhurried
@given(interval_ms=st.integers(10, 40_950), idle_ms=st.integers(500, 5_000), holding_ms=st.integers(0, 100))
def test_one_that_was_idle_and_freezes_as_master_is_found_as_soon_as_any(interval_ms, idle_ms, holding_ms):
    clock = Clock(interval_ns=interval_ms * MS)
    clock.period_ns = MS
    clock.idle = True
    promoted_ns = START + idle_ms * MS
    while clock.heartbeat.deadline_ns < promoted_ns:
        assert not clock.turn()
    clock.idle = False
    clock.frozen_at_ns = promoted_ns + holding_ms * MS
    while not clock.turn():
        pass
    assert clock.now_ns - clock.beat_ns == freeze_limit_ns(clock.interval_ns)


@pytest.mark.parametrize("since_look_ms", [0, 60])
@pytest.mark.parametrize("stop_ms", [150, 500, 5_000, 3_600_000])
def test_a_stop_of_both_is_no_death_of_the_router(stop_ms, since_look_ms):
    """SIGSTOP of the whole group, a suspended machine: both go on, and the router beats 80 ms after the guard looks."""
    clock = Clock()
    clock.turn()
    clock.frozen_at_ns = clock.now_ns + since_look_ms * MS
    assert not clock.turn(late_ns=stop_ms * MS)
    clock.resumes_at_ns = clock.now_ns + 80 * MS
    assert not any(clock.turn() for _ in range(100))


def test_after_a_stop_the_guard_is_soon_as_quick_as_before():
    clock = Clock()
    clock.turn()
    clock.turn(late_ns=3600 * SECOND)
    resumed_ns = clock.now_ns
    clock.frozen_at_ns = clock.resumes_at_ns = 1 << 62
    while clock.now_ns < resumed_ns + 10 * SECOND:
        assert not clock.turn()
    clock.frozen_at_ns = clock.now_ns
    while not clock.turn():
        pass
    assert clock.now_ns - clock.beat_ns <= 150 * MS


@given(interval_ms=st.integers(50, 40_950), beats_after_advert_ms=st.integers(0, 40_950))
@unhurried
def test_the_address_is_gone_before_a_peer_takes_over(interval_ms, beats_after_advert_ms):
    """A peer without skew takes over three intervals after the last advertisement, the guard knows only heartbeats."""
    clock = Clock(interval_ns=interval_ms * MS)
    advertised_ns = START + 10 * clock.interval_ns
    clock.period_ns = MS
    clock.frozen_at_ns = advertised_ns + min(beats_after_advert_ms, interval_ms - 1) * MS
    while not clock.turn():
        pass
    assert clock.now_ns < advertised_ns + 3 * clock.interval_ns


def test_a_stop_of_both_that_ends_just_before_the_deadline_is_none_either():
    clock = Clock()
    clock.turn()
    clock.frozen_at_ns = clock.now_ns
    while not clock.heartbeat._suspect:
        assert not clock.turn(late_ns=MS)
    clock.frozen_at_ns = 1 << 62
    assert not any(clock.turn() for _ in range(100))


def test_a_guard_that_is_always_late_finds_it_in_the_end():
    clock = Clock()
    clock.turn()
    clock.frozen_at_ns = clock.now_ns
    turns = 1
    while not clock.turn(late_ns=30 * MS):
        turns += 1
        assert turns < POSTPONEMENTS + 10


def test_a_late_guard_raises_the_floor():
    """Where the guard is regularly 60 ms late, a router at 10 ms gets 240 ms."""
    clock = Clock()
    for _ in range(10):
        assert not clock.turn(late_ns=60 * MS)
    clock.beat_ns = clock.now_ns
    clock.look()
    begin_ns = clock.now_ns
    clock.frozen_at_ns = 0
    while not clock.turn():
        pass
    assert clock.now_ns - begin_ns > 200 * MS


def test_an_early_look_decides_nothing():
    clock = Clock()
    clock.turn()
    clock.frozen_at_ns = 0
    while not clock.heartbeat._suspect:
        clock.turn()
    clock.now_ns += 1
    assert not clock.look()
    clock.now_ns = clock.heartbeat.deadline_ns
    assert clock.look()


def test_a_router_that_never_beats_has_its_start_to_do_it_in():
    heartbeat = Heartbeat(START)
    now_ns = START
    while not heartbeat.look(beat_ns=0, fastest_interval_ns=0, idle=True, now_ns=now_ns):
        now_ns = heartbeat.deadline_ns
    assert now_ns - START == START_LIMIT_NS


def test_the_first_beat_is_seen_soon():
    clock = Clock()
    clock.beat_ns = 0
    clock.look()
    assert clock.heartbeat.deadline_ns - clock.now_ns <= 100 * MS


def test_a_beat_from_the_future_does_not_make_it_immortal():
    clock = Clock()
    clock.beat_ns = 1 << 63
    assert not clock.look()
    clock.frozen_at_ns = 0
    while not clock.turn():
        assert clock.now_ns < START + SECOND
