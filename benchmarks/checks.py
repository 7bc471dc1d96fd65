"""What a failed check costs: until the VIP answers elsewhere, side by side with keepalived; until a death is noticed.

The master stands at 200 + 10 while its check is good, the other at 205. What fails is a number in a file or a script;
keepalived's own process tracking does not work in a network namespace.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from benchmarks.stage import ROUTER, VIP, Stage, stage
from tests.netns import Host, wait_for
from tests.peers import VirtualRouter, keepalived_conf, manifest
from tests.probe import SO_TIMESTAMPNS, Probe

BASE, BONUS, OTHER = 200, 10, 205
#: Beyond the master-down time at 1 s, with which keepalived moves.
UNTIL_MOVED_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One failed check: how long until the other host's first answer, and what a client lost of 1000 questions a
    second.
    """

    elsewhere_ms: float
    lost: int
    silence_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A check that can be broken and mended; `broken_ns` (CLOCK_REALTIME) says when the last break showed itself."""

    track: dict[str, Any]
    keepalived: str
    keepalived_track: str
    scripts: Path
    break_: Callable[[], None]
    mend: Callable[[], None]
    broken_ns: Callable[[], int]


class Answers:
    """Which MAC answered for the VIP, and when, as the client's kernel received it."""

    def __init__(self, host: Host) -> None:
        with host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._socket.bind(("eth0", 0x0800))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE: all of a move, read afterwards
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self) -> list[tuple[int, str]]:
        """(CLOCK_REALTIME, MAC) of the echo replies since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, ancillary, _, _ = self._socket.recvmsg(64, 64)
                if frame[23] == 1 and frame[34] == 0 and frame[26:30] == socket.inet_aton(VIP):
                    seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
                    found.append((seconds * 1_000_000_000 + nanoseconds, frame[6:12].hex(":")))
        return found


@contextlib.contextmanager
def file_check() -> Iterator[Failing]:
    """A number in a file."""
    with directory() as at:
        value = at / "value"
        value.write_text(f"{BONUS}\n")
        written = [0]

        def break_() -> None:
            written[0] = time.clock_gettime_ns(time.CLOCK_REALTIME)
            value.write_text("0\n")

        def mend() -> None:
            value.write_text(f"{BONUS}\n")

        yield Failing(
            track={"name": "value", "weight": 1, "file": {"path": str(value)}},
            keepalived=f'track_file value {{\n    file "{value}"\n    weight 1\n}}\n',
            keepalived_track="track_file {\n        value weight 1\n    }",
            scripts=at,
            break_=break_,
            mend=mend,
            broken_ns=lambda: written[0],
        )


@contextlib.contextmanager
def script_check() -> Iterator[Failing]:
    """A script that fails while a file is there. The clock starts when a failing run is about to end."""
    with directory() as at:
        flag, stamps, script = at / "broken", at / "stamps", at / "check"
        stamps.touch()
        stamps.chmod(0o666)
        script.write_text(
            f"#!/bin/bash\n[ -e {flag} ] || exit 0\n[ -s {stamps} ] || echo $EPOCHREALTIME > {stamps}\nexit 1\n"
        )
        script.chmod(0o755)

        def mend() -> None:
            flag.unlink()
            stamps.write_text("")

        yield Failing(
            track={"name": "chk", "weight": BONUS, "script": {"name": "check", "interval": "1s"}},
            keepalived=f'vrrp_script chk {{\n    script "{script}"\n    interval 1\n    weight {BONUS}\n}}\n',
            keepalived_track="track_script {\n        chk\n    }",
            scripts=at,
            break_=flag.touch,
            mend=mend,
            broken_ns=lambda: int(stamps.read_text().strip().replace(".", "").replace(",", "")) * 1000,
        )


CHECKS = {"file": file_check, "script": script_check}


def moves(kind: str, check: str, rounds: int) -> list[Moved]:
    """Break the master's check `rounds` times at 1 s, at no particular phase, and mend it again."""
    with CHECKS[check]() as failing:
        options = {"one": _options(kind, failing)}
        with stage(kind, ROUTER, priorities=(BASE, OTHER), options=options) as at:
            wait_for(lambda: at.master() == "one", what="the better router is master", timeout=30)
            seen = []
            for _ in range(rounds):
                time.sleep(1.5 + random.random())  # at no particular phase; what flaps is damped for a second
                seen.append(_move(at, failing))
            return seen


