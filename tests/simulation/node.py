"""A node's network for the real router on a virtual clock: links, addresses, nftables' silent set, as netlink has them.

Stands where `vip_speaker.kernel.netlink.Requests` and the socket of events are, so that everything of
`vip_speaker.kernel` above them is the real thing. It answers as a Linux kernel does, as far as the router can tell;
tests/interop/test_virtual_node.py asks a real one the same questions.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from random import Random
from typing import Any

from vip_speaker.kernel import KernelError, codec, links
from vip_speaker.kernel.addresses import ADDRESS_PROTOCOL
from vip_speaker.kernel.links import (
    FOREVER,
    IFA_F_PERMANENT,
    IFA_F_SECONDARY,
    IFF_RUNNING,
    IFF_UP,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
)
from vip_speaker.kernel.netlink import NLM_F_EXCL, NLM_F_REPLACE, Refusal
from vip_speaker.kernel.virtual_mac import _FIELD_OF, PROMOTE_SECONDARIES, _link_settings
from vip_speaker.vrrp.types import MS, SECOND, IPAddress

from tests.simulation.netlink import Address, Asked, Events, address_message, address_request, index_of, link_message

RTM_GETROUTE = 26
_NEWSETELEM, _DELSETELEM = 10 << 8 | 12, 10 << 8 | 14
SILENCE = _NEWSETELEM  # any change of the silent set
_NFPROTO_ARP = 3
_RTN_LOCAL, _RTN_UNICAST = 2, 1


@dataclass(slots=True, kw_only=True)
class Interface:
    """A link: `carrier` is the cable's, a macvlan has its parent's."""

    ifindex: int
    name: str
    mac: str
    kind: str = "veth"
    parent: int = 0
    up: bool = True
    carrier: bool = True
    settings: dict[int, int] = field(default_factory=lambda: dict.fromkeys(_FIELD_OF, 0))
    addresses: list[Address] = field(default_factory=list)

    def find(self, ip: IPAddress, prefix_length: int | None = None) -> Address | None:
        same = (one for one in self.addresses if one.ip == ip)
        return next((one for one in same if prefix_length is None or one.prefix_length == prefix_length), None)


class RefusedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Node:
    """The kernel of one node. `refusals`: how many of 1000 requests are refused with EPERM, by type of message."""

    def __init__(self, random: Random, now_ns: Any) -> None:
        self.random, self._now_ns = random, now_ns
        self.links: dict[int, Interface] = {}
        self.silent: set[IPAddress] = set()
        self.events = Events()
        self.refusals: dict[int, int] = {}
        self.kept: set[tuple[int, IPAddress, int]] = set()  # addresses whose removal was refused
        self.refused: set[int] = set()  # kinds of requests that ever were
        self.slow_ipv6 = False  # the worker that finishes IPv6 addresses does not get its turn
        self._next_ifindex = 2

    # --- what happens to the node

    def plug_in(self, name: str, *addresses: str, kind: str = "veth", parent: int = 0, mac: str = "") -> Interface:
        """A new link, up unless it is a macvlan."""
        ifindex, self._next_ifindex = self._next_ifindex, self._next_ifindex + 1
        link = Interface(
            ifindex=ifindex,
            name=name,
            mac=mac or f"02:00:00:00:00:{ifindex % 256:02x}",
            kind=kind,
            parent=parent,
            up=kind != "macvlan",
        )
        self.links[ifindex] = link
        self._tell_link(link)
        for one in addresses:
            self.give(link, one)
        return link

    def pull_out(self, link: Interface) -> None:
        """The link is gone, with those that sit on it and all addresses."""
        for child in [one for one in self.links.values() if one.parent == link.ifindex]:
            self.pull_out(child)
        self.set_up(link, up=False)
        while link.addresses:
            self._drop(link, link.addresses[0])
        del self.links[link.ifindex]
        self.events.put(link_message(RTM_DELLINK, self._facts(link)))

    def set_up(self, link: Interface, *, up: bool) -> None:
        """As `ip link set up`. A link that goes down loses its IPv6 addresses."""
        if link.up == up:
            return
        link.up = up
        self._tell_link(link)
        if not up:
            for address in [one for one in link.addresses if one.ip.version == 6]:
                self._drop(link, address)
        for child in self.links.values():
            if child.parent == link.ifindex:
                self._tell_link(child)

    def set_carrier(self, link: Interface, *, carrier: bool) -> None:
        """The cable is pulled out, or in again."""
        if link.carrier != carrier:
            link.carrier = carrier
            for one in (link, *(child for child in self.links.values() if child.parent == link.ifindex)):
                self._tell_link(one)

    def give(self, link: Interface, text: str) -> None:
        """Somebody else puts an address on the link."""
        interface = ip_interface(text)
        scoped = interface.ip.version == 6 and interface.ip.is_link_local
        if link.find(interface.ip) is None:
            self._put(
                link,
                Address(
                    ip=interface.ip, prefix_length=interface.network.prefixlen, protocol=3, scope=253 if scoped else 0
                ),
            )

    def take(self, link: Interface, address: Address) -> None:
        """Somebody else takes an address off."""
        self._drop(link, address)

    def expire(self) -> None:
        """Take away what has run out by now."""
        now_ns = self._now_ns()
        for link in self.links.values():
            for address in list(link.addresses):
                due = address.expires_at_ns is not None and address.expires_at_ns <= now_ns
                if due and address in link.addresses:  # it may have gone with the first of its subnet
                    self._drop(link, address)

    def next_expiry_ns(self) -> int | None:
        instants = (one.expires_at_ns for link in self.links.values() for one in link.addresses)
        return min((at_ns for at_ns in instants if at_ns is not None), default=None)

    def ours(self) -> dict[tuple[int, IPAddress, int], Address]:
        """What carries the router's mark."""
        return {
            (link.ifindex, one.ip, one.prefix_length): one
            for link in self.links.values()
            for one in link.addresses
            if one.protocol == ADDRESS_PROTOCOL
        }

    def running(self, link: Interface) -> bool:
        parent = self.links.get(link.parent)
        return link.up and (link.carrier if parent is None else parent.up and parent.carrier)

    # --- requests

    def ask(self, message: bytes) -> bytes | None:
        """Carry out one request; what is told of an object that was asked for. RefusedError."""
        self.expire()
        kind = int.from_bytes(message[4:6], "little")
        if self.refusals and self.random.randrange(1000) < self.refusals.get(kind, 0):
            self.refused.add(kind)
            if kind == RTM_DELADDR:
                asked = address_request(message)
                self.kept.add((asked.ifindex, asked.ip, asked.prefix_length))
            raise RefusedError(errno.EPERM)
        match kind:
            case links.RTM_NEWADDR:
                self._new_address(address_request(message))
            case links.RTM_DELADDR:
                self._delete_address(address_request(message))
            case links.RTM_NEWLINK:
                self._new_link(codec.decode(codec.ifinfmsg, message))
            case links.RTM_DELLINK:
                self.pull_out(self._link(index_of(message)))
            case links.RTM_SETLINK:
                self._set_link(codec.decode(_link_settings, message))
            case links.RTM_GETLINK:
                return self._describe(codec.decode(codec.ifinfmsg, message))
            case _ if kind == RTM_GETROUTE:
                return self._route(codec.decode(codec.rtmsg, message))
            case _:
                raise AssertionError(f"nobody asks the kernel for {kind}")
        return None

    def list(self, kind: int) -> list[bytes]:
        """All links, or all addresses."""
        self.expire()
        if kind == RTM_GETLINK:
            return [link_message(RTM_NEWLINK, self._facts(link)) for link in self.links.values()]
        assert kind == RTM_GETADDR
        return [
            address_message(RTM_NEWADDR, link.ifindex, one) for link in self.links.values() for one in link.addresses
        ]

    def change_silence(self, messages: list[bytes]) -> None:
        """One transaction of nftables: elements of the set; everything else is taken as it is."""
        if self.refusals and self.random.randrange(1000) < self.refusals.get(SILENCE, 0):
            self.refused.add(SILENCE)
            raise RefusedError(errno.EPERM)
        silent = set(self.silent)
        for message in messages:
            kind = int.from_bytes(message[4:6], "little")
            if kind not in (_NEWSETELEM, _DELSETELEM):
                continue
            ip = ip_address(message[-4:] if message[16] == _NFPROTO_ARP else message[-16:])
            if kind == _NEWSETELEM:
                silent.add(ip)
            elif ip in silent:
                silent.remove(ip)
            else:
                raise RefusedError(errno.ENOENT)
        self.silent = silent

    def _link(self, ifindex: int) -> Interface:
        if ifindex not in self.links:
            raise RefusedError(errno.ENODEV)
        return self.links[ifindex]

    def _new_address(self, asked: Asked) -> None:
        link = self._link(asked.ifindex)
        six = asked.ip.version == 6
        known = link.find(asked.ip, None if six else asked.prefix_length)
        if known is not None and (asked.flags & NLM_F_EXCL or not asked.flags & NLM_F_REPLACE):
            raise RefusedError(errno.EEXIST)
        lasts = asked.valid_s != FOREVER
        # it looks at lifetimes now and then, never too early
        late_ns = self.random.randint(0, 600 * MS)
        expires_at_ns = self._now_ns() + asked.valid_s * SECOND + late_ns if lasts else None
        if known is not None:
            known.expires_at_ns, known.valid_s, known.protocol = expires_at_ns, asked.valid_s, asked.protocol
            self.events.put(address_message(RTM_NEWADDR, link.ifindex, known))
            return
        self._put(
            link,
            Address(
                ip=asked.ip,
                prefix_length=asked.prefix_length,
                protocol=asked.protocol,
                flags=asked.address_flags | (0 if lasts else IFA_F_PERMANENT),
                scope=asked.scope,
                valid_s=asked.valid_s,
                expires_at_ns=expires_at_ns,
            ),
        )

    def _delete_address(self, asked: Asked) -> None:
        link = self._link(asked.ifindex)
        known = link.find(asked.ip, asked.prefix_length)
        if known is None:
            raise RefusedError(errno.EADDRNOTAVAIL)
        self._drop(link, known)

    def _put(self, link: Interface, address: Address) -> None:
        if address.ip.version == 4 and any(_same_subnet(one, address) for one in link.addresses):
            address.flags |= IFA_F_SECONDARY
        link.addresses.append(address)
        self.events.put(address_message(RTM_NEWADDR, link.ifindex, address))

    def _drop(self, link: Interface, address: Address) -> None:
        """The secondary addresses of an IPv4 subnet go with its first one, unless the first of them takes its place."""
        link.addresses.remove(address)
        self.events.put(address_message(RTM_DELADDR, link.ifindex, address))
        if address.ip.version == 6 or address.flags & IFA_F_SECONDARY:
            return
        secondary = [one for one in link.addresses if _same_subnet(one, address)]
        if secondary and link.settings[PROMOTE_SECONDARIES]:
            secondary[0].flags &= ~IFA_F_SECONDARY
            self.events.put(address_message(RTM_NEWADDR, link.ifindex, secondary[0]))
        else:
            for one in secondary:
                link.addresses.remove(one)
                self.events.put(address_message(RTM_DELADDR, link.ifindex, one))

    def _new_link(self, message: Any) -> None:
        name, parent = message.get_attr("IFLA_IFNAME"), self._link(message.get_attr("IFLA_LINK"))
        if any(link.name == name for link in self.links.values()):
            raise RefusedError(errno.EEXIST)
        self.plug_in(name, kind="macvlan", parent=parent.ifindex, mac=message.get_attr("IFLA_ADDRESS"))

    def _set_link(self, message: Any) -> None:
        link = self._link(message["index"])
        if message["change"] & IFF_UP:
            self.set_up(link, up=bool(message["flags"] & IFF_UP))
        families = message.get_attr("IFLA_AF_SPEC")
        ipv4 = families.get_attr("AF_INET") if families is not None else None
        if ipv4 is not None:
            numbers = {name: number for number, name in _FIELD_OF.items()}
            link.settings |= {numbers[name]: value for name, value in ipv4.get_attr("IFLA_INET_CONF")["attrs"]}

    def _describe(self, message: Any) -> bytes:
        name, ifindex = message.get_attr("IFLA_IFNAME"), message["index"]
        for link in self.links.values():
            if link.name == name or (name is None and link.ifindex == ifindex):
                values = [link.settings.get(number, 0) for number in range(1, 33)]
                settings = struct.pack("=HH32I", 4 + 4 * 32, 1, *values)
                return link_message(RTM_NEWLINK, self._facts(link), settings)
        raise RefusedError(errno.ENODEV)

    def _route(self, message: Any) -> bytes:
        ip, link = ip_address(message.get_attr("RTA_DST")), self.links.get(message.get_attr("RTA_OIF"))
        there = link is not None and link.up and link.find(ip) is not None and not self.slow_ipv6
        fields = {"family": socket.AF_INET6, "type": _RTN_LOCAL if there else _RTN_UNICAST}
        return codec.encode(codec.rtmsg, 24, 0, fields)

    # --- what it tells

    def _tell_link(self, link: Interface) -> None:
        self.events.put(link_message(RTM_NEWLINK, self._facts(link)))

    def _facts(self, link: Interface) -> tuple[int, str, str, str, int, int]:
        """What a message about it says: ifindex, name, MAC, driver, parent, flags."""
        flags = (IFF_UP if link.up else 0) | (IFF_RUNNING if self.running(link) else 0)
        return link.ifindex, link.name, link.mac, link.kind, link.parent, flags


