"""What must be once all is well: every VIP that is in nobody's way is MASTER, its addresses where they belong."""

from __future__ import annotations

from collections.abc import Iterator

from vip_api.model import VirtualIP
from vip_speaker.kernel.links import RTM_DELLINK
from vip_speaker.router.instance import Instance
from vip_speaker.vrrp.types import Role

from tests.simulation.documents import LINKS, Document, meaning
from tests.simulation.node import Interface
from tests.simulation.router import VirtualHost
from tests.simulation.rules import scoped


def not_served(host: VirtualHost, in_force: dict[str, Document]) -> Iterator[str]:
    """What is wrong once nobody else speaks and all is well."""
    daemon, node = host.daemon, host.node
    if daemon.instances.keys() != in_force.keys():
        yield f"there are {sorted(daemon.instances)}, wanted are {sorted(in_force)}"
        return
    # A silence that was not to be ended does no harm while nobody has the address, and ends before somebody has.
    if silent := node.silent & {ip for _, ip, _ in node.ours().keys() - node.kept}:
        yield f"{silent} are still silent"
    by_name = {link.name: link for link in node.links.values()}
    vips = {name: vip for name, document in in_force.items() if (vip := meaning(document)) is not None}
    assert vips.keys() == in_force.keys()
    for name, vip in sorted(vips.items()):
        one = daemon.instances[name]
        waits = vip.assignment is not None and None in (vip.assignment.priority, vip.assignment.virtual_router_id)
        unicast_without = (
            vip.assignment is not None
            and vip.spec.transport == "Unicast"
            and vip.assignment.peers
            and not any(
                peer.address and peer.address.version == vip.spec.addresses[0].ip.version
                for peer in vip.assignment.peers
            )
        )
        link = _link_of(vip, [link.name for link in node.links.values() if link.name in LINKS])
        if link is None:
            if one.role is not Role.FAULT:
                yield f"{name} is {one.role} and has no link"
        elif waits or unicast_without:
            if one.role is not Role.INIT:
                yield f"{name} is {one.role} and has no assignment"
        elif "virtual MAC" in one.account.reason and RTM_DELLINK in node.refused:
            pass  # neither to be finished nor to be deleted again, the link has the name and nobody knows of it
        elif one.role is Role.MASTER:
            yield from _misplaced(host, one, vip, by_name[link])
        elif not any(share(other, vip) for each, other in vips.items() if each != name):
            yield f"{name} is {one.role} ({one.account.reason}), nobody is in its way"
        elif not any(
            share(daemon.instances[each].vip, vip) and daemon.instances[each].role is Role.MASTER
            for each in vips
            if each != name
        ):
            yield f"{name} is {one.role} ({one.account.reason}), and nobody else MASTER"


def _misplaced(host: VirtualHost, one: Instance, vip: VirtualIP, link: Interface) -> Iterator[str]:
    wanted = {address.ip for address in vip.spec.addresses}
    held = {(ifindex, ip) for ifindex, ip, _ in host.node.ours().keys() - host.node.kept}
    for ip in wanted:
        places = [host.node.links[ifindex] for ifindex, each in held if each == ip]
        if scoped(ip):
            places = [each for each in places if each is link or each.parent == link.ifindex]
        if len(places) != 1:
            yield f"{ip} of {one.name} is on {[each.name for each in places]}"
            continue
        name = f"kv{ip.version}-{link.ifindex}-{one.config.identity.vrid}" if vip.spec.virtual_mac else link.name
        if places[0].name != name:
            yield f"{ip} of {one.name} is on {places[0].name}, not on {name}"


def share(one: VirtualIP | None, other: VirtualIP | None, instance: Instance | None = None) -> bool:
    """Whether the two may be in each other's way: an address, or a VRID."""
    if one is None or other is None:
        return False
    vrids = [
        vip.spec.virtual_router_id if vip.assignment is None else vip.assignment.virtual_router_id
        for vip in (one, other)
    ]
    if instance is not None and instance.config is not None:
        vrids.append(instance.config.identity.vrid)
    addresses = [{address.ip for address in vip.spec.addresses} for vip in (one, other)]
    return len(set(vrids)) < len(vrids) or not addresses[0].isdisjoint(addresses[1])


def _link_of(vip: VirtualIP, names: list[str]) -> str | None:
    """Where it belongs when all links are well; None: nowhere."""
    patterns = [pattern.rstrip("*") for pattern in vip.spec.interfaces]
    first = vip.spec.addresses[0].ip
    if patterns:  # the oldest of those that match
        return next(name for name in names if name.startswith(patterns[0]))
    for name in LINKS:
        number = int(name[-1])
        if str(first).startswith((f"10.{number}.0.", f"2001:db8:{number}::" if number else "2001:db8::")):
            return name
    return None
