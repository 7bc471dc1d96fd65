"""docs/conditions.md names every reason in the code, where it may appear, and no other."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PLAN = ROOT / "operator" / "vip_operator" / "plan"
CONDITIONS = {"Accepted", "Ready", "Degraded", "SplitBrain"}
# Events of their own, without a condition
EVENTS_ONLY = {"MasterChanged"}


def constants() -> set[str]:
    """Every literal of the plan that looks like a reason: CamelCase of at least two humps, or a known single word."""
    found: set[str] = set()
    for path in (
        *(PLAN / "conditions").glob("*.py"),
        *(PLAN / f"{name}.py" for name in ("acceptance", "participation", "virtualip")),
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if re.fullmatch(r"(?=.*[a-z])[A-Z][A-Za-z]*[A-Z][A-Za-z]*", node.value) else set()
            if isinstance(node, ast.keyword) and node.arg == "reason" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
            if isinstance(node, ast.Tuple) and len(node.elts) == 2:
                first = node.elts[0]
                if isinstance(first, ast.Constant) and re.fullmatch(r"[A-Z][a-z]+", str(first.value)):
                    found.add(str(first.value))
    return found - {"SplitBrain"}


def rows() -> dict[str, set[str]]:
    """Reason to the conditions that its row names."""
    page = (ROOT / "docs" / "conditions.md").read_text()
    found = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", page, re.M)
    return {reason: set(where.split(", ")) for reason, where in found}


def test_the_finder_finds():
    assert {"Listening", "Electing", "Released", "Invalid", "VRIDConflict", "AllNodesFault"} <= constants()


def test_every_reason_has_its_row_and_no_row_is_made_up():
    assert set(rows()) == constants() - EVENTS_ONLY - CONDITIONS | {"Accepted"}
    assert all(where <= CONDITIONS for where in rows().values())


def test_events_without_a_condition_are_named():
    page = (ROOT / "docs" / "conditions.md").read_text()
    assert all(f"`{name}`" in page for name in EVENTS_ONLY)
