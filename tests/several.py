"""Three routers or more on one LAN, and planned moves among them: how many successors, for how long, and what is lost.

Two successors have two witnesses: the routers' own logs (both said MASTER) and tcpdump (two of those that stay
advertised, before one of them said by priority 1 that it is BACKUP again).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tests.capture import Advert, Capture
from tests.netns import Host, Network, wait_for
from tests.peers import KubeVrrp, Peer, VirtualRouter, manifest
from tests.probe import Probe

VIP = "192.168.137.200"
ROUTER = VirtualRouter(addresses=(f"{VIP}/32",))
#: What an operator gives to three nodes, and what the tutorials give to hosts.
DERIVED, TUTORIAL = (254, 252, 250), (210, 200, 190)
DEMOTED_BY = 60
LOWEST_PRIORITY = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One hand-over. `said_master`: who of those that stay said MASTER by its log; `advertised`: on the wire."""

    said_master: tuple[str, ...]
    advertised: tuple[str, ...]
    overlap_ms: float
    takeover_ms: float
    lost: int

    @property
    def two(self) -> bool:
        """Whether there was more than one successor, by either witness."""
        return len(self.said_master) > 1 or len(self.advertised) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Several:
    """Routers of one VRID, best first, with a client and tcpdump; a number in a file demotes each of ours."""

    peers: dict[str, Peer]
    addresses: dict[str, str]
    values: dict[str, Path]
    client: Host
    capture: Capture
    interval_ms: int

    def move(self, what: str) -> Move:
        """The best one leaves as `what` says, and comes back."""
        leaver, *stay = self.peers
        self._settled()
        with Probe(self.client, VIP) as probe:
            time.sleep(0.2)
            began = time.time()
            self._begin(what, leaver)
            time.sleep(0.4)  # nobody looks on meanwhile: looking takes processor time
            wait_for(lambda: any(self.peers[one].host.has(VIP) for one in stay), what="a successor", poll=0.1)
            time.sleep(0.2)
        move = judged(
            self.capture.adverts(since=began),
            {self.addresses[name]: name for name in stay},
            began=began,
            said_master=tuple(name for name in stay if "MASTER" in _roles(self.peers[name], began)),
            lost=probe.lost,
        )
        self._end(what, leaver)
        return move

    def _settled(self) -> None:
        """The best is master, all others listen, the tail of a hand-over is over; then at no particular phase."""
        best, *others = self.peers
        hosts = [self.peers[one].host for one in others]
        began = time.time()
        wait_for(lambda: self.capture.adverts(since=began, source=self.addresses[best]), what="it is back", poll=0.1)
        wait_for(lambda: not any(host.has(VIP) for host in hosts), what="the others are not master", poll=0.1)
        time.sleep(1.3 + random.random() * self.interval_ms / 1000)  # and what flaps is damped for a second

    def _begin(self, what: str, name: str) -> None:
        peer = self.peers[name]
        match what:
            case "SIGTERM":
                peer.stop() if peer.kind == "frr" else os.kill(peer.pid, signal.SIGTERM)
            case "demotion":
                self.values[name].write_text(f"-{DEMOTED_BY}\n")
            case "kill -9":  # of the router: the guard carries out its last will, and starts a new one
                assert isinstance(peer, KubeVrrp)
                os.kill(peer.child(), signal.SIGKILL)

    def _end(self, what: str, name: str) -> None:
        peer = self.peers[name]
        match what:
            case "SIGTERM":
                assert peer.process is not None
                peer.process.wait(20)
                peer.launch()
            case "demotion":
                self.values[name].write_text("0\n")


def judged(
    adverts: Sequence[Advert], names: Mapping[str, str], *, began: float, said_master: tuple[str, ...], lost: int
) -> Move:
    """What the advertisements after `began` say about those that stay; `names` by the addresses that they send from."""
    firsts: dict[str, float] = {}
    lasts: list[float] = []
    for one in adverts:
        name = names.get(one.source)
        if name is not None and one.priority > LOWEST_PRIORITY:
            firsts.setdefault(name, one.time)
        elif name in firsts:
            lasts.append(one.time)
    times = sorted(firsts.values())
    assert times, "no successor advertised"
    return Move(
        said_master=said_master,
        advertised=tuple(firsts),
        overlap_ms=1000 * (max(lasts, default=times[-1]) - times[1]) if len(times) > 1 else 0.0,
        takeover_ms=1000 * (times[0] - began),
        lost=lost,
    )


def _roles(peer: Peer, since: float) -> list[str]:
    """The roles that our router's log says it took since then; the log has milliseconds."""
    if not isinstance(peer, KubeVrrp):
        return []
    found = re.findall(r"^(\S+)Z INFO web: \w+ → (\w+)", peer.log, flags=re.MULTILINE)
    return [role for when, role in found if datetime.fromisoformat(f"{when}+00:00").timestamp() >= since - 0.001]


@contextlib.contextmanager
def several(
    priorities: Sequence[int] = DERIVED,
    *,
    interval_ms: int,
    named: bool = True,
    kind: type[KubeVrrp] = KubeVrrp,
    others: Mapping[int, type[Peer]] | None = None,
) -> Iterator[Several]:
    """Routers with these priorities, best first; `named`: ours are told of each other, as an operator does it.

    `others` puts a router of another kind at an index.
    """
    router = ROUTER.with_(interval_ms=interval_ms)
    with (
        Network() as network,
        tempfile.TemporaryDirectory(prefix="several-") as directory,
        contextlib.ExitStack() as on,
    ):
        addresses = {f"r{index}": f"192.168.137.{201 + index}" for index in range(len(priorities))}
        of = dict(zip(addresses, priorities, strict=True))
        values = {name: Path(directory) / name for name in addresses}
        client = network.host("client", "192.168.137.10/24")
        peers: dict[str, Peer] = {}
        for index, name in enumerate(addresses):
            values[name].write_text("0\n")
            host, mine = network.host(name, f"{addresses[name]}/24"), router.with_(priority=of[name])
            if other := (others or {}).get(index):
                peers[name] = other(host, mine)
            else:
                document: dict[str, Any] = yaml.safe_load(manifest(mine))
                document["spec"]["track"] = [{"name": "value", "weight": 1, "file": {"path": str(values[name])}}]
                if named:
                    told = [{"node": one, "priority": of[one], "address": addresses[one]} for one in of if one != name]
                    document["assignment"] = {"priority": of[name], "virtualRouterID": router.vrid, "peers": told}
                peers[name] = kind(host, mine, manifests={router.name: yaml.safe_dump(document)})
            on.callback(peers[name].close)
        capture = on.enter_context(Capture(network.host("witness", "192.168.137.20/24")))
        for peer in peers.values():
            peer.start().wait_listens()
        yield Several(
            peers=peers, addresses=addresses, values=values, client=client, capture=capture, interval_ms=interval_ms
        )
