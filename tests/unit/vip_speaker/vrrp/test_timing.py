from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vip_speaker.vrrp.timing import (
    REPLY_BURST,
    REPLY_PERIOD_NS,
    SQUEEZE_NS,
    STANDOFF_NS,
    STANDOFF_PEERS,
    SUCCESSOR_MARGIN_NS,
    full_bucket,
    longest_skew_ns,
    master_down_interval_ns,
    next_grid_instant_ns,
    own_master_down_interval_ns,
    skew_time_ns,
    standoff_ns,
    take_token,
)
from vip_speaker.vrrp.types import CENTISECOND, MS, SECOND, Peer, TokenBucket

from tests.election import HIGHER_ADDRESS, LOWER_ADDRESS, OURS, config_of

PRIORITIES = st.integers(1, 255)
INTERVALS = st.integers(1, 4095).map(lambda centiseconds: centiseconds * CENTISECOND)


@pytest.mark.parametrize(
    ("interval_ns", "priority", "skew_ms", "down_ms"),
    [  # the table of keepalived's figures, to the hundredth of a millisecond
        (SECOND, 100, 609.38, 3609.38),
        (SECOND, 200, 218.75, 3218.75),
        (SECOND, 254, 7.81, 3007.81),
        (100 * MS, 100, 60.94, 360.94),
        (100 * MS, 254, 0.78, 300.78),
        (10 * MS, 100, 6.09, 36.09),
        (10 * MS, 254, 0.08, 30.08),
    ],
)
def test_version_3_scales_the_skew_with_the_interval(interval_ns, priority, skew_ms, down_ms):
    assert skew_time_ns(version=3, priority=priority, interval_ns=interval_ns) / MS == pytest.approx(skew_ms, abs=0.006)
    down_ns = master_down_interval_ns(version=3, priority=priority, interval_ns=interval_ns)
    assert down_ns / MS == pytest.approx(down_ms, abs=0.006)


@pytest.mark.parametrize("interval_ns", [SECOND, 10 * SECOND])
def test_version_2_counts_the_skew_in_seconds(interval_ns):
    assert skew_time_ns(version=2, priority=100, interval_ns=interval_ns) == 609_375_000
    assert master_down_interval_ns(version=2, priority=100, interval_ns=interval_ns) == 3 * interval_ns + 609_375_000


@given(PRIORITIES, INTERVALS, st.sampled_from((2, 3)))
def test_the_skew_is_exact_to_the_nanosecond_and_never_the_longest(priority, interval_ns, version):
    exact = Fraction(256 - priority, 256) * (SECOND if version == 2 else interval_ns)
    skew_ns = skew_time_ns(version=version, priority=priority, interval_ns=interval_ns)
    assert 0 <= exact - skew_ns < 1
    assert 0 < skew_ns < longest_skew_ns(version=version, interval_ns=interval_ns)


@given(PRIORITIES.filter(lambda priority: priority > 1), INTERVALS, st.sampled_from((2, 3)))
def test_a_higher_priority_always_waits_less(priority, interval_ns, version):
    better = skew_time_ns(version=version, priority=priority, interval_ns=interval_ns)
    worse = skew_time_ns(version=version, priority=priority - 1, interval_ns=interval_ns)
    assert better < worse


def test_own_master_down_interval():
    assert own_master_down_interval_ns(config_of(3, advertisement_interval_ns=100 * MS)) == 360_937_500
    assert own_master_down_interval_ns(config_of(2)) == 3_609_375_000


@given(st.integers(0, 10**15), INTERVALS, st.integers(0, 10**12))
def test_the_next_slot_is_the_first_of_the_grid_after_now(due_ns, interval_ns, late_ns):
    now_ns = due_ns + late_ns
    slot_ns = next_grid_instant_ns(due_ns, interval_ns=interval_ns, now_ns=now_ns)
    assert (slot_ns - due_ns) % interval_ns == 0
    assert now_ns < slot_ns <= now_ns + interval_ns


def test_a_burst_and_then_one_per_period():
    bucket, answered = full_bucket(0), 0
    for now_ms in range(1000):
        taken = take_token(bucket, now_ms * MS)
        if taken is not None:
            bucket, answered = taken, answered + 1
    assert answered == REPLY_BURST + 9  # the burst at 0 ms, then at 100, 200 … 900 ms


