"""What the daemon gives every instance; the instance knows no more of the daemon than this.

An instance, and each part of it, is known by the name of its VIP.
"""

from __future__ import annotations

from typing import Protocol

from vip_speaker.kernel import Assigned, Kernel
from vip_speaker.link import UnicastSocket
from vip_speaker.router.activelink import ActiveLink
from vip_speaker.router.loop import Loop


class Services(Protocol):
    """The daemon, as an instance sees it."""

    loop: Loop
    kernel: Kernel
    address_lifetime_s: int | None

    def active_link(self, ifindex: int, name: str) -> ActiveLink:
        """The sockets of a link, opened on first use; LinkError when the link is gone."""
        ...

    def unicast_socket(self, family: int) -> UnicastSocket:
        """The socket that unicast advertisements of one IP version leave by."""
        ...

    def plan_changed(self) -> None:
        """Write the record anew: what may be on the links from now on."""
        ...

    def holding_changed(self) -> None:
        """Write the last will anew; before an address is added, after it was removed."""
        ...

    def held_elsewhere(self, name: str) -> frozenset[Assigned]:
        """What other instances than `name` have on the links: not to be taken off by that one."""
        ...

    def links_elsewhere(self, name: str) -> frozenset[int]:
        """The links that other instances than `name` have addresses on, or will: not to be deleted by that one."""
        ...

    def state_changed(self, name: str) -> None:
        """Write the state file of `name` soon."""
        ...

    def released(self, name: str) -> None:
        """The instance `name` gave up its VIP as it was asked to, and nothing of it is left on the link."""
        ...
