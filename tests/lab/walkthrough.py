"""The steps: both start; the first stops, the VIP moves; it starts, the VIP returns; without preemption it stays."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.capture import Capture, advert
from tests.lab.story import Story
from tests.netns import Host, Network
from tests.peers import KINDS, TUTORIAL, Frr, Keepalived, KubeVrrp, Peer, checkout_environment
from tests.probe import Probe
from tests.watch import Holders

HERE = Path(__file__).parent
ADDRESSES = {"first": "192.168.137.201", "second": "192.168.137.202"}
ADDRESSES_V6 = {"first": "fd00:137::201", "second": "fd00:137::202"}
#: The systemd unit of each kind of router.
UNITS = {"kube-vrrp": "vip-speaker", "keepalived": "keepalived", "frr": "frr"}
VIP, VIP_V6 = "192.168.137.200", "fd00:137::200"

#: With FRR: VRRPv3, and a second virtual router for IPv6.
DUAL = (
    TUTORIAL.with_(version=3, password=None),
    TUTORIAL.with_(version=3, password=None, name="web6", addresses=("fe80::137:200/64", f"{VIP_V6}/64")),
)

WIRE_V2 = "IP {} > 224.0.0.18: VRRPv2, Advertisement, vrid 51, prio {}, authtype simple, intvl 1s, length 20"
WIRE_V3 = "IP {} > 224.0.0.18: VRRPv3, Advertisement, vrid 51, prio {}, intvl 100cs, length 12"


@dataclass
class Stage:
    """Everybody who takes part."""

    network: Network
    story: Story
    first: Peer
    second: Peer
    client: Host
    holders: list[Holders]
    dual: bool

    @property
    def wire(self) -> str:
        """tcpdump's line, to be filled with the sender and its priority."""
        return WIRE_V3 if self.dual else WIRE_V2

    def on(self, peer: Peer) -> bool:
        """Whether every VIP is on the host of `peer` and nowhere else."""
        return all(one.now == {peer.host.name} for one in self.holders)

    def moved_at(self) -> float:
        """When the last VIP came to where it is (CLOCK_MONOTONIC, seconds)."""
        return max(one.changes[-1].at_ns for one in self.holders) / 1e9

    def heard(self, sender: Peer, priority: int, *, since: int = 0) -> list[str]:
        """Advertisements with exactly the line the document shows; `since` is a number of tcpdump lines."""
        wanted = self.wire.format(ADDRESSES[sender.host.name], priority)
        lines = self.story.capture.lines[since:]
        return [line for line in lines if line.split(" ", 1)[1] == wanted]


@contextlib.contextmanager
def stage(first_kind: str, second_kind: str) -> Iterator[Stage]:
    """Two routers' hosts and a client on one switch, tcpdump running on the second host."""
    dual = "frr" in (first_kind, second_kind)
    with Network() as network:
        hosts = [
            network.host(name, f"{address}/24", *([f"{ADDRESSES_V6[name]}/64"] if dual else []))
            for name, address in ADDRESSES.items()
        ]
        client = network.host("client", "192.168.137.10/24", *(["fd00:137::10/64"] if dual else []))
        filter_ = "vrrp or ip6 proto 112" if dual else "vrrp"
        with contextlib.ExitStack() as stack:
            capture = stack.enter_context(Capture(hosts[1], filter_, options=()))
            vips = [VIP, VIP_V6] if dual else [VIP]
            holders = [stack.enter_context(Holders(vip, hosts)) for vip in vips]
            story = Story(capture)
            first = make(first_kind, hosts[0], 210, dual=dual)
            stack.callback(first.close)
            second = make(second_kind, hosts[1], 200, dual=dual)
            stack.callback(second.close)
            yield Stage(network, story, first, second, client, holders, dual)


def make(kind: str, host: Host, priority: int, *, dual: bool) -> Peer:
    """A router of `kind` with what the document gives this host."""
    if not dual and kind == "keepalived":
        return Keepalived(host, text=conf(host.name).read_text())
    if not dual and kind == "kube-vrrp":
        return KubeVrrp(host, manifests={"web": converted(host.name)[0]})
    routers = DUAL if dual else (TUTORIAL,)
    return KINDS[kind](host, *(one.with_(priority=priority) for one in routers))


