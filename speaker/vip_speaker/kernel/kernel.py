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
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Self

from vip_speaker.kernel import addresses as requests_for
from vip_speaker.kernel import choose, codec
from vip_speaker.kernel.addresses import ADDRESS_PROTOCOL, Assigned, Failure
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.host import check_requirements, claim_namespace, keeps_marks
from vip_speaker.kernel.links import (
    FOREVER,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    AddressChanged,
    Event,
    IPAddress,
    Key,
    Link,
    LinkAddress,
    LinkTable,
    Overflow,
    decode_address,
    decode_link,
    key_of,
    peek_key,
)
from vip_speaker.kernel.netlink import NLM_F_DUMP, NLM_F_REQUEST, Requests, open_socket
from vip_speaker.kernel.readiness import lookup, wait_until_local
from vip_speaker.kernel.record import Record, leftovers
from vip_speaker.kernel.renewal import Renewal, Renewer
from vip_speaker.kernel.silence import Silence
from vip_speaker.kernel.virtual_mac import PROMOTE_SECONDARIES, VirtualMacs, is_virtual, settings_message

_GROUPS = (1, 5, 9)  # RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_EVENTS_PER_READ = (
    256  # a storm of link events (a node that starts many pods) must not keep the loop from its deadlines
)
_EXPIRY_SLACK_NS = 100_000_000  # the kernel rounds lifetimes down by up to 20 ms


@dataclass(slots=True, kw_only=True)
class _Holding:
    """An address that we put on a link."""

    assigned: Assigned
    lifetime_s: int | None
    renewed_at_ns: int

    @property
    def until_ns(self) -> int | None:
        """When the kernel may remove the address by itself; None: never."""
        if self.lifetime_s is None:
            return None
        return self.renewed_at_ns + self.lifetime_s * 1_000_000_000 - _EXPIRY_SLACK_NS

    def ran_out(self, now_ns: int) -> bool:
        """Whether the kernel may have removed the address by itself."""
        return self.until_ns is not None and now_ns >= self.until_ns


