"""The router process: brings documents, links and instances together, and says what came out.

Everything is level-triggered: whatever changed (a file, a link, a password) leads to `refresh()`, which resolves every
document anew and lets each instance find the difference.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from vip_api.model import VirtualIP

from vip_speaker.health.aside import Aside
from vip_speaker.health.evaluate import NO_CHECKS, Assessment
from vip_speaker.health.files import Files, HostFiles
from vip_speaker.health.monitor import Health
from vip_speaker.health.processes import Processes
from vip_speaker.health.runner import Runner, Where
from vip_speaker.health.tracker import Surroundings
from vip_speaker.kernel import AddressChanged, Assigned, Failure, Kernel, KernelError, Link, LinkChanged, Overflow
from vip_speaker.link import LinkError, UnicastSocket
from vip_speaker.router.activelink import ActiveLink
from vip_speaker.router.bulkhead import Bugs, report_bug
from vip_speaker.router.cleanup import Cleanup
from vip_speaker.router.complaints import Complaints
from vip_speaker.router.conflicts import Claim, find_conflicts
from vip_speaker.router.documents import Documents
from vip_speaker.router.instance import Instance
from vip_speaker.router.loop import Loop
from vip_speaker.router.manifests import Manifest
from vip_speaker.router.outlet import Outlet
from vip_speaker.router.passwords import Passwords
from vip_speaker.router.resolution import Resolution, Resolved, Unusable, Waiting, resolve
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp.types import SECOND, Role
from vip_speaker.wire.decoder import Decoder

log = logging.getLogger(__name__)

# A document that could not be brought in force (its link went meanwhile) is tried again after this long.
_RETRY_NS = 1 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The command line of the router. `address_lifetime_s`: None derives it, 0 means for ever."""

    config: Path
    state_dir: Path
    node: str
    address_lifetime_s: int | None = None
    checks: Where = field(default_factory=Where)
    files: HostFiles = field(default_factory=HostFiles)


