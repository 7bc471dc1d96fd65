"""What else happens to a host at random: to its links, to addresses that others give and take, to its kernel."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from vip_speaker.kernel.links import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_SETLINK
from vip_speaker.vrrp.types import MS, SECOND

from tests.simulation.documents import LINKS, TRACKED
from tests.simulation.node import SILENCE, Interface
from tests.simulation.router import VirtualHost


class Surroundings:
    """Of `host`, whose links are LINKS and TRACKED. `tell` writes the run down."""

    def __init__(self, host: VirtualHost, random: Random, tell: Callable[[str], None]) -> None:
        self.host, self.random, self.tell = host, random, tell

    def touch_link(self) -> None:
        node = self.host.node
        name = self.random.choice((*LINKS, TRACKED, TRACKED))
        link = next((one for one in node.links.values() if one.name == name), None)
        if link is None:
            self.tell(f"{name}: plugged in")
            self.plug_in(name)
            return
        what = self.random.choice(("up", "up", "carrier", "carrier", "pulled out"))
        self.tell(f"{name}: {what} (was {link.up}, {link.carrier})")
        if what == "pulled out":
            self.host.link_went_down(link.ifindex)
            node.pull_out(link)
            if self.random.random() < 0.4:
                self.host.run_for(self.random.choice((0, MS, SECOND)))
                self.plug_in(name)
        elif what == "carrier":
            node.set_carrier(link, carrier=not link.carrier)
        else:
            self.set_up(link, up=not link.up)
            if self.random.random() < 0.3:  # it only flapped
                self.set_up(link, up=not link.up)

    def plug_in(self, name: str) -> None:
        self.host.node.plug_in(name, *LINKS.get(name, ()))

    def set_up(self, link: Interface, *, up: bool) -> None:
        if not up:
            self.host.link_went_down(link.ifindex)
        self.host.node.set_up(link, up=up)
        for one in LINKS.get(link.name, ()) if up else ():
            self.host.node.give(link, one)

    def touch_address(self) -> None:
        node, random = self.host.node, self.random
        link = random.choice([one for one in node.links.values() if one.name != TRACKED] or [None])
        if link is None:
            return
        if random.random() < 0.5 and link.addresses:
            address = random.choice(link.addresses)
            self.tell(f"{link.name}: somebody takes {address.ip}/{address.prefix_length} off")
            node.take(link, address)
        elif random.random() < 0.5 and link.name in LINKS:
            self.tell(f"{link.name}: gets back its own addresses")
            for one in LINKS[link.name]:
                node.give(link, one)
        else:
            number = int(link.name[-1]) if link.name in LINKS else 0
            given = random.choice((f"10.{number}.0.101/24", f"10.{number}.0.100/32", f"2001:db8:{number}::100/64"))
            self.tell(f"{link.name}: somebody puts {given} there")
            node.give(link, given)

    def change_weather(self) -> None:
        host, random = self.host, self.random
        rate = random.choice((0, 0, 50, 500))
        kinds = (RTM_NEWADDR, RTM_DELADDR, RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, SILENCE)
        host.node.refusals = dict.fromkeys(random.sample(kinds, random.randint(1, 6)), rate) if rate else {}
        host.node.slow_ipv6 = random.random() < 0.2
        host.off_processor = random.choice((0.0, 0.0, 0.001, 0.01))
        host.off_processor_ns = random.choice((2 * MS, 100 * MS))
        host.late_ns = random.choice((200_000, 200_000, 5 * MS, SECOND, 5 * SECOND))
        if random.random() < 0.3:
            host.node.events.overflow()
        self.tell(f"weather: refusals {host.node.refusals} late {host.late_ns / MS} off {host.off_processor}")

    def heal(self) -> None:
        """Every link is there and well, with the node's own addresses and nobody else's; nothing is refused."""
        host, node = self.host, self.host.node
        node.refusals, node.slow_ipv6, host.late_ns, host.off_processor = {}, False, 200_000, 0.0
        present = {link.name for link in node.links.values()}
        for name in {*LINKS, TRACKED} - present:
            self.plug_in(name)
        for link in list(node.links.values()):
            if link.kind != "macvlan":
                node.set_carrier(link, carrier=True)
                self.set_up(link, up=True)
            for address in [one for one in link.addresses if one.protocol == 3]:
                if f"{address.ip}/{address.prefix_length}" not in LINKS.get(link.name, ()):
                    node.take(link, address)
            for one in LINKS.get(link.name, ()):
                node.give(link, one)
