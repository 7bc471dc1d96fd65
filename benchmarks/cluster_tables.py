"""`python -m benchmarks cluster`: the measurements of `cluster` in order, each as a table with its bound beside it."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import cluster
from benchmarks.stage import VIP
from benchmarks.tables import Table, show
from tests.cluster.installation import Installation

SHOWN_MS = 300.0
NODE_MIB, OPERATOR_MIB = 140.0, 110.0
HEAD = ["", "runs", "min", "median", "max", "bound", "", "load"]


def measure(results: dict[str, Any], *, quick: bool) -> None:
    """Start a cluster, print every table as soon as it is known, keep all single figures in `results`."""
    with cluster.installed() as (installation, first):
        results["first VIP after helm install"] = cluster.as_json(first)
        show(
            (
                "From the start of `helm install`, the VirtualIP in its values, images on the nodes (s)",
                ["helm returned", "VIP answers", "load"],
                [[f"{first.helm_returned_s:.1f}", f"{first.answers_s:.1f}", f"{first.load:.1f}"]],
            )
        )
        for part in (_applied, _shown, _steady, _gaps):
            cluster.calm()
            for table in part(installation, results, quick=quick):
                show(table)


def _applied(installation: Installation, results: dict[str, Any], *, quick: bool) -> list[Table]:
    rows, number = [], 0
    for title, spec in (("virtualRouterID given", {"virtualRouterID": 77}), ("virtualRouterID allocated", {})):
        runs = []
        for _ in range(1 if quick else 5):
            runs.append(cluster.applied(installation, number, **spec))
            number += 1
        results[f"kubectl apply to the first answer, {title}"] = cluster.as_json(runs)
        rows.append(
            _row(
                title,
                [one.answers_s for one in runs],
                runs[0].bound_s,
                unit="s",
                load=max(one.load for one in runs),
                digits=2,
            )
        )
        kubectl = statistics.median(one.kubectl_s for one in runs)
        rows.append([f"  of it kubectl: median {kubectl:.2f} s", *[""] * (len(HEAD) - 1)])
    return [("From the start of `kubectl apply` to the VIP's first answer, 1 s interval, running speakers", HEAD, rows)]


def _shown(installation: Installation, results: dict[str, Any], *, quick: bool) -> list[Table]:
    installation.serve("shown", VIP, virtualRouterID=51)
    runs = [one for _ in range(1 if quick else 5) for one in cluster.shown(installation, "shown")]
    installation.delete_vips()
    results["change on a node to kubectl get vip showing it"] = cluster.as_json(runs)
    rows = []
    for event in dict.fromkeys(one.event for one in runs):
        for cut in (False, True):
            some = [one for one in runs if one.event == event and bool(one.operators_on_cut_node) == cut]
            if some:
                title = f"{event}, {'an' if cut else 'no'} operator on that node"
                rows.append(
                    _row(title, [one.delay_ms for one in some], SHOWN_MS, unit="ms", load=max(one.load for one in some))
                )
    return [("From a node's change to MASTER to `kubectl get vip --watch` naming it", HEAD, rows)]


def _steady(installation: Installation, results: dict[str, Any], *, quick: bool) -> list[Table]:
    addresses = {f"steady{number}": f"192.168.137.{130 + number}" for number in range(2)}
    for name, address in addresses.items():
        installation.serve(name, address)
    found = cluster.steady(installation, 10.0 if quick else cluster.STEADY_S, len(addresses))
    speakers, operators = (cluster.memory(installation, component) for component in ("speaker", "operator"))
    installation.delete_vips()
    results |= {"steady": cluster.as_json(found), "memory": cluster.as_json([*speakers, *operators])}
    rows = [[str(len(found.writes)), "0", _verdict(not found.writes), f"{found.load:.1f}"]]
    rows += [[write, "", "", ""] for write in found.writes[:10]]
    writes = [
        f"Writes of ours in {found.seconds:.0f} s, {found.virtual_ips} VIPs on 3 nodes, by the audit log",
        ["writes", "bound", "", "load"],
        rows,
    ]
    containers = [_containers(one) for one in (*speakers, *operators)]
    bounds = [NODE_MIB] * len(speakers) + [OPERATOR_MIB] * len(operators)
    rows = [
        [one.pod, one.node, parts, f"{one.mib:.0f}", f"{bound:.0f}", _verdict(one.mib <= bound)]
        for one, parts, bound in zip((*speakers, *operators), containers, bounds, strict=True)
    ]
    head = ["pod", "node", "RSS of each process", "sum", "bound", ""]
    return [tuple(writes), ("Resident memory (MiB), after that", head, rows)]  # type: ignore[list-item]


def _containers(one: cluster.Memory) -> str:
    return " + ".join(f"{container} {mib:.0f}" for container, _, mib in one.processes)


def _gaps(installation: Installation, results: dict[str, Any], *, quick: bool) -> list[Table]:
    tables = []
    for interval_ms in (1000, 100):
        load = cluster.calm(30)
        found = cluster.gaps(interval_ms, 1 if quick or interval_ms == 1000 else 2, installation)
        results[f"silence after a link cut, {interval_ms} ms, pods and alone"] = cluster.as_json(found)
        rows = [
            [name, *(f"{statistics.median([g.silence_ms for g in some if g.phase == p]):.1f}" for p in cluster.PHASES)]
            for name, some in found.items()
        ]
        pods, alone = found.values()
        differences = [one.silence_ms - other.silence_ms for one, other in zip(pods, alone, strict=True)]
        spread = f"median {statistics.median(differences):+.1f}, {min(differences):+.1f} to {max(differences):+.1f}"
        title = (
            f"Silence a client sees after the master's cable is pulled (ms), {interval_ms} ms interval, load {load:.1f}"
        )
        head = ["", *(f"phase {phase:.0%}" for phase in cluster.PHASES)]
        rows.append([f"paired difference: {spread}", *[""] * len(cluster.PHASES)])
        tables.append((title, head, rows))
    return tables


def _row(title: str, values: list[float], bound: float, *, unit: str, load: float, digits: int = 0) -> list[str]:
    figures = [f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))]
    within = f"{bound:.{digits}f} {unit}"
    return [title, str(len(values)), *figures, within, _verdict(max(values) <= bound), f"{load:.1f}"]


def _verdict(met: bool) -> str:
    return "met" if met else "NOT MET"
