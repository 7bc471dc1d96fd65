"""What a VIP does about others that serve or claim its addresses: reports them, and as MASTER announces again.

Nothing here takes part in the election.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vip_speaker.router.complaints import Complaints
from vip_speaker.router.rivals import How, Pacing, Rivals
from vip_speaker.router.services import Services
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp.types import LOWEST_PRIORITY, SECOND, Advertisement, IPAddress
from vip_speaker.wire.neighbour import Announced

# Whom we took over from may not have heard us yet.
_SETTLED_AFTER_NS = 3 * SECOND


class Defence:
    """The rivals of the VIP `name`; `announce_again` is called where neighbours may have believed one of them."""

    def __init__(
        self, name: str, services: Services, complaints: Complaints, announce_again: Callable[[], None]
    ) -> None:
        self.rivals = Rivals()
        self._name = name
        self._announce = announce_again
        self._services = services
        self._complaints = complaints
        self._pacing = Pacing()
        self._again = Deadline(self._announce_again)
        self._rival_gone = Deadline(self._report)
        self._changed_ns = services.loop.now_ns()

    def role_changed(self) -> None:
        """Who was beside us as MASTER counts anew."""
        self._changed_ns = self._services.loop.now_ns()
        self.rivals.forget(How.ADVERTISES, How.CLAIMS)

    def close(self) -> None:
        """Nothing is due any more."""
        for deadline in (self._again, self._rival_gone):
            self._services.loop.others.set(deadline, None)

    def other_version(self, advertisement: Advertisement) -> None:
        """Our VRID is used in the other VRRP version."""
        what = f"{advertisement.source} speaks VRRP version {advertisement.version} with our VRID"
        self._note(How.OTHER_VERSION, advertisement, what)

    def address_served(self, advertisement: Advertisement, first: IPAddress, our_vrid: int | None) -> None:
        """Our `first` address is served in a way that we cannot take part in."""
        how = f"as VRID {advertisement.vrid}"
        if advertisement.vrid == our_vrid:
            how = "with our VRID, in a way that is not ours (password, interval or transport)"
        what = f"{advertisement.source} serves {first} {how}"
        self._note(How.OTHER_ROUTER, advertisement, what)

    def other_addresses(self, advertisement: Advertisement) -> None:
        """A master of our VRID that names none of our addresses: two virtual routers with one VRID."""
        theirs = " ".join(map(str, advertisement.addresses[:3]))
        self._note(
            How.OTHER_ADDRESSES,
            advertisement,
            f"{advertisement.source} serves other addresses ({theirs}) with our VRID",
        )

    def other_master(self, advertisement: Advertisement) -> None:
        """A master of our virtual router that is not better than us. Neighbours may have believed it.

        With its last advertisement, at the lowest priority, one of ours says that it answers no more (SM-37).
        """
        self._note(How.ADVERTISES, advertisement, f"{advertisement.source} {How.ADVERTISES}")
        if advertisement.priority == LOWEST_PRIORITY and self._pacing.fell_silent(self._services.loop.now_ns()):
            self._announce()
        self._contested()

    def claimed(self, announced: Announced) -> None:
        """Another station says that an address of ours is at its MAC (RFC 5227 section 2.4)."""
        now_ns = self._services.loop.now_ns()
        own = {link.mac for link in self._services.kernel.links.values()}
        if now_ns - self._changed_ns < _SETTLED_AFTER_NS or announced.mac in own:
            return
        what = f"{announced.mac} claims {announced.address}"
        self._complaints.add("another station claims an address of ours:", what, now_ns)
        self.rivals.note(How.CLAIMS, announced.mac, what, now_ns=now_ns, wall=time.time())
        self._report(now_ns)
        self._contested()

    def _note(self, how: How, advertisement: Advertisement, what: str) -> None:
        now_ns = self._services.loop.now_ns()
        who, interval_ns = str(advertisement.source), advertisement.interval_ns
        self.rivals.note(how, who, what, now_ns=now_ns, wall=time.time(), interval_ns=interval_ns)
        self._report(now_ns)

    def _report(self, now_ns: int) -> None:
        """Say it now, and again when it is over."""
        self._services.loop.others.set(self._rival_gone, self.rivals.next_end_ns(now_ns))
        self._services.state_changed(self._name)

    def _contested(self) -> None:
        loop = self._services.loop
        loop.others.set(self._again, self._pacing.contested(loop.now_ns()))

    def _announce_again(self, now_ns: int) -> None:
        self._pacing.announced(now_ns)
        self._announce()
