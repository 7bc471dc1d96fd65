"""What we put on the links and until when the kernel keeps it there, and which removals of ours it has yet to tell of.

Pure: whoever made a request enters here what came of it. What is on the links is another question, since others change
it too: see picture.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from vip_speaker.kernel.addresses import Assigned
from vip_speaker.kernel.links import IPAddress, Key

_EXPIRY_SLACK_NS = 100_000_000  # the kernel rounds lifetimes down by up to 20 ms


@dataclass(slots=True, kw_only=True)
class Held:
    """An address that we put on a link, its lifetime last set at `renewed_at_ns` (monotonic). The ledger alone changes
    it.
    """

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


class Ledger:
    """The addresses that we put on links and did not take away, whether or not they are still there.

    `held` has them by key, for others to read.
    """

    def __init__(self) -> None:
        self.held: dict[Key, Held] = {}
        self._ips: frozenset[IPAddress] | None = frozenset()  # the addresses of `held`; None: to be collected anew
        self._removals: Counter[Key] = Counter()  # events that our own removals will cause

    @property
    def ips(self) -> frozenset[IPAddress]:
        """The addresses held, on whichever link."""
        if self._ips is None:
            self._ips = frozenset(held.assigned.ip for held in self.held.values())
        return self._ips

    @property
    def ifindexes(self) -> set[int]:
        """The links that carry something of ours."""
        return {key[0] for key in self.held}

    def put(self, assigned: Assigned, lifetime_s: int | None, now_ns: int) -> None:
        """The kernel accepted the address for `lifetime_s` seconds from `now_ns` on (None: for ever)."""
        self.held[assigned.key] = Held(assigned=assigned, lifetime_s=lifetime_s, renewed_at_ns=now_ns)
        self._ips = None

    def renewed(self, assigned: Assigned, lifetime_s: int | None, at_ns: int) -> None:
        """The kernel accepted a renewal sent at `at_ns`; one that was put anew since keeps its later instant."""
        held = self.held.get(assigned.key)
        if held is not None:
            held.renewed_at_ns = max(held.renewed_at_ns, at_ns)
            held.lifetime_s = lifetime_s

    def drop(self, key: Key, *, to_be_told: bool) -> None:
        """We took the address off, held or not. `to_be_told`: it was there, so an event about it is on its way."""
        if self.held.pop(key, None) is not None:
            self._ips = None
        if to_be_told:
            self._removals[key] += 1

    def awaits_removal(self, key: Key) -> bool:
        """Whether the event of a removal of ours is still to come."""
        return key in self._removals

    def removal_told(self, key: Key) -> bool:
        """An event says that the address was taken off: whether that was our doing. Counts it."""
        if key not in self._removals:
            return False
        self._removals[key] -= 1
        if not self._removals[key]:
            del self._removals[key]
        return True

    def removals_missed(self) -> None:
        """Events were lost: none of the removals so far will be told."""
        self._removals.clear()

    def forget_links(self, ifindexes: Collection[int]) -> None:
        """These links are gone, and with them what was on them; no event of an address there is to be expected."""
        for key in [key for key in self.held if key[0] in ifindexes]:
            del self.held[key]
            self._ips = None
        for key in [key for key in self._removals if key[0] in ifindexes]:
            del self._removals[key]
