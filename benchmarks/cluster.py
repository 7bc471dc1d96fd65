"""What kube-vrrp costs and how fast it is as a whole: the chart, operator, agents and routers on the test cluster.

Everything is seen from outside: a client's probe with kernel timestamps, `kubectl get vip --watch` as a person would
run it, the API server's audit log, /proc for memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.stage import ADDRESSES, ROUTER, VIP, Cable, Sniffer, sleep_until, stage
from tests.cluster.embedded import Cluster, builder, remove_abandoned
from tests.cluster.embedded.command import say
from tests.cluster.installation import NAMESPACE, Installation, StatusWatch
from tests.netns import Host, Network, wait_for
from tests.probe import Probe

#: Of the operator: how long speakers listen on a link for virtual router IDs in use before one is allocated.
LISTENING_S = 3.0
#: What the cluster's own part of an apply may take beside listening and the protocol's wait.
OVERHEAD_S = 0.5
PHASES = (0.1, 0.3, 0.5, 0.7, 0.9)
#: As the operator derives them: the master's and the first backup's.
PRIORITIES = (254, 252)
STEADY_S = 60.0
QUIET_LOAD = 2.0


def master_down_s(interval_s: float, priority: int) -> float:
    """RFC 9568 section 6.1: how long a BACKUP of this priority waits for the master."""
    return 3 * interval_s + (256 - priority) * interval_s / 256


@contextlib.contextmanager
def installed() -> Iterator[tuple[Installation, First]]:
    """A fresh cluster with the chart's default values and no VirtualIP, and what the first one took."""
    remove_abandoned()
    images = builder.build_all()
    with Cluster(f"bench-{secrets.token_hex(3)}") as cluster:
        for image in images.values():
            cluster.load_image(image.archive)
        installation = Installation(cluster, images)
        calm()
        taken = first(installation)
        installation.delete_vips()
        installation.restore()
        yield installation, taken


def calm(patience_s: float = 30) -> float:
    """Wait until the machine is quiet, at most `patience_s`; the load then. Its own start makes a cluster busy."""
    end = time.monotonic() + patience_s
    while (load := os.getloadavg()[0]) >= QUIET_LOAD and time.monotonic() < end:
        time.sleep(2)
    if load >= QUIET_LOAD:
        say(f"the machine is not quiet (load {load:.1f}); measuring all the same")
    return load


# -- the first answers of a VIP


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """From the start of `helm install` (with the VirtualIP in its values) in seconds."""

    helm_returned_s: float
    answers_s: float
    load: float


