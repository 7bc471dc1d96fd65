"""One router of ours and one neighbour: for what it holds when documents, links and addresses change under it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.capture import Capture
from tests.netns import Host, Network, wait_for
from tests.peers import KubeVrrp
from tests.watch import Holders

OWN = "10.9.0.5"


def document(name: str, *addresses: str, vrid: int, **spec: Any) -> str:
    """A VirtualIP whose router is MASTER at once, and says so every 100 ms."""
    default = {
        "addresses": list(addresses),
        "interfaces": ["eth0"],
        "virtualRouterID": vrid,
        "priority": 255,
        "advertisementInterval": "100ms",
    }
    whole = {name: value for name, value in (default | spec).items() if value is not None}
    head = {"apiVersion": "kube-vrrp.io/v1alpha1", "kind": "VirtualIP", "metadata": {"name": name}}
    return yaml.safe_dump(head | {"spec": whole}, sort_keys=False)


@dataclass
class Alone:
    """A router on `host`, heard by tcpdump on `neighbour`."""

    network: Network
    host: Host
    neighbour: Host
    router: KubeVrrp
    capture: Capture
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def config(self) -> Path:
        """The directory of the documents."""
        return self.router.config

    def start(self, documents: dict[str, str], **masters: str) -> None:
        """Start on these documents, by file name without suffix; wait until each of `masters` holds its address."""
        self.router.manifests = documents
        self.router.start()
        for name, address in masters.items():
            self.wait_held(address, name)

    def write(self, name: str, text: str) -> None:
        """Put a document in place as `mv` does."""
        new = self.config / f".{name}.new"
        new.write_text(text)
        new.rename(self.config / f"{name}.yaml")

    def remove(self, name: str) -> None:
        """Delete a document."""
        (self.config / f"{name}.yaml").unlink()

    def wait_held(self, address: str, name: str, *, timeout: float = 20) -> None:
        """Until the VIP `name` is MASTER and `address` (without prefix) is on some link."""
        self.eventually(
            lambda: self.state(name).get("state") == "MASTER" and self.holds(address),
            f"{address} is held by {name}",
            timeout=timeout,
        )

    def eventually(self, condition: Any, what: str, *, timeout: float = 20) -> None:
        """Until the condition is true."""
        try:
            wait_for(condition, what=what, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.host.ip('addr')}\n{self.router.log[-3000:]}") from None

    def state(self, name: str) -> dict[str, Any]:
        """What the router says of a VIP."""
        return self.router.document(name)

    def problems(self, name: str) -> str:
        """What is wrong with a VIP, as one text."""
        return " ".join(self.state(name).get("problems", ()))

    def on_links(self) -> dict[str, str]:
        """Every address of the host with its prefix, but loopback's; and the link that it is on."""
        return {
            f"{one['local']}/{one['prefixlen']}": link["ifname"]
            for link in json.loads(self.host.ip("-j", "addr"))
            if link.get("ifname") != "lo"
            for one in link["addr_info"]
        }

    def holds(self, address: str) -> bool:
        """Whether `address` is on some link, whatever its prefix unless it names one."""
        return any(address in (one, one.split("/")[0]) for one in self.on_links())

    @contextlib.contextmanager
    def never_absent(self, address: str) -> Iterator[None]:
        """Inside, and until the router came to rest, `address` is on a link without one moment's break."""
        with Holders(address, [self.host]) as holders:
            assert holders.now == {self.host.name}, f"{address} is not there to begin with"
            since_ns = time.monotonic_ns()
            yield
            time.sleep(0.3)
            spells = holders.spells(since_ns=since_ns)
            assert [who for who, _ in spells] == [{self.host.name}], (spells, self.router.log[-3000:])

    def announced(self, address: str, *, since: float) -> list[str]:
        """The sender MACs of the ARP announcements of `address`."""
        rows = self.capture.fields(
            f"arp.src.proto_ipv4 == {address} && arp.dst.proto_ipv4 == {address}", "frame.time_epoch", "arp.src.hw_mac"
        )
        return [mac for when, mac in rows if float(when) >= since]

    def no_bug(self) -> None:
        """The guard runs, or was told to leave, and no router ended itself over a bug that another then put right."""
        assert self.router.process is not None
        assert self.router.process.poll() in (None, 0), self.router.log[-3000:]
        assert "CRITICAL" not in self.router.log, self.router.log[-3000:]


@contextlib.contextmanager
def alone(*addresses: str) -> Iterator[Alone]:
    """A fresh network; the router is not started yet."""
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        host = network.host("a", *(addresses or (f"{OWN}/24",)))
        neighbour = network.host("b", "10.9.0.6/24")
        capture = stack.enter_context(Capture(neighbour))
        router = KubeVrrp(host)
        stack.callback(router.close)
        yield Alone(network, host, neighbour, router, capture)