class Daemon:
    """All virtual routers of this host."""

    def __init__(self, settings: Settings, loop: Loop, kernel: Kernel, cleanup: Cleanup, outlet: Outlet) -> None:
        self.loop = loop
        self.kernel = kernel
        self.address_lifetime_s = settings.address_lifetime_s
        self.instances: dict[str, Instance] = {}
        self._documents = Documents(loop, settings.config, self._documents_read)
        self._passwords = Passwords()
        self._cleanup = cleanup
        self._outlet = outlet
        self._runner = Runner(loop, settings.checks)
        self._aside = Aside(loop)
        around = Surroundings(
            loop=loop,
            kernel=kernel,
            files=Files(loop, self._aside, settings.files),
            processes=Processes(loop, self._aside),
            runner=self._runner,
            role=self._role,
        )
        self._health = Health(around, self._health_changed)
        self._moved: dict[str, None] = {}
        self._conflicts_now: dict[str, str] = {}
        self._giving_way: set[str] = set()  # who takes no part any more, and still holds addresses for a successor
        self._in_force: Mapping[str, Manifest] = {}  # and what each of them came to:
        self._resolutions: dict[str, Resolution] = {}
        self._decoder = Decoder()
        self._links: dict[int, ActiveLink] = {}
        self._unicast: dict[int, UnicastSocket] = {}
        self.left = asyncio.Event()
        self._stopping = False
        self._retry = Deadline(lambda _now_ns: self.refresh())
        self._complaints = Complaints("router")
        self._bugs = Bugs()
        cleanup.on_not_renewed = self._not_renewed

    # --- for instances (services.Services)

    def active_link(self, ifindex: int, name: str) -> ActiveLink:
        """The sockets of a link, opened on first use."""
        link = self._links.get(ifindex)
        if link is None:
            link = self._links[ifindex] = ActiveLink(self.loop, ifindex=ifindex, name=name, decoder=self._decoder)
            self._outlet.link_opened(link)
        link.name = name
        return link

    def unicast_socket(self, family: int) -> UnicastSocket:
        """The socket that unicast advertisements of one IP version leave by."""
        if family not in self._unicast:
            self._unicast[family] = UnicastSocket(family)
        return self._unicast[family]

    def plan_changed(self) -> None:
        """Write the record anew."""
        self._cleanup.record_changed()

    def holding_changed(self) -> None:
        """Write the last will anew. What somebody held who takes no part any more may be free for others."""
        self._cleanup.rewrite(self.instances.values())
        gone = {name for name in self._giving_way if not self._holds(name)}
        if gone and not self._stopping:
            self._giving_way -= gone
            self.loop.call_soon(self.refresh)

    def state_changed(self, name: str) -> None:
        """Write the state file of `name` soon."""
        if name in self.instances:
            self._outlet.changed(self.instances[name])

    def released(self, name: str) -> None:
        """An instance has left: forget it, and say so when it was the last of a daemon that stops."""
        self.instances.pop(name).close()
        self._outlet.removed(name)
        self.plan_changed()
        self.holding_changed()
        if not self._stopping:
            self.loop.call_soon(self.refresh)  # what it held is free for others
        elif not self.instances:
            self.left.set()

    def held_elsewhere(self, name: str) -> frozenset[Assigned]:
        """What other instances than `name` have on the links."""
        others = (one for other, one in self.instances.items() if other != name)
        return frozenset(assigned for one in others for assigned in one.holding.assigned)

    def links_elsewhere(self, name: str) -> frozenset[int]:
        """The links that other instances than `name` use: VIPs that swap their VRIDs swap those of virtual MACs."""
        others = (one for other, one in self.instances.items() if other != name)
        return frozenset(ifindex for one in others for ifindex in one.holding.links)

    # --- life

    def start(self) -> None:
        """Read the documents and take part."""
        self.loop.add_reader(self.kernel, self._on_kernel)
        self._documents.start()

    def stop(self) -> None:
        """Leave; `left` says when that is done. A second call drops everything at once."""
        at_once, self._stopping = self._stopping, True
        for instance in tuple(self.instances.values()):
            instance.release(at_once=at_once)
            self.loop.breathe()
        if not self.instances:
            self.left.set()

    def close(self) -> None:
        """Stop watching and give everything back; after `left`."""
        self._health.close()
        self._runner.close()
        self._aside.close()
        for link in self._links.values():
            link.close()
        for unicast in self._unicast.values():
            unicast.close()
        self._documents.close()
        self.loop.remove_reader(self.kernel)
        self.kernel.close()
        self.loop.close()

    def reload(self) -> None:
        """Look at the files now."""
        self._documents.look_within(0)

    def _documents_read(self, changed: bool) -> None:
        if self._passwords_in_files:
            self.refresh()
        elif changed:
            now, before = self._documents.snapshot.manifests, self._in_force
            self._bring_in_force({name for name, one in now.items() if before.get(name) is not one})

    @property
    def _passwords_in_files(self) -> bool:
        vips = (manifest.vip for manifest in self._documents.snapshot.manifests.values() if manifest.vip is not None)
        return any(vip.spec.authentication and vip.spec.authentication.password_file for vip in vips)

    def refresh(self) -> None:
        """Bring in force what documents and links mean now."""
        self._bring_in_force(self._documents.snapshot.manifests.keys())

    def _bring_in_force(self, names: AbstractSet[str]) -> None:
        """The documents `names`, those that they conflict with or did, and the end of those that are gone.

        Looking at hundreds for each of hundreds that arrive one by one would take seconds.
        """
        if self._stopping:
            return
        known = self._documents.snapshot.manifests
        manifests = _without_deleted(known)
        for name in sorted(self.instances.keys() - manifests.keys()):
            # deleted everywhere: there is no successor to wait for, as there may be for a document that is only gone
            self.instances[name].release(at_once=name in known)
        vips = {name: one.vip for name, one in manifests.items() if one.vip is not None}
        self._health.keep(vips.keys())
        self._bugs.keep(vips.keys())
        self._resolutions = {name: one for name, one in self._resolutions.items() if name in vips}
        before, looked = self._conflicts_now, dict[str, tuple[VirtualIP, Assessment] | None]()
        unseen = vips.keys() & names
        while True:  # what a look finds may change who is in conflict, and to look at those may change it again
            looked |= {name: self._look_at(vips[name]) for name in vips if name in unseen}
            self._conflicts_now = self._conflicts(self._resolutions)
            unseen = {n for n in vips.keys() - looked.keys() if self._conflicts_now.get(n) != before.get(n)}
            if not unseen:
                break
        self._in_force = known
        for found in looked.values():
            if found is not None:
                self._apply(*found)
            self.loop.breathe()
        self._close_unused_links()
        self._cleanup.set_intervals(self.instances.values())
        problems = {**self._passwords.problems, **self._bugs.problems}
        self._outlet.documents(manifests, problems, self._documents.snapshot.problems)

    def _look_at(self, vip: VirtualIP) -> tuple[VirtualIP, Assessment] | None:
        """The document to bring in force and what its checks say, with what it means on the links of this host noted.

        That is `vip`, or while a bug is met by it the document before, which must go on to follow links and checks.
        None where neither can be understood.
        """
        instance = self.instances.get(vip.name)
        before = instance.vip if instance is not None and instance.wanted and instance.vip != vip else None
        try:
            if before is None or not self._is_put_off(vip):
                try:
                    health = self._assess(vip)
                except Exception:
                    self._met_a_bug(vip)
                else:
                    self._bugs.over(vip.name)
                    return vip, health
            if before is not None:
                return before, self._assess(before)
        except Exception:
            self._bugs.log(instance.vip if instance is not None else vip, self.loop.now_ns())
        finally:
            self.loop.breathe()
        return (vip, NO_CHECKS) if instance is None else None

    def _assess(self, vip: VirtualIP) -> Assessment:
        self._health.follow(vip)
        health = self._health.assess(vip)
        self._resolutions[vip.name] = self._resolve(vip, health)
        return health

    def _is_put_off(self, vip: VirtualIP) -> bool:
        """It met a bug lately. To try it at each change would begin its checks, and those of the one before, anew."""
        at_ns = self._bugs.retry_at_ns(vip)
        if at_ns is None or at_ns <= self.loop.now_ns():
            return False
        self._try_again_at(at_ns)
        return True

    def _met_a_bug(self, vip: VirtualIP) -> Unusable:
        """What is known of it now, unless the document before goes on."""
        now_ns = self.loop.now_ns()
        unusable = Unusable(reason=self._bugs.met(vip, now_ns))
        self._resolutions.setdefault(vip.name, unusable)
        self._try_again_at(now_ns + Bugs.RETRY_NS)
        return unusable

    def _try_again_at(self, at_ns: int) -> None:
        if self._retry.at_ns is None or at_ns < self._retry.at_ns:
            self.loop.others.set(self._retry, at_ns)

    def _apply(self, vip: VirtualIP, health: Assessment) -> None:
        resolution, instance = self._resolutions[vip.name], self.instances.get(vip.name)
        if instance is None:
            instance = self.instances[vip.name] = Instance(self, vip)
        fault, conflict = None, self._conflicts_now.get(vip.name)
        if isinstance(resolution, Resolved):
            link = self.kernel.links.get(resolution.ifindex)
            if conflict is not None:
                resolution = Unusable(reason=conflict, link=link)
            else:
                fault = _link_fault(link, resolution.interface) or health.fault
                resolution = _held_back(resolution, health, self.kernel, takes_part=instance.takes_part)
        try:
            instance.apply(vip, resolution, fault=fault, health=health)
        except (LinkError, KernelError, OSError) as error:
            log.warning("cannot be brought in force now: %s", error, extra={"vip": vip.name})
            instance.apply(vip, Unusable(reason=str(error)), fault=None, health=health)
            self._try_again_at(self.loop.now_ns() + _RETRY_NS)
        except Exception:
            unusable = self._met_a_bug(vip)
            try:
                instance.apply(vip, unusable, fault=None, health=health)
            except Exception:
                report_bug(vip.name)
                instance.abandon(unusable.reason)

    # --- checks

    def _role(self, name: str) -> str:
        instance = self.instances.get(name)
        return instance.role if instance is not None else Role.INIT

    def _health_changed(self, name: str) -> None:
        if not self._moved:
            self.loop.call_soon(self._apply_moved)
        self._moved[name] = None

    def _apply_moved(self) -> None:
        """One VIP whose checks moved, per turn: what is due for others goes out in between."""
        name = next(iter(self._moved))
        del self._moved[name]
        if self._moved:
            self.loop.call_soon(self._apply_moved)
        manifest, instance = self._documents.snapshot.manifests.get(name), self.instances.get(name)
        if self._stopping or manifest is None or manifest.vip is None or manifest.vip.deleted or instance is None:
            return
        before = self._resolutions.get(name)
        found = self._look_at(manifest.vip)
        if _taken(before) != _taken(self._resolutions.get(name)):
            self._bring_in_force({name})
        elif found is not None and found[1] != instance.health:
            self._apply(*found)

    def _resolve(self, vip: VirtualIP, health: Assessment) -> Resolution:
        try:
            password = self._passwords.of(vip)
        except ValueError as error:
            return Unusable(reason=str(error))
        return resolve(vip, self.kernel, password=password, contribution=health.contribution)

    def _conflicts(self, resolutions: Mapping[str, Resolution]) -> dict[str, str]:
        """Who must give way to whom. What an instance still holds is taken too, where its document is gone or means
        nothing now.
        """
        claims = [
            _claim(name, resolution, rank=self._rank(name, resolution))
            for name, resolution in resolutions.items()
            if isinstance(resolution, Resolved)
        ]
        idle = self.instances.keys() - {claim.name for claim in claims}
        self._giving_way = {name for name in idle if self._holds(name)}
        leaving = (self.instances[name] for name in self._giving_way)
        claims += [_claim(one.name, one.resolved, rank=0) for one in leaving if one.resolved is not None]
        return find_conflicts(claims)

    def _holds(self, name: str) -> bool:
        instance = self.instances.get(name)
        return instance is not None and bool(instance.holding.assigned)

    def _rank(self, name: str, wanted: Resolved) -> int:
        instance = self.instances.get(name)
        if instance is None or not instance.takes_part or instance.resolved is None:
            return 3
        if wanted == instance.resolved:
            return 1  # as nearly all of hundreds are, each time that one of them changes
        return 1 if _claim(name, wanted, rank=1).is_within(_claim(name, instance.resolved, rank=1)) else 2

    def _close_unused_links(self) -> None:
        used = {instance.link.ifindex for instance in self.instances.values() if instance.link is not None}
        for ifindex in tuple(self._links):
            if ifindex not in self.kernel.links or (ifindex not in used and not self._links[ifindex].in_use):
                self._outlet.link_closed(self._links[ifindex])
                self._links.pop(ifindex).close()

    # --- links and addresses

    def _on_kernel(self) -> None:
        stale = False
        for event in self.kernel.read_events():
            match event:
                case AddressChanged(own=True, present=False):
                    self._address_lost(event)
                case AddressChanged(own=True):
                    pass
                case Failure():
                    self._not_renewed(event)
                case AddressChanged() | LinkChanged() | Overflow():
                    stale = True
        if stale:
            self.refresh()

    def _address_lost(self, event: AddressChanged) -> None:
        for instance in tuple(self.instances.values()):
            instance.address_lost(event.ip, event.ifindex, expired=event.expired)
        self.loop.breathe()

    def _not_renewed(self, failure: Failure) -> None:
        """An address that ran out is told by an event of its own; one that we do not have any more is put back."""
        self._complaints.add("an address was not renewed:", str(failure.error), self.loop.now_ns())
        if failure.error.code == errno.EADDRNOTAVAIL:
            for instance in tuple(self.instances.values()):
                instance.address_lost(failure.assigned.ip, failure.assigned.ifindex, expired=False)


