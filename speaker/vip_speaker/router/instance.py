"""One VirtualIP on this host: feeds events to the election and carries out its actions, in the order given.

Level-triggered: `apply()` says what is wanted now, as often as anything changed; the difference to what is in force
decides which events follow. Nothing here reads a file or a packet.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import assert_never

from vip_api.model import VirtualIP

from vip_speaker.health.evaluate import NO_CHECKS, Assessment
from vip_speaker.kernel import Link
from vip_speaker.link import LinkError
from vip_speaker.router.account import Account
from vip_speaker.router.activelink import ActiveLink
from vip_speaker.router.channel import Channel
from vip_speaker.router.complaints import Complaints
from vip_speaker.router.defence import Defence
from vip_speaker.router.holding import Holding
from vip_speaker.router.identities import Identities
from vip_speaker.router.lastwill import LastWill
from vip_speaker.router.places import find_places
from vip_speaker.router.resolution import Resolution, Resolved, Unusable, Waiting, address_lifetime_s
from vip_speaker.router.services import Services
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp import machine
from vip_speaker.vrrp.types import (
    OWNER_PRIORITY,
    RELEASE_PRIORITY,
    Action,
    AddAddresses,
    AddressesExpired,
    AddressServed,
    Advertisement,
    Announce,
    AnnouncementSeen,
    BackupState,
    Config,
    Event,
    Failed,
    FaultState,
    FormerTaken,
    Heard,
    Identity,
    InitState,
    IPAddress,
    LeavingState,
    MasterState,
    Noted,
    OtherVersionHeard,
    Reconfigured,
    Recovered,
    RemoveAddresses,
    Role,
    SendAdvertisement,
    Shutdown,
    Silence,
    Startup,
    State,
    StopAnnouncing,
    Tick,
    Transition,
    Unsilence,
)
from vip_speaker.wire.neighbour import Announced

log = logging.getLogger(__name__)


class Instance:
    """One virtual router. `vip` is the document in force, `resolved` what it came to on this host."""

    def __init__(self, services: Services, vip: VirtualIP) -> None:
        self.name = vip.name
        self.vip = vip
        self.state: State = InitState()
        self.resolved: Resolved | None = None
        self.config: Config | None = None
        self.link: ActiveLink | None = None
        self.health = NO_CHECKS
        self._services = services
        self._loop = services.loop
        self._wanted = True
        self._ready = False
        self._waiting: str | None = None
        self._fault: str | None = None
        self._failed = False
        self._released = False
        self._stepped_ns = 0
        self._deadline = Deadline(self._on_deadline)
        self._timers = services.loop.expiries
        self._identities = Identities()
        self.last_will = LastWill(self._identities)
        self.holding = Holding(vip.name, services, self, vip.spec.announcements)
        complaints = Complaints(vip.name)
        self.defence = Defence(vip.name, services, complaints, self._announce_again)
        self.account = Account(vip.name, complaints)
        self.counters: Counter[str] = Counter()

    # --- what is wanted

    @property
    def role(self) -> Role:
        """What a user sees as state."""
        if isinstance(self.state, InitState) and self._fault is not None:
            return Role.FAULT
        return machine.role(self.state)

    @property
    def wanted(self) -> bool:
        """It was not released."""
        return self._wanted

    @property
    def finished(self) -> bool:
        """Released, and nothing of it is left on the link."""
        return not self._wanted and isinstance(self.state, InitState)

    @property
    def takes_part(self) -> bool:
        """It is in the election, so what is new must give way to it."""
        return not isinstance(self.state, InitState) and self._wanted

    def apply(
        self, vip: VirtualIP, resolution: Resolution, *, fault: str | None, health: Assessment = NO_CHECKS
    ) -> None:
        """Bring in force what the document means now; `fault` is what holds this host out of the election.

        `health` is what `resolution` and `fault` were made with, for the report.
        """
        before, self.vip = self.vip.spec, vip
        self.holding.announcements = vip.spec.announcements
        self.health = health
        self._wanted = True
        self._ready = isinstance(resolution, Resolved)
        self._waiting = resolution.reason if isinstance(resolution, Waiting) else None
        match resolution:
            case Resolved():
                if fault is not None:
                    self._set_fault(fault)
                self._configure(resolution)
                if fault is None:
                    self._set_fault(None)
                if vip.spec.announcements != before.announcements and isinstance(self.state, MasterState):
                    self.holding.announce(takeover=False)
                self._start_if_ready()
                if vip.spec != before:
                    log.info("a changed document is in force", extra={"vip": self.name})
            case Unusable(reason=reason, link=link):
                self._set_fault(reason)
                self._listen_on(link)
            case Waiting(reason=reason, link=link):
                self._fault, self._failed = None, False  # with no Recovered: an owner would be MASTER for a moment
                self._listen_on(link)
                if isinstance(self.state, InitState):
                    self.account.reason_is(self.role, reason)
                else:
                    self._step(Shutdown())
        self._stop_listening_if_out()
        self._services.state_changed(self.name)

    def release(self, *, at_once: bool = False) -> None:
        """Give up the VIP; `finished` says when that is done."""
        self._wanted = False
        self._step(Shutdown(at_once=at_once))
        self._retire_if_done()

    def abandon(self, fault: str) -> None:
        """The last resort where even giving up met a bug: off the link and out of the election, without a word to
        anybody. `fault` is what is said of it until the next `apply()`.
        """
        self._ready, self._waiting, self._fault, self._failed = False, None, fault, False
        self.state = InitState()
        self._schedule()
        self._stop_listening()
        self.holding.remove()
        self.account.reason_is(self.role, fault)
        self._services.state_changed(self.name)

    def _set_fault(self, fault: str | None) -> None:
        changed, self._fault = fault != self._fault, fault
        if fault is None:
            if self._failed:
                self._failed = False
                self._step(Recovered())
        elif changed or not self._failed:
            self.account.reason_is(self.role, fault)
            if not isinstance(self.state, InitState):
                self._failed = True
                self._step(Failed(reason=fault))

    def _configure(self, resolved: Resolved) -> None:
        if resolved == self.resolved and self.holding.stands:
            self.holding.settle()
            return
        if self.resolved is not None and self.holding.stands and resolved.with_peers_of(self.resolved) == self.resolved:
            self._configure_peers(resolved)
            return
        previous_config = self.config
        link = self._services.active_link(resolved.ifindex, resolved.interface)
        places = find_places(resolved, self._services.kernel)
        unicast = (
            None if resolved.peers is None else self._services.unicast_socket(resolved.config.primary_address.version)
        )
        channel = Channel(
            resolved, link, source_mac=places[resolved.config.primary_address.version].mac, unicast=unicast
        )
        self._identities.prepare(channel)
        link.attach(channel, self)
        previous_channel = self._identities.enter(channel)
        if previous_channel is not None:
            self._identities.leave(previous_channel)  # before anything that may fail: nobody would know of it any more
        self.resolved, self.config, self.link = resolved, resolved.config, link
        self.holding.place(link, places, resolved.addresses)
        self.holding.owner = resolved.config.priority == OWNER_PRIORITY
        self.holding.lifetime_s = address_lifetime_s(resolved.config, self._services.address_lifetime_s)
        self._prepare()
        if previous_channel is not None and previous_config is not None:
            if not isinstance(self.state, InitState):
                self._step(Reconfigured(previous=previous_config))
            if self._identities.former_is_taken:
                self._step(FormerTaken())
        self._identities.follow(self.state)
        self.holding.settle()
        if self.holding.assigned:
            self._services.holding_changed()  # the last will gives up under what is in force now

    def _configure_peers(self, resolved: Resolved) -> None:
        """What is known of the peers, and nothing else. With many VIPs it changes a few times for each as it begins."""
        previous = self.config
        self.resolved, self.config = resolved, resolved.config
        if previous is not None and not isinstance(self.state, InitState):
            self._step(Reconfigured(previous=previous))
        self.holding.settle()

    def _prepare(self) -> None:
        """Encode now what may be needed in a hurry."""
        self.holding.prepare()
        if not self.holding.assigned:
            self.last_will.over(self.holding.planned, silenced=False)

    def _start_if_ready(self) -> None:
        """Take part where nothing is in the way. Who is leaving stays instead, without a gap."""
        idle = isinstance(self.state, InitState | LeavingState)
        if idle and self._wanted and self._ready and self._fault is None:
            self._step(Startup())

    def _stop_listening_if_out(self) -> None:
        """Out of the election with nothing in force: the VRID and the addresses of before may be another VIP's, and so
        may all that is heard of them.
        """
        if not self._ready and isinstance(self.state, InitState | FaultState):
            self._stop_listening()

    def _stop_listening(self) -> None:
        self._identities.close()
        self.resolved = None

    def _listen_on(self, link: Link | None) -> None:
        if link is not None and (self.link is None or self.link.ifindex != link.ifindex):
            self.link = self._services.active_link(link.ifindex, link.name)

    def _retire_if_done(self) -> None:
        if self.finished and not self._released:
            self._released = True
            self._services.released(self.name)

    def close(self) -> None:
        """Stop listening; after `finished`."""
        self._stop_listening()
        self._timers.set(self._deadline, None)
        self.defence.close()
        self.holding.take_down()

    # --- what happens

    def heard(self, advertisement: Advertisement, channel: Channel, arrived_ns: int) -> None:
        """An advertisement was admitted under one of our channels."""
        self.counters["adverts_received"] += 1
        self._step(Heard(advertisement=advertisement, former=channel is not self._identities.current), arrived_ns)
        if advertisement.priority == RELEASE_PRIORITY:
            return
        if isinstance(self.state, MasterState):
            self.defence.other_master(advertisement)
        if channel.expectation.addresses.isdisjoint(advertisement.addresses):
            self.defence.other_addresses(advertisement)

    def other_version_heard(self, advertisement: Advertisement) -> None:
        """Our VRID is used in the other VRRP version."""
        if self._is_from_our_master(advertisement):
            return
        self.defence.other_version(advertisement)
        self._step(OtherVersionHeard(source=advertisement.source))

    def address_served(self, advertisement: Advertisement) -> None:
        """Somebody serves our first address in a way that we cannot take part in."""
        if self._is_from_our_master(advertisement):
            return
        vrid = self.config.identity.vrid if self.config is not None else None
        self.defence.address_served(advertisement, self.vip.spec.addresses[0].ip, vrid)
        channel = self._identities.current
        if channel is not None and not channel.guarded:
            self._step(AddressServed(source=advertisement.source))

    def _is_from_our_master(self, advertisement: Advertisement) -> bool:
        """It is the master that we hear anyhow, and speaks under another identity for those who were not told yet."""
        master = self.state.master if isinstance(self.state, BackupState) else None
        if master is None or master.address != advertisement.source:
            return False
        return self._loop.now_ns() - master.heard_at_ns < 2 * max(master.interval_ns, advertisement.interval_ns)

    def former_taken(self) -> None:
        """The VRID of our former identity is another virtual router's now."""
        self._step(FormerTaken())

    def announced(self, announced: Announced) -> None:
        """Another station claims one of our addresses."""
        self.counters["address_claims" if announced.answers else "announcements_seen"] += 1
        if isinstance(self.state, MasterState):
            self.defence.claimed(announced)
        if not announced.answers:
            self._step(AnnouncementSeen(address=announced.address))

    def _announce_again(self) -> None:
        if isinstance(self.state, MasterState):
            self.counters["announced_again"] += 1
            self.holding.announce_once()

    def address_lost(self, ip: IPAddress, ifindex: int, *, expired: bool) -> None:
        """The kernel no longer has an address: it ran out with us stalled, or someone else deleted it."""
        if not any((one.ip, one.ifindex) == (ip, ifindex) for one in self.holding.assigned):
            return
        if expired:
            self._step(AddressesExpired())
        else:
            log.warning("%s was deleted by someone else and is put back", ip, extra={"vip": self.name})
            self.counters["addresses_restored"] += 1
            self.holding.add()

    def _on_deadline(self, now_ns: int) -> None:
        if not isinstance(self.state, MasterState) and self.link is not None:
            self.link.read()  # a stalled process must not take over with the master's advertisement in its socket
            deadline_ns = machine.deadline(self.state)
            now_ns = self._loop.now_ns()
            if deadline_ns is None or deadline_ns > now_ns:
                self._schedule()
                return
        self._step(Tick())

    def _step(self, event: Event, at_ns: int | None = None) -> None:
        if self.config is None:
            return
        self._stepped_ns = max(self._stepped_ns, self._loop.now_ns() if at_ns is None else at_ns)
        self.state, actions = machine.step(self.config, self.state, event, self._stepped_ns)
        was_silenced = self.holding.silenced
        for action in actions:
            self._carry_out(action)
        if was_silenced and not self.holding.silenced:
            self.holding.settle()  # changes that came meanwhile
        if self._identities.follow(self.state) and self.holding.assigned:
            self._services.holding_changed()  # the last will gives up under what is in force alone
        self._schedule()
        self._stop_listening_if_out()
        if isinstance(self.state, InitState) and not isinstance(event, Startup):
            self._start_if_ready()
            self._retire_if_done()

    def _schedule(self) -> None:
        master = isinstance(self.state, MasterState)
        timers = self._loop.adverts if master else self._loop.expiries
        if timers is not self._timers:
            self._timers.set(self._deadline, None)
            self._timers = timers
        timers.set(self._deadline, machine.deadline(self.state))

    # --- what the election wants done

    def _carry_out(self, action: Action) -> None:
        match action:
            case SendAdvertisement(identity=identity, priority=priority, interval_ns=interval_ns):
                self._send(identity, priority, interval_ns)
            case AddAddresses():
                self.holding.add()
            case RemoveAddresses():
                self.holding.remove()
            case Silence():
                self.holding.silence()
            case Unsilence():
                self.holding.unsilence()
            case Announce(takeover=takeover):
                self.holding.announce(takeover=takeover)
            case StopAnnouncing():
                self.holding.stop_announcing()
            case Transition():
                self._report(action)
            case Noted():
                self.account.note(action, self._loop.now_ns())
            case _:
                assert_never(action)

    def _send(self, identity: Identity, priority: int, interval_ns: int) -> None:
        channel = self._identities.under(identity)
        if channel is None:
            return
        try:
            channel.send(priority=priority, interval_ns=interval_ns)
        except LinkError as error:
            self.counters["adverts_failed"] += 1
            log.debug("an advertisement was not sent: %s", error, extra={"vip": self.name})
        else:
            self.counters["adverts_sent"] += 1

    def _report(self, transition: Transition) -> None:
        self.counters["transitions"] += 1
        self.account.transition(transition, self._loop.now_ns(), fault=self._fault, waiting=self._waiting)
        self.defence.role_changed()
        self._services.state_changed(self.name)