class Kernel:
    """Links and addresses of one network namespace. Not for use from several threads."""

    def __init__(self, events: socket.socket, requests: Requests, renewer: Renewer) -> None:
        self._events = events
        self._requests = requests
        self._renewer = renewer
        self._readable = select.epoll()
        self._readable.register(events, select.EPOLLIN)
        self._readable.register(renewer, select.EPOLLIN)
        self._sole = claim_namespace()
        self._silence = Silence()
        self._virtual_macs = VirtualMacs(requests)
        self._promoting: set[int] = set()  # links whose secondary addresses outlive their primary
        self._table = LinkTable()
        self._held: dict[Key, _Holding] = {}
        self._own: frozenset[IPAddress] | None = frozenset()  # the addresses of `_held`; None: to be collected anew
        self._removing: Counter[Key] = Counter()  # events that our own removals will cause

    @classmethod
    def open(cls) -> Self:
        """The kernel of the namespace that the caller is in. KernelError when it is too old or we lack NET_ADMIN."""
        check_requirements()
        try:
            events = open_socket(socket.NETLINK_ROUTE, _GROUPS)
        except OSError as error:
            raise KernelError("cannot watch links and addresses", error.errno or 0) from error
        opened = cls(events, Requests(socket.NETLINK_ROUTE), Renewer(Requests(socket.NETLINK_ROUTE)))
        opened._read_all()
        return opened

    def close(self) -> None:
        """Remove virtual MAC links and close the sockets. Addresses stay until their lifetime ends."""
        self._virtual_macs.close()
        self._silence.close()
        if self._sole is not None:
            self._sole.close()
        self._readable.close()
        self._renewer.close()
        self._events.close()
        self._requests.close()

    def fileno(self) -> int:
        """The descriptor that is readable when `read_events` has something to read."""
        return self._readable.fileno()

    @property
    def links(self) -> Mapping[int, Link]:
        """All links by ifindex, as of the last event read and the last request made. A live view."""
        return self._table

    @property
    def own_addresses(self) -> frozenset[IPAddress]:
        """The addresses that `add` put on links and `remove` did not take away."""
        if self._own is None:
            self._own = frozenset(held.assigned.ip for held in self._held.values())
        return self._own

    @property
    def alone(self) -> bool:
        """Whether no other router of ours runs in this network namespace (as of `open`)."""
        return self._sole is not None

    def link_named(self, name: str) -> Link | None:
        """The link of that name."""
        return next((self._table[index] for index in self._table if self._table[index].name == name), None)

    def find_interface(
        self, patterns: Sequence[str], address: IPAddress, *, own: AbstractSet[IPAddress] = frozenset()
    ) -> Link | None:
        """`choose.find_interface` among all links but those of virtual MACs; addresses that we hold count as `own`."""
        links = (link for link in self._table.values() if not is_virtual(link))
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
        found = leftovers(self._table, record.load(), alone=self.alone, marks=keeps_marks())
        words = [f"{one} on {self._table[one.ifindex].name}" for one in found]
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
        whatever its prefix.
        """
        wanted, failures = [], []
        for one in assigned:
            if key_of(one.ifindex, one.ip, one.prefix_length) not in self._held and self._is_foreign(one):
                failures.append(_failure("is on the link already, not ours", one, errno.EEXIST))
            else:
                wanted.append(one)
        self._virtual_macs_up({one.ifindex for one in wanted})
        self._keep_secondaries(wanted)
        messages = [
            requests_for.renewal(one, lifetime_s)
            if key_of(one.ifindex, one.ip, one.prefix_length) in self._held
            else requests_for.addition(one, lifetime_s)
            for one in wanted
        ]
        return failures + self._put(wanted, messages, lifetime_s)

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
            held = self._held.get(key_of(one.ifindex, one.ip, one.prefix_length))
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
            key = key_of(one.ifindex, one.ip, one.prefix_length)
            refusal = refusals.get(index)
            if refusal is None:
                self._removing[key] += 1
            elif refusal.code not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                failures.append(_failure("cannot be removed", one, refusal.code, refusal.detail))
                continue
            self._held.pop(key, None)
            self._own = None
            self._table.drop_address(key)
        self._virtual_macs_down({one.ifindex for one in assigned})
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
        if known is not None and known in self._table:
            return self._table[known]
        link = self._virtual_macs.create(parent, vrid, version)
        self._table.put_link(link)
        return link

    @property
    def virtual_mac_links(self) -> set[int]:
        """The links that `create_virtual_mac` made and that are there, by ifindex."""
        return self._virtual_macs.ifindexes & self._table.keys()

    def remove_virtual_mac(self, link: Link) -> None:
        """Delete the link and its addresses. It takes some 15 ms: for a moment at which nothing is due. KernelError."""
        self._virtual_macs.remove(link)
        self._forget_link(link.ifindex)
        self._table.drop_link(link.ifindex)

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
        for ifindex in (wide & self._table.keys()) - self._promoting:
            self._promoting.add(ifindex)
            self._requests.send([settings_message(ifindex, {PROMOTE_SECONDARIES: 1})])

    def _virtual_macs_up(self, ifindexes: set[int]) -> None:
        for ifindex in ifindexes & self._virtual_macs.ifindexes & self._table.keys():
            with contextlib.suppress(KernelError):  # it is gone, as `add` will say
                self._virtual_macs.set_up(self._table[ifindex], up=True)

    def _virtual_macs_down(self, ifindexes: set[int]) -> None:
        for ifindex in ifindexes & self._virtual_macs.ifindexes & self._table.keys() - {key[0] for key in self._held}:
            with contextlib.suppress(KernelError):
                self._virtual_macs.set_up(self._table[ifindex], up=False)

    # --- addresses --------------------------------------------------------------------------------------------------

    def _put(self, assigned: Sequence[Assigned], messages: Sequence[bytes], lifetime_s: int | None) -> list[Failure]:
        if not assigned:
            return []
        refusals = {one.index: one for one in self._requests.send(messages)}
        now_ns = time.monotonic_ns()
        failures = []
        for index, one in enumerate(assigned):
            if refusal := refusals.get(index):
                failures.append(_failure("cannot be put on the link", one, refusal.code, refusal.detail))
                continue
            key = key_of(one.ifindex, one.ip, one.prefix_length)
            self._held[key] = _Holding(assigned=one, lifetime_s=lifetime_s, renewed_at_ns=now_ns)
            self._own = None
            if not self._table.has_address(key):
                self._table.put_address(one.ifindex, _as_added(one, lifetime_s))
        return failures

    def _is_foreign(self, assigned: Assigned) -> bool:
        """Whether the address is on the link under another prefix: IPv4 would let us add it once more."""
        link = self._table.get(assigned.ifindex)
        if link is None:
            return False
        there = link.address(assigned.ip)
        return (
            there is not None
            and there.prefix_length != assigned.prefix_length  # else the kernel itself knows better than this picture
            and key_of(link.ifindex, there.ip, there.prefix_length) not in self._held
        )

    # --- events -----------------------------------------------------------------------------------------------------

    def read_events(self) -> list[Event | Failure]:
        """What changed, in order; at most some hundred messages at a time (`fileno()` stays readable). Never blocks."""
        events: list[Event | Failure] = [*self._renewal_failures()]
        for _ in range(_EVENTS_PER_READ):
            try:
                data = self._events.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError("cannot read link events", error.errno or 0) from error
                self._read_all()
                return [*events, Overflow(), *self._lost()]
            for offset, kind, _, _, _ in codec.split(data):
                event = self._event(data, offset, kind)
                if event is not None:
                    events.append(event)
        return events

    def _renewal_failures(self) -> list[Failure]:
        failures = []
        for result in self._renewer.take_results():
            one = result.assigned
            held = self._held.get(key_of(one.ifindex, one.ip, one.prefix_length))
            if held is None:
                continue
            if result.error is None:
                held.renewed_at_ns = max(held.renewed_at_ns, result.at_ns)
                held.lifetime_s = result.lifetime_s
            else:
                failures.append(Failure(assigned=one, error=result.error))
        return failures

    def _event(self, data: bytes, offset: int, kind: int) -> Event | None:
        match kind:
            case n if n in (RTM_NEWADDR, RTM_DELADDR):
                return self._address_event(data, offset, kind)
            case n if n in (RTM_NEWLINK, RTM_DELLINK):
                link = decode_link(data, offset)
                if link is None:
                    return None
                if kind == RTM_NEWLINK:
                    return self._table.put_link(link)
                self._forget_link(link.ifindex)
                return self._table.drop_link(link.ifindex)
        return None

    def _address_event(self, data: bytes, offset: int, kind: int) -> AddressChanged | None:
        key = peek_key(data, offset)
        if (
            key is not None
            and kind == RTM_NEWADDR
            and (self._table.has_address(key) if key in self._held else key in self._removing)
        ):
            return None  # we put or renewed it, or did so before a removal whose event is still to come
        if key is not None and kind == RTM_DELADDR and self._was_removed_by_us(key):
            return None
        decoded = decode_address(data, offset)
        if decoded is None:
            return None
        ifindex, address = decoded
        key = key_of(ifindex, address.ip, address.prefix_length)
        present = kind == RTM_NEWADDR
        if not (self._table.put_address(ifindex, address) if present else self._table.drop_address(key)):
            return None
        held = self._held.get(key)
        return AddressChanged(
            ifindex=ifindex,
            ip=address.ip,
            prefix_length=address.prefix_length,
            present=present,
            own=held is not None,
            expired=held is not None and not present and held.ran_out(time.monotonic_ns()),
        )

    def _lost(self) -> list[AddressChanged]:
        """The addresses that we hold and that are on no link any more."""
        now_ns = time.monotonic_ns()
        return [
            AddressChanged(
                ifindex=held.assigned.ifindex,
                ip=held.assigned.ip,
                prefix_length=held.assigned.prefix_length,
                present=False,
                own=True,
                expired=held.ran_out(now_ns),
            )
            for key, held in self._held.items()
            if not self._table.has_address(key)
        ]

    def _was_removed_by_us(self, key: Key) -> bool:
        if key not in self._removing:
            return False
        self._removing[key] -= 1
        if not self._removing[key]:
            del self._removing[key]
        return True

    def _forget_link(self, ifindex: int) -> None:
        self._virtual_macs.forget(ifindex)
        self._promoting.discard(ifindex)
        for key in [key for key in self._held if key[0] == ifindex]:
            del self._held[key]
            self._own = None
        for key in [key for key in self._removing if key[0] == ifindex]:
            del self._removing[key]

    def _read_all(self) -> None:
        """Read the full picture. What waits in the event socket is older than it, so it is dropped first."""
        while True:
            try:
                self._events.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError("cannot read link events", error.errno or 0) from error
        self._removing.clear()
        links = codec.encode(
            codec.ifinfmsg, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, {}, [("IFLA_EXT_MASK", _SKIP_STATISTICS)]
        )
        found = [decode_link(data, offset) for data, offset in self._requests.dump(links)]
        everything = codec.encode(codec.ifaddrmsg, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, {})
        placed = [decode_address(data, offset) for data, offset in self._requests.dump(everything)]
        self._table.replace((one for one in found if one), (one for one in placed if one))
        for ifindex in {key[0] for key in self._held} - set(self._table):
            self._forget_link(ifindex)


def _failure(what: str, assigned: Assigned, code: int, detail: str = "") -> Failure:
    return Failure(assigned=assigned, error=KernelError(f"{assigned} {what}", code, detail))


def _as_added(assigned: Assigned, lifetime_s: int | None) -> LinkAddress:
    """What the kernel will say of an address that it accepted."""
    return LinkAddress(
        ip=assigned.ip,
        prefix_length=assigned.prefix_length,
        protocol=ADDRESS_PROTOCOL,
        valid_s=FOREVER if lifetime_s is None else lifetime_s,
    )
