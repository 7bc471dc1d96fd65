"""What the guard does for one VIP in our place: takes the addresses off the link, and gives up under each identity.

`cleanup` writes the wills of all VIPs to the memory that the guard reads, and does so in the middle of a promotion.
"""

from __future__ import annotations

from vip_speaker import will
from vip_speaker.kernel import Assigned, removal_requests
from vip_speaker.router.identities import Identities


class LastWill:
    """The last will of one VIP that speaks under `identities`, encoded anew only where it says something else."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._encoded: tuple[object, tuple[bytes, bytes]] | None = None

    def over(self, held: tuple[Assigned, ...], *, silenced: bool) -> tuple[bytes, bytes]:
        """Requests that take `held` off, and advertisements that give up: none of these where we are `silenced`.

        Asked for ahead, with what is planned, it is ready for the promotion.
        """
        key = (held, silenced, self._identities.current, self._identities.former)
        if self._encoded is None or self._encoded[0] != key:
            self._encoded = (key, (_removals(held), self._farewell() if held and not silenced else b""))
        return self._encoded[1]

    def _farewell(self) -> bytes:
        current, former = self._identities.current, self._identities.former
        if current is None:
            return b""
        entries = current.farewell(priority=current.priority)
        if former is not None:
            entries += former.farewell(priority=current.priority)
        return will.encode(entries)


def _removals(held: tuple[Assigned, ...]) -> bytes:
    return will.encode(will.NetlinkRequest(protocol=will.NETLINK_ROUTE, data=data) for data in removal_requests(held))
