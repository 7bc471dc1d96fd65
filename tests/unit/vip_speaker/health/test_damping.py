from __future__ import annotations

import pytest
from vip_speaker.health.damping import Hold, RiseFall
from vip_speaker.health.facts import bad, good, unknown

G, B = good("g"), bad("b")


@pytest.mark.parametrize(
    ("rise", "fall", "results", "expected"),
    [
        (1, 1, "gbgb", "gbgb"),
        (1, 3, "gbbbg", "gggbg"),
        (2, 3, "gbbgbbbgg", "ggggggbbg"),
        (3, 3, "b", "b"),
        (3, 1, "bggbggg", "bbbbbbg"),
        (255, 255, "gb", "gg"),
    ],
)
def test_rise_and_fall_count_results_in_a_row(rise, fall, results, expected):
    counted = RiseFall(rise=rise, fall=fall, first=unknown("not yet"))
    facts = {"g": G, "b": B}
    assert "".join(counted.put(facts[one]).reason for one in results) == expected


@pytest.mark.parametrize(
    ("rise", "fall", "results", "expected"), [(3, 1, "ggg", "--g"), (1, 1, "g", "g"), (2, 3, "gbgg", "-bbg")]
)
def test_what_begins_as_failed_has_to_rise(rise, fall, results, expected):
    counted = RiseFall(rise=rise, fall=fall, first=bad("-"))
    facts = {"g": G, "b": B}
    assert "".join(counted.put(facts[one]).reason for one in results) == expected


@pytest.mark.parametrize(("rise", "fall", "results", "expected"), [(3, 3, "b", "b"), (3, 3, "ggg", "--g")])
def test_what_is_assumed_instead_of_results_counts_like_them(rise, fall, results, expected):
    counted = RiseFall(rise=rise, fall=fall, first=unknown("not yet"))
    facts = {"g": G, "b": B}
    for one in "gb":
        counted.put(facts[one])
    counted.assume(bad("-"))
    assert "".join(counted.put(facts[one]).reason for one in results) == expected


def test_the_first_result_of_all_decides_also_after_an_assumption():
    counted = RiseFall(rise=3, fall=3, first=unknown("not yet"))
    assert counted.assume(B) is B
    assert counted.put(G) is G


def test_a_check_that_flaps_changes_once_per_interval():
    hold = Hold(G, interval_ns=1000)
    assert hold.put(B, 0)
    assert hold.fact is B
    assert not hold.put(G, 300)
    assert (hold.fact, hold.deadline_ns) == (B, 1000)
    assert not hold.put(B, 600)
    assert hold.deadline_ns is None, "it is again as it was"
    assert not hold.put(G, 900)
    assert not hold.look(999)
    assert hold.look(1000)
    assert hold.fact is G
    assert hold.put(B, 2000), "an interval later"


def test_what_is_urgent_does_not_wait():
    hold = Hold(G, interval_ns=1000)
    assert hold.put(B, 0)
    assert not hold.put(G, 500)
    assert hold.look(1000)
    assert hold.put(B, 1001, urgent=True)
    assert hold.fact is B


def test_a_first_result_is_no_change():
    hold = Hold(unknown("not yet"), interval_ns=1000)
    assert hold.put(G, 0)
    assert hold.put(B, 1)


def test_another_reason_shows_at_once():
    hold = Hold(G, interval_ns=1000)
    assert hold.put(B, 0)
    other = bad("still, for another reason")
    assert hold.put(other, 1)
    assert hold.fact is other
    assert not hold.put(other, 2)