@given(st.lists(st.integers(0, 10**9), max_size=200))
def test_no_pattern_of_arrivals_gets_more_than_burst_and_rate(gaps_ns):
    bucket, now_ns, taken_at = full_bucket(0), 0, []
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        taken = take_token(bucket, now_ns)
        if taken is not None:
            bucket = taken
            taken_at.append(now_ns)
    for first, at_ns in enumerate(taken_at):
        for count, later_ns in enumerate(taken_at[first:], start=1):
            assert count <= REPLY_BURST + 1 + (later_ns - at_ns) // REPLY_PERIOD_NS


def test_an_unused_bucket_does_not_overflow():
    bucket = take_token(TokenBucket(tokens=0, at_ns=0), 3600 * SECOND)
    assert bucket == TokenBucket(tokens=REPLY_BURST - 1, at_ns=3600 * SECOND)


def test_a_bucket_that_is_just_full_forgets_the_rest():
    late_ns = REPLY_PERIOD_NS + 50 * MS
    taken = take_token(TokenBucket(tokens=REPLY_BURST - 1, at_ns=0), late_ns)
    assert taken == TokenBucket(tokens=REPLY_BURST - 1, at_ns=late_ns)


def test_what_was_earned_in_part_is_kept():
    bucket = TokenBucket(tokens=0, at_ns=0)
    assert take_token(bucket, REPLY_PERIOD_NS - 1) is None
    assert take_token(bucket, REPLY_PERIOD_NS + 30 * MS) == TokenBucket(tokens=0, at_ns=REPLY_PERIOD_NS)


class TestStandOff:
    def test_nobody_is_waited_for_who_was_not_named(self):
        assert standoff_ns(config_of()) == 0

    def test_better_ones_go_first(self):
        peers = tuple(Peer(priority=priority) for priority in (102, 101, 99, 50))
        assert standoff_ns(config_of(priority=100, peers=peers)) == 2 * STANDOFF_NS

    def test_the_master_that_goes_is_not_one_of_them(self):
        peers = (Peer(priority=200, address=HIGHER_ADDRESS), Peer(priority=150, address=LOWER_ADDRESS))
        config = config_of(peers=peers)
        assert standoff_ns(config, HIGHER_ADDRESS) == STANDOFF_NS
        assert standoff_ns(config, LOWER_ADDRESS, HIGHER_ADDRESS) == 0

    def test_one_whose_address_is_not_known_counts_whoever_goes(self):
        assert standoff_ns(config_of(peers=(Peer(priority=200),)), HIGHER_ADDRESS, None) == STANDOFF_NS

    @pytest.mark.parametrize(
        ("address", "waits"), [(HIGHER_ADDRESS, STANDOFF_NS), (LOWER_ADDRESS, 0), (OURS, 0), (None, 0)]
    )
    def test_equal_priorities_go_by_address(self, address, waits):
        assert standoff_ns(config_of(peers=(Peer(priority=100, address=address),))) == waits

    def test_however_many_there_are_it_stays_within_a_squeeze_and_a_leavers_patience(self):
        config = config_of(priority=1, peers=tuple(Peer(priority=priority) for priority in range(2, 255)))
        assert standoff_ns(config) == STANDOFF_PEERS * STANDOFF_NS
        assert 4 * CENTISECOND + standoff_ns(config) <= SQUEEZE_NS
        assert standoff_ns(config) < SUCCESSOR_MARGIN_NS

    @given(st.lists(st.integers(1, 254), min_size=2, max_size=STANDOFF_PEERS + 1, unique=True), st.data())
    def test_routers_that_know_of_each_other_take_turns_by_priority(self, priorities, data):
        """Whoever gives up: the others' stand-offs are 0, 1, 2 … times its unit, best first."""
        addresses = {priority: OURS + priority for priority in priorities}
        leaver = data.draw(st.sampled_from(priorities))
        waits = {
            mine: standoff_ns(
                config_of(
                    priority=mine,
                    primary_address=addresses[mine],
                    peers=tuple(Peer(priority=one, address=addresses[one]) for one in priorities if one != mine),
                ),
                addresses[leaver],
            )
            for mine in priorities
            if mine != leaver
        }
        assert [waits[one] for one in sorted(waits, reverse=True)] == [n * STANDOFF_NS for n in range(len(waits))]
