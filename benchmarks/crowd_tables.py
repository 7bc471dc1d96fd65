"""`python -m benchmarks crowd`: the measurements of `crowd` in order, each as a table with its bound beside it."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from benchmarks import crowd
from benchmarks.cluster import STEADY_S
from benchmarks.tables import show

AGENT_CPU = 5.0


def measure(results: dict[str, Any], *, quick: bool) -> None:
    """Start a cluster, print every table as soon as it is known, keep all single figures in `results`."""
    vips = 20 if quick else crowd.VIPS
    with crowd.installed() as installation:
        up = crowd.up(installation, vips)
        results["all up"] = dataclasses.asdict(up)
        rows = [
            ["all created", f"{up.created_s:.1f}", "", ""],
            ["each address on one node", f"{up.held_s:.1f}", f"{up.bound_s:.1f}", _verdict(up.held_s <= up.bound_s)],
            ["all Ready in the API", f"{up.ready_s:.1f}", "", ""],
        ]
        show(
            (
                f"{vips} VirtualIPs from the first request (s), load {up.load:.1f}",
                ["", "", "bound", ""],
                rows,
            )
        )
        written, costs = crowd.cost(installation, 15 if quick else STEADY_S)
        results |= {"steady": dataclasses.asdict(written), "cost": [dataclasses.asdict(one) for one in costs]}
        rows = [
            [one.container, one.node, f"{one.cpu:.1f}", f"{one.rss_mib:.0f}", *_agent(one)]
            for one in sorted(costs, key=lambda one: (one.container, one.node))
        ]
        rows.append(
            [f"writes in {written.seconds:.0f} s: {len(written.writes)}", "", "", "", "0", _verdict(not written.writes)]
        )
        rows += [[write, *[""] * 5] for write in written.writes[:10]]
        show((f"Steady, load {written.load:.1f}", ["container", "node", "CPU %", "RSS MiB", "bound", ""], rows))
        rows = []
        for api_down in (False, True):
            moved, load = crowd.powerless(installation, api_down=api_down)
            results[f"power cut, API {'down' if api_down else 'up'}"] = [dataclasses.asdict(one) for one in moved]
            rows.append(_silence(f"API {'down' if api_down else 'up'}", moved, load))
            crowd.restored(installation, vips)
        head = ["", "VIPs", "silence min, median, max", "late: median", "max", "bound", "", "load"]
        show((f"One of three nodes without power, {vips} VIPs: what a client sees (ms)", head, rows))


def _silence(title: str, moved: list[crowd.Moved], load: float) -> list[str]:
    silences, late = [one.silence_ms for one in moved], [one.late_ms for one in moved]
    spread = f"{min(silences):.0f}, {statistics.median(silences):.0f}, {max(silences):.0f}"
    figures = [f"{statistics.median(late):.1f}", f"{max(late):.1f}", f"{crowd.LATE_MS:.0f}"]
    return [title, str(len(moved)), spread, *figures, _verdict(max(late) <= crowd.LATE_MS), f"{load:.1f}"]


def _agent(one: crowd.Cost) -> list[str]:
    return [f"{AGENT_CPU:.0f} %", _verdict(one.cpu < AGENT_CPU)] if one.container == "agent" else ["", ""]


def _verdict(met: bool) -> str:
    return "met" if met else "NOT MET"
