"""200 VirtualIPs on the three-node test cluster: until all answer, what they cost when nothing happens, and what a
client sees when one node loses its power.

The silence is read off the wire, with the kernel's receive times: it ends with the first announcement of the new
master, from which on clients send there.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config

from benchmarks.cluster import LISTENING_S, STEADY_S, Steady, calm, master_down_s, steady
from tests.cluster.embedded import Cluster, builder, remove_abandoned
from tests.cluster.embedded.command import say
from tests.cluster.installation import NAMESPACE, Installation, addresses
from tests.netns import Host, wait_for

VIPS = 200
RESOURCE = ("kube-vrrp.io", "v1alpha1", "virtualips")
FIRST = ipaddress.IPv4Address("192.168.138.1")  # above the hosts, which have numbers below 256
SUBNET = "192.168.136.0/22"
OVERHEAD_S = 10.0
"""What all of them together may take beside listening and the protocol's wait."""
LATE_MS = 100.0
TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def installed() -> Iterator[Installation]:
    """A fresh cluster on a link with room for so many addresses, the chart with its defaults, no VirtualIP."""
    remove_abandoned()
    images = builder.build_all()
    with Cluster(f"crowd-{secrets.token_hex(3)}", subnet=SUBNET) as cluster:
        for image in images.values():
            cluster.load_image(image.archive)
        installation = Installation(cluster, images)
        installation.restore()
        yield installation


def address_of(number: int) -> str:
    """The address of the VirtualIP with this number."""
    return str(FIRST + number)


# -- until all are there


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """Seconds from the first request: until all were created, until each address was on exactly one node, and
    until all were Ready.
    """

    created_s: float
    held_s: float
    ready_s: float
    load: float

    @property
    def bound_s(self) -> float:
        """The protocol's wait, and ours."""
        return LISTENING_S + master_down_s(1, 254) + OVERHEAD_S


def up(installation: Installation, vips: int) -> Up:
    """Create all in one go."""
    items = [
        {
            "apiVersion": "kube-vrrp.io/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": f"vip{number:03}"},
            "spec": {"addresses": [address_of(number)]},
        }
        for number in range(vips)
    ]
    cluster, load = installation.cluster, calm()
    wanted = {address_of(number) for number in range(vips)}
    began = time.monotonic()
    api = client.CustomObjectsApi(config.new_client_from_config(str(cluster.kubeconfig)))
    with ThreadPoolExecutor(max_workers=8) as pool:  # kubectl would create one after the other
        list(pool.map(lambda item: api.create_cluster_custom_object(*RESOURCE, item), items))
    created = time.monotonic()
    wait_for(lambda: _held_once(installation) >= wanted, what="all are held", timeout=180, poll=0.2)
    held = time.monotonic()
    wait_for(lambda: _ready(installation) == vips, what="all are Ready", timeout=180, poll=0.5)
    return Up(created_s=created - began, held_s=held - began, ready_s=time.monotonic() - began, load=load)


def _held_once(installation: Installation) -> set[str]:
    found: set[str] = set()
    twice: set[str] = set()
    for node in installation.cluster.nodes:
        here = addresses(node)
        twice |= found & here
        found |= here
    return found - twice


def _ready(installation: Installation) -> int:
    query = "{range .items[*]}{.status.conditions[?(@.type=='Ready')].status} {end}"
    return installation.cluster.kubectl("get", "vip", "-o", f"jsonpath={query}").split().count("True")


# -- what they cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU of a core in percent and RSS in MiB of one container of one node."""

    node: str
    container: str
    cpu: float
    rss_mib: float


def cost(installation: Installation, seconds: float = STEADY_S) -> tuple[Steady, list[Cost]]:
    """What our accounts write and our containers use while nothing happens."""
    pods = installation.cluster.get("pods", "-n", NAMESPACE)["items"]
    containers = [
        (pod["spec"]["nodeName"], status["name"], status["containerID"].partition("://")[2])
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        for status in pod["status"].get("containerStatuses", ())
        if "running" in status["state"]
    ]
    time.sleep(10)
    before = [_used(identity) for _, _, identity in containers]
    began = time.monotonic()
    written = steady(installation, seconds, _ready(installation))
    took = time.monotonic() - began
    after = [_used(identity) for _, _, identity in containers]
    return written, [
        Cost(node=node, container=name, cpu=100 * (now[0] - then[0]) / took, rss_mib=now[1])
        for (node, name, _), then, now in zip(containers, before, after, strict=True)
    ]


def _used(container: str) -> tuple[float, float]:
    """CPU seconds and MiB of a container's processes so far."""
    seconds, mib = 0.0, 0.0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if container not in (process / "cgroup").read_text():
                continue
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        seconds += (int(fields[11]) + int(fields[12])) / TICKS
        mib += int(fields[21]) * os.sysconf("SC_PAGESIZE") / 2**20
    return seconds, mib


