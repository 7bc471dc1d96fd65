"""Who else serves our addresses, for how long that is said, and how often it is answered."""

from __future__ import annotations

from itertools import pairwise

import pytest
from vip_speaker.router.rivals import CLAIM_LASTS_NS, How, Pacing, Rivals
from vip_speaker.vrrp.types import SECOND


def note(rivals, how=How.ADVERTISES, who="10.0.0.9", *, at_s, interval_s=1.0):
    rivals.note(
        how, who, f"{who} {how}", now_ns=int(at_s * SECOND), wall=1000.0 + at_s, interval_ns=int(interval_s * SECOND)
    )


def test_another_master_is_a_split_brain_once_it_goes_on():
    rivals = Rivals()
    for at_s in (0, 1, 2):
        note(rivals, at_s=at_s)
        assert rivals.split_brain(at_s * SECOND) is None
    note(rivals, at_s=3)
    other = rivals.split_brain(3 * SECOND)
    assert other is not None
    assert (other.who, other.since) == ("10.0.0.9", 1000.0)
    assert rivals.problems(3 * SECOND) == ()


def test_it_is_over_when_it_was_silent_for_four_of_its_intervals_and_ten_seconds():
    rivals = Rivals()
    for interval_s, lasts_s in ((1, 10), (5, 20)):
        for at_s in (0, 3):
            note(rivals, at_s=100 * interval_s + at_s, interval_s=interval_s)
        end_ns = (100 * interval_s + 3 + lasts_s) * SECOND
        assert rivals.next_end_ns(end_ns - 1) == end_ns
        assert rivals.split_brain(end_ns - 1) is not None
        assert rivals.split_brain(end_ns) is None
        assert rivals.next_end_ns(end_ns) is None


@pytest.mark.parametrize("how", [How.OTHER_VERSION, How.OTHER_ROUTER, How.OTHER_ADDRESSES, How.CLAIMS])
def test_everything_else_is_a_sentence_at_once(how):
    rivals = Rivals()
    note(rivals, how, at_s=0)
    assert rivals.problems(0) == (f"10.0.0.9 {how}",)
    note(rivals, how, at_s=4)
    assert (rivals.split_brain(4 * SECOND) is not None) == (how in (How.OTHER_VERSION, How.OTHER_ROUTER))


def test_the_first_of_a_kind_is_told_while_it_goes_on():
    """Whoever invents sources makes the state document no longer, and no busier."""
    rivals = Rivals()
    for number in range(100):
        note(rivals, How.OTHER_ROUTER, f"10.0.0.{number}", at_s=number / 100)
    assert rivals.problems(SECOND) == (f"10.0.0.0 {How.OTHER_ROUTER}",)
    note(rivals, How.OTHER_ROUTER, "10.0.0.7", at_s=20)
    assert rivals.problems(20 * SECOND) == (f"10.0.0.7 {How.OTHER_ROUTER}",)


def test_a_claim_outlives_a_question_without_an_answer():
    rivals = Rivals()
    note(rivals, How.CLAIMS, at_s=0)
    assert rivals.problems(130 * SECOND)
    assert not rivals.problems(CLAIM_LASTS_NS)


def test_what_counts_anew_is_forgotten():
    rivals = Rivals()
    note(rivals, How.CLAIMS, at_s=0)
    note(rivals, How.OTHER_ROUTER, at_s=0)
    rivals.forget(How.CLAIMS, How.ADVERTISES)
    assert rivals.problems(0) == (f"10.0.0.9 {How.OTHER_ROUTER}",)


def test_a_contest_is_answered_slower_and_slower():
    pacing, now_ns, instants = Pacing(), 0, []
    while now_ns < 60 * SECOND:
        at_ns = pacing.contested(now_ns)
        if now_ns >= at_ns:
            pacing.announced(now_ns)
            instants.append(now_ns / SECOND)
        now_ns += SECOND // 100
    gaps = [after - before for before, after in pairwise(instants)]
    assert instants[0] == pytest.approx(0.1)
    assert gaps == pytest.approx([1, 2, 4, 8, 10, 10, 10, 10], abs=0.02)


def test_whoever_falls_silent_is_answered_at_once_and_changes_nothing_for_the_next():
    pacing = Pacing()
    assert pacing.fell_silent(SECOND)
    assert pacing.contested(SECOND + 5) == SECOND + 5 + Pacing.FIRST_NS
    pacing.announced(SECOND + 5 + Pacing.FIRST_NS)
    assert pacing.fell_silent(SECOND + 10), "a second successor gives way to us, after the one that left did"


def test_it_is_answered_three_times_in_ten_seconds_however_often_it_says_so():
    pacing = Pacing()
    instants = [at_ns for at_ns in range(0, 20 * SECOND, SECOND // 100) if pacing.fell_silent(at_ns)]
    assert instants == [
        0,
        SECOND // 100,
        SECOND // 50,
        10 * SECOND,
        10 * SECOND + SECOND // 100,
        10 * SECOND + SECOND // 50,
    ]


def test_after_a_minute_of_peace_it_is_answered_soon_again():
    pacing = Pacing()
    for at_s in (0, 2, 5, 10):
        pacing.announced(max(at_s * SECOND, pacing.contested(at_s * SECOND)))
    assert pacing.contested(11 * SECOND) > 15 * SECOND
    pacing.announced(18 * SECOND)
    assert pacing.contested(80 * SECOND) == 80 * SECOND + Pacing.FIRST_NS
