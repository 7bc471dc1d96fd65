"""Links and their addresses as values, and the picture of them that events keep current.

Decoding only: where the messages come from and what follows from a change is decided elsewhere.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from vip_speaker.kernel import codec

IPAddress = IPv4Address | IPv6Address

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22

IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_POINTOPOINT, IFF_RUNNING, IFF_NOARP = 0x1, 0x2, 0x8, 0x10, 0x40, 0x80
IFA_F_SECONDARY, IFA_F_NODAD, IFA_F_DADFAILED = 0x01, 0x02, 0x08
IFA_F_DEPRECATED, IFA_F_TENTATIVE, IFA_F_PERMANENT, IFA_F_NOPREFIXROUTE = 0x20, 0x40, 0x80, 0x200

FOREVER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAddress:
    """An address on a link. `protocol` says who put it there (IFA_PROTO; 0: nobody said, or a kernel before 5.18)."""

    ip: IPAddress
    prefix_length: int
    flags: int = 0
    scope: int = 0
    protocol: int = 0
    valid_s: int = FOREVER

    @property
    def secondary(self) -> bool:
        """IPv4: not the first of its subnet. (The same bit on an IPv6 address means temporary.)"""
        return bool(self.flags & IFA_F_SECONDARY)

    @property
    def usable(self) -> bool:
        """It can be a source address: not tentative, duplicate detection did not fail."""
        return not self.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)

    def contains(self, ip: IPAddress) -> bool:
        """Whether `ip` lies in the subnet of this address."""
        return ip.version == self.ip.version and ip in ip_network((self.ip, self.prefix_length), strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface. `up` is what an administrator set, `running` what the carrier says.

    `kind` is the driver's (`veth`, `macvlan`, …; empty for hardware), `parent` the link that it sits on, `master`
    the bridge or bond that it belongs to (0: none). A link that was deleted and made anew has another `ifindex`.
    """

    ifindex: int
    name: str
    kind: str = ""
    mac: str = ""
    up: bool = False
    running: bool = False
    loopback: bool = False
    mtu: int = 1500
    master: int = 0
    parent: int = 0
    addresses: tuple[LinkAddress, ...] = ()

    def address(self, ip: IPAddress) -> LinkAddress | None:
        """The entry of `ip` on this link."""
        return next((one for one in self.addresses if one.ip == ip), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChanged:
    """A link appeared (`before` None), vanished (`after` None) or changed its state, name, MAC, MTU or master."""

    ifindex: int
    before: Link | None
    after: Link | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressChanged:
    """An address was put on a link or taken off it.

    `own`: it is one that `Kernel.add` put there and `Kernel.remove` did not take away: so somebody else did this, or
    (`expired`) the kernel itself, because nobody renewed it in time. What our own requests do is not reported.
    """

    ifindex: int
    ip: IPAddress
    prefix_length: int
    present: bool
    own: bool = False
    expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """Events were lost; `Kernel.links` was read anew, and whatever is derived from it must be too.

    Addresses of ours that went meanwhile follow as AddressChanged.
    """


Event = LinkChanged | AddressChanged | Overflow


def decode_link(data: bytes, offset: int = 0) -> Link | None:
    """A link from RTM_NEWLINK or RTM_DELLINK, without its addresses.

    None for messages of another family: those of a bridge speak of the port, so that RTM_DELLINK there means that the
    link left the bridge, not that it is gone.
    """
    message = codec.decode(codec.ifinfmsg, data, offset)
    if message["family"] != socket.AF_UNSPEC:
        return None
    flags = message["flags"]
    info = message.get_attr("IFLA_LINKINFO")
    same_namespace = message.get_attr("IFLA_LINK_NETNSID") is None  # else the parent's number means another link
    return Link(
        ifindex=message["index"],
        name=message.get_attr("IFLA_IFNAME") or "",
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info is not None else "",
        mac=message.get_attr("IFLA_ADDRESS") or "",
        up=bool(flags & IFF_UP),
        running=bool(flags & IFF_RUNNING),
        loopback=bool(flags & IFF_LOOPBACK),
        mtu=message.get_attr("IFLA_MTU") or 0,
        master=message.get_attr("IFLA_MASTER") or 0,
        parent=(message.get_attr("IFLA_LINK") or 0) if same_namespace else 0,
    )


def decode_address(data: bytes, offset: int = 0) -> tuple[int, LinkAddress] | None:
    """(ifindex, address) from RTM_NEWADDR or RTM_DELADDR; None for families other than IPv4 and IPv6."""
    message: Any = codec.decode(codec.ifaddrmsg, data, offset)
    if message["family"] not in (socket.AF_INET, socket.AF_INET6):
        return None
    # On a point-to-point link IFA_ADDRESS is the other end, IFA_LOCAL is ours.
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if text is None:
        return None
    flags = message.get_attr("IFA_FLAGS")
    lifetime = message.get_attr("IFA_CACHEINFO")
    address = LinkAddress(
        ip=ip_address(text),
        prefix_length=message["prefixlen"],
        flags=message["flags"] if flags is None else flags,
        scope=message["scope"],
        protocol=message.get_attr("IFA_PROTO") or 0,
        valid_s=FOREVER if lifetime is None else lifetime["ifa_valid"],
    )
    return message["index"], address


Key = tuple[int, int, bytes]  # ifindex, prefix length, packed address: what tells one address from another


def key_of(ifindex: int, ip: IPAddress, prefix_length: int) -> Key:
    """The key of an address on a link."""
    return ifindex, prefix_length, ip.packed


def peek_key(data: bytes, offset: int) -> Key | None:
    """The key in RTM_NEWADDR or RTM_DELADDR without decoding it, which takes 0.1 ms: too long for 255 renewals a
    second.

    The kernel puts IFA_ADDRESS first unless the link is point-to-point or the message is from another namespace:
    then None.
    """
    family, prefix_length, ifindex, length, attribute = _ADDRESS_FRONT.unpack_from(data, offset + codec.HEADER.size)
    size = {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family)
    if attribute != _IFA_ADDRESS or size is None or length != 4 + size:
        return None
    start = offset + codec.HEADER.size + _ADDRESS_FRONT.size
    return ifindex, prefix_length, data[start : start + size]


_ADDRESS_FRONT = struct.Struct("=BBxxIHH")  # struct ifaddrmsg and the header of the first attribute
_IFA_ADDRESS = 1


class LinkTable(Mapping[int, Link]):
    """All links by ifindex. A link's tuple of addresses is put together when somebody looks at it."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._addresses: dict[int, dict[Key, LinkAddress]] = {}
        self._stale: set[int] = set()

    def __getitem__(self, ifindex: int) -> Link:
        link = self._links[ifindex]
        if ifindex in self._stale:
            self._stale.discard(ifindex)
            link = self._links[ifindex] = replace(link, addresses=tuple(self._addresses[ifindex].values()))
        return link

    def __iter__(self) -> Iterator[int]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)

    def replace(self, links: Iterable[Link], addresses: Iterable[tuple[int, LinkAddress]]) -> None:
        """Start over from two full lists."""
        self._links = {link.ifindex: link for link in links}
        self._addresses = {ifindex: {} for ifindex in self._links}
        self._stale = set()
        for ifindex, address in addresses:
            self.put_address(ifindex, address)

    def put_link(self, link: Link) -> LinkChanged | None:
        """A link as the kernel now describes it; its addresses are kept. None when nothing is different."""
        before = self.get(link.ifindex)
        after = replace(link, addresses=before.addresses) if before else link
        if after == before:
            return None
        self._links[link.ifindex] = after
        self._addresses.setdefault(link.ifindex, {})
        return LinkChanged(ifindex=link.ifindex, before=before, after=after)

    def drop_link(self, ifindex: int) -> LinkChanged | None:
        """A link that is gone, with its addresses. None when it was not known."""
        before = self.get(ifindex)
        if before is None:
            return None
        del self._links[ifindex], self._addresses[ifindex]
        self._stale.discard(ifindex)
        return LinkChanged(ifindex=ifindex, before=before, after=None)

    def has_address(self, key: Key) -> bool:
        """Whether that address is on that link."""
        return key in self._addresses.get(key[0], {})

    def put_address(self, ifindex: int, address: LinkAddress) -> bool:
        """Whether the address is new on that link, or what it can be used for became another (as when duplicate
        detection ended); a known one takes the newer flags.
        """
        there = self._addresses.get(ifindex)
        if there is None:
            return False
        key = key_of(ifindex, address.ip, address.prefix_length)
        before = there.get(key)
        there[key] = address
        self._stale.add(ifindex)
        return before is None or (before.usable, before.secondary) != (address.usable, address.secondary)

    def drop_address(self, key: Key) -> LinkAddress | None:
        """The address that was there, or None."""
        dropped = self._addresses.get(key[0], {}).pop(key, None)
        if dropped is not None:
            self._stale.add(key[0])
        return dropped
