"""What is on the links as far as we know, and which of the kernel's messages are news.

Pure. Two things change the picture: what the kernel tells, and what came of our own requests, which counts at once; the
messages that those cause arrive later and are no news.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vip_speaker.kernel.addresses import ADDRESS_PROTOCOL, Assigned
from vip_speaker.kernel.ledger import Held, Ledger
from vip_speaker.kernel.links import (
    FOREVER,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    AddressChanged,
    Event,
    Link,
    LinkAddress,
    LinkChanged,
    LinkTable,
    decode_address,
    decode_link,
    key_of,
    peek_key,
)


class Picture:
    """`links` with all that is on them, and in `ledger` what of it is ours."""

    def __init__(self) -> None:
        self.links = LinkTable()
        self.ledger = Ledger()

    # --- what our requests did

    def added(self, assigned: Assigned, lifetime_s: int | None, now_ns: int) -> None:
        """The kernel put the address on its link, or set its lifetime anew."""
        self.ledger.put(assigned, lifetime_s, now_ns)
        if not self.links.has_address(assigned.key):
            self.links.put_address(assigned.ifindex, _as_added(assigned, lifetime_s))

    def removed(self, assigned: Assigned, *, was_there: bool) -> None:
        """The kernel took the address off, or had nothing to take off."""
        key = assigned.key
        self.ledger.drop(key, to_be_told=was_there)
        self.links.drop_address(key)

    def link_removed(self, ifindex: int) -> LinkChanged | None:
        """The link is gone, with what was on it; None when it was not known."""
        self.ledger.forget_links((ifindex,))
        return self.links.drop_link(ifindex)

    def is_foreign(self, assigned: Assigned) -> bool:
        """Whether somebody else's address is on the link under another prefix: IPv4 would let us add it once more."""
        link = self.links.get(assigned.ifindex)
        if link is None:
            return False
        there = link.address(assigned.ip)
        return (
            there is not None
            and there.prefix_length != assigned.prefix_length  # else the kernel itself knows better than this picture
            and key_of(link.ifindex, there.ip, there.prefix_length) not in self.ledger.held
        )

    def in_the_way(self, assigned: Assigned) -> Assigned | None:
        """What of ours has to go first: an IPv6 address is on a link once, whatever its prefix."""
        link = self.links.get(assigned.ifindex)
        there = link.address(assigned.ip) if link is not None and assigned.ip.version == 6 else None
        if there is None or there.prefix_length == assigned.prefix_length:
            return None
        held = self.ledger.held.get(key_of(assigned.ifindex, there.ip, there.prefix_length))
        return None if held is None else held.assigned

    # --- what the kernel tells

    def told(self, data: bytes, offset: int, kind: int, now_ns: int) -> Event | None:
        """The message of type `kind` at `offset`, as news; None when it is none."""
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            return self._address_told(data, offset, kind, now_ns)
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            link = decode_link(data, offset)
            if link is not None:
                return self.links.put_link(link) if kind == RTM_NEWLINK else self.link_removed(link.ifindex)
        return None

    def start_over(self, links: Iterable[Link], addresses: Iterable[tuple[int, LinkAddress]]) -> None:
        """From two full lists. Whatever was told before them, or would have been, is in them."""
        self.ledger.removals_missed()
        self.links.replace(links, addresses)
        self.ledger.forget_links(self.ledger.ifindexes - self.links.keys())

    def lost(self, now_ns: int) -> Sequence[AddressChanged]:
        """The addresses that we hold and that are on no link any more."""
        return [
            _changed(held.assigned.ifindex, held.assigned, held, present=False, now_ns=now_ns)
            for held in self.ledger.held.values()
            if not self.links.has_address(held.assigned.key)
        ]

    def _address_told(self, data: bytes, offset: int, kind: int, now_ns: int) -> AddressChanged | None:
        key, present = peek_key(data, offset), kind == RTM_NEWADDR
        if (
            key is not None
            and present
            and (self.links.has_address(key) if key in self.ledger.held else self.ledger.awaits_removal(key))
        ):
            return None  # we put or renewed it, or did so before a removal whose event is still to come
        if key is not None and not present and self.ledger.removal_told(key):
            return None
        decoded = decode_address(data, offset)
        if decoded is None:
            return None
        ifindex, address = decoded
        key = key_of(ifindex, address.ip, address.prefix_length)
        if not (self.links.put_address(ifindex, address) if present else self.links.drop_address(key)):
            return None
        return _changed(ifindex, address, self.ledger.held.get(key), present=present, now_ns=now_ns)


def _changed(
    ifindex: int, address: Assigned | LinkAddress, held: Held | None, *, present: bool, now_ns: int
) -> AddressChanged:
    return AddressChanged(
        ifindex=ifindex,
        ip=address.ip,
        prefix_length=address.prefix_length,
        present=present,
        own=held is not None,
        expired=held is not None and not present and held.ran_out(now_ns),
    )


def _as_added(assigned: Assigned, lifetime_s: int | None) -> LinkAddress:
    """What the kernel will say of an address that it accepted."""
    return LinkAddress(
        ip=assigned.ip,
        prefix_length=assigned.prefix_length,
        protocol=ADDRESS_PROTOCOL,
        valid_s=FOREVER if lifetime_s is None else lifetime_s,
    )
