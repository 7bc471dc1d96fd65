"""`interface`: good while a link of this host is up and running, as netlink tells it."""

from __future__ import annotations

from vip_speaker.health.facts import Fact, bad, good
from vip_speaker.health.tracker import Watching


class InterfaceTracker(Watching):
    """The link is looked up whenever facts are asked for: the router asks after every event of a link."""

    def fact(self) -> Fact:
        """What the link is now, damped."""
        self.put_quietly(self._now())
        return super().fact()

    def _now(self) -> Fact:
        name = self.check["name"]
        link = self.around.kernel.link_named(name)
        if link is None:
            return bad(f"there is no {name}")
        if not link.up:
            return bad(f"{name} is down")
        return good(f"{name} is up") if link.running else bad(f"{name} has no carrier")
