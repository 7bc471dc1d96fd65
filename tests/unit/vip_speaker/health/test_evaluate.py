"""keepalived's table of weights, row by row."""

from __future__ import annotations

import pytest
from vip_api.model import Track
from vip_speaker.health.evaluate import contribution, evaluate, is_fault
from vip_speaker.health.facts import Fact, Verdict, bad, good, unknown


def track(weight: int, *, reverse: bool = False, name: str = "web", kind: str = "process") -> Track:
    return Track(name=name, kind=kind, check=(), weight=weight, reverse=reverse)


def number(value: int) -> Fact:
    return Fact(verdict=Verdict.BAD if value else Verdict.GOOD, reason=f"holds {value}", number=value)


@pytest.mark.parametrize(
    ("weight", "reverse", "when_good", "when_bad"),
    [
        (10, False, 10, 0),
        (-10, False, 0, -10),
        (10, True, -10, 0),
        (-10, True, 0, 10),
        (253, False, 253, 0),
        (-253, False, 0, -253),
        (0, False, 0, "FAULT"),
        (0, True, "FAULT", 0),
    ],
)
def test_the_table_of_weights(weight, reverse, when_good, when_bad):
    for fact, expected in ((good("x"), when_good), (bad("x"), when_bad)):
        one = track(weight, reverse=reverse)
        assert contribution(one, fact) == (0 if expected == "FAULT" else expected)
        assert is_fault(one, fact) == (expected == "FAULT")
        assert evaluate([(one, fact)]).fault == ("web: x" if expected == "FAULT" else None)


@pytest.mark.parametrize(
    ("weight", "reverse", "value", "expected"),
    [
        (1, False, 10, 10),
        (1, False, 0, 0),
        (2, False, 10, 20),
        (-2, False, 10, -20),
        (2, True, 10, -20),
        (2, False, -10, -20),
        (1, False, 2_000_000_000, 253),
        (-253, False, 253, "FAULT"),
        (1, False, -253, -253),
        (1, False, -254, "FAULT"),
        (-1, False, 254, "FAULT"),
        (2, True, 127, "FAULT"),
        (-2, True, -127, "FAULT"),
        (0, False, 1, "FAULT"),
        (0, False, 0, 0),
        (0, True, 0, "FAULT"),
        (0, True, 1, 0),
    ],
)
def test_a_file_counts_number_times_weight(weight, reverse, value, expected):
    assessment = evaluate([(track(weight, reverse=reverse, kind="file"), number(value))])
    assert assessment.contribution == (-253 * bool(weight) if expected == "FAULT" else expected)
    assert (assessment.fault is not None) == (expected == "FAULT")


@pytest.mark.parametrize("weight", [10, -10, 0])
@pytest.mark.parametrize("reverse", [False, True])
def test_without_a_result_a_weight_counts_nothing_and_weight_zero_waits(weight, reverse):
    assessment = evaluate([(track(weight, reverse=reverse), unknown("has not run yet"))])
    assert (assessment.contribution, assessment.fault) == (0, None)
    assert assessment.waiting == (None if weight else "web: has not run yet")


def test_each_check_of_weight_zero_is_a_fault_of_its_own():
    one, two = track(0, name="one"), track(0, name="two")
    assert evaluate([(one, bad("down")), (two, bad("gone"))]).fault == "one: down; two: gone"
    assert evaluate([(one, good("up")), (two, bad("gone"))]).fault == "two: gone"
    assert evaluate([(one, good("up")), (two, good("there"))]).fault is None


def test_contributions_add_up_and_each_says_why():
    assessment = evaluate([(track(10, name="a"), good("a runs")), (track(-30, name="b"), bad("b does not"))])
    assert assessment.contribution == -20
    assert [(part.name, part.value, part.reason, part.change) for part in assessment.parts] == [
        ("a", 10, "a runs", 0),
        ("b", -30, "b does not", -30),
    ]


@pytest.mark.parametrize(
    ("weight", "reverse", "change"), [(10, False, -10), (-10, False, -10), (10, True, 10), (-10, True, 10)]
)
def test_what_a_bad_check_changes_is_told_whichever_way_it_is_counted(weight, reverse, change):
    one = track(weight, reverse=reverse)
    assert evaluate([(one, bad("x"))]).parts[0].change == change
    assert evaluate([(one, good("x"))]).parts[0].change == 0
    assert evaluate([(one, unknown("x"))]).parts[0].change == 0


def test_a_number_is_well_at_zero():
    assert evaluate([(track(1, kind="file"), number(10))]).parts[0].change == 10
