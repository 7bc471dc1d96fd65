"""The simulation's node is like a kernel: both are asked the same, and have the same on their links in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from vip_speaker.kernel import Assigned, Link, codec
from vip_speaker.kernel.addresses import addition, removal, renewal
from vip_speaker.kernel.links import RTM_GETADDR, RTM_GETLINK, decode_address, decode_link
from vip_speaker.kernel.netlink import NLM_F_DUMP, NLM_F_REQUEST, Requests
from vip_speaker.kernel.virtual_mac import PROMOTE_SECONDARIES, VirtualMacs, settings_message

from tests.netns import Network
from tests.simulation import node as virtual

pytestmark = pytest.mark.netns

OWN = ("10.9.0.1/24", "fd00:9::1/64")


class Asked:
    """One kernel, real or virtual, with eth0."""

    def __init__(self, requests: Any, set_up: Callable[[bool], None]) -> None:
        self.requests, self.set_up = requests, set_up
        self.eth0 = next(link for link in self.links() if link.name == "eth0")

    def links(self) -> list[Link]:
        message = codec.encode(codec.ifinfmsg, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, {})
        decoded = [decode_link(*answer) for answer in self.requests.dump(message)]
        return [link for link in decoded if link is not None]

    def there(self) -> set[tuple[str, str, int, bool]]:
        """Addresses by link, and whether they are secondary. Of link-local ones only those of the test."""
        names = {link.ifindex: link.name for link in self.links()}
        message = codec.encode(codec.ifaddrmsg, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, {})
        decoded = [decode_address(*answer) for answer in self.requests.dump(message)]
        return {
            (names[found[0]].split("-")[0], str(found[1].ip), found[1].prefix_length, found[1].secondary)
            for found in decoded
            if found is not None and names[found[0]] != "lo" and not str(found[1].ip).startswith("fe80::")
        }

    def ask(self, *messages: bytes) -> list[tuple[int, int]]:
        return [(one.index, one.code) for one in self.requests.send(messages)]

    def on(self, ip: str, prefix_length: int, ifindex: int = 0) -> Assigned:
        return Assigned(ifindex=ifindex or self.eth0.ifindex, ip=ip_address(ip), prefix_length=prefix_length)


@pytest.fixture(name="both")
def _both() -> Iterator[tuple[Asked, Asked]]:
    node = virtual.Node(Random(1), lambda: 0)
    eth0 = node.plug_in("eth0", *OWN)
    with Network() as network:
        host = network.host("a", *OWN)
        with host.entered():
            requests = Requests(0)
        real = Asked(requests, lambda up: host.ip("link", "set", "eth0", "up" if up else "down"))
        yield real, Asked(virtual.Requests(node), lambda up: node.set_up(eth0, up=up))
        requests.close()


def addresses(kernel: Asked) -> Iterator[object]:
    """What is on the link by our requests, and how it goes with others."""
    four, wide, foreign = kernel.on("10.9.0.100", 32), kernel.on("10.9.0.100", 24), kernel.on("10.9.0.1", 32)
    six, wide6, gone = kernel.on("fd00:9::100", 128), kernel.on("fd00:9::100", 64), kernel.on("10.9.0.100", 32, 9999)
    for messages in (
        *((addition(four, 60),), (addition(four, 60),), (renewal(four, 60),), (addition(wide, 60),)),
        *((addition(foreign, 60),), (addition(six, 60),), (addition(wide6, 60),), (renewal(wide6, 60),)),
        *((removal(wide6),), (removal(six), removal(six)), (renewal(six, 60),), (removal(four), removal(four))),
        *((addition(gone, 60), renewal(gone, 60), removal(gone)), (addition(four, None),)),
    ):
        yield kernel.ask(*messages)
        yield kernel.there()


def secondaries(kernel: Asked) -> Iterator[object]:
    """Who goes with the first address of a subnet."""
    first, second, third = (kernel.on(f"172.20.0.{last}", 24) for last in (1, 2, 3))
    for promote in (0, 1):
        yield kernel.ask(settings_message(kernel.eth0.ifindex, {PROMOTE_SECONDARIES: promote}))
        yield kernel.ask(*(addition(one, None) for one in (first, second, third)))
        yield kernel.there()
        yield kernel.ask(removal(first))
        yield kernel.there()


def a_link_that_goes_down(kernel: Asked) -> Iterator[object]:
    kernel.ask(addition(kernel.on("10.9.0.100", 32), None), addition(kernel.on("fd00:9::100", 128), None))
    kernel.set_up(False)
    yield kernel.there()
    kernel.set_up(True)
    yield kernel.there()


def virtual_macs(kernel: Asked) -> Iterator[object]:
    """Made down, on a parent that answers ARP otherwise from then on; another one of the name is refused."""
    macs = VirtualMacs(kernel.requests)
    link = macs.create(kernel.eth0, 7, 4)
    yield link.mac, link.kind, link.up, link.parent == kernel.eth0.ifindex
    yield macs._settings(kernel.eth0), macs._settings(link)
    macs.put_up({link.ifindex})
    kernel.ask(addition(kernel.on("10.9.0.100", 32, link.ifindex), None))
    kernel.ask(addition(kernel.on("fd00:9::100", 128, link.ifindex), None))
    yield kernel.there()
    yield {(one.name.split("-")[0], one.up, one.running) for one in kernel.links() if one.parent}
    kernel.set_up(False)
    yield {(one.name.split("-")[0], one.up, one.running) for one in kernel.links() if one.parent}
    yield {one for one in kernel.there() if one[0] == "kv4"}
    macs.put_down({link.ifindex})
    yield {one for one in kernel.there() if one[0] == "kv4"}
    macs.put_up({link.ifindex})
    yield {(one.name.split("-")[0], one.up) for one in kernel.links() if one.parent}
    kernel.set_up(True)
    macs.close()
    yield macs._settings(kernel.eth0), kernel.there()


@pytest.mark.parametrize("story", [addresses, secondaries, a_link_that_goes_down, virtual_macs])
def test_the_virtual_node_answers_as_a_kernel_does(
    both: tuple[Asked, Asked], story: Callable[[Asked], Iterator[object]]
) -> None:
    real, simulated = both
    assert list(story(simulated)) == list(story(real))
