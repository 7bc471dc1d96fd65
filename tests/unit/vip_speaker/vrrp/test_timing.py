from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vip_speaker.vrrp.timing import (
    REPLY_BURST,
    REPLY_PERIOD_NS,
    full_bucket,
    longest_skew_ns,
    master_down_interval_ns,
    next_grid_instant_ns,
    own_master_down_interval_ns,
    skew_time_ns,
    take_token,
)
from vip_speaker.vrrp.types import CENTISECOND, MS, SECOND, TokenBucket

from tests.election import config_of

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
