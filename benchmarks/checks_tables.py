"""The measurements of `checks` and `checks_cost` as tables."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import checks, checks_cost
from benchmarks.tables import Table


def failed_check(
    kinds: Sequence[str], names: Sequence[str], keep: Callable[[str, str, list[Any]], None], *, quick: bool
) -> Table:
    """A failed check to the VIP answering elsewhere, contestants in turn."""
    rows = []
    for check in checks.CHECKS:
        for name, kind in zip(names, kinds, strict=True):
            seen = checks.moves(kind, check, 1 if quick else 5)
            keep(f"failed check, {check}", name, seen)
            rows.append([check, name, _spread([one.elsewhere_ms for one in seen], 1), _listed(seen)])
    head = ["check", "router", "min, median, max", "lost of 1000/s"]
    return "A failed check to the VIP answering elsewhere, at 1 s (ms)", head, rows


def death(results: dict[str, Any], *, quick: bool) -> Table:
    """How soon a process' death is noticed, seen from the wire."""
    seen = checks.deaths(3 if quick else 10)
    results["death of a tracked process"] = seen
    title = "kill of a tracked process to the master's first advertisement about it (ms), kube-vrrp"
    return title, ["min, median, max", "deaths"], [[_spread(seen, 2), str(len(seen))]]


def cost(results: dict[str, Any], *, quick: bool) -> Table:
    """CPU and evenness with and without fifty checks."""
    rows = []
    for interval_ms in (1000, 100):
        for mix in ({}, checks_cost.MIX):
            one = checks_cost.cost(mix, interval_ms=interval_ms, seconds=5 if quick else 20)
            results[f"checks: {one.checks} at {interval_ms} ms"] = dataclasses.asdict(one)
            rows.append(
                [
                    f"{interval_ms} ms",
                    str(one.checks),
                    f"{one.ours:.1f} = {one.router:.1f} + {one.runner:.1f}",
                    f"{one.scripts:.1f}",
                    f"{one.p50:.2f}, {one.p99:.2f}, {one.longest:.2f}",
                    str(one.processes_on_machine),
                ]
            )
    head = ["interval", "checks", "CPU % router + checks", "in scripts", "p50, p99, longest", "processes"]
    return "What checks cost the master, and the time between its advertisements (ms), kube-vrrp", head, rows


def _spread(values: list[float], digits: int) -> str:
    return ", ".join(f"{one:.{digits}f}" for one in (min(values), statistics.median(values), max(values)))


def _listed(seen: list[checks.Moved]) -> str:
    return ", ".join(str(one.lost) for one in seen)
