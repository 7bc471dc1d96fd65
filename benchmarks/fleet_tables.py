"""`python -m benchmarks fleet`: what `fleet` measured, as tables."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks import fleet
from benchmarks.tables import show

SETTLED_S = 10.0


def measure(results: dict[str, Any], *, quick: bool) -> None:
    """Play the cluster, print the tables, keep the single figures in `results`."""
    found = fleet.measure(*((20, 20) if quick else (fleet.NODES, fleet.VIPS)))
    results["fleet"] = dataclasses.asdict(found)
    rows = [
        ["mean size of a VirtualIP in the API", f"{found.object_bytes / 1000:.1f} kB"],
        ["all agents started and have their list", f"{found.start_s:.0f} s"],
        ["writes of operator and agents because they were started", str(found.writes_after_start)],
    ]
    show((f"{found.nodes} nodes, {found.vips} VirtualIPs on 8 nodes each, no kubelets", ["", ""], rows))
    rows = [
        [
            wave.what,
            str(wave.concerned),
            f"{wave.settled_s:.1f}",
            f"{SETTLED_S:.0f}",
            "met" if wave.settled_s <= SETTLED_S else "NOT MET",
            f"{wave.events_per_agent:.0f}",
            f"{wave.bytes_per_agent / 1000:.0f}",
            f"{wave.load:.1f}",
        ]
        for wave in found.waves
    ]
    head = ["one node lost", "VIPs", "settled (s)", "bound", "", "events per agent", "kB per agent", "load"]
    show(("From the loss of a node to the last write", head, rows))
    kinds = sorted({kind for wave in found.waves for kind in wave.requests})
    rows = [[wave.what, *(f"{wave.requests.get(kind, 0):.0f}" for kind in kinds)] for wave in found.waves]
    show(("Requests of the API server, all clients together, without watches", ["", *kinds], rows))
