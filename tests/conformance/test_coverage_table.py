"""docs/rfc-coverage.md names every row once, and only tests that exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLE = (TESTS.parent / "docs" / "rfc-coverage.md").read_text(encoding="utf-8")
STATE_MACHINE = [
    f"SM-{number:02}" for number in (*range(1, 5), *range(10, 13), *range(20, 29), *range(30, 42), *range(50, 59))
]
SHORT = {  # as the page abbreviates
    "receive": "conformance/test_receive.py",
    "attacks": "conformance/test_attacks.py",
    "sockets": "unit/vip_speaker/link/test_sockets.py",
}
NAMED = sorted(
    set(re.findall(r"`([a-z_/]+\.py)::(\w+)`", TABLE))
    | {(SHORT[short], name) for short, name in re.findall(r"(receive|attacks|sockets) `(\w+)\*?`", TABLE)}
)


def test_every_row_of_the_state_machine_is_there_once():
    rows = Counter(re.findall(r"^\| (SM-\d\d) \|", TABLE, flags=re.MULTILINE))
    assert rows == Counter(STATE_MACHINE)


def test_every_received_packet_rule_and_every_attack_is_there_once():
    rows = Counter(re.findall(r"^\| (RV-\d\d|A\d+) \|", TABLE, flags=re.MULTILINE))
    assert rows == Counter([f"RV-{number:02}" for number in range(1, 21)] + [f"A{number}" for number in range(1, 16)])


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_is_named_exists(file: str, name: str):
    source = (TESTS / file).read_text(encoding="utf-8")
    assert re.search(rf"^(def|class) {name}", source, flags=re.MULTILINE), f"{file} has no {name}"
