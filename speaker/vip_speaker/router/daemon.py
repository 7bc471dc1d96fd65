"""The router process: brings documents, links and instances together, and says what came out.

Everything is level-triggered: whatever changed (a file, a link, a password) leads to `refresh()`, which resolves every
document anew and lets each instance find the difference.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vip_api.model import VirtualIP

from vip_speaker.health.evaluate import Assessment
from vip_speaker.health.files import Files
from vip_speaker.health.monitor import Health
from vip_speaker.health.processes import Processes
from vip_speaker.health.runner import Runner, Where
from vip_speaker.health.tracker import Surroundings
from vip_speaker.kernel import AddressChanged, Failure, Kernel, KernelError, Link, LinkChanged, Overflow
from vip_speaker.link import LinkError, UnicastSocket
from vip_speaker.router.activelink import ActiveLink
from vip_speaker.router.cleanup import Cleanup
from vip_speaker.router.instance import Instance
from vip_speaker.router.kernelfd import DirectoryWatch
from vip_speaker.router.loop import Loop
from vip_speaker.router.manifests import Manifests, Snapshot, read_password_file
from vip_speaker.router.outlet import Outlet
from vip_speaker.router.resolution import Resolution, Resolved, Unusable, Waiting, resolve
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp.types import MS, SECOND, IPAddress, Role
from vip_speaker.wire.decoder import Decoder

log = logging.getLogger(__name__)

# After an event in the directory wait this long for the writer to finish.
_SETTLE_NS = 50 * MS
# A full comparison of all files, whether or not anything was heard of them.
_COMPARE_NS = 10 * SECOND
# A directory that is gone is looked for this often.
_REATTACH_NS = 250 * MS
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


class Daemon:
    """All virtual routers of this host."""

    def __init__(self, settings: Settings, loop: Loop, kernel: Kernel, cleanup: Cleanup, outlet: Outlet) -> None:
        self.loop = loop
        self.kernel = kernel
        self.address_lifetime_s = settings.address_lifetime_s
        self.instances: dict[str, Instance] = {}
        self.manifests = Manifests(settings.config)
        self._cleanup = cleanup
        self._outlet = outlet
        self._snapshot = Snapshot()
        self._runner = Runner(loop, settings.checks)
        around = Surroundings(
            loop=loop,
            kernel=kernel,
            files=Files(loop),
            processes=Processes(loop),
            runner=self._runner,
            role=self._role,
        )
        self._health = Health(around, self._health_changed)
        self._moved: dict[str, None] = {}
        self._conflicts_now: dict[str, str] = {}
        self._faults: dict[str, str] = {}
        self._decoder = Decoder()
        self._links: dict[int, ActiveLink] = {}
        self._unicast: dict[int, UnicastSocket] = {}
        self.left = asyncio.Event()
        self._stopping = False
        self._logged_problems: set[str] = set()
        self._watch = DirectoryWatch(self.manifests.directory)
        self._look = Deadline(self._look_at_files)
        self._attach = Deadline(self._attach_watch)
        self._retry = Deadline(lambda _now_ns: self.refresh())

    # --- for instances (services.Services)

    def active_link(self, ifindex: int, name: str) -> ActiveLink:
        """The sockets of a link, opened on first use."""
        link = self._links.get(ifindex)
        if link is None:
            link = self._links[ifindex] = ActiveLink(self.loop, ifindex=ifindex, name=name, decoder=self._decoder)
            self._outlet.link_opened(link)
        return link

    def unicast_socket(self, family: int) -> UnicastSocket:
        """The socket that unicast advertisements of one IP version leave by."""
        if family not in self._unicast:
            self._unicast[family] = UnicastSocket(family)
        return self._unicast[family]

    def holding_changed(self, instance: Instance) -> None:
        """Write record and last will anew."""
        self._cleanup.rewrite(self.instances.values(), instance)

    def state_changed(self, instance: Instance) -> None:
        """Write the state file soon."""
        self._outlet.changed(instance)

    def released(self, instance: Instance) -> None:
        """An instance has left: forget it, and say so when it was the last of a daemon that stops."""
        del self.instances[instance.name]
        instance.close()
        self._outlet.removed(instance.name)
        self.holding_changed(instance)
        if self._stopping and not self.instances:
            self.left.set()

    # --- life

    def start(self) -> None:
        """Read the documents and take part."""
        self.loop.add_reader(self.kernel, self._on_kernel)
        self.loop.add_reader(self._watch, self._on_files)
        self._look_at_files(self.loop.now_ns())

    def stop(self) -> None:
        """Leave; `left` says when that is done. A second call drops everything at once."""
        at_once, self._stopping = self._stopping, True
        for instance in tuple(self.instances.values()):
            instance.release(at_once=at_once)
        if not self.instances:
            self.left.set()

    def close(self) -> None:
        """Stop watching and give everything back; after `left`."""
        self._health.close()
        self._runner.close()
        for link in self._links.values():
            link.close()
        for unicast in self._unicast.values():
            unicast.close()
        for source in (self._watch, self.kernel):
            self.loop.remove_reader(source)
            source.close()
        self.loop.close()

    def reload(self) -> None:
        """Look at the files now."""
        self.loop.others.set(self._look, self.loop.now_ns())

    def refresh(self) -> None:
        """Bring in force what documents and links mean now."""
        if self._stopping:
            return
        for name in sorted(self.instances.keys() - self._snapshot.manifests.keys()):
            self.instances[name].release()
        vips = {name: one.vip for name, one in self._snapshot.manifests.items() if one.vip is not None}
        self._health.documents(vips)
        health = {name: self._health.assess(vip) for name, vip in vips.items()}
        resolutions = {name: self._resolve(vip, health[name]) for name, vip in vips.items()}
        self._conflicts_now = self._conflicts(resolutions)
        for name, vip in vips.items():
            self._apply(vip, resolutions[name], health[name])
        self._close_unused_links()
        self._cleanup.set_intervals(self.instances.values())
        self._outlet.documents(self._snapshot.manifests, self._snapshot.problems)

    def _apply(self, vip: VirtualIP, resolution: Resolution, health: Assessment) -> None:
        instance = self.instances.get(vip.name)
        if instance is None:
            instance = self.instances[vip.name] = Instance(self, vip)
        fault = self._conflicts_now.get(vip.name)
        if fault is None and isinstance(resolution, Resolved):
            fault = _link_fault(self.kernel.links.get(resolution.ifindex), resolution.interface) or health.fault
            resolution = _held_back(resolution, health, self.kernel, takes_part=instance.takes_part)
        try:
            instance.apply(vip, resolution, fault=fault, health=health)
        except (LinkError, KernelError, OSError) as error:
            log.warning("cannot be brought in force now: %s", error, extra={"vip": vip.name})
            instance.apply(vip, Unusable(reason=str(error)), fault=None, health=health)
            self.loop.others.set(self._retry, self.loop.now_ns() + _RETRY_NS)

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
        manifest, instance = self._snapshot.manifests.get(name), self.instances.get(name)
        if self._stopping or manifest is None or manifest.vip is None or instance is None:
            return
        before, health = instance.health, self._health.assess(manifest.vip)
        if health != before:
            self._apply(manifest.vip, self._resolve(manifest.vip, health), health)

    def _resolve(self, vip: VirtualIP, health: Assessment) -> Resolution:
        try:
            password = _password(vip)
        except (OSError, ValueError) as error:
            return Unusable(reason=f"spec.authentication.passwordFile: {error}")
        return resolve(vip, self.kernel, password=password, contribution=health.contribution)

    def _conflicts(self, resolutions: Mapping[str, Resolution]) -> dict[str, str]:
        """What may exist once: a VRID per link and family, an address. What is in force wins over what is new."""
        routers: dict[tuple[int, int, int], str] = {}
        addresses: dict[IPAddress, str] = {}
        conflicts: dict[str, str] = {}
        in_force = sorted(resolutions, key=lambda name: (not self._takes_part(name), name))
        for name in in_force:
            resolution = resolutions[name]
            if not isinstance(resolution, Resolved):
                continue
            identity, family = resolution.config.identity, resolution.config.primary_address.version
            key = (resolution.ifindex, family, identity.vrid)
            taken = next((addresses[one] for one in resolution.config.addresses if one in addresses), None)
            if key in routers:
                conflicts[name] = (
                    f"spec.virtualRouterID: {identity.vrid} is that of {routers[key]} on {resolution.interface}"
                )
            elif taken is not None:
                shared = next(one for one in resolution.config.addresses if one in addresses)
                conflicts[name] = f"spec.addresses: {shared} is an address of {taken}"
            else:
                routers[key] = name
                addresses.update(dict.fromkeys(resolution.config.addresses, name))
        return conflicts

    def _takes_part(self, name: str) -> bool:
        instance = self.instances.get(name)
        return instance is not None and instance.takes_part

    def _close_unused_links(self) -> None:
        used = {instance.link.ifindex for instance in self.instances.values() if instance.link is not None}
        for ifindex in self._links.keys() - used:
            if ifindex not in self.kernel.links or not self._links[ifindex].in_use:
                self._outlet.link_closed(self._links[ifindex])
                self._links.pop(ifindex).close()

    # --- files

    def _on_files(self) -> None:
        if self._watch.drain():
            self.loop.others.set(self._look, self.loop.now_ns() + _SETTLE_NS)
        if not self._watch.attached:
            self.loop.others.set(self._attach, self.loop.now_ns() + _REATTACH_NS)

    def _attach_watch(self, now_ns: int) -> None:
        if self._watch.attach():
            self._look_at_files(now_ns)
        else:
            self.loop.others.set(self._attach, now_ns + _REATTACH_NS)

    def _look_at_files(self, now_ns: int) -> None:
        before, self._snapshot = self._snapshot, self.manifests.load(now_ns)
        wait_ns = _SETTLE_NS if self.manifests.unsettled else _COMPARE_NS
        self.loop.others.set(self._look, self.loop.now_ns() + wait_ns)
        if self._snapshot != before or self._passwords_in_files:
            self._log_problems()
            self.refresh()

    @property
    def _passwords_in_files(self) -> bool:
        vips = (manifest.vip for manifest in self._snapshot.manifests.values() if manifest.vip is not None)
        return any(vip.spec.authentication and vip.spec.authentication.password_file for vip in vips)

    def _log_problems(self) -> None:
        problems = {problem for manifest in self._snapshot.manifests.values() for problem in manifest.problems}
        problems.update(self._snapshot.problems)
        for problem in sorted(problems - self._logged_problems):
            log.error("%s", problem)
        self._logged_problems = problems

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
                    log.warning("an address was not renewed: %s", event.error)
                case AddressChanged() | LinkChanged() | Overflow():
                    stale = True
        if stale:
            self.refresh()

    def _address_lost(self, event: AddressChanged) -> None:
        for instance in tuple(self.instances.values()):
            instance.address_lost(event.ip, event.ifindex, expired=event.expired)


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


def _password(vip: VirtualIP) -> str | None:
    authentication = vip.spec.authentication
    if authentication is None:
        return None
    if authentication.password is not None:
        return authentication.password
    if authentication.password_file is not None:
        return read_password_file(authentication.password_file)
    return vip.assignment.password if vip.assignment is not None else None
