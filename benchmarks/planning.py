"""How long `plan()` takes for a large cluster: pure code over values, so nothing is started."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from vip_operator.plan import World, plan

from benchmarks.tables import Table
from tests.operator_world import FakeCluster, served

VIPS, NODES = 1000, 250
BOUND_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One plan. `changes` is how many it has."""

    case: str
    seconds: float
    changes: int
    load: float


def measure(runs: int) -> list[Planned]:
    """The cases of a large cluster, each planned `runs` times anew."""
    found: list[Planned] = []

    def note(case: str, world: World) -> None:
        for _ in range(runs):
            fresh = replace(world)  # without what a world keeps of what it was asked
            began = time.perf_counter()
            changes = len(plan(fresh).changes)
            seconds = time.perf_counter() - began
            found.append(Planned(case=case, seconds=seconds, changes=changes, load=os.getloadavg()[0]))

    unborn = FakeCluster(*(f"node{number:03}" for number in range(NODES)))
    for number in range(VIPS):
        unborn.add_vip(f"vip{number:04}")
    note("all VirtualIPs new", unborn.world())
    cluster = served(VIPS, NODES)
    note("steady", cluster.world())
    cluster.set_ready("node000", False)
    note("one node not ready", cluster.world())
    cluster.set_ready("node000", True)
    cluster.nodes["node000"]["metadata"]["labels"]["changed"] = "yes"
    note("one node with another label", cluster.world())
    note("steady, but 200 VirtualIPs on all 250 nodes each", served(200, NODES, maxNodes=250).world())
    return found


def table(found: list[Planned]) -> Table:
    """Median and longest of each case."""
    rows = []
    for case in dict.fromkeys(one.case for one in found):
        some = sorted((one for one in found if one.case == case), key=lambda one: one.seconds)
        median, longest = some[len(some) // 2].seconds, some[-1].seconds
        verdict = "met" if longest < BOUND_S else "NOT MET"
        load = max(one.load for one in some)
        rows.append([case, f"{median:.3f}", f"{longest:.3f}", str(some[0].changes), verdict, f"{load:.1f}"])
    title = f"plan() of {VIPS} VirtualIPs of 8 nodes each, {NODES} nodes (s); bound {BOUND_S:.0f} s"
    return title, ["", "median", "longest", "changes", "", "load"], rows
