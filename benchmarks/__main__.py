"""`python -m benchmarks`: measure, print tables, and write JSON on demand. On a cluster only where that is named."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    checks_tables,
    cluster_tables,
    crowd_tables,
    fleet_tables,
    load,
    moves,
    planning,
    silence,
    steadiness,
    successors,
)
from benchmarks.tables import Table, show

OURS, THEIRS = "kube-vrrp", "keepalived"


class Run:
    """One run: the contestants, how thorough, and everything measured so far."""

    def __init__(self, kinds: tuple[str, str], *, quick: bool) -> None:
        self.kinds = kinds
        self.quick = quick
        self.results: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        """The contestants as columns are headed: two of a kind get a number."""
        return (
            [f"{kind} {number}" for number, kind in enumerate(self.kinds)]
            if len(set(self.kinds)) == 1
            else list(self.kinds)
        )

    def keep(self, what: str, name: str, value: list[Any]) -> None:
        self.results.setdefault(what, {})[name] = [dataclasses.asdict(one) for one in value]

    def silence(self) -> Table:
        rows = []
        for interval_ms, rounds in ((1000, 2), (100, 4), (10, 6)):
            cuts = silence.measure(self.kinds, interval_ms, 1 if self.quick else rounds)
            ours, theirs = cuts.values()
            for name, one in zip(self.names, (ours, theirs), strict=True):
                self.keep(f"silence after a link cut, {interval_ms} ms", name, one)
            differences = silence.paired_differences(ours, theirs)
            for phase in silence.PHASES:
                both = [[cut.silence_ms for cut in one if cut.phase == phase] for one in (ours, theirs)]
                rows.append([f"{interval_ms} ms", f"{phase:.0%}", *(f"{silence.median(one):.2f}" for one in both), ""])
            spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
            rows.append(
                [
                    f"{interval_ms} ms",
                    "all",
                    "",
                    "",
                    f"median {silence.median(differences):+.2f} ± {spread:.2f} ({len(differences)})",
                ]
            )
        head = ["interval", "phase", *self.names, "paired difference"]
        return "Client-visible silence after the master's cable is pulled (ms)", head, rows

    def _moves(self, title: str, end: Callable[[Any], None], *, cases: list[dict[str, Any]], rounds: int) -> Table:
        rows = []
        for case in cases:
            for name, kind in zip(self.names, self.kinds, strict=True):
                seen = [moves.move(kind, end, **case) for _ in range(1 if self.quick else rounds)]
                self.keep(f"{title}, {case}", name, seen)
                rows.append(
                    [
                        f"{case.get('interval_ms', 1000)} ms",
                        str(case.get("ip_forward", 0)),
                        name,
                        ", ".join(str(one.lost_warm) for one in seen),
                        ", ".join(str(one.lost_cold) for one in seen),
                        f"{max(one.silence_ms for one in seen):.1f}",
                        f"{max(one.two_holders_ms for one in seen):.1f}",
                    ]
                )
        head = [
            "interval",
            "ip_forward",
            "router",
            "lost, warm ARP",
            "lost, empty ARP",
            "longest silence",
            "two holders",
        ]
        return title, head, rows

    def sigterm(self) -> Table:
        cases = [{"ip_forward": forward} for forward in (0, 1)]
        return self._moves(
            "SIGTERM of the master: lost of 1000 questions a second, silence and address on both in ms",
            moves.stop,
            cases=cases,
            rounds=3,
        )

    def kill(self) -> Table:
        cases = [{"interval_ms": 1000}, {"interval_ms": 100}]
        return self._moves(
            "kill -9 of the master's VRRP process: lost of 1000 questions a second",
            moves.kill_protocol_process,
            cases=cases,
            rounds=2,
        )

    def killall(self) -> Table:
        cases = [{"interval_ms": 100, "watch_s": 4.0}]
        return self._moves(
            "kill -9 of all its processes, watched for 4 s after the takeover",
            moves.kill_everything,
            cases=cases,
            rounds=1,
        )

    def jitter(self) -> Table:
        rows = []
        for interval_ms in (100, 10):
            for loops in (0, steadiness.BUSY_LOOPS):
                for name, kind in zip(self.names, self.kinds, strict=True):
                    one = steadiness.period(kind, interval_ms, busy_loops=loops, seconds=4 if self.quick else 15)
                    self.keep(f"period {interval_ms} ms, {loops} busy loops", name, [one])
                    rows.append(
                        [
                            f"{interval_ms} ms",
                            str(loops),
                            name,
                            f"{one.p50:.2f}",
                            f"{one.p99:.2f}",
                            f"{one.longest:.2f}",
                            str(one.adverts),
                        ]
                    )
        head = ["interval", "busy loops", "router", "p50", "p99", "longest", "adverts"]
        return f"Time between advertisements (ms), {os.cpu_count()} cores", head, rows

    def load(self) -> Table:
        rows = []
        for name, kind in load.KINDS.items():
            one = load.held(kind, seconds=10 if self.quick else 60)
            self.keep(f"{load.BUSY_LOOPS} busy loops at 100 ms", name, [one])
            times = (one.first_ms, one.second_ms, one.nobody_ms, one.two_ms)
            rows.append([name, *(f"{ms:.0f}" for ms in times), str(one.moves), f"{one.p50:.1f}", f"{one.longest:.1f}"])
        head = ["router", "first", "second", "nobody", "both", "moves", "p50 of adverts", "longest"]
        return f"{load.BUSY_LOOPS} busy loops on {os.cpu_count()} cores at 100 ms: who holds the VIP (ms)", head, rows

    def cost(self) -> Table:
        rows = []
        for instances, interval_ms in ((1, 1000), (255, 1000)):
            for name, kind in zip(self.names, self.kinds, strict=True):
                one = steadiness.cost(
                    kind, instances=instances, interval_ms=interval_ms, seconds=5 if self.quick else 20
                )
                self.keep(f"cost of {instances} at {interval_ms} ms", name, [one])
                memory = " + ".join(f"{mib:.1f}" for mib in one.memory_mib)
                rows.append(
                    [
                        str(instances),
                        f"{interval_ms} ms",
                        name,
                        f"{one.master_cpu:.1f}",
                        f"{one.backup_cpu:.1f}",
                        memory,
                    ]
                )
        head = ["VIPs", "interval", "router", "CPU % as master", "CPU % as backup", "RSS MiB (parent + child)"]
        return "What it costs", head, rows

    def failed_check(self) -> Table:
        return checks_tables.failed_check(self.kinds, self.names, self.keep, quick=self.quick)

    def death(self) -> Table:
        return checks_tables.death(self.results, quick=self.quick)

    def checks(self) -> Table:
        return checks_tables.cost(self.results, quick=self.quick)

    def successors(self) -> Table:
        return successors.measure(self.results, quick=self.quick)

    def plan(self) -> Table:
        found = planning.measure(1 if self.quick else 5)
        self.results["plan"] = [dataclasses.asdict(one) for one in found]
        return planning.table(found)


PARTS = (
    *("silence", "sigterm", "kill", "killall", "successors", "jitter", "load", "cost"),
    *("failed_check", "death", "checks", "plan"),
)
ON_A_CLUSTER = {"cluster": cluster_tables.measure, "crowd": crowd_tables.measure, "fleet": fleet_tables.measure}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Figures side by side with keepalived, in one run.")
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*PARTS, *ON_A_CLUSTER, []],
        help="what to measure; all that needs no cluster unless named",
    )
    parser.add_argument("--quick", action="store_true", help="one round of everything")
    parser.add_argument(
        "--noise", action="store_true", help="keepalived against itself: what a difference of nothing looks like"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks make network namespaces: run them as root", file=sys.stderr)
        return 2
    run = Run((THEIRS, THEIRS) if options.noise else (OURS, THEIRS), quick=options.quick)
    began = time.monotonic()
    for part in options.parts or PARTS:
        if part in ON_A_CLUSTER:
            ON_A_CLUSTER[part](run.results, quick=options.quick)
        else:
            show(getattr(run, part)())
    print(f"\n{time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end")
    if options.json:
        options.json.write_text(json.dumps(run.results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