def first(installation: Installation) -> First:
    """Install the chart with a VirtualIP and wait until it answers."""
    load = os.getloadavg()[0]
    with Probe(installation.cluster.host("client"), VIP, rate=200) as probe:
        began_ns = time.time_ns()
        installation.install("--set", "vips[0].name=web", "--set", f"vips[0].spec.addresses={{{VIP}}}")
        returned_ns = time.time_ns()
        wait_for(lambda: installation.holders(VIP), what="a node holds the VIP", timeout=180, poll=0.1)
        time.sleep(1)
    return First(
        helm_returned_s=(returned_ns - began_ns) / 1e9, answers_s=(_answered(probe) - began_ns) / 1e9, load=load
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """From the start of the kubectl process to the first answer; `kubectl_s` is what kubectl itself took."""

    answers_s: float
    kubectl_s: float
    bound_s: float
    load: float


def applied(installation: Installation, number: int, **spec: Any) -> Applied:
    """Apply one VirtualIP of an address not used before, on a link where no other is."""
    address = f"192.168.137.{110 + number}"
    wait_s = master_down_s(1, PRIORITIES[0]) + (0 if "virtualRouterID" in spec else LISTENING_S)
    load = os.getloadavg()[0]
    with Probe(installation.cluster.host("client"), address) as probe:
        time.sleep(0.2)
        began_ns = time.time_ns()
        installation.apply(f"apply{number}", address, **spec)
        returned_ns = time.time_ns()
        wait_for(lambda: installation.holders(address), what="a node holds the VIP", timeout=60, poll=0.1)
        time.sleep(0.5)
    installation.delete_vips()
    time.sleep(4)  # whoever listens on the link has to begin anew
    return Applied(
        answers_s=(_answered(probe) - began_ns) / 1e9,
        kubectl_s=(returned_ns - began_ns) / 1e9,
        bound_s=wait_s + OVERHEAD_S,
        load=load,
    )


def _answered(probe: Probe) -> int:
    return min(when for when in probe.received_ns if when)


# -- what the table shows, and when


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """From a node's change to MASTER to the line of `kubectl get vip --watch` that names it."""

    event: str
    delay_ms: float
    operators_on_cut_node: int
    load: float


def shown(installation: Installation, name: str) -> list[Shown]:
    """Cut the master's link and put it back: the delays of both changes."""
    cluster = installation.cluster
    installation.settled(name)
    best = installation.master(name)
    pods = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")["items"]
    here = sum(pod["spec"]["nodeName"] == best for pod in pods)
    found = []
    for event in ("link of the master cut", "link put back"):
        load = os.getloadavg()[0]
        with StatusWatch(cluster, name) as watch:
            if event == "link put back":
                cluster.restore_link(best)
                wait_for(lambda: installation.master(name) == best, what="it is master again", timeout=90, poll=0.2)
                now = best
            else:
                cluster.cut_link(best)
                wait_for(
                    lambda: installation.master(name) not in ("", best), what="another master", timeout=90, poll=0.2
                )
                now = installation.master(name)
                time.sleep(2)
            time.sleep(0.5)
        watch.seen = watch.seen[1:]  # the first is how it was before
        found.append(
            Shown(event=event, delay_ms=1000 * watch.delay_of_master(now), operators_on_cut_node=here, load=load)
        )
    cluster.wait_ready()
    return found


# -- a steady cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What our accounts wrote in `seconds`, as `user verb URI`."""

    seconds: float
    virtual_ips: int
    writes: tuple[str, ...]
    load: float


def steady(installation: Installation, seconds: float, virtual_ips: int) -> Steady:
    """Look at the audit log before and after."""
    time.sleep(10)
    before = len(_writes(installation.cluster))
    time.sleep(seconds)
    return Steady(
        seconds=seconds,
        virtual_ips=virtual_ips,
        writes=tuple(_writes(installation.cluster)[before:]),
        load=os.getloadavg()[0],
    )


def _writes(cluster: Cluster) -> list[str]:
    ours = f"system:serviceaccount:{NAMESPACE}:"
    return [
        f"{event['user']['username'].removeprefix(ours)} {event['verb']} {event['requestURI']}"
        for event in cluster.audit_events()
        if event["user"].get("username", "").startswith(ours) and event["verb"] not in ("get", "list", "watch")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory in MiB of every process of a container: (container, command, MiB)."""

    node: str
    pod: str
    processes: tuple[tuple[str, str, float], ...]

    @property
    def mib(self) -> float:
        """Of the whole pod."""
        return sum(size for _, _, size in self.processes)


def memory(installation: Installation, component: str) -> list[Memory]:
    """The pods of a component, as the kernel counts them now."""
    pods = installation.cluster.get("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={component}")["items"]
    found = []
    for pod in sorted(pods, key=lambda each: each["spec"]["nodeName"]):
        sizes = tuple(
            (container["name"], command, size)
            for container in pod["status"]["containerStatuses"]
            for command, size in _resident(container["containerID"].partition("://")[2])
        )
        found.append(Memory(node=pod["spec"]["nodeName"], pod=pod["metadata"]["name"], processes=sizes))
    return found


def _resident(container: str) -> Iterator[tuple[str, float]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if container not in (process / "cgroup").read_text():
                continue
            command = " ".join((process / "cmdline").read_text(errors="replace").split("\0")[:5])
            lines = (process / "status").read_text().splitlines()
            resident = next(line for line in lines if line.startswith("VmRSS:"))
        except (OSError, StopIteration):
            continue
        yield command, int(resident.split()[1]) / 1024


# -- the gap after a cut, through the chart's pods and without Kubernetes


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One pulled cable: the longest time in which a client heard nothing."""

    phase: float
    silence_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a cable can be pulled: node address to the switch's namespace and port, a client, an ear for adverts."""

    ports: dict[str, tuple[str, str]]
    client: Host
    sniffer: Sniffer


def gaps(interval_ms: int, rounds: int, installation: Installation) -> dict[str, list[Gap]]:
    """Cuts at fixed phases of the interval, in turn, so that a slow moment of the machine meets both."""
    cluster = installation.cluster
    interval = f"{interval_ms}ms" if interval_ms % 1000 else f"{interval_ms // 1000}s"
    installation.serve("gap", VIP, virtualRouterID=51, advertisementInterval=interval)
    found: dict[str, list[Gap]] = {"through the chart's pods": [], "the router alone": []}
    with contextlib.ExitStack() as stack:
        client = cluster.host("client")
        pods = Link(
            ports={node.address: (cluster.lan.netns, node.name) for node in cluster.nodes},
            client=client,
            sniffer=stack.enter_context(Sniffer(client)),
        )
        at = stack.enter_context(stage("kube-vrrp", ROUTER.with_(interval_ms=interval_ms), priorities=PRIORITIES))
        alone = Link(
            ports={ADDRESSES[name]: (at.network.switch, peer.host.port) for name, peer in at.routers.items()},
            client=at.client,
            sniffer=at.sniffer,
        )
        for number in range(rounds * len(PHASES)):
            phase = PHASES[number % len(PHASES)]
            for name, link in zip(found, (pods, alone), strict=True):
                found[name].append(Gap(phase=phase, silence_ms=_cut(link, interval_ms, phase)))
    installation.delete_vips()
    return found


def _cut(link: Link, interval_ms: int, phase: float) -> float:
    master = _settled(link, interval_ms)
    switch, port = link.ports[master]
    cable = Cable(cast(Network, SimpleNamespace(switch=switch)), cast(Host, SimpleNamespace(port=port)))
    with Probe(link.client, VIP, rate=4000, realtime=True, grace_s=0.05) as probe:
        time.sleep(0.1)
        link.sniffer.drain()
        last = link.sniffer.next(timeout=5 * interval_ms / 1000 + 1, source=master)
        sleep_until(last.at_ns + int(phase * interval_ms * 1e6))
        cable.cut()
        while link.sniffer.next(timeout=10 * interval_ms / 1000 + 2).source == master:
            pass
        time.sleep(0.05)
    cable.plug()
    cable.close()
    return probe.silence_ms


def _settled(link: Link, interval_ms: int) -> str:
    """Wait until the router of the best priority alone advertises; its address."""
    for _ in range(60):
        heard = {(one.source, one.priority) for one in link.sniffer.collect(max(0.3, 2.2 * interval_ms / 1000))}
        if len(heard) == 1 and next(iter(heard))[1] == PRIORITIES[0]:
            return next(iter(heard))[0]
    raise TimeoutError("no single master of the best priority")


def as_json(value: Any) -> Any:
    """Dataclass values as JSON can hold them."""
    return json.loads(json.dumps(value, default=asdict))