# -- one node without power


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One VIP of the lost node. `silence_ms` from the cut to the new master's announcement; `late_ms` what of it is
    beyond the new master's own master-down interval, counted from the last advertisement that was sent.
    """

    vip: str
    silence_ms: float
    master_down_ms: float
    late_ms: float


def powerless(installation: Installation, *, api_down: bool) -> tuple[list[Moved], float]:
    """Cut the power of the node that is master of most; every VIP that it had, and the load before."""
    cluster, load = installation.cluster, calm()
    vips = cluster.get("vip")["items"]
    masters = [vip["status"]["master"] for vip in vips]
    lost = max(sorted(set(masters)), key=masters.count)
    say(f"{lost} is master of {masters.count(lost)} of {len(vips)}")
    if api_down:
        cluster.stop_api()
    try:
        with _Wire(cluster.host("client")) as wire:
            time.sleep(4)
            cut_s = time.time()
            cluster.power_off(lost)
            time.sleep(6)
    finally:
        if api_down:
            cluster.start_api()
    lost_address = cluster.node(lost).address
    moved = [
        _moved(vip, wire, cut_s, lost=lost, lost_address=lost_address)
        for vip, master in zip(vips, masters, strict=True)
        if master == lost
    ]
    return [one for one in moved if one is not None], load


def restored(installation: Installation, vips: int) -> None:
    """Power on whatever is off, and wait until all is as before."""
    cluster = installation.cluster
    for node in cluster.nodes:
        if not node.machine.pid:
            cluster.power_on(node.name)
    cluster.wait_ready()
    installation.wait_for_speakers()

    def complete() -> bool:
        states = [[e.get("state") for e in v["status"]["nodes"]] for v in cluster.get("vip")["items"]]
        return len(states) == vips and all(sorted(map(str, s)) == ["BACKUP", "BACKUP", "MASTER"] for s in states)

    wait_for(complete, what="all nodes take part in all again", timeout=180, poll=1)


def _moved(vip: dict[str, Any], wire: _Wire, cut_s: float, *, lost: str, lost_address: str) -> Moved | None:
    priority = max(e["priority"] for e in vip["status"]["nodes"] if e["node"] != lost)
    vrid, address = vip["status"]["virtualRouterID"], vip["spec"]["addresses"][0]
    heard = wire.adverts.get(vrid, [])
    # some are sent after the clock was read and before the power is gone
    sent = [at for at, source in heard if source == lost_address]
    if not sent or max(sent) < cut_s - 1.5:
        say(f"{vip['metadata']['name']}, VRID {vrid}, was not advertised by {lost_address}: {heard[:3]}")
        return None
    last = max(sent)
    announced = min(at for at in wire.announcements[address] if at > last)
    down_s = master_down_s(1, priority)
    return Moved(
        vip=vip["metadata"]["name"],
        silence_ms=1000 * (announced - cut_s),
        master_down_ms=1000 * down_s,
        late_ms=1000 * (announced - last - down_s),
    )


class _Wire:
    """What is on the link while the context is open: times of advertisements by VRID, of announcements by address."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.adverts: dict[int, list[tuple[float, str]]] = {}
        self.announcements: dict[str, list[float]] = {}

    def __enter__(self) -> _Wire:
        handle, name = tempfile.mkstemp(prefix="wire-")
        os.close(handle)
        self._file = Path(name)
        self._process = self._host.start(
            *("tcpdump", "-n", "-i", "eth0", "--immediate-mode", "-B", "8192", "-U", "-Z", "root", "-w", name),
            *("arp or ip proto 112",),
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: self._file.stat().st_size > 0, what="tcpdump writes", timeout=20)
        return self

    def __exit__(self, *_: object) -> None:
        self._host.end(self._process)
        data = self._file.read_bytes()
        self._file.unlink()
        position = 24
        while position + 16 <= len(data):
            seconds, micros, length, _ = struct.unpack_from("=IIII", data, position)
            self._take(seconds + micros / 1e6, data[position + 16 : position + 16 + length])
            position += 16 + length

    def _take(self, at: float, frame: bytes) -> None:
        if frame[12:14] == b"\x08\x06":
            source, target = frame[28:32], frame[38:42]
            if source == target:  # gratuitous
                self.announcements.setdefault(str(ipaddress.IPv4Address(source)), []).append(at)
        elif frame[23] == 112:
            start = 14 + (frame[14] & 0xF) * 4
            sender = str(ipaddress.IPv4Address(frame[26:30]))
            self.adverts.setdefault(frame[start + 1], []).append((at, sender))
