"""What fifty checks of one VIP cost its node, by process, and whether advertisements are as even as without them."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.checks import directory, tracked
from benchmarks.stage import ROUTER, Stage, stage
from benchmarks.steadiness import TICKS_PER_SECOND
from tests.netns import wait_for
from tests.peers import KubeVrrp, descendants

#: Eight or nine of each kind that a host looks at by itself, all at their default pace.
MIX = {"interface": 8, "process": 8, "file": 9, "script": 8, "tcp": 8, "http": 9}
_CLIENT = "192.168.137.10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU in percent of one core: of the router with its guard, of the checks process, and of what scripts did in
    theirs; the time between advertisements in milliseconds.
    """

    checks: int
    processes_on_machine: int
    router: float
    runner: float
    scripts: float
    p50: float
    p99: float
    longest: float

    @property
    def ours(self) -> float:
        """Without what scripts themselves do."""
        return self.router + self.runner


def cost(mix: dict[str, int], *, interval_ms: int, seconds: float) -> Cost:
    """Run a master with these checks, all good, for `seconds`."""
    with directory() as at:
        entries = [_entry(kind, number, at) for kind, count in mix.items() for number in range(count)]
        router = ROUTER.with_(interval_ms=interval_ms, priority=200)
        options = {
            "one": {"manifests": tracked(router, *entries), "options": ("--scripts-dir", str(at))},
        }
        with stage("kube-vrrp", router, priorities=(200, 100), options=options) as on, _server(on):
            peer = on.routers["one"]
            assert isinstance(peer, KubeVrrp)
            wait_for(lambda: _all_good(peer, len(entries)), what="all checks are good", timeout=30)
            time.sleep(7)  # the second burst of announcements, and new processes, are part of the start
            before, began = _used(peer), time.monotonic()
            heard = on.sniffer.collect(seconds)
            after, took = _used(peer), time.monotonic() - began
            assert {one.priority for one in heard} == {200}, "a check failed meanwhile"
    router_s, runner_s, scripts_s = (b - a for a, b in zip(before, after, strict=True))
    gaps = sorted((later.at_ns - earlier.at_ns) / 1e6 for earlier, later in itertools.pairwise(heard))
    return Cost(
        checks=len(entries),
        processes_on_machine=sum(one.name.isdecimal() for one in Path("/proc").iterdir()),
        router=100 * router_s / took,
        runner=100 * runner_s / took,
        scripts=100 * scripts_s / took,
        p50=gaps[len(gaps) // 2],
        p99=gaps[len(gaps) * 99 // 100],
        longest=gaps[-1],
    )


def _entry(kind: str, number: int, at: Path) -> dict[str, Any]:
    """One check that is good."""
    match kind:
        case "interface":
            check: dict[str, Any] = {"name": "eth0"}
        case "process":
            check = {"name": Path(sys.executable).name, "quorum": number % 2 + 1}
        case "file":
            path = at / f"value{number}"
            path.write_text("0\n")
            check = {"path": str(path), "exists": bool(number % 2)}
        case "script":
            path = at / f"script{number}"
            path.write_text("#!/bin/sh\nexit 0\n")
            path.chmod(0o755)
            check = {"name": path.name}
        case "tcp":
            check = {"host": _CLIENT, "port": 8000}
        case _:
            check = {"url": f"http://{_CLIENT}:8000/"}
    return {"name": f"{kind}{number}", "weight": -1, kind: check}


def _all_good(peer: KubeVrrp, checks: int) -> bool:
    parts = (peer.document().get("priorityParts") or {}).get("contributions", [])
    known = all("has not run" not in one["reason"] and "not looked at" not in one["reason"] for one in parts)
    return len(parts) == checks and known and all(one["value"] == 0 for one in parts)


_ANSWERER = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("", 8000), Answer).serve_forever()
"""


@contextlib.contextmanager
def _server(on: Stage) -> Iterator[None]:
    """Who answers connections, on another host: its work is not counted."""
    process = on.client.start(sys.executable, "-I", "-c", _ANSWERER, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        on.client.end(process)


def _used(peer: KubeVrrp) -> tuple[float, float, float]:
    """Seconds of CPU so far: router and guard, the checks process, and its children that have ended."""
    router = runner = scripts = 0.0
    for pid in (peer.pid, *descendants(peer.pid)):
        with contextlib.suppress(OSError):
            fields = [int(one) for one in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]]
            own, children = (fields[0] + fields[1]) / TICKS_PER_SECOND, (fields[2] + fields[3]) / TICKS_PER_SECOND
            command = Path(f"/proc/{pid}/cmdline").read_text()
            if "vip_speaker.checks" in command:
                runner, scripts = own, children
            elif "vip_speaker" in command:
                router += own
    return router, runner, scripts
