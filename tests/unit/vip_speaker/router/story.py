"""A host with the whole router on a virtual node, clock and LAN, for tests that tell a story."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

from vip_speaker.vrrp.types import MS, SECOND, Role
from vip_speaker.wire.advertisement import Content, encode_frame
from vip_speaker.wire.received import ETH_P_IP, Received

from tests.simulation.node import Interface
from tests.simulation.router import VirtualHost


class Story:
    """A host with eth0 and a router that has started."""

    def __init__(self, host: VirtualHost) -> None:
        self.host = host
        self.eth0 = host.node.plug_in("eth0", "10.0.0.1/24", "fe80::1/64")
        host.start()

    def write(self, name: str, *addresses: str, assignment: dict[str, Any] | None = None, **spec: Any) -> None:
        spec = {"addresses": list(addresses), "advertisementInterval": "100ms", "interfaces": ["eth0"], **spec}
        document = {
            "apiVersion": "kube-vrrp.io/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": name},
            "spec": spec,
        }
        if assignment is not None:
            document["assignment"] = assignment
        self.host.write(name, json.dumps(document))

    def hear(self, *, vrid: int, priority: int, address: str = "10.0.0.100") -> None:
        """10.0.0.2 advertises `address`, every 100 ms, once."""
        content = Content(
            version=3,
            vrid=vrid,
            priority=priority,
            interval_ns=100 * MS,
            source=ip_address("10.0.0.2"),
            addresses=(ip_address(address),),
        )
        frame = encode_frame(content, source_mac="02:00:00:00:00:77")
        received = Received(packet=frame[14:], ethertype=ETH_P_IP, source_mac=frame[6:12], ifindex=self.eth0.ifindex)
        self.host.deliver(received)

    def listen_for(self, duration_ns: int, *, vrid: int, priority: int, address: str = "10.0.0.100") -> None:
        """10.0.0.2 is MASTER meanwhile."""
        for _ in range(duration_ns // (100 * MS)):
            self.hear(vrid=vrid, priority=priority, address=address)
            self.host.run_for(100 * MS)

    def state(self, name: str) -> dict[str, Any]:
        """What the router writes about it."""
        state: dict[str, Any] = json.loads((self.host.state_directory / f"{name}.vip.json").read_text())
        return state

    def role(self, name: str) -> Role:
        return self.host.daemon.instances[name].role

    def on(self, link: Interface) -> set[str]:
        """What the router has there."""
        return {f"{ip}/{prefix}" for ifindex, ip, prefix in self.host.node.ours() if ifindex == link.ifindex}

    def link(self, name: str) -> Interface:
        return next(one for one in self.host.node.links.values() if one.name == name)

    def stop(self) -> None:
        self.host.daemon.stop()
        self.host.loop.rearm()
        self.host.run_for(5 * SECOND)
        assert self.host.daemon.left.is_set()
        self.host.end()