def _without_deleted(manifests: Mapping[str, Manifest]) -> dict[str, Manifest]:
    return {name: one for name, one in manifests.items() if one.vip is None or not one.vip.deleted}


def _link_fault(link: Link | None, name: str) -> str | None:
    if link is None:
        return f"{name} is gone"
    if not link.up:
        return f"{name} is down"
    return None if link.running else f"{name} has no carrier"


def _held_back(resolution: Resolved, health: Assessment, kernel: Kernel, *, takes_part: bool) -> Resolution:
    """What checks make of it: a node that is to release, or one whose checks have no first result, does not take part.

    A check that is new on a running router does not take the VIP away before it has said anything.
    """
    reason = health.release or (None if takes_part else health.waiting)
    return resolution if reason is None else Waiting(reason=reason, link=kernel.links.get(resolution.ifindex))


def _taken(resolution: Resolution | None) -> Claim | None:
    """What a VIP claims, whoever it is."""
    return _claim("", resolution, rank=0) if isinstance(resolution, Resolved) else None


def _claim(name: str, resolved: Resolved, *, rank: int) -> Claim:
    return Claim(
        name=name,
        rank=rank,
        ifindex=resolved.ifindex,
        interface=resolved.interface,
        version=resolved.config.primary_address.version,
        vrid=resolved.config.identity.vrid,
        addresses=frozenset(resolved.config.addresses),
    )
