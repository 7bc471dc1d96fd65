"""`python -m tests.lab.tracking`: what may move a VIP, against real things.

The tutorials' four cases: a process `httpd`, a file, an interface `ens9`, a script. First with the tutorials' own
numbers, three of which move nothing, then with numbers that do. Exit 0 only if every step was seen.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.capture import Capture, advert
from tests.lab.story import NotSeenError, Story
from tests.netns import Host, Network
from tests.peers import KINDS, KubeVrrp, Peer, VirtualRouter, manifest
from tests.probe import Probe
from tests.watch import Holders

VIP = "192.168.137.200"
ADDRESSES = {"first": "192.168.137.201", "second": "192.168.137.202"}
ROUTER = VirtualRouter(addresses=(f"{VIP}/32",), version=3, priority=210)


@dataclass
class Stage:
    """Two routers' hosts, a client, and the things that are tracked."""

    story: Story
    first: Host
    second: Host
    client: Host
    holders: Holders
    directory: Path
    peer_kind: str
    routers: list[Peer] = field(default_factory=list)
    httpd: subprocess.Popen[bytes] | None = None

    @property
    def value(self) -> Path:
        return self.directory / "value"

    @property
    def broken(self) -> Path:
        return self.directory / "broken"

    def start_httpd(self) -> None:
        """A program of that name; what it does is not looked at."""
        if self.httpd is not None and self.httpd.poll() is None:
            return
        self.httpd = subprocess.Popen([str(self.directory / "httpd"), "600"])
        self.story.command(self.first, "httpd &")

    def stop_httpd(self) -> None:
        assert self.httpd is not None
        self.httpd.kill()
        self.httpd.wait()
        self.story.command(self.first, "killall -9 httpd")

    def on(self, host: Host) -> bool:
        return self.holders.now == {host.name}


@dataclass(frozen=True)
class Case:
    """One of the four: its entry, and what makes it fail and good again."""

    title: str
    entry: dict[str, Any]
    fail: Callable[[Stage], None]
    mend: Callable[[Stage], None]


def write(value: str) -> Callable[[Stage], None]:
    def do(at: Stage) -> None:
        at.value.write_text(f"{value}\n")
        at.story.command(at.first, f"echo {value} > value")

    return do


def link(state: str) -> Callable[[Stage], None]:
    def do(at: Stage) -> None:
        at.first.ip("link", "set", "ens9", state)
        at.story.command(at.first, f"ip link set ens9 {state}")

    return do


def break_it(at: Stage) -> None:
    at.broken.touch()
    at.story.command(at.first, "touch broken   # check.sh now ends with status 1")


def repair(at: Stage) -> None:
    at.broken.unlink()
    at.story.command(at.first, "rm broken")


def process(weight: int) -> Case:
    entry = {"name": "web", "weight": weight, "process": {"name": "httpd"}}
    return Case("process httpd", entry, Stage.stop_httpd, Stage.start_httpd)


def file(at: Stage, value: str) -> Case:
    entry = {"name": "value", "weight": 1, "file": {"path": str(at.value)}}
    return Case("file", entry, write("0"), write(value))


def interface(weight: int) -> Case:
    entry = {"name": "uplink", "weight": weight, "interface": {"name": "ens9"}}
    return Case("interface ens9", entry, link("down"), link("up"))


def check_script() -> Case:
    pace = {"interval": "5s", "timeout": "5s", "fall": 3, "rise": 2}
    return Case("script", {"name": "script", "weight": -20, "script": {"name": "check.sh", **pace}}, break_it, repair)


@contextlib.contextmanager
def stage(peer_kind: str) -> Iterator[Stage]:
    with Network() as network, contextlib.ExitStack() as stack:
        first, second = (network.host(name, f"{address}/24") for name, address in ADDRESSES.items())
        client = network.host("client", "192.168.137.10/24")
        first.ip("link", "add", "ens9", "type", "veth", "peer", "name", "ens9-other")
        for name in ("ens9", "ens9-other"):
            first.ip("link", "set", name, "up")
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracking-")))
        directory.chmod(0o755)
        shutil.copy(shutil.which("sleep") or "/bin/sleep", directory / "httpd")
        scripts = directory / "scripts"
        scripts.mkdir(mode=0o755)
        script = scripts / "check.sh"
        script.write_text(f"#!/bin/sh\ntest -e {directory}/broken || exit 0\necho the service is broken\nexit 1\n")
        script.chmod(0o755)
        capture = stack.enter_context(Capture(second, "vrrp", options=()))
        holders = stack.enter_context(Holders(VIP, [first, second]))
        at = Stage(Story(capture), first, second, client, holders, directory, peer_kind)
        try:
            yield at
        finally:
            if at.httpd is not None:
                at.httpd.kill()
                at.httpd.wait()


@contextlib.contextmanager
def running(at: Stage, case: Case, *, first: int, second: int, other_adds: int = 0) -> Iterator[KubeVrrp]:
    """Both routers; the other one's check always passes, which `other_adds` to its priority."""
    document = yaml.safe_load(manifest(ROUTER.with_(priority=first)))
    document["spec"]["track"] = [case.entry]
    text = yaml.safe_dump(document, sort_keys=False)
    options = ("--scripts-dir", str(at.directory / "scripts"))
    with contextlib.ExitStack() as stack:
        one = KubeVrrp(at.first, ROUTER, manifests={"web": text}, options=options)
        two = KINDS[at.peer_kind](at.second, ROUTER.with_(priority=second + other_adds))
        at.routers = [one, two]
        for peer in (one, two):
            stack.callback(peer.close)
            peer.start()
        at.story.command(at.first, "cat web.yaml", text)
        at.story.wait(lambda: at.on(at.first) and one.listens() and two.listens(), what=f"{VIP} on the first host")
        yield one
        one.stop()
        two.stop()


