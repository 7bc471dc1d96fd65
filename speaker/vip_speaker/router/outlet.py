"""What the router says of itself: a state file per VIP, metrics, and the line in `systemctl status`.

Written after the turn in which something changed, never in the middle of it; only what differs from what was written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network

from vip_speaker import statefile
from vip_speaker.kernel import Kernel
from vip_speaker.router.activelink import ActiveLink
from vip_speaker.router.instance import Instance
from vip_speaker.router.loop import Loop
from vip_speaker.router.manifests import Manifest
from vip_speaker.router.notify import is_listened_to, notify
from vip_speaker.router.report import LISTEN_NS, link_document, metrics_document, state_document
from vip_speaker.router.timers import Deadline
from vip_speaker.statedirectory import StateDirectory
from vip_speaker.vrrp.types import SECOND, InitState, Role

log = logging.getLogger(__name__)

_METRICS_EVERY_NS = 5 * SECOND
# A neighbour can make many; the first say enough.
_MAX_COMMON_PROBLEMS = 3
# Who is heard changes without an event of the VIP that listens: a router that leaves frees its VRID.
_LISTENERS_EVERY_NS = SECOND


class Outlet:
    """Keeps the state directory current. A directory that cannot be written costs a log line, never an election."""

    def __init__(self, loop: Loop, kernel: Kernel, directory: StateDirectory) -> None:
        self._loop = loop
        self._kernel = kernel
        self._directory = directory
        self._instances: dict[str, Instance] = {}
        self._links: dict[int, ActiveLink] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self._bad: dict[str, statefile.VirtualIPState] = {}
        self._written: dict[str, statefile.VirtualIPState] = {}
        self._stale: set[str] = set()
        self._heard: dict[ActiveLink, statefile.Link | None] = {}  # while files are written
        self._told = ""
        self._complained = False
        self._flush = Deadline(self._flush_now)
        self._metrics = Deadline(self._write_metrics)
        self._listeners = Deadline(self._listeners_stale)

    def start(self) -> None:
        """Take the directory over: what an earlier process left there is gone."""
        self._attempt(self._directory.clear)
        self._write_metrics(self._loop.now_ns())
        self._listeners_stale(self._loop.now_ns())

    def link_opened(self, link: ActiveLink) -> None:
        """A link is listened to; after a while we know who is there."""
        self._links[link.ifindex] = link
        listened = Deadline(lambda _now_ns: self._all_stale())
        self._loop.others.set(listened, link.opened_at_ns + LISTEN_NS)

    def link_closed(self, link: ActiveLink) -> None:
        """A link is no longer listened to."""
        self._links.pop(link.ifindex, None)

    def changed(self, instance: Instance) -> None:
        """The state of `instance` may differ from its file."""
        self._instances[instance.name] = instance
        self._stale.add(instance.name)
        self._loop.others.set(self._flush, self._loop.now_ns())

    def removed(self, name: str) -> None:
        """The VIP is released and its document gone."""
        self._instances.pop(name, None)
        self._stale.add(name)
        self._loop.others.set(self._flush, self._loop.now_ns())

    def documents(self, manifests: Mapping[str, Manifest], more: Mapping[str, str], common: Sequence[str]) -> None:
        """What is wrong in the documents now, and what `more` is, by name; a VIP that never had a good document is
        FAULT with that as the reason. `common` is wrong with the directory, and so may concern any VIP.
        """
        everywhere = tuple(common[:_MAX_COMMON_PROBLEMS])
        problems, bad = self._problems, self._bad
        self._problems = {
            name: manifest.problems + ((more[name],) if name in more else ()) + everywhere
            for name, manifest in manifests.items()
        }
        self._bad = {
            name: statefile.VirtualIPState(
                name=name, state="FAULT", reason="; ".join(manifest.problems), problems=manifest.problems
            )
            for name, manifest in manifests.items()
            if manifest.vip is None
        }
        self._stale |= {n for n in problems.keys() | self._problems.keys() if problems.get(n) != self._problems.get(n)}
        self._stale |= {n for n in bad.keys() | self._bad.keys() if bad.get(n) != self._bad.get(n)}
        self._loop.others.set(self._flush, self._loop.now_ns())

    def flush(self) -> None:
        """Write at once what is stale; before the process ends."""
        self._flush_now(self._loop.now_ns())

    def _all_stale(self) -> None:
        self._stale.update(self._instances, self._bad, self._written)
        self._loop.others.set(self._flush, self._loop.now_ns())

    def _listeners_stale(self, now_ns: int) -> None:
        listeners = {name for name, one in self._instances.items() if isinstance(one.state, InitState) and one.link}
        if listeners:
            self._stale |= listeners
            self._loop.others.set(self._flush, now_ns)
        self._loop.others.set(self._listeners, now_ns + _LISTENERS_EVERY_NS)

    def _flush_now(self, _now_ns: int) -> None:
        stale, self._stale = self._stale, set()
        for name in sorted(stale):
            self._write(name)
            self._loop.breathe()
        self._heard.clear()
        self._tell_service_manager()

    def _write(self, name: str) -> None:
        state = self._state_of(name)
        if state is None:
            if self._written.pop(name, None) is not None:
                self._attempt(lambda: self._directory.remove(name))
        elif state != self._written.get(name) and self._attempt(lambda: self._directory.write(state)):
            self._written[name] = state

    def _state_of(self, name: str) -> statefile.VirtualIPState | None:
        instance = self._instances.get(name)
        if instance is None:
            return self._bad.get(name)
        link = None
        if isinstance(instance.state, InitState) and instance.link is not None:
            link = self._heard_by_all(instance.link)
        state = state_document(instance, link, self._problems.get(name, ()), self._loop.now_ns())
        return state if state.primaryAddress else replace(state, primaryAddress=self._own_address(instance))

    def _own_address(self, instance: Instance) -> str:
        """The address to send from, of a router that waits: unicast peers wait for each other's."""
        known = self._kernel.links.get(instance.link.ifindex) if instance.link is not None else None
        version = instance.vip.spec.addresses[0].ip.version
        address = self._kernel.primary_address(known, version) if known is not None else None
        return str(address) if address is not None else ""

    def _heard_by_all(self, link: ActiveLink) -> statefile.Link | None:
        """The same for all VIPs that listen there: hundreds of them may."""
        if link not in self._heard:
            self._heard[link] = self._heard_on(link)
        return self._heard[link]

    def _heard_on(self, link: ActiveLink) -> statefile.Link | None:
        if self._loop.now_ns() - link.opened_at_ns < LISTEN_NS:
            return None
        known = self._kernel.links.get(link.ifindex)
        own = self._kernel.own_addresses
        addresses = [one for one in known.addresses if one.ip not in own] if known else []
        subnets = tuple(str(ip_network((one.ip, one.prefix_length), strict=False)) for one in addresses)
        return link_document(link, subnets, self._loop.now_ns())

    def _tell_service_manager(self) -> None:
        if not is_listened_to():
            return
        states = [state for _, state in sorted(self._written.items())]
        roles = {role: [_with_master(state) for state in states if state.state == role] for role in Role}
        told = "; ".join(f"{role} {', '.join(names)}" for role, names in roles.items() if names) or "no VirtualIP"
        if told != self._told:
            self._told = told
            notify(f"STATUS={told}")

    def _write_metrics(self, now_ns: int) -> None:
        document = metrics_document(self._instances.values(), self._links.values(), self._loop)
        self._attempt(lambda: self._directory.write_metrics(document))
        self._loop.others.set(self._metrics, now_ns + _METRICS_EVERY_NS)

    def _attempt(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            if not self._complained:
                log.error("the state directory cannot be written: %s", error)
            self._complained = True
            return False
        self._complained = False
        return True


def _with_master(state: statefile.VirtualIPState) -> str:
    """The VIP's name, and who is master where that is another."""
    return f"{state.name} (master {state.master})" if state.state == Role.BACKUP and state.master else state.name