class Requests:
    """`vip_speaker.kernel.netlink.Requests` of a virtual node; `silence` is the one of netfilter."""

    def __init__(self, node: Node, *, silence: bool = False) -> None:
        self.node, self.port, self.closed = node, 4711, False
        self._silence = silence

    def close(self) -> None:
        self.closed = True

    def send(self, messages: list[bytes]) -> list[Refusal]:
        assert not self.closed
        if self._silence:
            try:
                self.node.change_silence(messages)
            except RefusedError as refused:
                return [Refusal(index=0, code=refused.code)]
            return []
        refusals = []
        for index, message in enumerate(messages):
            try:
                self.node.ask(message)
            except RefusedError as refused:
                refusals.append(Refusal(index=index, code=refused.code))
        return refusals

    def get(self, message: bytes) -> bytes:
        assert not self.closed
        try:
            answer = self.node.ask(message)
        except RefusedError as refused:
            raise KernelError("the kernel does not tell", refused.code) from refused
        assert answer is not None
        return answer

    def dump(self, message: bytes) -> list[tuple[bytes, int]]:
        assert not self.closed
        return [(answer, 0) for answer in self.node.list(int.from_bytes(message[4:6], "little"))]


def _same_subnet(one: Address, other: Address) -> bool:
    return (
        one.ip.version == 4
        and one.prefix_length == other.prefix_length
        and one.ip in ip_network((other.ip, other.prefix_length), strict=False)
    )
