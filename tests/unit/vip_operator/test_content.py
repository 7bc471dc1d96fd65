"""What API objects may hold is read without an error."""

from datetime import timedelta

import pytest
from vip_operator.plan.content import integer, mapping, parse_time, string

from tests.operator_world import START


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01T00:00:00Z", START),
        ("2026-01-01T00:00:00.000250Z", START + timedelta(microseconds=250)),  # a lease
        ("2026-01-01T01:00:00+01:00", START),
        ("2026-01-01T00:00:00", START),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1767225600, None),
    ],
)
def test_times(text, moment):
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"a": 1}, ({"a": 1}, None, None)),
        ("text", ({}, "text", None)),
        (7, ({}, None, 7)),
        ("", ({}, None, None)),
        (True, ({}, None, None)),
        (1.5, ({}, None, None)),
        ([{}], ({}, None, None)),
        (None, ({}, None, None)),
    ],
    ids=repr,
)
def test_what_is_of_another_type_is_not_there(value, found):
    assert (mapping(value), string(value), integer(value)) == found
