"""From a VirtualIP document and what the kernel has, to a configuration of the election. Pure, and level-triggered.

Called again whenever the document or a link changes; what it returns is all that decides. A document that cannot be
carried out yet says why: `Waiting` (INIT: something is still to come) or `Unusable` (FAULT: something is wrong here).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_network
from typing import Protocol

from vip_api.model import Transport, VirtualAddress, VirtualIP

from vip_speaker.kernel import Link
from vip_speaker.vrrp.timing import own_master_down_interval_ns
from vip_speaker.vrrp.types import MS, SECOND, Config, Identity, IPAddress, Peer

DEFAULT_PRIORITY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Stays in INIT and listens; `link` is where, as soon as that is known."""

    reason: str
    link: Link | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """FAULT: `reason` is a sentence that names the field or the link; `link` is the one meant, where it is not that."""

    reason: str
    link: Link | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Everything that one virtual router on one link needs. `own_addresses`: the node's there, without VIPs."""

    ifindex: int
    interface: str
    mac: str
    own_addresses: frozenset[IPAddress]
    config: Config
    addresses: tuple[VirtualAddress, ...]
    advertised: tuple[IPAddress, ...]
    password: bytes | None = field(default=None, repr=False)
    peers: tuple[IPAddress, ...] | None = None
    virtual_mac: bool = False

    def with_peers_of(self, other: Resolved) -> Resolved:
        """The same, had it been told of its peers what `other` was. (Where it sends, `peers`, is its own.)"""
        return replace(self, config=replace(self.config, peers=other.config.peers))


Resolution = Waiting | Unusable | Resolved


class KernelView(Protocol):
    """What resolution asks of the kernel."""

    @property
    def own_addresses(self) -> frozenset[IPAddress]:
        """The virtual addresses that we put on links."""
        ...

    def find_interface(self, patterns: tuple[str, ...], address: IPAddress) -> Link | None:
        """The first link that matches a name or glob; without any, the one whose subnet holds `address`."""
        ...

    def primary_address(self, link: Link, version: int) -> IPAddress | None:
        """The source of advertisements on `link` in IP version `version`."""
        ...


def resolve(vip: VirtualIP, kernel: KernelView, *, password: str | None = None, contribution: int = 0) -> Resolution:
    """What `vip` means on this host now. `contribution` is the sum of its trackers."""
    spec, assignment = vip.spec, vip.assignment
    first = spec.addresses[0].ip
    link = kernel.find_interface(spec.interfaces, first)
    if link is None:
        return Unusable(reason=_no_link(vip))
    if problem := missing_vrid(vip):
        return Unusable(reason=problem)
    vrid = spec.virtual_router_id if assignment is None else assignment.virtual_router_id
    priority = base_priority(vip)
    if vrid is None:
        return Waiting(reason="waiting for a virtualRouterID", link=link)
    if priority is None:
        return Waiting(reason="waiting for a priority", link=link)
    peers = _peers(vip)
    if spec.transport is Transport.UNICAST and peers is None:
        return Waiting(reason="waiting for the list of unicast peers", link=link)
    if spec.authentication is not None and password is None:
        return Waiting(reason="waiting for the password", link=link)
    primary = kernel.primary_address(link, first.version)
    if primary is None:
        return Unusable(reason=f"{link.name} has no IPv{first.version} address to send from")
    if problem := _no_host(spec.addresses, link, kernel.own_addresses):
        return Unusable(reason=problem, link=link)
    addresses = _with_link_local(spec.addresses, vrid)
    interval_ns = spec.advertisement_interval_ms * MS
    effective = priority if priority == 255 else min(254, max(1, priority + contribution))
    config = Config(
        identity=Identity(
            version=spec.version,
            vrid=vrid,
            advertisement_interval_ns=interval_ns if spec.version == 2 else 0,
            channel=_channel(link, first.version, peers, password, virtual_mac=spec.virtual_mac),
        ),
        priority=effective,
        advertisement_interval_ns=interval_ns,
        primary_address=primary,
        addresses=tuple(address.ip for address in addresses),
        preempt=spec.preempt,
        preempt_delay_ns=spec.preempt_delay_ms * MS,
        peers=()
        if assignment is None
        else tuple(Peer(priority=peer.effective, address=peer.address) for peer in assignment.peers),
    )
    return Resolved(
        ifindex=link.ifindex,
        interface=link.name,
        mac=link.mac,
        own_addresses=frozenset(one.ip for one in link.addresses) - kernel.own_addresses,
        config=config,
        addresses=addresses,
        advertised=tuple(a.ip for a in addresses if a.ip.version == first.version),
        password=None if password is None else password.encode(),
        peers=peers,
        virtual_mac=spec.virtual_mac,
    )


