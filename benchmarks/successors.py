"""Planned moves among three routers: two successors or one, and what a client loses."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from benchmarks.tables import Table
from tests.load import Unprivileged
from tests.peers import KubeVrrp
from tests.several import DERIVED, Move, several

ROUNDS = 20
KINDS: dict[str, type[KubeVrrp]] = {"real-time": KubeVrrp, "as in a pod": Unprivileged}


def moves(
    what: str,
    *,
    interval_ms: int,
    kind: type[KubeVrrp],
    rounds: int,
    priorities: tuple[int, ...] = DERIVED,
    named: bool = True,
) -> list[Move]:
    """`rounds` moves of one kind, the best of them leaving each time."""
    with several(priorities, interval_ms=interval_ms, kind=kind, named=named) as routers:
        return [routers.move(what) for _ in range(rounds)]


def measure(results: dict[str, Any], *, quick: bool) -> Table:
    """SIGTERM and demotion at 1 s and 100 ms."""
    rows = []
    for what in ("SIGTERM", "demotion"):
        for interval_ms in (1000, 100):
            for name, kind in KINDS.items():
                seen = moves(what, interval_ms=interval_ms, kind=kind, rounds=1 if quick else ROUNDS)
                results[f"{what} at {interval_ms} ms, {name}"] = [dataclasses.asdict(one) for one in seen]
                rows.append([what, f"{interval_ms} ms", name, *summed(seen)])
    head = ["move", "interval", "routers", "two successors", "longest overlap", "lost", "takeover min, median, max"]
    return f"Three routers, the best leaves: of {len(seen)} moves each (ms)", head, rows


def summed(seen: list[Move]) -> list[str]:
    """One row of the table."""
    took = [one.takeover_ms for one in seen]
    return [
        str(sum(one.two for one in seen)),
        f"{max(one.overlap_ms for one in seen):.1f}",
        str(sum(one.lost for one in seen)),
        ", ".join(f"{ms:.1f}" for ms in (min(took), statistics.median(took), max(took))),
    ]