def _move(at: Stage, failing: Failing) -> Moved:
    two = at.routers["two"].host
    mac = two.mac()
    answers: list[tuple[int, str]] = []

    def moved() -> bool:
        answers.extend(answered.read())
        return any(who == mac for _, who in answers)

    with Answers(at.client) as answered, Probe(at.client, VIP) as probe:
        time.sleep(0.3)
        failing.break_()
        wait_for(moved, what="the other host answers", timeout=UNTIL_MOVED_S)
        time.sleep(0.5)
    first_ns = next(when for when, who in answers if who == mac)
    moved_ms = (first_ns - failing.broken_ns()) / 1e6
    failing.mend()
    wait_for(lambda: at.master() == "one", what="back again", timeout=30)
    return Moved(elsewhere_ms=moved_ms, lost=probe.lost, silence_ms=probe.silence_ms)


def _options(kind: str, failing: Failing) -> dict[str, Any]:
    if kind == "keepalived":
        text = keepalived_conf(ROUTER.with_(priority=BASE))
        head, instance = text.split("vrrp_instance", 1)
        head = head.replace("vrrp_version", "script_user root\n    vrrp_version")
        instance = instance.rstrip().removesuffix("}") + f"    {failing.keepalived_track}\n}}\n"
        return {"text": f"{head}{failing.keepalived}vrrp_instance{instance}"}
    return {
        "manifests": tracked(ROUTER.with_(priority=BASE), failing.track),
        "options": ("--scripts-dir", str(failing.scripts)),
    }


def tracked(router: VirtualRouter, *entries: dict[str, Any]) -> dict[str, str]:
    """The manifest of `router` with these checks."""
    document = yaml.safe_load(manifest(router))
    document["spec"]["track"] = list(entries)
    return {router.name: yaml.safe_dump(document)}


def deaths(rounds: int) -> list[float]:
    """Milliseconds from the end of a tracked process to the advertisement with which the master reacts.

    Of `rounds` deaths, each 0.3 s after an advertisement at 1 s, so that the next one is the reaction.
    """
    with directory() as at:
        program = at / f"hd{os.getpid()}"
        shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        entry = {"name": "web", "weight": BONUS, "process": {"name": program.name}}
        options = {"one": {"manifests": tracked(ROUTER.with_(priority=BASE), entry)}}
        with stage("kube-vrrp", ROUTER, priorities=(BASE, 100), options=options) as on:
            return [_death(on, program) for _ in range(rounds)]


def _death(at: Stage, program: Path) -> float:
    with subprocess.Popen([str(program), "600"]) as process:
        try:
            wait_for(lambda: at.sniffer.next(timeout=5).priority == BASE + BONUS, what="it counts", timeout=30)
            time.sleep(1.2)  # what flaps is damped for a second
            at.sniffer.drain()
            at.sniffer.next(timeout=5)
            time.sleep(0.3)
            at.sniffer.drain()
        finally:
            killed_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            process.kill()
        reaction = at.sniffer.next(timeout=0.5)
    wait_for(lambda: at.sniffer.next(timeout=5).priority == BASE, what="it counts no more", timeout=30)
    return (reaction.at_ns - killed_ns) / 1e6


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory that an unprivileged user reaches and nobody else writes, as scripts need it."""
    with tempfile.TemporaryDirectory(prefix="checks-") as name:
        at = Path(name)
        at.chmod(0o755)
        yield at