def base_priority(vip: VirtualIP) -> int | None:
    """The priority before any check; None while nobody assigned one."""
    return (vip.spec.priority or DEFAULT_PRIORITY) if vip.assignment is None else vip.assignment.priority


def address_lifetime_s(config: Config, configured: int | None) -> int | None:
    """Seconds the kernel keeps an address that nobody renews; None: for ever. `configured`: as in `Settings`.

    No less than a backup of ours with this priority waits.
    """
    if configured == 0:
        return None
    shortest = max(2, math.ceil(own_master_down_interval_ns(config) / SECOND))
    return shortest if configured is None else max(configured, shortest)


def _no_host(addresses: tuple[VirtualAddress, ...], link: Link, own: frozenset[IPAddress]) -> str | None:
    """What is wrong with an address that names a subnet of the link, or everybody in it. (With a prefix of its own the
    document says so itself.)
    """
    for there in link.addresses:
        if there.ip.version == 6 or there.prefix_length > 30 or there.ip in own:
            continue
        subnet = ip_network((there.ip, there.prefix_length), strict=False)
        kinds = {subnet.network_address: "network", subnet.broadcast_address: "broadcast"}
        for one in addresses:
            if one.ip in kinds:
                return f"spec.addresses: {one.ip} is the {kinds[one.ip]} address of {link.name}'s subnet {subnet}"
    return None


def _with_link_local(addresses: tuple[VirtualAddress, ...], vrid: int) -> tuple[VirtualAddress, ...]:
    """An IPv6 virtual router advertises its link-local address first (RFC 9568 section 5.2.9): where the document names
    none, one that every router of this VRID derives alike.
    """
    if addresses[0].ip.version == 4 or any(one.ip.is_link_local for one in addresses if one.ip.version == 6):
        return addresses
    return (*addresses, VirtualAddress(ip=IPv6Address(f"fe80::5e00:{0x200 + vrid:x}")))


def _peers(vip: VirtualIP) -> tuple[IPAddress, ...] | None:
    """The unicast peers; None while the list, or an address in it, has not arrived. An address of the other IP version
    is what a peer had before the election moved to this one.
    """
    if vip.spec.transport is not Transport.UNICAST:
        return None
    if vip.assignment is None:
        return vip.spec.unicast_peers
    version = vip.spec.addresses[0].ip.version
    addresses = (peer.address for peer in vip.assignment.peers)
    known = tuple(one for one in addresses if one is not None and one.version == version)
    return known if known or not vip.assignment.peers else None


def _channel(
    link: Link, version: int, peers: tuple[IPAddress, ...] | None, password: str | None, *, virtual_mac: bool
) -> str:
    """What the core need not understand of an identity, as one string; of the password only a digest."""
    digest = "" if password is None else hashlib.sha256(password.encode()).hexdigest()[:16]
    how = "multicast" if peers is None else ",".join(sorted(map(str, peers)))
    return f"{link.ifindex}|IPv{version}|{how}|{digest}|{'vmac' if virtual_mac else ''}"


def missing_vrid(vip: VirtualIP) -> str | None:
    """What is wrong when nobody gives this VIP a VRID."""
    if vip.assignment is None and vip.spec.virtual_router_id is None:
        return "spec.virtualRouterID: is required where no operator allocates one"
    return None


def missing_link(vip: VirtualIP, kernel: KernelView) -> str | None:
    """What is wrong when no link of this host is meant by the document."""
    return None if kernel.find_interface(vip.spec.interfaces, vip.spec.addresses[0].ip) else _no_link(vip)


def _no_link(vip: VirtualIP) -> str:
    if vip.spec.interfaces:
        return f"spec.interfaces: no link of this host is called {' or '.join(vip.spec.interfaces)}"
    return f"spec.interfaces: no link of this host has the subnet of {vip.spec.addresses[0].ip}; name one"
