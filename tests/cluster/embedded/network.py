"""The one link of a test cluster: a bridge in a namespace of its own, and hosts plugged into it.

Nothing of it is visible outside: interface names never collide with the host's or another cluster's, and
deleting the namespaces deletes the link.
"""

import ipaddress
from pathlib import Path

from tests.cluster.embedded.command import run, succeeds
from tests.netns import wait_for

BRIDGE = "lan"
# Host numbers in the subnet. The addresses users meet in the documentation's walk-through stay free: .200
GATEWAY, CONTROL_PLANE, CLIENT, FIRST_NODE = 1, 10, 100, 201
UNIQUE_LOCAL = ipaddress.ip_network("fd00:6b76:7272:70::/64")


class Lan:
    """The bridge `NAME-lan` and the namespaces `NAME-HOST` with an eth0 on it."""

    def __init__(self, *, name: str, subnet: ipaddress.IPv4Network) -> None:
        self.name = name
        self.subnet = subnet
        self.netns = f"{name}-lan"
        self.prefix = name  # what tests.netns.Host asks of a network

    def address(self, number: int) -> str:
        """The IPv4 address of a host number."""
        return str(self.subnet[number])

    def address6(self, number: int) -> str:
        """The IPv6 address of a host number: its decimal digits read as hexadecimal, so .201 is ::201."""
        return str(UNIQUE_LOCAL[int(str(number), 16)])

    def netns_of(self, host: str) -> str:
        """The network namespace of a host, for `ip netns exec`."""
        return f"{self.name}-{host}"

    def up(self) -> None:
        """Make the bridge; the gateway's addresses are on it, so that hosts can have a default route."""
        run("ip", "netns", "add", self.netns)
        run("ip", "-n", self.netns, "link", "set", "lo", "up")
        bridge = ("forward_delay", "0", "stp_state", "0", "mcast_snooping", "0")
        run("ip", "-n", self.netns, "link", "add", BRIDGE, "type", "bridge", *bridge)
        self._address(self.netns, BRIDGE, GATEWAY)

    def plug_in(self, host: str, number: int, *, forward: bool = False) -> None:
        """Make the namespace of a host with eth0, its addresses and a default route; `forward` makes it a router."""
        netns = self.netns_of(host)
        run("ip", "netns", "add", netns)
        run("ip", "-n", netns, "link", "set", "lo", "up")
        run("ip", "-n", self.netns, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", netns)
        run("ip", "-n", self.netns, "link", "set", host, "master", BRIDGE, "up")
        settings = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1} if forward else {}
        for key, value in settings.items():
            run("ip", "netns", "exec", netns, "sysctl", "-qw", f"{key}={value}")
        self._address(netns, "eth0", number)
        run("ip", "-n", netns, "route", "add", "default", "via", self.address(GATEWAY))
        run("ip", "-n", netns, "route", "add", "default", "via", self.address6(GATEWAY))

    def unplug(self, host: str) -> None:
        """Take a host's port away for good: whatever still runs there is cut off."""
        succeeds("ip", "-n", self.netns, "link", "del", host)

    def remove(self, host: str) -> None:
        """Remove a host's namespace; its processes must have ended."""
        succeeds("ip", "netns", "del", self.netns_of(host))

    def cut(self, host: str, *, silently: bool = False) -> None:
        """Pull the cable: eth0 loses its carrier. Silently: the switch stops forwarding, the carrier stays."""
        if silently:
            run("bridge", "-n", self.netns, "link", "set", "dev", host, "state", "0")
        else:
            run("ip", "-n", self.netns, "link", "set", host, "down")

    def mend(self, host: str) -> None:
        """Undo `cut`."""
        run("ip", "-n", self.netns, "link", "set", host, "up")
        # refused until the kernel, which does so later, counts the port as up
        forward = ("bridge", "-n", self.netns, "link", "set", "dev", host, "state", "3")
        wait_for(lambda: succeeds(*forward), what=f"the switch forwards to {host}")

    def down(self) -> None:
        """Remove every namespace of this cluster; its processes must have ended."""
        for netns in self.namespaces():
            succeeds("ip", "netns", "del", netns)

    def namespaces(self) -> list[str]:
        """The namespaces that exist under this cluster's name."""
        folder = Path("/run/netns")
        return sorted(path.name for path in folder.glob(f"{self.name}-*")) if folder.exists() else []

    def _address(self, netns: str, device: str, number: int) -> None:
        here = ("ip", "-n", netns, "address", "add", "dev", device)
        run(*here, f"{self.address(number)}/{self.subnet.prefixlen}", "broadcast", "+")
        run(*here, f"{self.address6(number)}/{UNIQUE_LOCAL.prefixlen}", "nodad")
        run("ip", "-n", netns, "link", "set", device, "up")
