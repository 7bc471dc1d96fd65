"""The node's network as the router sees and changes it: links, addresses, and what happens to them.

Every call returns within microseconds and none waits: see netlink.py. The loop watches `fileno()` and calls
`read_events()`; requests may be made at any time in between.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Self

from vip_speaker.kernel import addresses as requests_for
from vip_speaker.kernel import choose
from vip_speaker.kernel.addresses import Assigned, Failure
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.host import check_requirements, claim_namespace, keeps_marks
from vip_speaker.kernel.links import Event, IPAddress, Link, LinkChanged, Overflow
from vip_speaker.kernel.netlink import Requests
from vip_speaker.kernel.picture import Picture
from vip_speaker.kernel.readiness import lookup, wait_until_local
from vip_speaker.kernel.record import Record, leftovers
from vip_speaker.kernel.renewal import Renewal, Renewer
from vip_speaker.kernel.silence import Silence
from vip_speaker.kernel.virtual_mac import PROMOTE_SECONDARIES, VirtualMacs, is_virtual, settings_message
from vip_speaker.kernel.watch import Watch, open_events


class Kernel:
    """Links and addresses of one network namespace. Not for use from several threads."""

    def __init__(self, events: socket.socket, requests: Requests, renewer: Renewer) -> None:
        self._requests = requests
        self._renewer = renewer
        self._readable = select.epoll()
        self._readable.register(events, select.EPOLLIN)
        self._readable.register(renewer, select.EPOLLIN)
        self._sole = claim_namespace()
        self._silence = Silence()
        self._virtual_macs = VirtualMacs(requests)
        self._promoting: set[int] = set()  # links whose secondary addresses outlive their primary
        self._picture = Picture()
        self._links = self._picture.links
        self._ledger = self._picture.ledger
        self._watch = Watch(events, requests, self._picture)

    @classmethod
    def open(cls) -> Self:
        """The kernel of the namespace that the caller is in. KernelError when it is too old or we lack NET_ADMIN."""
        check_requirements()
        opened = cls(open_events(), Requests(socket.NETLINK_ROUTE), Renewer(Requests(socket.NETLINK_ROUTE)))
        opened._watch.read_all()
        return opened

    def close(self) -> None:
        """Remove virtual MAC links and close the sockets. Addresses stay until their lifetime ends."""
        self._virtual_macs.close()
        self._silence.close()
        if self._sole is not None:
            self._sole.close()
        self._readable.close()
        self._renewer.close()
        self._watch.close()
        self._requests.close()

    def fileno(self) -> int:
        """The descriptor that is readable when `read_events` has something to read."""
        return self._readable.fileno()

    @property
    def links(self) -> Mapping[int, Link]:
        """All links by ifindex, as of the last event read and the last request made. A live view."""
        return self._links

    @property
    def own_addresses(self) -> frozenset[IPAddress]:
        """The addresses that `add` put on links and `remove` did not take away."""
        return self._ledger.ips

    def holds(self, assigned: Assigned) -> bool:
        """Whether `add` put the address on its link and it is still there, as far as we know."""
        return assigned.key in self._ledger.held and self._links.has_address(assigned.key)

    @property
    def alone(self) -> bool:
        """Whether no other router of ours runs in this network namespace (as of `open`)."""
        return self._sole is not None

    def link_named(self, name: str) -> Link | None:
        """The link of that name."""
        return next((self._links[index] for index in self._links if self._links[index].name == name), None)

    def find_interface(
        self, patterns: Sequence[str], address: IPAddress, *, own: AbstractSet[IPAddress] = frozenset()
    ) -> Link | None:
        """`choose.find_interface` among all links but those of virtual MACs; addresses that we hold count as `own`."""
        links = (link for link in self._links.values() if not is_virtual(link))
        return choose.find_interface(links, patterns, address, own=own | self.own_addresses)

    def primary_address(self, link: Link, version: int, own: AbstractSet[IPAddress] = frozenset()) -> IPAddress | None:
        """`choose.primary_address`; addresses that we hold count as `own`."""
        return choose.primary_address(link, version, own | self.own_addresses)

    def plan_addresses(
        self,
        link: Link,
        addresses: Iterable[tuple[IPAddress, int | None]],
        *,
        own: AbstractSet[IPAddress] = frozenset(),
        parent: Link | None = None,
    ) -> tuple[Assigned, ...]:
        """`addresses.plan_addresses`; addresses that we hold count as `own`."""
        return requests_for.plan_addresses(link, addresses, own=own | self.own_addresses, parent=parent)

    # --- start ------------------------------------------------------------------------------------------------------

    def sweep(self, record: Record) -> list[str]:
        """Remove what an earlier router left behind, and nothing that is somebody else's; what that was, in words.

        To be called before the first packet. KernelError when an address of ours cannot be removed.
        """
        found = leftovers(self._links, record.load(), alone=self.alone, marks=keeps_marks())
        words = [f"{one} on {self._links[one.ifindex].name}" for one in found]
        if failures := self.remove(found):
            raise failures[0].error
        if self.alone:
            words += [f"link {name}" for name in self._virtual_macs.sweep()]
            with contextlib.suppress(KernelError):  # no nf_tables, no tables
                words += [f"nftables table {name}" for name in self._silence.sweep()]
        return words

    # --- requests ---------------------------------------------------------------------------------------------------

    def prepare(self, assigned: Iterable[Assigned], lifetime_s: int | None) -> None:
        """Do ahead of a promotion what takes 0.1 ms per address: encode what `add`, `renew`, `remove`, `silence`
        will send.
        """
        assigned, addresses = tuple(assigned), []
        self._keep_secondaries(assigned)
        for one in assigned:
            requests_for.renewal(one, lifetime_s)
            requests_for.removal(one)
            if one.ip.version == 6:
                lookup(one)
            addresses.append(one.ip)
        with contextlib.suppress(KernelError):  # `silence` will say that there is no nf_tables
            self._silence.prepare(addresses)

    def add(self, assigned: Sequence[Assigned], lifetime_s: int | None) -> list[Failure]:
        """Put addresses on their links for `lifetime_s` seconds (None: for ever), all in one sendmsg; those refused.

        Addresses that we hold already are renewed. One that is on the link but not ours is refused (EEXIST),
        whatever its prefix. An IPv6 address that we hold under another prefix takes the new one.
        """
        wanted, messages, failures = [], [], []
        if in_the_way := [other for one in assigned if (other := self._picture.in_the_way(one)) is not None]:
            self.remove(in_the_way)
        for one in assigned:
            if one.key in self._ledger.held:
                message = requests_for.renewal(one, lifetime_s)
            elif self._picture.is_foreign(one):
                failures.append(_failure("is on the link already, not ours", one, errno.EEXIST))
                continue
            else:
                message = requests_for.addition(one, lifetime_s)
            wanted.append(one)
            messages.append(message)
        self._virtual_macs.put_up({one.ifindex for one in wanted})
        self._keep_secondaries(wanted)
        refusals = {one.index: one for one in self._requests.send(messages)}
        now_ns = time.monotonic_ns()
        for index, one in enumerate(wanted):
            if refusal := refusals.get(index):
                failures.append(_failure("cannot be put on the link", one, refusal.code, refusal.detail))
            else:
                self._picture.added(one, lifetime_s, now_ns)
        return failures

    def wait_until_usable(self, assigned: Iterable[Assigned], limit_ns: int) -> bool:
        """After `add`, before anybody is told: wait until IPv6 addresses take packets, usually 0.1 to 1 ms.

        False when the kernel has not done its part within `limit_ns`. IPv4 addresses take packets at once.
        """
        return wait_until_local(self._requests, assigned, limit_ns)

    def renew(self, assigned: Iterable[Assigned], lifetime_s: int | None) -> list[Failure]:
        """Have the lifetime of addresses that we hold set anew, beside the loop (renewal.py); those that cannot be.

        An address whose lifetime has already run out is not brought back (ETIME): the event that tells of it
        decides. What the kernel refuses later, `read_events` tells as a Failure.
        """
        failures = self._renewal_failures()  # what was renewed meanwhile has not run out
        now_ns = time.monotonic_ns()
        renewals = []
        for one in assigned:
            held = self._ledger.held.get(one.key)
            if held is None:
                failures.append(_failure("is not held", one, errno.EADDRNOTAVAIL))
            elif held.ran_out(now_ns):
                failures.append(_failure("ran out before it was renewed", one, errno.ETIME))
            else:
                message = requests_for.renewal(one, lifetime_s)
                renewals.append(Renewal(assigned=one, message=message, lifetime_s=lifetime_s, until_ns=held.until_ns))
        if renewals:
            self._renewer.submit(renewals)
        return failures

    def remove(self, assigned: Sequence[Assigned]) -> list[Failure]:
        """Take addresses off their links, all in one sendmsg; those refused. One that is gone already is a success."""
        self._renewer.cancel(assigned)
        refusals = {one.index: one for one in self._requests.send(requests_for.removal_requests(assigned))}
        failures = []
        for index, one in enumerate(assigned):
            refusal = refusals.get(index)
            if refusal is None or refusal.code in (errno.EADDRNOTAVAIL, errno.ENODEV):
                self._picture.removed(one, was_there=refusal is None)
            else:
                failures.append(_failure("cannot be removed", one, refusal.code, refusal.detail))
        self._virtual_macs.put_down({one.ifindex for one in assigned} - self._ledger.ifindexes)
        return failures

    def silence(self, addresses: Iterable[IPAddress]) -> None:
        """Hold `addresses` without answering ARP or ND for them. KernelError."""
        self._silence.silence(addresses)

    def unsilence(self, addresses: Iterable[IPAddress]) -> None:
        """Answer for `addresses` again; those that are not silent are left alone. KernelError."""
        self._silence.unsilence(addresses)

    def silence_removal_requests(self) -> list[bytes]:
        """For the last will: the netfilter requests that end all silence; none where the kernel does it by itself
        (5.12).
        """
        return self._silence.removal_requests()

    # --- virtual MACs -----------------------------------------------------------------------------------------------

    def create_virtual_mac(self, parent: Link, vrid: int, version: int) -> Link:
        """The link with the MAC of `vrid` for IP `version` on `parent`, made now or before. KernelError.

        It is up while it carries addresses that `add` put there, and down otherwise.
        """
        known = self._virtual_macs.find(parent, vrid, version)
        if known is not None and known in self._links:
            return self._links[known]
        link = self._virtual_macs.create(parent, vrid, version)
        self._links.put_link(link)
        return link

    @property
    def virtual_mac_links(self) -> set[int]:
        """The links that `create_virtual_mac` made and that are there, by ifindex."""
        return self._virtual_macs.ifindexes & self._links.keys()

    def remove_virtual_mac(self, link: Link) -> None:
        """Delete the link and its addresses. It takes some 15 ms: for a moment at which nothing is due. KernelError."""
        self._virtual_macs.remove(link)
        self._picture.link_removed(link.ifindex)
        self._forget_gone_links()

    def virtual_mac_removal_requests(self) -> list[bytes]:
        """For the last will: the rtnetlink requests that delete these links and give their parents back as they
        were.
        """
        return self._virtual_macs.removal_requests()

    def _keep_secondaries(self, assigned: Iterable[Assigned]) -> None:
        """The node's own addresses must outlive ours: one that is given to the node in a subnet where a VIP was first
        is secondary to it, and would go with it, whoever removes it.

        The setting stays: systemd has it on every link, and the guard's removals and the kernel's own need it too.
        """
        wide = {one.ifindex for one in assigned if one.ip.version == 4 and one.prefix_length < one.ip.max_prefixlen}
        for ifindex in (wide & self._links.keys()) - self._promoting:
            self._promoting.add(ifindex)
            self._requests.send([settings_message(ifindex, {PROMOTE_SECONDARIES: 1})])

    # --- events -----------------------------------------------------------------------------------------------------

    def read_events(self) -> list[Event | Failure]:
        """What changed, in order; at most some hundred messages at a time (`fileno()` stays readable). Never blocks."""
        failures, news = self._renewal_failures(), self._watch.read()
        if any(isinstance(one, Overflow) or (isinstance(one, LinkChanged) and one.after is None) for one in news):
            self._forget_gone_links()
        return [*failures, *news]

    def _renewal_failures(self) -> list[Failure]:
        """What came of renewals since the last call, entered in the ledger; those refused."""
        failures = []
        for result in self._renewer.take_results():
            one = result.assigned
            if result.error is None:
                self._ledger.renewed(one, result.lifetime_s, result.at_ns)
            elif one.key in self._ledger.held:
                failures.append(Failure(assigned=one, error=result.error))
        return failures

    def _forget_gone_links(self) -> None:
        self._promoting &= self._links.keys()
        for ifindex in self._virtual_macs.ifindexes - self._links.keys():
            self._virtual_macs.forget(ifindex)


def _failure(what: str, assigned: Assigned, code: int, detail: str = "") -> Failure:
    return Failure(assigned=assigned, error=KernelError(f"{assigned} {what}", code, detail))