def conf(name: str) -> Path:
    """One of the document's keepalived.conf blocks."""
    return HERE / f"{name}.conf"


def converted(name: str) -> tuple[str, str]:
    """What `vip-speaker convert` makes of a block: the manifest, and what it has to say about it."""
    done = subprocess.run(
        [sys.executable, "-m", "vip_speaker", "convert", str(conf(name))],
        env=os.environ | checkout_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.strip().removeprefix(f"{conf(name)}: ")


def show_configuration(at: Stage, peer: Peer, block: str) -> None:
    """What the peer is given; ours is converted from the document's block."""
    peer.configure()
    if not isinstance(peer, KubeVrrp):
        name = "vrrpd.conf" if isinstance(peer, Frr) else "keepalived.conf"
        at.story.file(peer.host, name, (peer.directory / name).read_text())
        return
    if not at.dual:
        at.story.file(peer.host, "keepalived.conf", conf(block).read_text())
        at.story.command(peer.host, "vip-speaker convert keepalived.conf > web.yaml", converted(block)[1] or None)
    at.story.file(peer.host, "web.yaml", "---\n".join(one.read_text() for one in sorted(peer.config.glob("*.yaml"))))


def started_as(peer: Peer) -> str:
    """The command line, as a person types it."""
    if isinstance(peer, KubeVrrp):
        return "vip-speaker router --config web.yaml &"
    return "vrrpd &" if isinstance(peer, Frr) else "keepalived --vrrp &"


def show_addresses(at: Stage, peer: Peer) -> None:
    """`ip a`, of eth0, and of FRR's own links."""
    links = ["eth0"]
    if isinstance(peer, Frr):
        links = re.findall(r"(vrrp-\S+)@", peer.host.ip("-o", "link"))
    for link in links:
        at.story.run(peer.host, "ip", "a", "show", link)


@contextlib.contextmanager
def client_asking(at: Stage) -> Iterator[None]:
    """A client asks the VIP a thousand times a second meanwhile; says what it noticed."""
    with Probe(at.client, VIP) as probe:
        yield
        time.sleep(0.2)
    noticed = f"noticed nothing: {probe.sent} questions, {probe.sent} answers"
    if probe.lost:
        noticed = f"had no answer to {probe.lost} of {probe.sent} questions, for {probe.silence_ms:.0f} ms"
    at.story.say(f"  A client that asks {VIP} every millisecond {noticed}.")


def play(at: Stage) -> None:
    """All steps, in order."""
    introduce(at)
    both_start(at)
    on_the_wire(at)
    first_stops(at)
    first_returns(at)
    nopreempt(at)


def introduce(at: Stage) -> None:
    at.story.heading("Two hosts on one switch")
    for peer in (at.first, at.second):
        at.story.say(f"{peer.host.name}: {ADDRESSES[peer.host.name]}, runs {peer.kind}")
        show_configuration(at, peer, peer.host.name)


def both_start(at: Stage) -> None:
    at.story.heading(f"Both start: the VIP {VIP} comes up on the first")
    began = time.monotonic()
    for peer in (at.first, at.second):
        peer.launch()
        at.story.command(peer.host, started_as(peer))
        at.story.wait(peer.listens, what=f"{peer.kind} listens")
    at.story.command(at.second.host, f"tcpdump -n {at.story.capture.filter}")
    at.story.wait(lambda: at.on(at.first), what=f"{VIP} on the first host")
    took = at.moved_at() - began
    show_addresses(at, at.first)
    show_addresses(at, at.second)
    at.story.check(f"inet {VIP}/32" in at.first.host.ip("a", "show", "eth0"), f"{VIP}/32 is on eth0 of the first")
    at.story.check(at.on(at.first), f"and not on the second; it took {took:.1f} s: nobody starts as MASTER unheard")


def on_the_wire(at: Stage) -> None:
    at.story.heading("One advertisement a second, only from the first")
    here = len(at.story.capture.lines)
    at.story.wait(lambda: len(at.heard(at.first, 210, since=here)) >= 3, what="three advertisements, byte for byte")
    at.story.seen(f"“{at.wire.format(ADDRESSES['first'], 210)}”")
    at.story.check(not at.heard(at.second, 200), "the second is silent")
    if at.dual:
        heard = [one for one in map(advert, at.story.capture.lines[here:]) if one and one.destination == "ff02::12"]
        at.story.check({(one.vrid, one.priority) for one in heard} == {(51, 210)}, "the same over IPv6, to ff02::12")
        at.story.check({one.source[:6] for one in heard} == {"fe80::"}, "from the link-local address of the first")


def first_stops(at: Stage) -> None:
    at.story.heading("The first stops: the VIP moves to the second")
    here = len(at.story.capture.lines)
    with client_asking(at):
        at.story.command(at.first.host, f"kill {at.first.pid}   # systemctl stop {UNITS[at.first.kind]}")
        began = time.monotonic()
        at.first.stop()
        at.story.wait(lambda: at.on(at.second), what=f"{VIP} on the second host")
        took = at.moved_at() - began
        at.story.wait(lambda: len(at.heard(at.second, 200, since=here)) >= 2, what="the second's advertisements")
    show_addresses(at, at.second)
    at.story.seen(f"{VIP} is on the second, {took:.2f} s after the signal")
    good_byes = [one for one in map(advert, at.story.capture.lines[here:]) if one and one.priority == 0]
    at.story.check({one.source for one in good_byes} >= {ADDRESSES["first"]}, "the first said good-bye with priority 0")
    at.story.check(at.heard(at.second, 200, since=here), f"“{at.wire.format(ADDRESSES['second'], 200)}”")


def first_returns(at: Stage) -> None:
    at.story.heading("The first starts again: the VIP returns")
    with client_asking(at):
        at.first.launch()
        at.story.command(at.first.host, started_as(at.first))
        at.story.wait(lambda: at.on(at.first), what=f"{VIP} back on the first host")
        here = len(at.story.capture.lines)
        at.story.wait(lambda: at.heard(at.first, 210, since=here), what="the first's advertisements")
    show_addresses(at, at.first)
    if at.second.kind == "kube-vrrp":
        at.story.say(
            "The second's last advertisement says priority 1, which is lower than anybody's: it draws the answer of "
            "the first, and only then is the address taken off the second."
        )
    at.story.check(at.on(at.first), f"{VIP} is back on the first and gone from the second: 210 is more than 200")


def nopreempt(at: Stage) -> None:
    at.story.heading("Without preemption: the VIP stays where it is")
    explain_nopreempt(at)
    at.first.stop()
    at.story.command(at.first.host, f"kill {at.first.pid}")
    at.story.wait(lambda: at.on(at.second), what=f"{VIP} on the second host")
    without_preemption(at.first)
    show_configuration(at, at.first, "nopreempt")
    at.first.launch()
    at.story.command(at.first.host, started_as(at.first))
    at.story.wait(at.first.listens, what=f"{at.first.kind} listens")
    at.story.let_pass(
        5, unless=lambda: not at.on(at.second), what="the VIP left the second host although preempt is off"
    )
    show_addresses(at, at.second)
    at.story.check(at.first.process and at.first.process.poll() is None, "the first is running, with priority 210")
    at.story.check(at.on(at.second), f"{VIP} is still on the second, with priority 200")


def without_preemption(peer: Peer) -> None:
    """Have the peer not take over from a lower priority, from its next start on."""
    peer.routers = tuple(one.with_(preempt=False) for one in peer.routers)
    if isinstance(peer, Keepalived) and peer.text is not None:
        peer.text = conf("nopreempt").read_text().replace("state MASTER", "state BACKUP")
    elif isinstance(peer, KubeVrrp) and peer.manifests is not None:
        peer.manifests = {"web": converted("nopreempt")[0]}


def explain_nopreempt(at: Stage) -> None:
    """keepalived's own word on the block that tutorials print, from the real keepalived where it is installed."""
    at.story.say(
        "Tutorials add `nopreempt` to a block with `state MASTER`. keepalived ignores it there, and the VIP returns"
        " all the same:"
    )
    at.story.command(at.first.host, "keepalived --vrrp --config-test --use-file nopreempt.conf")
    told = at.first.host.run("sh", "-c", f"keepalived --vrrp -t -f {conf('nopreempt')} 2>&1", check=False)
    at.story.say("  " + told.strip())
    at.story.check("nopreempt will not work with initial state MASTER" in told, "keepalived says so itself")
    at.story.say(
        "A VirtualIP has no initial state: `preempt: false` is all that it takes. (In keepalived: `state BACKUP`.)"
    )
