"""The addresses of one virtual router on the link: put there, silenced, announced, taken off.

Record and last will are written before an address is added and after it was removed, so that at no instant something
is on the link that nobody would clean up.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from ipaddress import IPv4Address

from vip_api.model import Announcements, VirtualAddress

from vip_speaker.kernel import Assigned, KernelError, Link
from vip_speaker.router.activelink import ActiveLink, Listener
from vip_speaker.router.places import Place
from vip_speaker.router.services import Services
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp.types import MS, SECOND, IPAddress
from vip_speaker.wire.neighbour import duplicate_question, gratuitous_arp, unsolicited_advertisement

log = logging.getLogger(__name__)

# An address that the kernel refused is tried again after this long.
_RETRY_NS = 2 * SECOND
# The kernel finishes an IPv6 address in a worker, usually within a millisecond. What is due is not held up for longer.
_USABLE_WITHIN_NS = 5 * MS
# Who else has an address of a MASTER is asked when whoever it was before has left, and then every minute: a host that
# only answers is not to be noticed otherwise.
_ASK_AFTER_NS = 4 * SECOND
_ASK_EVERY_NS = 60 * SECOND
# Schedules of a VIP beside its announcements; no name of a VIP has such a character.
_QUESTIONS, _ONCE_MORE = "?", "+"


class Holding:
    """What the VIP `name` has on the link. `place()` says where and what before anything is added.

    `assigned` is on the link, or about to be; `planned` is what `add()` would put there. `announcements` are the
    settings in force. `owner`: the addresses are the host's own, so one that is there already is no problem.
    `listener` is told when another station announces one of the addresses.
    """

    def __init__(self, name: str, services: Services, listener: Listener, announcements: Announcements) -> None:
        self.assigned: tuple[Assigned, ...] = ()
        self.planned: tuple[Assigned, ...] = ()
        self.silenced = False
        self.lifetime_s: int | None = None
        self.problem = ""
        self.announcements = announcements
        self.owner = False
        self._wanted = False  # between `add` and `remove`, even where the kernel refused everything
        self._announces = False  # between `announce` and `stop_announcing`
        self._name = name
        self._services = services
        self._listener = listener
        self._link: ActiveLink | None = None
        self._places: dict[int, Place] = {}
        self._addresses: tuple[VirtualAddress, ...] = ()
        self._planned_for: tuple[tuple[VirtualAddress, ...], dict[int, Link | None]] | None = None
        self._frames: dict[IPAddress, bytes] = {}
        self._frames_differ = False
        self._present: frozenset[IPAddress] = frozenset()
        self._obsolete: set[int] = set()
        self._retry = Deadline(self._try_again)

    def place(self, link: ActiveLink, places: Mapping[int, Place], addresses: tuple[VirtualAddress, ...]) -> None:
        """From the next `add()` on: `addresses`, each in the place of its IP version, announced on `link`."""
        if self._link is not None and self._link is not link:
            self._link.stop_announcing(*self._announcing)
            self._link.watch(self._listener, frozenset())
        kept = {place.ifindex for place in places.values()}
        self._obsolete |= {place.ifindex for place in self._places.values()} - kept
        self._obsolete -= kept
        before = self._frames
        self._link, self._places, self._addresses = link, dict(places), addresses
        self._frames = {address.ip: self._announcement(address.ip) for address in addresses}
        self._frames_differ = any(self._frames.get(ip, frame) != frame for ip, frame in before.items())

    @property
    def links(self) -> set[int]:
        """The links that the addresses go on, and those that go as soon as nothing is on them any more."""
        return {place.ifindex for place in self._places.values()} | self._obsolete

    @property
    def stands(self) -> bool:
        """The links that the addresses go on are still there."""
        return all(place.ifindex in self._services.kernel.links for place in self._places.values())

    @property
    def _is_down(self) -> bool:
        """Somebody put a virtual MAC's own link down that addresses are on."""
        kernel = self._services.kernel
        return any(
            not kernel.links[one].up for one in {one.ifindex for one in self.assigned} & kernel.virtual_mac_links
        )

    def prepare(self) -> None:
        """Do ahead what a promotion and a hand-over would have to do at the worst moment."""
        self._plan()
        self._services.kernel.prepare(self.planned, self.lifetime_s)
        if self._link is not None:
            self._link.watch(self._listener, frozenset(one.ip for one in self.planned))

    def add(self) -> None:
        """Put all addresses on the link. What an older plan put there stays until `settle()`."""
        self._wanted = True
        self._plan()
        wanted = self.planned
        self.assigned = tuple(one for one in self.assigned if one not in wanted) + wanted
        self._services.holding_changed()
        failures = self._services.kernel.add(wanted, self.lifetime_s)
        if not self._services.kernel.wait_until_usable(wanted, _USABLE_WITHIN_NS):
            log.warning("the kernel is slow to take packets for its addresses", extra={"vip": self._name})
        self._present = frozenset(one.assigned.ip for one in failures if one.error.code == errno.EEXIST)
        gone = tuple(one for one in self.assigned if not self._services.kernel.holds(one))
        if gone:
            # Of an older plan, such as IPv6 with another prefix: no renewal on its way may bring it back. What was
            # refused is not ours: neither we nor the guard may take it off.
            if former := tuple(one for one in gone if one not in wanted):
                self._remove(former)
            self.assigned = tuple(one for one in self.assigned if one not in gone)
            self._services.holding_changed()
        problems = [str(one.error) for one in failures if not (self.owner and one.error.code == errno.EEXIST)]
        if not self.silenced:
            problems += self._end_silence(wanted)  # where that was refused before
        self._complain("; ".join(problems) or self._missing_place())

    def _missing_place(self) -> str:
        return "" if self.stands else "the link that they go on is gone"

    def _complain(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.error("cannot hold the addresses: %s", problem, extra={"vip": self._name})
        self.problem = problem
        self._services.loop.others.set(self._retry, self._services.loop.now_ns() + _RETRY_NS if problem else None)

    def settle(self) -> None:
        """After a document or a link changed, while addresses are held: what is on the link follows the plan.

        New ones come before old ones go. Neighbours hear of what is new, and of another MAC.
        """
        if not self._wanted or self.silenced:
            self._remove_obsolete_links()
            return
        self._plan()
        before = self.assigned
        if self._is_down or any(one not in before for one in self.planned):
            self.add()
        added = any(one not in before for one in self.assigned)
        unwanted = tuple(one for one in self.assigned if one not in self.planned)
        if unwanted:
            self._remove(unwanted)
            self.assigned = tuple(one for one in self.assigned if one in self.planned)
            self._services.holding_changed()
        self._remove_obsolete_links()
        if added or self._frames_differ:
            self._frames_differ = False
            self._announce_what_is_new()

    def remove(self) -> None:
        """Take all addresses off the link, and lift any silence after that."""
        held, self.assigned, self.problem, self._present = self.assigned, (), "", frozenset()
        self._wanted = False
        self._services.loop.others.set(self._retry, None)
        self.stop_announcing()
        self._remove(held)
        self._unsilence(held)
        self._services.holding_changed()
        self._remove_obsolete_links()  # those that were given up while we were silent on them

    def silence(self) -> None:
        """Keep the addresses, but answer no ARP or ND for them and announce nothing."""
        self.stop_announcing()
        self.silenced = True
        try:
            self._services.kernel.silence(tuple(one.ip for one in self.assigned))
        except KernelError as error:
            log.warning("a hand-over goes on without silence: %s", error, extra={"vip": self._name})
        self._services.holding_changed()

    def unsilence(self) -> None:
        """Answer for the addresses again; what the kernel has against it is tried again."""
        for problem in self._unsilence(self.assigned):
            self._complain(problem)
        self._services.holding_changed()

    def announce(self, *, takeover: bool) -> None:
        """Start the announcements from the beginning."""
        assert self._link is not None
        self._announces = True
        settings = self.announcements
        self._link.announce(
            self._name,
            self._serving_frames(),
            repeat=settings.repeat,
            delay_ns=settings.delay_ms * MS,
            refresh_ns=settings.refresh_ms * MS,
            takeover=takeover,
        )

        self._link.announce(
            self._name + _QUESTIONS,
            self._questions(),
            repeat=1,
            delay_ns=0,
            refresh_ns=_ASK_EVERY_NS,
            takeover=False,
            wait_ns=_ASK_AFTER_NS,
        )

    def announce_once(self) -> None:
        """One announcement per address, outside of the schedule, but inside the link's budget."""
        if self._link is not None:
            self._link.announce(
                self._name + _ONCE_MORE, self._serving_frames(), repeat=1, delay_ns=0, refresh_ns=0, takeover=False
            )

    def _questions(self) -> list[bytes]:
        """Who else has our addresses? Asked as a host asks before it takes one (RFC 5227, RFC 4862): nobody learns
        anything from it, and everybody who has it answers. Not about what is configured no more.
        """
        asked = (one.ip for one in self.assigned if one.ip in self._frames)
        return [duplicate_question(ip, self._places[ip.version].mac) for ip in asked]

    def _serving_frames(self) -> list[bytes]:
        """The announcements of all addresses that this host answers for, whoever put them there."""
        serving = {one.ip for one in self.assigned} | self._present
        return [frame for ip, frame in self._frames.items() if ip in serving]

    def stop_announcing(self) -> None:
        """No announcement from here on."""
        self._announces = False
        if self._link is not None:
            self._link.stop_announcing(*self._announcing)

    @property
    def _announcing(self) -> tuple[str, ...]:
        return self._name, self._name + _QUESTIONS, self._name + _ONCE_MORE

    def take_down(self) -> None:
        """After the last address is off: nothing is watched any more, and a virtual MAC's own links go."""
        if self._link is not None:
            self._link.watch(self._listener, frozenset())
        self._obsolete |= {place.ifindex for place in self._places.values()}
        self._remove_obsolete_links()

    def _remove_obsolete_links(self) -> None:
        """Those that nothing is on any more."""
        kernel, in_use = self._services.kernel, {one.ifindex for one in self.assigned}
        obsolete, self._obsolete = self._obsolete - in_use, self._obsolete & in_use
        ours = obsolete & kernel.virtual_mac_links
        for ifindex in ours - self._services.links_elsewhere(self._name) if ours else ():
            try:
                kernel.remove_virtual_mac(kernel.links[ifindex])
            except KernelError as error:
                log.error("cannot remove the link of the virtual MAC: %s", error, extra={"vip": self._name})

    def _plan(self) -> None:
        """Which address goes where with which prefix; again only where a link is another than it was."""
        kernel = self._services.kernel
        links = {version: kernel.links.get(place.ifindex) for version, place in self._places.items()}
        basis = (self._addresses, links)
        if basis == self._planned_for:
            return
        self._planned_for = basis
        planned: list[Assigned] = []
        for version, link in links.items():
            if link is not None:
                addresses = [(one.ip, one.prefix_length) for one in self._addresses if one.ip.version == version]
                planned += kernel.plan_addresses(link, addresses, parent=kernel.links.get(link.parent))
        if tuple(planned) != self.planned:
            self.planned = tuple(planned)
            self._services.plan_changed()

    def _remove(self, assigned: tuple[Assigned, ...]) -> None:
        elsewhere = self._services.held_elsewhere(self._name)
        for failure in self._services.kernel.remove([one for one in assigned if one not in elsewhere]):
            log.error("cannot remove an address: %s", failure.error, extra={"vip": self._name})

    def _unsilence(self, assigned: tuple[Assigned, ...]) -> list[str]:
        if not self.silenced:
            return []
        self.silenced = False
        return self._end_silence(assigned)

    def _end_silence(self, assigned: tuple[Assigned, ...]) -> list[str]:
        """What the kernel has against it. What is not silent stays as it is."""
        try:
            self._services.kernel.unsilence(tuple(one.ip for one in assigned))
        except KernelError as error:
            log.error("cannot end the silence: %s", error, extra={"vip": self._name})
            return [str(error)]
        return []

    def _announcement(self, address: IPAddress) -> bytes:
        mac = self._places[address.version].mac
        if isinstance(address, IPv4Address):
            return gratuitous_arp(address, mac)
        return unsolicited_advertisement(address, mac, router=True)

    def _try_again(self, _now_ns: int) -> None:
        if not self._wanted or self.silenced:
            return
        before = self.assigned
        self.add()
        if any(one not in before for one in self.assigned):
            self._announce_what_is_new()

    def _announce_what_is_new(self) -> None:
        """Not where the election has ended it: a leaver draws nobody any more."""
        if self._announces:
            self.announce(takeover=False)
