"""One VirtualIP on this host: feeds events to the election and carries out its actions, in the order given.

Level-triggered: `apply()` says what is wanted now, as often as anything changed; the difference to what is in force
decides which events follow. Nothing here reads a file or a packet.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from typing import assert_never

from vip_api.model import VirtualAddress, VirtualIP

from vip_speaker import will
from vip_speaker.health.evaluate import NO_CHECKS, Assessment
from vip_speaker.kernel import Assigned, Link, removal_requests
from vip_speaker.link import LinkError
from vip_speaker.router.activelink import ActiveLink
from vip_speaker.router.channel import Channel
from vip_speaker.router.complaints import Complaints
from vip_speaker.router.defence import Defence
from vip_speaker.router.explain import explain
from vip_speaker.router.holding import Holding, Place
from vip_speaker.router.resolution import Resolution, Resolved, Unusable, Waiting, master_down_interval_ns
from vip_speaker.router.services import Services
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp import machine
from vip_speaker.vrrp.timing import farewell_interval_ns
from vip_speaker.vrrp.types import (
    CENTISECOND,
    RELEASE_PRIORITY,
    SECOND,
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
    FormerTaken,
    Heard,
    Identity,
    InitState,
    IPAddress,
    LeavingState,
    MasterState,
    Note,
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
    """One virtual router. `vip` is the document in force."""

    def __init__(self, services: Services, vip: VirtualIP) -> None:
        self.name = vip.name
        self.vip = vip
        self.state: State = InitState()
        self.config: Config | None = None
        self.link: ActiveLink | None = None
        self.since = time.time()
        self.reason = "starting"
        self._waiting: str | None = None
        self.counters: Counter[str] = Counter()
        self.health = NO_CHECKS
        self.holding = Holding(vip.name, services, self, vip.spec.announcements)
        self._services = services
        self._loop = services.loop
        self._resolved: Resolved | None = None
        self._wanted = True
        self._ready = False
        self._fault: str | None = None
        self._failed = False
        self._released = False
        self._stepped_ns = 0
        self._will: tuple[object, tuple[bytes, bytes]] | None = None
        self._channel: Channel | None = None
        self._former: tuple[Identity, Channel] | None = None
        self._deadline = Deadline(self._on_deadline)
        self._timers = services.loop.expiries
        self.notes: Counter[Note] = Counter()
        self._complaints = Complaints(vip.name)
        self.defence = Defence(vip.name, services, self._complaints, self._announce_again)

    # --- what is wanted

    @property
    def role(self) -> Role:
        """What a user sees as state."""
        if isinstance(self.state, InitState) and self._fault is not None:
            return Role.FAULT
        return machine.role(self.state)

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
            case Unusable(reason=reason):
                self._set_fault(reason)
            case Waiting(reason=reason, link=link):
                self._set_fault(None)
                self._listen_on(link)
                if isinstance(self.state, InitState):
                    self._say(reason)
                else:
                    self._step(Shutdown())
        self._services.state_changed(self.name)

    @property
    def resolved(self) -> Resolved | None:
        """What the document in force came to on this host."""
        return self._resolved

    @property
    def addresses(self) -> tuple[VirtualAddress, ...]:
        """The addresses in force: the document's, and the link-local one that an IPv6 router is given."""
        return self._resolved.addresses if self._resolved is not None else self.vip.spec.addresses

    def release(self, *, at_once: bool = False) -> None:
        """Give up the VIP; `finished` says when that is done."""
        self._wanted = False
        self._step(Shutdown(at_once=at_once))
        self._retire_if_done()

    def _set_fault(self, fault: str | None) -> None:
        changed, self._fault = fault != self._fault, fault
        if fault is None:
            if self._failed:
                self._failed = False
                self._step(Recovered())
        elif changed or not self._failed:
            self._say(fault)
            if not isinstance(self.state, InitState):
                self._failed = True
                self._step(Failed(reason=fault))

    def _configure(self, resolved: Resolved) -> None:
        if resolved == self._resolved and self.holding.stands:
            self.holding.settle()
            return
        if (
            self._resolved is not None
            and self.holding.stands
            and resolved.with_peers_of(self._resolved) == self._resolved
        ):
            self._configure_peers(resolved)
            return
        previous_config, previous_channel = self.config, self._channel
        link = self._services.active_link(resolved.ifindex, resolved.interface)
        places = self._places(resolved)
        unicast = (
            None if resolved.peers is None else self._services.unicast_socket(resolved.config.primary_address.version)
        )
        channel = Channel(
            resolved, link, source_mac=places[resolved.config.primary_address.version].mac, unicast=unicast
        )
        if previous_channel is not None:
            channel.adopt(previous_channel)
        link.attach(channel, self)
        self._resolved, self.config, self._channel, self.link = resolved, resolved.config, channel, link
        self.holding.place(link, places, resolved.addresses)
        self.holding.lifetime_s = self._lifetime_s()
        self._prepare(channel, resolved.config)
        if previous_channel is not None and previous_config is not None:
            if previous_config.identity == resolved.config.identity:
                previous_channel.link.detach(previous_channel)
            else:
                self._keep_former(previous_config.identity, previous_channel)
            if not isinstance(self.state, InitState):
                self._step(Reconfigured(previous=previous_config))
            if self._former is not None and self._former[1].link.is_taken(self._former[1]):
                self._step(FormerTaken())
        self._forget_former_if_done()
        self.holding.settle()
        if self.holding.assigned:
            self._services.holding_changed()  # the last will gives up under what is in force now

    def _configure_peers(self, resolved: Resolved) -> None:
        """What is known of the peers, and nothing else. With many VIPs it changes a few times for each as it begins."""
        previous = self.config
        self._resolved, self.config = resolved, resolved.config
        if previous is not None and not isinstance(self.state, InitState):
            self._step(Reconfigured(previous=previous))
        self.holding.settle()

    def _prepare(self, channel: Channel, config: Config) -> None:
        """Encode now what may be needed in a hurry."""
        self.holding.prepare()
        interval_ns = config.advertisement_interval_ns
        for priority in (config.priority, RELEASE_PRIORITY):
            channel.prepare(priority=priority, interval_ns=interval_ns)
            if config.identity.version == 3:
                channel.prepare(priority=priority, interval_ns=CENTISECOND)
                channel.prepare(priority=priority, interval_ns=farewell_interval_ns(interval_ns))
        if not self.holding.assigned:
            self._prepare_will()

    def _start_if_ready(self) -> None:
        """Take part where nothing is in the way. Who is leaving stays instead, without a gap."""
        idle = isinstance(self.state, InitState | LeavingState)
        if idle and self._wanted and self._ready and self._fault is None:
            self._step(Startup())

    def _listen_on(self, link: Link | None) -> None:
        if link is not None and (self.link is None or self.link.ifindex != link.ifindex):
            self.link = self._services.active_link(link.ifindex, link.name)

    def _places(self, resolved: Resolved) -> dict[int, Place]:
        """Where the addresses of each IP version go: the link itself, or one with the virtual router's own MAC."""
        versions = {address.ip.version for address in resolved.addresses} | {resolved.config.primary_address.version}
        if not resolved.virtual_mac:
            return dict.fromkeys(sorted(versions), Place(ifindex=resolved.ifindex, mac=resolved.mac))
        kernel, vrid = self._services.kernel, resolved.config.identity.vrid
        parent = kernel.links[resolved.ifindex]
        virtual = {version: kernel.create_virtual_mac(parent, vrid, version) for version in sorted(versions)}
        return {version: Place(ifindex=link.ifindex, mac=link.mac) for version, link in virtual.items()}

    def _keep_former(self, identity: Identity, channel: Channel) -> None:
        if self._former is not None:
            self._former[1].link.detach(self._former[1])
        channel.former = True
        if self._channel is not None:
            # Both may be on one LAN, and what goes out on one link come in on the other.
            channel.own_elsewhere = self._channel.source
            self._channel.own_elsewhere = channel.source
        self._former = (identity, channel)

    def _forget_former_if_done(self) -> None:
        if self._former is None:
            return
        former = getattr(self.state, "former", None)
        if former is None or former.identity != self._former[0]:
            self._former[1].link.detach(self._former[1])
            self._former = None
            if self._channel is not None:
                self._channel.own_elsewhere = None

    def _retire_if_done(self) -> None:
        if self.finished and not self._released:
            self._released = True
            self._services.released(self.name)

    def close(self) -> None:
        """Stop listening; after `finished`."""
        for channel in (self._channel, self._former[1] if self._former else None):
            if channel is not None:
                channel.link.detach(channel)
        self._channel = self._former = self._resolved = None
        self._timers.set(self._deadline, None)
        self.defence.close()
        self.holding.take_down()

    # --- what happens

    def heard(self, advertisement: Advertisement, channel: Channel, arrived_ns: int) -> None:
        """An advertisement was admitted under one of our channels."""
        self.counters["adverts_received"] += 1
        self._step(Heard(advertisement=advertisement, former=channel is not self._channel), arrived_ns)
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
        if self._channel is not None and not self._channel.guarded:
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
        for action in actions:
            self._carry_out(action)
        self._forget_former_if_done()
        self._schedule()
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
            case Noted(note=note, source=source):
                self._note(note, source)
            case _:
                assert_never(action)

    def _send(self, identity: Identity, priority: int, interval_ns: int) -> None:
        channel = self._channel
        if channel is None or channel.identity != identity:
            channel = self._former[1] if self._former is not None and self._former[0] == identity else None
        if channel is None:
            return
        try:
            channel.send(priority=priority, interval_ns=interval_ns)
        except LinkError as error:
            self.counters["adverts_failed"] += 1
            log.debug("an advertisement was not sent: %s", error, extra={"vip": self.name})
        else:
            self.counters["adverts_sent"] += 1

    # --- what others need to know

    def _lifetime_s(self) -> int | None:
        """Seconds the kernel keeps an address that nobody renews; None: for ever."""
        configured = self._services.address_lifetime_s
        if configured == 0 or self.config is None:
            return None
        shortest = max(2, math.ceil(master_down_interval_ns(self.config) / SECOND))
        return shortest if configured is None else max(configured, shortest)

    @property
    def _priority(self) -> int | None:
        return self.config.priority if self.config is not None else None

    def last_will(self) -> tuple[bytes, bytes]:
        """What the guard does in our place: requests that take the addresses off, advertisements that give up.

        In version 3 the squeeze comes before priority 0, so that the successor's skew is that of 10 ms.
        """
        key = (self.holding.assigned, self.holding.silenced, self._channel, self._former, self._priority)
        if self._will is None or self._will[0] != key:
            self._will = (key, self._make_will(self.holding.assigned, farewell=not self.holding.silenced))
        return self._will[1]

    def _prepare_will(self) -> None:
        """Have the will of a promotion ready: it is written between an advertisement and its address."""
        planned = self.holding.planned
        self._will = (
            (planned, False, self._channel, self._former, self._priority),
            self._make_will(planned, farewell=True),
        )

    def _make_will(self, held: tuple[Assigned, ...], *, farewell: bool) -> tuple[bytes, bytes]:
        requests = [will.NetlinkRequest(protocol=will.NETLINK_ROUTE, data=data) for data in removal_requests(held)]
        entries: list[will.Entry] = []
        if self._priority is not None and self._channel is not None and held and farewell:
            channels = [self._channel] + ([self._former[1]] if self._former is not None else [])
            for channel in channels:
                interval_ns = channel.interval_ns
                if channel.identity.version == 3:
                    interval_ns = CENTISECOND
                    entries += channel.will_entries(priority=self._priority, interval_ns=interval_ns)
                entries += channel.will_entries(priority=RELEASE_PRIORITY, interval_ns=interval_ns)
        return will.encode(requests), will.encode(entries)

    def _report(self, transition: Transition) -> None:
        self.counters["transitions"] += 1
        why = explain(transition)
        if transition.after is Role.FAULT and self._fault is not None:
            why = self._fault
        elif transition.after is Role.INIT and self._waiting is not None:
            why = self._waiting
        log.info("%s → %s, %s", transition.before, transition.after, why, extra={"vip": self.name})
        self.since = time.time()
        self.reason = why
        self.defence.role_changed()
        self._services.state_changed(self.name)

    def _say(self, reason: str) -> None:
        if reason != self.reason:
            self.reason = reason
            log.info("%s: %s", self.role, reason, extra={"vip": self.name})

    def _note(self, note: Note, source: IPAddress | None) -> None:
        now_ns = self._loop.now_ns()
        self.notes[note] += 1
        self._complaints.add(str(note), f"({source})" if source is not None else "", now_ns)
