"""A real tcpdump on a host, read line by line: the witness for what is on the wire."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netns import Host, run, wait_for

#: Everything that VRRP puts on a link: advertisements of both families, ARP, neighbour discovery.
EVERYTHING = "ip proto 112 or ip6 proto 112 or arp or (icmp6 and (ip6[40] == 135 or ip6[40] == 136))"

_ADVERT = re.compile(
    r"^(?P<time>[\d.:]+) IP6? (?P<source>\S+) > (?P<destination>\S+): "
    r"(?:ip-proto-112|VRRPv(?P<version>\d)), Advertisement,(?: \(ttl \d+\),)? "
    r"vrid (?P<vrid>\d+), prio (?P<priority>\d+),(?: authtype (?P<auth>\S+),)? "
    r"intvl (?P<interval>\d+)(?P<unit>c?s), length (?P<length>\d+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advert:
    """One advertisement as tcpdump tells it; `time` in seconds since the epoch (0 without `-tt`)."""

    time: float
    source: str
    destination: str
    version: int
    vrid: int
    priority: int
    authtype: str | None
    interval_ms: int
    line: str


class Capture:
    """tcpdump running on `host`; its lines grow while it runs."""

    def __init__(self, host: Host, filter_: str = EVERYTHING, *, options: tuple[str, ...] = ("-tt",)) -> None:
        self.host = host
        self.filter = filter_
        self.options = options
        self.lines: list[str] = []
        self._pcap = Path(tempfile.mkdtemp(prefix="capture-")) / "pcap"

    def __enter__(self) -> Self:
        self._process = self.host.start(
            *("tcpdump", "-n", "-l", "--immediate-mode", "-i", "eth0", *self.options),
            *("--print", "-U", "-Z", "root", "-w", str(self._pcap), *self.filter.split()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        assert self._ready.wait(20), "tcpdump listens"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.host.end(self._process)
        self._thread.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()
        shutil.rmtree(self._pcap.parent)

    def fields(self, filter_: str, *names: str) -> list[tuple[str, ...]]:
        """What tshark makes of the packets so far: these fields of each that its display filter passes."""
        command = ["tshark", "-n", "-r", str(self._pcap), "-Y", filter_, "-T", "fields"]
        output = run(*command, *(word for name in names for word in ("-e", name)))
        return [tuple(line.split("\t")) for line in output.splitlines()]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "listening on eth0" in line:
                self._ready.set()
            elif self._ready.is_set():
                self.lines.append(line.rstrip("\n"))

    def adverts(self, *, since: float = 0, **wanted: object) -> list[Advert]:
        """The advertisements seen after `since` whose fields equal `wanted`."""
        found = (advert(line) for line in list(self.lines))
        return [
            one
            for one in found
            if one is not None
            and one.time >= since
            and all(getattr(one, name) == value for name, value in wanted.items())
        ]

    def wait_advert(self, *, since: float = 0, timeout: float = 20, **wanted: object) -> Advert:
        """The first advertisement after `since` with these fields."""
        wait_for(
            lambda: self.adverts(since=since, **wanted),
            what=f"an advertisement with {wanted}",
            timeout=timeout,
        )
        return self.adverts(since=since, **wanted)[0]

    def matching(self, pattern: str, *, since: float = 0) -> list[tuple[float, str]]:
        """Lines that contain the regular expression, with their times."""
        looked = [(float(line.split(" ", 1)[0]), line) for line in list(self.lines) if re.search(pattern, line)]
        return [(when, line) for when, line in looked if when >= since]


def advert(line: str) -> Advert | None:
    """A tcpdump line as an Advert; None for anything else."""
    match = _ADVERT.match(line)
    if match is None:
        return None
    interval = int(match["interval"]) * (10 if match["unit"] == "cs" else 1000)
    return Advert(
        time=float(match["time"]) if ":" not in match["time"] else 0.0,
        source=match["source"],
        destination=match["destination"],
        version=int(match["version"] or 3),
        vrid=int(match["vrid"]),
        priority=int(match["priority"]),
        authtype=match["auth"],
        interval_ms=interval,
        line=line,
    )


def settled(read: Callable[[], object], *, quiet: float, timeout: float = 20) -> None:
    """Return once `read()` has not changed for `quiet` seconds."""
    last, since = read(), time.monotonic()
    end = since + timeout
    while time.monotonic() - since < quiet:
        assert time.monotonic() < end, f"still changing after {timeout:g} s: {last}"
        time.sleep(0.01)
        if (now := read()) != last:
            last, since = now, time.monotonic()
