"""What `kubectl explain` says of a field beside its description."""

import pytest
from vip_api.fields import Flag, Integer, Text


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (Integer(description="How many.", minimum=1, maximum=254, default=8), "How many. 1 to 254, default 8."),
        (Integer(description="How many.", minimum=1, maximum=254), "How many. 1 to 254."),
        (Integer(description="A count.", minimum=0, maximum=1 << 53), "A count."),
        (Integer(description="Which.", minimum=2, maximum=3, choices=(2, 3), default=3), "Which. Default 3."),
        (Flag(description="Whether.", default=False), "Whether. Default false."),
        (Text(description="How long.", max_length=9, default="1s"), "How long. Default 1s."),
        (Text(description="A name.", max_length=9), "A name."),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_bounds_and_default_are_part_of_the_description(field, said):
    assert field.openapi()["description"] == said


def test_what_has_no_description_gets_none():
    assert "description" not in Integer(description="", minimum=1, maximum=2, default=1).openapi()
