"""Documents, links, neighbours and the kernel at random against the real router of one host (one seed, one run).

What must hold at every instant at which the router rests is looked at after every step. In the end everything is healed
and nobody else speaks: every VIP that is in nobody's way is MASTER in time, and after a stop nothing is left.
`python -m tests.simulation.test_documents 0 2000` runs more seeds, with one seed alone it prints the run.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest
from vip_api.model import VirtualIP
from vip_speaker.kernel.links import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_SETLINK
from vip_speaker.kernel.virtual_mac import ARP_ANNOUNCE, ARP_IGNORE
from vip_speaker.router.instance import Instance
from vip_speaker.vrrp.machine import deadline
from vip_speaker.vrrp.types import (
    MS,
    SECOND,
    IPAddress,
    MasterState,
    Role,
)
from vip_speaker.wire.advertisement import Content, encode_frame, encode_packet
from vip_speaker.wire.neighbour import Announced, decode_announcement
from vip_speaker.wire.received import ETH_P_IP, ETH_P_IPV6, PacketType, Received

from tests.simulation.documents import LINKS, NAMES, TRACKED, Document, changed, draw, meaning
from tests.simulation.node import SILENCE, Interface
from tests.simulation.router import VirtualHost
from tests.simulation.rules import broken_rules, kernel_has_what_is_held, scoped
from tests.simulation.search import search

log = logging.getLogger(__name__)

SEEDS = range(40)
BATCH = 10
# What is tried again is so within two seconds, and a check moves a VIP once a second.
AGAIN_NS = 4 * SECOND
LONGEST_NS = 12 * SECOND  # a master-down interval, of whoever was heard last


class Play:
    """One run. `found` is what should not be."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = random = Random(seed)
        self.host = VirtualHost(random, directory, address_lifetime_s=random.choice((None, None, None, 0)))
        self.found: list[str] = []
        self.in_force: dict[str, Document] = {}  # the last good document of each file that is there
        self.spoilt: set[str] = set()  # files that say nothing now
        self.stopping = False
        self._began_ns = self.host.now_ns

    def run(self) -> None:
        host = self.host
        with host:
            for name, addresses in LINKS.items():
                host.node.plug_in(name, *addresses)
            host.node.plug_in(TRACKED)
            host.sent = self._sent
            host.start()
            host.run_for(0)
            for _ in range(self.random.randint(10, 50)):
                self._step()
                if self.found:
                    return
            if self.random.random() < 0.7:
                self._heal()
            if not self.found:
                self._stop()

    def _tell(self, what: str) -> None:
        log.info("%.3f %s", (self.host.now_ns - self._began_ns) / MS, what)

    # --- steps

    def _step(self) -> None:
        steps: list[tuple[int, Callable[[], None]]] = [
            (14, self._write),
            (2, self._spoil),
            (2, self._delete),
            (3, self._touch_link),
            (2, self._touch_address),
            (1, self._weather),
            (16, self._advertisement),
            (4, self._announcement),
            (2, lambda: None),
        ]
        self.random.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()
        self._look()
        self.host.run_for(self.random.choice((0, 0, MS, 20 * MS, 200 * MS, SECOND, 5 * SECOND)))
        self._look()

    def _write(self) -> None:
        name = self.random.choice(NAMES)
        before = self.in_force.get(name)
        document = draw(self.random, name) if before is None else changed(self.random, before)
        self._tell(f"{name}: {json.dumps(document)}")
        self._alone(name, before, document, lambda: self._put(name, document))

    def _put(self, name: str, document: Document) -> None:
        self.host.write(name, json.dumps(document))
        self.in_force[name] = document
        self.spoilt.discard(name)

    def _spoil(self) -> None:
        """A file that nobody understands changes nothing."""
        if not self.in_force:
            return
        name = self.random.choice(list(self.in_force))
        self._tell(f"{name}: spoilt")
        bad = {**self.in_force[name], "spec": {"addresses": ["10.0.0.300"]}}
        texts = ("", "{", "]", "\0", json.dumps(bad), json.dumps({**bad, "kind": "Secret"}))
        known = self.host.daemon.instances
        before = {each: _situation(one) for each, one in known.items() if not _about_to_move(self.host, one)}
        self._alone(
            name,
            self.in_force[name],
            self.in_force[name],
            lambda: self.host.write(name, self.random.choice(texts)),
        )
        self.spoilt.add(name)
        one = self.host.daemon.instances.get(name)
        after = None if one is None else _situation(one)
        if before.get(name, after) != after:
            self.found.append(f"{name} is {after} by a bad document, was {before[name]}")

    def _delete(self) -> None:
        if not self.in_force:
            return
        name = self.random.choice(list(self.in_force))
        before = self.in_force[name]
        if self.random.random() < 0.5:
            self._tell(f"{name}: deleted")
            gone = {**before, "metadata": {**before["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
            self._alone(name, before, None, lambda: self.host.write(name, json.dumps(gone)))
            one = self.host.daemon.instances.get(name)
            if one is not None and one.holding.assigned and RTM_DELADDR not in self.host.node.refused:
                self.found.append(f"{name} is deleted and still holds {one.holding.assigned}")
        self._tell(f"{name}: no file")
        self.host.remove(name)
        del self.in_force[name]
        self.spoilt.discard(name)
        if self.random.random() < 0.5:
            self.host.run_for(SECOND)

    def _alone(self, name: str, before: Document | None, after: Document | None, do: Callable[[], None]) -> None:
        """Whatever happens to one document, the VIPs that share nothing with it stay as they are."""
        host = self.host
        host.settle()
        others = {
            each: _situation(one)
            for each, one in host.daemon.instances.items()
            if each != name
            and one.resolved is not None
            and not _about_to_move(host, one)
            and not any(_share(one.vip, meaning(known), one) for known in (before, after) if known is not None)
            and not self._shares_with_what_is_held(name, one)
        }
        do()
        host.daemon._documents._look_now(host.now_ns)  # whenever the event would have said so
        host.loop.rearm()
        host.run_for(2 * MS)
        for each, situation in others.items():
            one = host.daemon.instances.get(each)
            if one is None or _situation(one) != situation:
                now = None if one is None else _situation(one)
                self.found.append(f"{each} is {now} by the document of {name}, was {situation}")

    def _shares_with_what_is_held(self, name: str, other: Instance) -> bool:
        """An instance in its last moments counts with what it was, not with what its document says."""
        one = self.host.daemon.instances.get(name)
        return one is not None and _share(one.vip, other.vip, other)

    def _touch_link(self) -> None:
        node = self.host.node
        name = self.random.choice((*LINKS, TRACKED, TRACKED))
        link = next((one for one in node.links.values() if one.name == name), None)
        if link is None:
            self._tell(f"{name}: plugged in")
            self._plug_in(name)
            return
        what = self.random.choice(("up", "up", "carrier", "carrier", "pulled out"))
        self._tell(f"{name}: {what} (was {link.up}, {link.carrier})")
        if what == "pulled out":
            self.host.link_went_down(link.ifindex)
            node.pull_out(link)
            if self.random.random() < 0.4:
                self.host.run_for(self.random.choice((0, MS, SECOND)))
                self._plug_in(name)
        elif what == "carrier":
            node.set_carrier(link, carrier=not link.carrier)
        else:
            self._set_up(link, up=not link.up)
            if self.random.random() < 0.3:  # it only flapped
                self._set_up(link, up=not link.up)

    def _plug_in(self, name: str) -> None:
        self.host.node.plug_in(name, *LINKS.get(name, ()))

    def _set_up(self, link: Interface, *, up: bool) -> None:
        if not up:
            self.host.link_went_down(link.ifindex)
        self.host.node.set_up(link, up=up)
        for one in LINKS.get(link.name, ()) if up else ():
            self.host.node.give(link, one)

    def _touch_address(self) -> None:
        node, random = self.host.node, self.random
        link = random.choice([one for one in node.links.values() if one.name != TRACKED] or [None])
        if link is None:
            return
        if random.random() < 0.5 and link.addresses:
            address = random.choice(link.addresses)
            self._tell(f"{link.name}: somebody takes {address.ip}/{address.prefix_length} off")
            node.take(link, address)
        elif random.random() < 0.5 and link.name in LINKS:
            self._tell(f"{link.name}: gets back its own addresses")
            for one in LINKS[link.name]:
                node.give(link, one)
        else:
            number = int(link.name[-1]) if link.name in LINKS else 0
            given = random.choice((f"10.{number}.0.101/24", f"10.{number}.0.100/32", f"2001:db8:{number}::100/64"))
            self._tell(f"{link.name}: somebody puts {given} there")
            node.give(link, given)

    def _weather(self) -> None:
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
        self._tell(f"weather: refusals {host.node.refusals} late {host.late_ns / MS} off {host.off_processor}")

    def _advertisement(self) -> None:
        """Somebody advertises: of our virtual router, or of one that looks like it."""
        random = self.random
        known = [one for one in self.host.daemon.instances.values() if one.resolved is not None]
        if not known:
            return
        one = random.choice(known)
        channel = random.choice([one._identities.current] * 3 + [one._identities.former or one._identities.current])
        if channel is None:
            return
        six = channel.family == 6
        version, vrid = channel.identity.version, channel.identity.vrid
        ours = one.config.priority if one.config else 100
        priority = random.choice((0, 0, 1, ours, min(254, ours + 1), max(1, ours - 1), 254, 255))
        interval_ns = one.config.advertisement_interval_ns if one.config else SECOND
        password = one.resolved.password if one.resolved else None
        addresses = channel._advertised
        match random.randrange(12):
            case 0:
                vrid = random.randint(1, 5)
            case 1 if not six:
                version = 5 - version
            case 2:
                addresses = (ip_address("fe80::77" if six else "10.7.7.7"),)
            case 3:
                interval_ns = random.choice((SECOND, 2 * SECOND))
            case 4:
                password = random.choice((None, b"one", b"two"))
        if version == 2:
            interval_ns = max(SECOND, interval_ns // SECOND * SECOND)
        else:
            password = None
        ifindex = channel.link.ifindex
        number = next((int(link.name[-1]) for link in [self.host.node.links.get(ifindex)] if link), 0)
        last = random.choice((0, 11, 11, 12, 13, 200))
        source = channel.source if not last else ip_address(f"fe80::1{last}" if six else f"10.{number}.0.{last}")
        content = Content(
            version=version,
            vrid=vrid,
            priority=priority,
            interval_ns=interval_ns,
            source=source,
            addresses=addresses,
            password=password,
        )
        unicast = (one.resolved.peers is not None) != (random.random() < 0.1) if one.resolved else False
        self._tell(f"heard for {one.name}: {priority} of {source}, VRID {vrid} version {version} unicast {unicast}")
        for _ in range(random.choice((1, 1, 2))):
            self.host.deliver(_received(content, channel.source if unicast else None, ifindex))

    def _announcement(self) -> None:
        random = self.random
        known = [one for one in self.host.daemon.instances.values() if one.holding.planned and one.link is not None]
        if not known:
            return
        one = random.choice(known)
        self._tell(f"announced: the addresses of {one.name}")
        for assigned in one.holding.planned:
            mac = random.choice(("02:00:00:00:00:77", "02:00:00:00:00:78"))
            announced = Announced(address=assigned.ip, mac=mac, answers=random.random() < 0.2)
            if random.random() < 0.9 and one.link is not None:
                self.host.announce(one.link.ifindex, announced)

    # --- what must hold whenever the router rests

    def _look(self) -> None:
        self.host.settle()
        self.found += broken_rules(self.host, stopping=self.stopping)

    def _sent(self, ifindex: int, frame: bytes) -> None:
        """Nobody announces what is not on the link, or what is held in silence."""
        announced = _announced(frame)
        if announced is None or announced.answers:
            return
        node = self.host.node
        there = [link for link in node.links.values() if link.find(announced.address) is not None]
        # What was lost and is refused when it is put back is tried again, and announced meanwhile: it is nobody else's.
        if not there and not node.events.waiting and RTM_NEWADDR not in node.refused:
            self.found.append(f"{announced.address} is announced and on no link")
        if announced.address in node.silent and not scoped(announced.address) and SILENCE not in node.refused:
            self.found.append(f"{announced.address} is announced in silence")

    # --- the end

    def _heal(self) -> None:
        host, node = self.host, self.host.node
        self._tell("healed")
        node.refusals, node.slow_ipv6, host.late_ns, host.off_processor = {}, False, 200_000, 0.0
        present = {link.name for link in node.links.values()}
        for name in {*LINKS, TRACKED} - present:
            self._plug_in(name)
        for link in list(node.links.values()):
            if link.kind != "macvlan":
                node.set_carrier(link, carrier=True)
                self._set_up(link, up=True)
            for address in [one for one in link.addresses if one.protocol == 3]:
                if f"{address.ip}/{address.prefix_length}" not in LINKS.get(link.name, ()):
                    node.take(link, address)
            for one in LINKS.get(link.name, ()):
                node.give(link, one)
        for name in sorted(self.spoilt):
            self._put(name, self.in_force[name])
        host.run_for(AGAIN_NS + LONGEST_NS)
        self._look()
        self._everybody_serves()

    def _everybody_serves(self) -> None:
        """Nobody else speaks, and all is well."""
        daemon, node = self.host.daemon, self.host.node
        if daemon.instances.keys() != self.in_force.keys():
            self.found.append(f"there are {sorted(daemon.instances)}, wanted are {sorted(self.in_force)}")
            return
        # A silence that was not to be ended does no harm while nobody has the address, and ends before somebody has.
        if silent := node.silent & {ip for _, ip, _ in node.ours().keys() - node.kept}:
            self.found.append(f"{silent} are still silent")
        by_name = {link.name: link for link in node.links.values()}
        vips = {name: vip for name, document in self.in_force.items() if (vip := meaning(document)) is not None}
        assert vips.keys() == self.in_force.keys()
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
                    self.found.append(f"{name} is {one.role} and has no link")
            elif waits or unicast_without:
                if one.role is not Role.INIT:
                    self.found.append(f"{name} is {one.role} and has no assignment")
            elif "virtual MAC" in one.account.reason and RTM_DELLINK in node.refused:
                pass  # neither to be finished nor to be deleted again, the link has the name and nobody knows of it
            elif one.role is Role.MASTER:
                self._serves_on(one, vip, by_name[link])
            elif not any(_share(other, vip) for each, other in vips.items() if each != name):
                self.found.append(f"{name} is {one.role} ({one.account.reason}), nobody is in its way")
            elif not any(
                _share(daemon.instances[each].vip, vip) and daemon.instances[each].role is Role.MASTER
                for each in vips
                if each != name
            ):
                self.found.append(f"{name} is {one.role} ({one.account.reason}), and nobody else MASTER")

    def _serves_on(self, one: Instance, vip: VirtualIP, link: Interface) -> None:
        wanted = {address.ip for address in vip.spec.addresses}
        held = {(ifindex, ip) for ifindex, ip, _ in self.host.node.ours().keys() - self.host.node.kept}
        for ip in wanted:
            places = [self.host.node.links[ifindex] for ifindex, each in held if each == ip]
            if scoped(ip):
                places = [each for each in places if each is link or each.parent == link.ifindex]
            if len(places) != 1:
                self.found.append(f"{ip} of {one.name} is on {[each.name for each in places]}")
                continue
            name = f"kv{ip.version}-{link.ifindex}-{one.config.identity.vrid}" if vip.spec.virtual_mac else link.name
            if places[0].name != name:
                self.found.append(f"{ip} of {one.name} is on {places[0].name}, not on {name}")

    def _stop(self) -> None:
        host = self.host
        self._tell("stop")
        self.stopping = True
        host.daemon.stop()
        host.loop.rearm()
        if self.random.random() < 0.5:
            for _ in range(3):
                self.random.choice((self._advertisement, self._announcement, self._touch_link, lambda: None))()
                host.run_for(self.random.choice((0, MS, 100 * MS)))
                if not host.daemon.left.is_set():
                    self._look()
        if self.random.random() < 0.3 and not host.daemon.left.is_set():
            self._tell("stop again")
            host.daemon.stop()
            if not host.daemon.left.is_set():
                self.found.append("a second stop does not end it at once")
        host.run_for(LONGEST_NS + host.late_ns)
        if not host.daemon.left.is_set():
            self.found.append(f"does not leave: {[(one.name, one.state) for one in host.daemon.instances.values()]}")
            return
        self.found += kernel_has_what_is_held(self.host, stopping=True)
        host.end()
        node = host.node
        if not {RTM_SETLINK, RTM_DELLINK} & node.refused:
            self.found += [f"{link.name} is left" for link in node.links.values() if link.kind == "macvlan"]
            self.found += [
                f"{link.name} is left with other settings"
                for link in node.links.values()
                if link.settings[ARP_IGNORE] or link.settings[ARP_ANNOUNCE]
            ]
        self.found += [f"{one} is left open" for one in host.sockets if not one.closed]
        self.found += [f"a reader of {fd} is left" for fd in host._readers]


_announced = lru_cache(maxsize=1 << 14)(decode_announcement)


def _situation(one: Instance) -> tuple[object, ...]:
    """What a user sees of a VIP, and what it holds."""
    return one.role, one.holding.assigned


def _about_to_move(host: VirtualHost, one: Instance | None) -> bool:
    """A VIP whose time has come anyhow, within the few milliseconds that a document takes."""
    if one is None:
        return False
    if isinstance(one.state, MasterState):
        # one whose timers come late may find that it stood still; what the kernel refused is tried again
        return host.late_ns >= SECOND or bool(one.holding.problem)
    at_ns = deadline(one.state)
    return at_ns is not None and at_ns < host.now_ns + 5 * SECOND


def _share(one: VirtualIP | None, other: VirtualIP | None, instance: Instance | None = None) -> bool:
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


@lru_cache(maxsize=1 << 14)
def _received(content: Content, destination: IPAddress | None, ifindex: int) -> Received:
    six = content.source.version == 6
    if destination is None:
        packet, kind = encode_frame(content, source_mac="02:00:00:00:00:77")[14:], PacketType.MULTICAST
    else:
        multicast = encode_frame(replace(content), source_mac="02:00:00:00:00:77")[14:]
        packet, kind = encode_packet(content, destination=destination), PacketType.HOST
        if six:
            packet = multicast[:4] + multicast[4:24] + destination.packed + packet
    return Received(
        packet=packet,
        ethertype=ETH_P_IPV6 if six else ETH_P_IP,
        source_mac=bytes.fromhex("020000000077"),
        ifindex=ifindex,
        packet_type=kind,
    )


def simulate(seed: int) -> Play:
    with tempfile.TemporaryDirectory() as directory:
        play = Play(seed, Path(directory))
        try:
            play.run()
        except Exception:  # whatever escapes ends the router
            play.found.append(traceback.format_exc())
        return play


def violations(seed: int) -> Iterator[str]:
    yield from simulate(seed).found[:3]


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_whatever_happens_the_router_holds_what_it_may(first: int):
    for seed in range(first, first + BATCH):
        found = list(violations(seed))
        assert not found, f"seed {seed}: {found}"


if __name__ == "__main__":
    if len(sys.argv) == 2:
        told = logging.StreamHandler(sys.stdout)
        told.setFormatter(logging.Formatter("%(vip)s: %(message)s", defaults={"vip": "-"}))
        logging.basicConfig(level=logging.INFO, handlers=[told])
        print(*simulate(int(sys.argv[1])).found, sep="\n")
        sys.exit(0)
    logging.disable()
    sys.exit(search(violations, int(sys.argv[1]), int(sys.argv[2])))
