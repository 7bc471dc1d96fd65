"""The state document: what is said is read, and parsing takes whatever another wrote."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vip_speaker.statefile import Contribution, PriorityParts, VirtualIPState, check_changes, parse_state, timestamp


def test_what_is_said_is_read_as_it_was():
    """docs/state-file.md shows a document with every field."""
    text = (Path(__file__).parents[3] / "docs" / "state-file.md").read_text()
    shown = json.loads(text.split("```json\n")[1].split("```")[0])
    parsed = parse_state(shown)
    assert isinstance(parsed, VirtualIPState)
    assert json.loads(json.dumps(asdict(parsed))) == shown
    assert all(asdict(parsed).values())
    bare = VirtualIPState(name="web", state="INIT")
    assert parse_state(json.loads(json.dumps(asdict(bare)))) == bare


@pytest.mark.parametrize(
    ("field", "inner"),
    [("link", {"heard": [{"vrid": "7"}]}), ("link", {"subnets": [1]}), ("priorityParts", {"contributions": [1]})],
)
def test_inner_fields_are_looked_at_too(field, inner):
    parsed = parse_state({"name": "web", "state": "BACKUP", field: inner})
    assert isinstance(parsed, str)
    assert parsed.endswith(" has the wrong type")


def test_what_checks_change_is_said_with_its_reason():
    contributions = (
        Contribution(name="httpd", value=0, reason="httpd not running", change=-10),
        Contribution(name="uplink", value=5, change=5),
        Contribution(name="disk", value=3),
    )
    parts = PriorityParts(base=100, contributions=contributions)
    state = VirtualIPState(name="web", state="BACKUP", priorityParts=parts)
    assert check_changes(state) == ["httpd not running: -10", "uplink: +5"]
    assert check_changes(VirtualIPState(name="web", state="BACKUP")) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted(set(json.loads(json.dumps(dict.fromkeys(VirtualIPState.__slots__, 0)))))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_parsing_is_total(document):
    document = {"name": "web", "state": "BACKUP", **document}
    parsed = parse_state(document)
    assert isinstance(parsed, VirtualIPState | str)


@pytest.mark.parametrize("field", ["uid", "observedGeneration", "addresses", "link", "splitBrain", "priorityParts"])
def test_a_field_of_the_wrong_type_is_named(field):
    parsed = parse_state({"name": "web", "state": "BACKUP", field: 1.5})
    assert parsed == f"{field} has the wrong type"


def test_fields_of_a_newer_router_are_ignored():
    assert parse_state({"name": "web", "state": "INIT", "colour": "red"}) == VirtualIPState(name="web", state="INIT")


def test_timestamps_are_micro_times():
    assert timestamp(1_795_456_800.000_001) == "2026-11-23T18:00:00.000001Z"