def effective(router: KubeVrrp) -> int:
    return int(router.document().get("effectivePriority", 0))


def show_status(at: Stage, router: KubeVrrp) -> None:
    command = [sys.executable, "-m", "vip_speaker", "status", "-o", "wide", "--state-dir", str(router.state)]
    done = subprocess.run(command, env=router.environment(), capture_output=True, text=True, check=False)
    at.story.command(at.first, "vip-speaker status -o wide", done.stdout)


def said(router: KubeVrrp) -> str:
    parts = router.document()["priorityParts"]["contributions"]
    return ", ".join(f"{one['reason']}: {one['change']:+d}" for one in parts if one["change"]) or "its number is gone"


def moves_nothing(at: Stage, case: Case, *, first: int, second: int, adds: int, why: str) -> None:
    """The tutorial's numbers: the priority falls on the wire, and the VIP stays."""
    at.story.heading(f"The tutorials' numbers, {case.title}: {first} against {second}, weight {case.entry['weight']}")
    case.mend(at)
    with running(at, case, first=first, second=second, other_adds=adds) as router:
        at.story.wait(lambda: effective(router) == first + adds, what=f"priority {first + adds}")
        here = len(at.story.capture.lines)
        case.fail(at)
        at.story.wait(lambda: on_the_wire(at, first, since=here), what=f"priority {first} on the wire")
        at.story.let_pass(1.5, unless=lambda: not at.on(at.first), what="the VIP left the first host")
        show_status(at, router)
        at.story.check(at.on(at.first), f"{VIP} is still on the first: {why}")
    case.mend(at)


def moves(at: Stage, case: Case, *, first: int, second: int, good: int, bad: int, patience_s: float = 20) -> None:
    """Numbers with which the check decides, both ways, and a client that watches."""
    at.story.heading(f"{case.title}, {good} or {bad} against {second}: it moves")
    with running(at, case, first=first, second=second) as router:
        at.story.wait(lambda: effective(router) == good, what=f"priority {good}")
        here = len(at.story.capture.lines)
        with Probe(at.client, VIP) as probe:
            time.sleep(0.5)
            case.fail(at)
            at.story.wait(lambda: at.on(at.second), what=f"{VIP} on the second host", patience_s=patience_s)
            at.story.wait(lambda: on_the_wire(at, second, since=here), what="the second's advertisement")
            time.sleep(0.3)
        at.story.check(on_the_wire(at, bad, since=here), f"priority {bad} was on the wire, then {second}")
        at.story.wait(lambda: effective(router) == bad, what="the state file")
        show_status(at, router)
        at.story.seen(f"{VIP} is on the second: {said(router)}")
        lost = f"lost {probe.lost} of {probe.sent} questions" if probe.lost else f"{probe.sent} questions, all answered"
        at.story.say(f"  A client that asks {VIP} every millisecond: {lost}.")
        case.mend(at)
        at.story.wait(lambda: at.on(at.first), what=f"{VIP} back on the first host", patience_s=patience_s)
        at.story.seen(f"mended: {VIP} is back on the first")


def on_the_wire(at: Stage, priority: int, *, since: int) -> bool:
    found = (advert(line) for line in at.story.capture.lines[since:])
    return any(one is not None and one.priority == priority for one in found)


def play(at: Stage) -> None:
    never = "keepalived would stay, too"
    at.story.say(
        "A MASTER whose priority falls asks every 10 ms (intvl 1cs), for a tenth of a second, whether a better one is "
        "there, and serves meanwhile."
    )
    moves_nothing(
        at, process(10), first=210, second=200, adds=10,
        why=f"220 fell to 210, and the other, whose httpd runs, stands at 200 + 10 = 210; {never}",
    )  # fmt: skip
    moves_nothing(
        at, file(at, "1"), first=210, second=200, adds=1,
        why=f"211 fell to 210, the other stands at 201: a value of 1 with weight 1 is 1; {never}",
    )  # fmt: skip
    moves_nothing(
        at, interface(5), first=210, second=200, adds=5,
        why=f"215 fell to 210, the other stands at 205; {never}",
    )  # fmt: skip
    moves(at, process(10), first=200, second=205, good=210, bad=200)
    write("10")(at)
    moves(at, file(at, "10"), first=200, second=205, good=210, bad=200)
    moves(at, interface(5), first=205, second=208, good=210, bad=205)
    moves(at, check_script(), first=210, second=200, good=210, bad=190, patience_s=40)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab.tracking", description="What may move a VIP, on two hosts.")
    parser.add_argument("--peer", choices=sorted(KINDS), default="kube-vrrp", help="what runs on the second host")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("the lab makes network namespaces: run it as root", file=sys.stderr)
        return 2
    with stage(options.peer) as at:
        try:
            play(at)
        except (NotSeenError, AssertionError) as error:
            at.story.failed(str(error))
            for peer in at.routers:
                at.story.last_lines(f"what {peer.kind} on the {peer.host.name} host printed last:", peer.log)
            return 1
        at.story.end([])
    return 0


if __name__ == "__main__":
    sys.exit(main())
