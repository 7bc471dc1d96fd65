"""What every interop test stands on: two routers' hosts, two clients, tcpdump, and the judges of who holds the VIP."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.capture import Capture
from tests.netns import Host, Network, wait_for
from tests.peers import KINDS, KubeVrrp, Peer, VirtualRouter
from tests.probe import Probe
from tests.watch import Asker, Holders

VIP4, VIP6 = "192.168.137.200", "fd00:137::200"
ADDRESS = {
    "first": "192.168.137.201",
    "second": "192.168.137.202",
    "client": "192.168.137.10",
    "other": "192.168.137.11",
}
ADDRESS6 = {name: address.replace("192.168.137.", "fd00:137::") for name, address in ADDRESS.items()}

V3 = VirtualRouter(addresses=(f"{VIP4}/32",), interval_ms=100)
V3_IPV6 = V3.with_(addresses=("fe80::137:200/64", f"{VIP6}/64"))
V2 = VirtualRouter(addresses=(f"{VIP4}/32",), version=2)
V2_PASS = V2.with_(password="1111")

#: A planned overlap of ours: 50 ms + 5 ms per address after the successor's first advertisement; a busy machine adds.
HANDING_OVER_MS = 200
#: Questions, 5 ms apart, that the leaver may answer beside its successor, by its kind. Ours falls silent when it
#: has read the successor's first advertisement: one question as a rule, more where it has to wait for the processor.
#: keepalived takes its address off by then, without real-time scheduling: on a busy machine its own advertisements are
#: up to 0.4 s late (docs/figures.md), and so is this. FRR moves its links through another process of its own.
DOUBLES = {"kube-vrrp": 10, "keepalived": 40, "frr": 60}
#: Over IPv6 FRR answers an interval of 100 ms before its first advertisement ("Failed to find address to bind"): until
#: then nobody can know of it.
DOUBLES_BESIDE_FRR = 40
#: What a busy machine may add to a deadline, in milliseconds. Goals are measured by benchmarks, not here.
BUSY_MS = 400


@dataclass
class Scene:
    """The hosts, the witness and the judges of one test."""

    network: Network
    first: Host
    second: Host
    client: Host
    other: Host
    capture: Capture
    holders4: Holders
    holders6: Holders
    asker4: Asker
    asker6: Asker
    macs: dict[str, str]
    peers: list[Peer] = field(default_factory=list)
    began_ns: int = field(default_factory=time.monotonic_ns)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def peer(self, kind: str, host: Host, *routers: VirtualRouter, **options: Any) -> Peer:
        """A router that is closed with the scene; not started yet."""
        peer = KINDS[kind](host, *routers, **options)
        self.peers.append(peer)
        self._stack.callback(peer.close)
        return peer

    def pair(self, first: str, second: str, router: VirtualRouter) -> tuple[Peer, Peer]:
        """Priority 210 and 200, the second started when the first listens, so that only the first is ever MASTER."""
        one = self.peer(first, self.first, router.with_(priority=210)).start().wait_listens()
        self.wait_holder(self.first, ipv6=router.ipv6)
        two = self.peer(second, self.second, router.with_(priority=200)).start().wait_listens()
        self.wait_holder(self.first, ipv6=router.ipv6)
        self.began_ns = time.monotonic_ns()  # FRR's links hold their addresses until vrrpd has taken them over
        return one, two

    def ours(self, host: Host, *routers: VirtualRouter, **options: Any) -> KubeVrrp:
        """Ours, started."""
        peer = KubeVrrp(host, *routers, **options)
        self.peers.append(peer)
        self._stack.callback(peer.close)
        peer.start()
        return peer

    def probe(self, *, ipv6: bool = False, cold: bool = False) -> Probe:
        """A client's probe: the warm and the cold client are two hosts."""
        return Probe(self.other if cold else self.client, VIP6 if ipv6 else VIP4, cold=cold)

    def judges(self, ipv6: bool) -> tuple[Holders, Asker]:
        """Holders and asker of one family's VIP."""
        return (self.holders6, self.asker6) if ipv6 else (self.holders4, self.asker4)

    def told(self) -> str:
        """What every router printed last, and what was on the wire besides our own questions."""
        logs = [f"--- {peer.kind} on {peer.host.name}\n{peer.log[-3000:]}" for peer in self.peers]
        wire = [line for line in self.capture.lines if "VRRP" in line][-40:]
        return "\n".join([*logs, "--- tcpdump", *wire])

    def wait_holder(self, host: Host, *, ipv6: bool = False, timeout: float = 20) -> None:
        """Until `host` alone holds the VIP."""
        holders, _ = self.judges(ipv6)
        wait_for(lambda: holders.now == {host.name}, what=f"{holders.address} on {host.name} alone", timeout=timeout)

    def stays(self, host: Host, *, seconds: float, ipv6: bool = False) -> None:
        """For `seconds` from now `host` alone holds the VIP, without one moment's change."""
        holders, _ = self.judges(ipv6)
        since = time.monotonic_ns()
        time.sleep(seconds)
        assert holders.spells(since_ns=since)[0][0] == {host.name}, holders.spells(since_ns=since)
        assert len(holders.spells(since_ns=since)) == 1, holders.spells(since_ns=since)

    def mark(self) -> Mark:
        """This moment, for `never_two` and `longest_none`."""
        return Mark(time.monotonic_ns(), time.time())

    def never_two(
        self, *, since: Mark | None = None, overlap_ms: float | None = None, doubles: int | None = None
    ) -> None:
        """No two hosts held a VIP for longer than a hand-over takes, nor answered for it longer than it takes to hear.

        `doubles`: how many questions ours may answer beside its successor, if not `DOUBLES`.
        """
        frr = any(peer.kind == "frr" for peer in self.peers)
        overlap_ms = overlap_ms if overlap_ms is not None else 5 * DOUBLES["frr"] if frr else HANDING_OVER_MS
        ours = doubles if doubles is not None else DOUBLES_BESIDE_FRR if frr else DOUBLES["kube-vrrp"]
        most = DOUBLES | {"kube-vrrp": ours}
        since_ns = since.monotonic_ns if since else self.began_ns
        for holders, asker in (self.judges(False), self.judges(True)):
            twice = Counter(self._kind_of(leaver) for _, leaver in asker.doubles(since_ns=since_ns))
            for kind, questions in twice.items():
                assert questions <= most[kind], f"{asker.address}: {questions} answered beside {kind} that was to leave"
            longest = holders.longest(holders=2, since_ns=since_ns)
            assert longest <= overlap_ms, f"{holders.address} on two hosts: {holders.spells(since_ns=since_ns)}"

    def _kind_of(self, mac: str | None) -> str:
        """Whose MAC that is: a router has that of its host's link, but for FRR. Ours is judged where it is unknown."""
        kinds = {self.macs[peer.host.name]: peer.kind for peer in self.peers}
        frr = "frr" in kinds.values()
        return "kube-vrrp" if mac is None else kinds.get(mac, "frr" if frr else "kube-vrrp")

    def longest_none(self, *, since: Mark, ipv6: bool = False) -> float:
        """The longest time in milliseconds without a holder."""
        return self.judges(ipv6)[0].longest(holders=0, since_ns=since.monotonic_ns)

    def eventually(self, condition: Callable[[], object], what: str, *, timeout: float = 20) -> None:
        """Until the condition is true."""
        wait_for(condition, what=what, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment, on the clock of the judges and on that of tcpdump."""

    monotonic_ns: int
    time: float


@contextlib.contextmanager
def scene(*, ip_forward: int = 0) -> Iterator[Scene]:
    """A fresh network with nothing started on the routers' hosts."""
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        hosts = {name: network.host(name, f"{ADDRESS[name]}/24", f"{ADDRESS6[name]}/64") for name in ADDRESS}
        for name in ("first", "second"):
            hosts[name].run("sysctl", "-qw", f"net.ipv4.ip_forward={ip_forward}")
        routers = [hosts["first"], hosts["second"]]
        judges = [
            stack.enter_context(judge)
            for judge in (
                Capture(hosts["client"]),
                Holders(VIP4, routers),
                Holders(VIP6, routers),
                Asker(hosts["other"], VIP4),
                Asker(hosts["other"], VIP6),
            )
        ]
        inner = stack.enter_context(contextlib.ExitStack())
        macs = {name: host.mac() for name, host in hosts.items()}
        yield Scene(network, *hosts.values(), *judges, macs=macs, _stack=inner)  # type: ignore[arg-type,misc]
