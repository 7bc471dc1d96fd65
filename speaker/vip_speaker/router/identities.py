"""The identities of one virtual router: the one in force, and after a change of it the former one for a while.

Peers that were not told of the change yet speak and listen under the former one. For how long, the election decides.
"""

from __future__ import annotations

from vip_speaker.router.channel import Channel
from vip_speaker.vrrp.types import Identity, State


class Identities:
    """The channel of each: `current` is None before the first document, `former` where nothing changed lately."""

    def __init__(self) -> None:
        self.current: Channel | None = None
        self.former: Channel | None = None

    def prepare(self, channel: Channel) -> None:
        """Encode what `channel` has to say, before anybody speaks under it: with one that cannot, no master could even
        give up. What the one in force would say alike is not encoded again.
        """
        if self.current is not None:
            channel.adopt(self.current)
        channel.prepare()

    def enter(self, channel: Channel) -> Channel | None:
        """Speak under `channel`, which is attached to its link. The previous one is returned: it goes by `leave()`."""
        previous, self.current = self.current, channel
        return previous

    def leave(self, previous: Channel) -> None:
        """What was `current` before `enter()` is listened under as the former identity, or no more if that is none."""
        assert self.current is not None
        if previous.identity == self.current.identity:
            previous.link.detach(previous)
        else:
            if self.former is not None:
                self.former.link.detach(self.former)
            previous.former = True
            self.former = previous
        if self.former is not None:
            # Both may be on one LAN, and what goes out on one link come in on the other.
            self.former.own_elsewhere = self.current.source
            self.current.own_elsewhere = self.former.source

    @property
    def former_is_taken(self) -> bool:
        """The VRID of the former identity is another virtual router's of this host by now."""
        return self.former is not None and self.former.link.is_taken(self.former)

    def under(self, identity: Identity) -> Channel | None:
        """The channel to speak through as `identity`; None where it is neither of the two."""
        current, former = self.current, self.former
        if current is not None and current.identity == identity:
            return current
        return former if former is not None and former.identity == identity else None

    def follow(self, state: State) -> bool:
        """Stop listening under a former identity that the election in `state` has forgotten; whether it just has."""
        if self.former is None or self.current is None:
            return False
        kept = getattr(state, "former", None)
        if kept is not None and kept.identity == self.former.identity:
            return False
        self.former.link.detach(self.former)
        self.former = self.current.own_elsewhere = None
        return True

    def close(self) -> None:
        """Stop listening."""
        for channel in (self.current, self.former):
            if channel is not None:
                channel.link.detach(channel)
        self.current = self.former = None
