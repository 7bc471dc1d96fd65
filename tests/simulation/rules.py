"""What must hold of a router's host at every instant at which the router rests; what does not, as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from vip_speaker import will
from vip_speaker.kernel.addresses import removal
from vip_speaker.kernel.links import RTM_DELADDR, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK
from vip_speaker.kernel.virtual_mac import ARP_ANNOUNCE, ARP_IGNORE
from vip_speaker.vrrp.machine import deadline
from vip_speaker.vrrp.types import BackupState, FaultState, IPAddress, LeavingState, MasterState, YieldingState

from tests.simulation.node import SILENCE
from tests.simulation.router import VirtualHost


def broken_rules(host: VirtualHost, *, stopping: bool) -> Iterator[str]:
    """`stopping`: the router was told to leave."""
    yield from kernel_has_what_is_held(host, stopping=stopping)
    yield from _who_holds_may(host, stopping=stopping)
    yield from _virtual_macs_are_needed(host)
    yield from _last_will_is_true(host)
    yield from _everybody_listens(host)
    yield from _deadlines_are_set(host)


def kernel_has_what_is_held(host: VirtualHost, *, stopping: bool) -> Iterator[str]:
    """What is held, by whom, and silently or not, is so in the kernel and on record."""
    node, ours = host.node, set(host.node.ours())
    held: dict[tuple[int, IPAddress, int], str] = {}
    silent: set[IPAddress] = set()
    for one in host.daemon.instances.values():
        for each in one.holding.assigned:
            key = (each.ifindex, each.ip, each.prefix_length)
            for other_key, other in held.items():
                of_another_link = scoped(each.ip) and other_key[0] != each.ifindex
                if other != one.name and other_key[1] == each.ip and not of_another_link:
                    yield f"{each} is held by {one.name} and {other}"
            held[key] = one.name
        if one.holding.silenced:
            silent |= {each.ip for each in one.holding.assigned}
    node.kept &= ours - held.keys()
    for key in ours - held.keys() - node.kept:
        yield f"nobody holds {key[1]}/{key[2]} on link {key[0]}"
    for key in held.keys() - ours:
        # What was on a link that is gone is nowhere. Who stops looks at no link any more, and who is silent settles
        # nothing: an address that is put back with another prefix has its former one too until it goes.
        one = host.daemon.instances[held[key]]
        unsettled = stopping or one.holding.silenced
        other_prefix = unsettled and any(key[:2] == other[:2] for other in held.keys() & ours)
        if key[0] in node.links and not other_prefix:
            yield f"{held[key]} holds {key[1]}/{key[2]}, which is not on link {key[0]}"
    # An address that went while it was silent stays so until somebody has it again.
    # nftables know no links: what one VIP does to a link-local address concerns that of another link as well.
    present = {ip for _, ip, _ in held if not scoped(ip)}
    if node.silent & present != silent & present and SILENCE not in node.refused:
        yield f"silent are {node.silent}, not {silent}"
    recorded = {(one.ifindex, one.ip, one.prefix_length) for one in host.record.load()}
    for key in held.keys() - recorded:
        yield f"{key} of {held[key]} is not recorded"


def _who_holds_may(host: VirtualHost, *, stopping: bool) -> Iterator[str]:
    for one in host.daemon.instances.values():
        state, holding = one.state, one.holding
        handing_over = isinstance(state, BackupState) and state.handover is not None
        may = handing_over or isinstance(state, MasterState | LeavingState | YieldingState)
        if holding.assigned and not may:
            yield f"{one.name} holds {holding.assigned} in {state}"
        if holding.silenced and not (handing_over or (isinstance(state, LeavingState) and state.handover)):
            yield f"{one.name} is silent in {state}"
        if isinstance(state, MasterState | YieldingState):
            there = holding._present if holding.owner else ()  # an owner has its addresses already
            missing = [each for each in holding.planned if each not in holding.assigned and each.ip not in there]
            if (missing or not holding.planned) and not holding.problem:
                yield f"{one.name} is MASTER without {missing}"
            if not one.takes_part:
                yield f"{one.name} is {state} and not wanted"
        if holding.stands and not (holding.silenced or stopping) and set(holding.assigned) - set(holding.planned):
            yield f"{one.name} holds {holding.assigned}, planned is {holding.planned}"
        if isinstance(state, FaultState) and one._fault is None:
            yield f"{one.name} is FAULT without a fault"


def _virtual_macs_are_needed(host: VirtualHost) -> Iterator[str]:
    node = host.node
    holdings = [one.holding for one in host.daemon.instances.values()]
    needed = {place.ifindex for one in holdings for place in one._places.values()}
    needed |= {each.ifindex for one in holdings for each in one.assigned}
    known = host.kernel.virtual_mac_links
    for link in node.links.values():
        if link.kind != "macvlan":
            children = [one for one in node.links.values() if one.parent == link.ifindex]
            changed = any(link.settings[number] for number in (ARP_IGNORE, ARP_ANNOUNCE))
            if changed and not children and not {RTM_SETLINK, RTM_DELLINK, RTM_NEWLINK} & node.refused:
                yield f"{link.name} has settings that nothing needs"
            if any(one.ifindex in known for one in children) and not changed:
                yield f"{link.name} answers ARP for what is on its virtual MACs"
        elif not {RTM_DELADDR, RTM_SETLINK, RTM_DELLINK} & node.refused:
            if link.ifindex not in needed:
                yield f"{link.name} is a link that nobody needs"
            if link.up and not any(key[0] == link.ifindex for key in node.ours()):
                yield f"{link.name} is up and empty"


def _last_will_is_true(host: VirtualHost) -> Iterator[str]:
    daemon = host.daemon
    entries = host.will.read()
    requests = [one.data for one in entries if isinstance(one, will.NetlinkRequest) and one.protocol == 0]
    removals = {data for data in requests if data[4] == RTM_DELADDR}
    expected = {removal(each) for one in daemon.instances.values() for each in one.holding.assigned}
    if removals != expected:
        yield f"the last will takes off {len(removals)} addresses, {len(expected)} are held"
    frames = [one.data for one in entries if isinstance(one, will.Frame | will.Packet)]
    for one in daemon.instances.values():
        current = one._identities.current
        if one.holding.assigned and not one.holding.silenced and current is not None:
            farewell = [entry.data for entry in current.farewell(priority=current.priority)]
            if any(data not in frames for data in farewell):
                yield f"the last will does not give up {one.name}"
    deleted = {int.from_bytes(data[20:24], "little") for data in requests if data[4] == RTM_DELLINK}
    carrying = {key[0] for key in host.node.ours()} & host.kernel.virtual_mac_links
    if carrying - deleted:
        yield f"the last will leaves the links {carrying - deleted}"


def _everybody_listens(host: VirtualHost) -> Iterator[str]:
    daemon = host.daemon
    attached = [
        channel for link in daemon._links.values() for entries in link._channels.values() for channel, _ in entries
    ]
    wanted = {
        channel: one
        for one in daemon.instances.values()
        for channel in (one._identities.current, one._identities.former)
        if channel is not None
    }
    if len(set(attached)) != len(attached):
        yield "a channel is attached twice"
    for channel in set(attached) - wanted.keys():
        yield f"somebody listens as {channel.identity} for no VIP"
    for channel, one in wanted.items():
        if channel.link in daemon._links.values() and channel not in attached:
            yield f"{one.name} does not listen as {channel.identity}"
    for one in daemon.instances.values():
        current = one._identities.current
        if isinstance(one.state, BackupState | MasterState | YieldingState) and current is not None:
            if current.link.ifindex in host.kernel.links and current.link not in daemon._links.values():
                yield f"{one.name} is {one.role} on sockets that are closed"
            if one.link is not current.link:
                yield f"{one.name} is on one link and speaks on another"
    for link in daemon._links.values():
        masters = {
            one.name
            for one in daemon.instances.values()
            if isinstance(one.state, MasterState | YieldingState) and one.holding._link is link
        }
        for name in link._announcer._schedules:
            if name.rstrip("?+") not in masters:
                yield f"{name} is announced on {link.name} and not served there"
        for listener in link._watchers:
            if listener not in daemon.instances.values():
                yield f"{listener.name} is gone and watches {link.name}"


def _deadlines_are_set(host: VirtualHost) -> Iterator[str]:
    for one in host.daemon.instances.values():
        if deadline(one.state) != one._deadline.at_ns:
            yield f"{one.name} waits for {one._deadline.at_ns} in {one.state}"


def scoped(ip: IPAddress) -> bool:
    """It means something on one link only."""
    return ip.version == 6 and ip.is_link_local
