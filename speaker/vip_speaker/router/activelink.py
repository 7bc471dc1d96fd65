"""One link that virtual routers use: its sockets, its announcements, and who an advertisement on it is for.

All VIPs of a link share one packet socket. What arrives is decoded once and handed to the channel it is admitted by;
what nobody admits is counted by reason.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from vip_speaker.announcements import Announcer
from vip_speaker.link import AnnouncementSocket, LinkError, LinkSocket
from vip_speaker.router.complaints import Complaints
from vip_speaker.router.heard import Neighbours
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp.types import MS, Advertisement, IPAddress
from vip_speaker.wire.admission import admit, remarks
from vip_speaker.wire.decoder import Decoder
from vip_speaker.wire.discard import Discard, DiscardReason
from vip_speaker.wire.received import Received

if TYPE_CHECKING:
    from vip_speaker.router.channel import Channel
    from vip_speaker.router.loop import Loop

# Packets read in one go: what a wake-up may cost before the next advertisement is looked at (DESIGN, Timing).
READ_BUDGET = 64
# A packet waits longer only when this process is stalled; then its stamp is worth less than the order of things.
_OLDEST_ARRIVAL_NS = 20 * MS


class Listener(Protocol):
    """What a link tells the instance that a channel belongs to."""

    def heard(self, advertisement: Advertisement, channel: Channel, arrived_ns: int) -> None:
        """An advertisement that came in at `arrived_ns` was admitted under `channel`."""
        ...

    def other_version_heard(self, advertisement: Advertisement) -> None:
        """Our VRID is used in the other VRRP version."""
        ...

    def announced(self, address: IPAddress) -> None:
        """Another station announced one of the addresses that are watched."""
        ...


class ActiveLink:
    """The sockets of one link and the instances that listen on it."""

    def __init__(self, loop: Loop, *, ifindex: int, name: str, decoder: Decoder) -> None:
        self.ifindex = ifindex
        self._closed = False
        self.name = name
        self.opened_at_ns = loop.now_ns()
        self.discarded: Counter[str] = Counter()
        self.remarks: Counter[str] = Counter()
        self.received = 0
        self.sent = 0
        self._complaints = Complaints(name)
        self.neighbours = Neighbours()
        self._loop = loop
        self._decoder = decoder
        self._channels: dict[tuple[int, int], list[tuple[Channel, Listener]]] = {}
        self._watchers: dict[Listener, frozenset[IPAddress]] = {}
        self._socket = LinkSocket(ifindex)
        self._announcements = AnnouncementSocket(ifindex)
        self._announcer = Announcer()
        self._announce_deadline = Deadline(self._announce_due)
        self._watch_deadline = Deadline(self._watch_now)
        loop.add_reader(self._socket, self.read)
        loop.add_reader(self._announcements, self._read_announcements)

    @property
    def in_use(self) -> bool:
        """Some virtual router listens here."""
        return bool(self._channels)

    def close(self) -> None:
        """Give the sockets back."""
        self._loop.others.set(self._announce_deadline, None)
        self._loop.others.set(self._watch_deadline, None)
        self._closed = True
        for source in (self._socket, self._announcements):
            self._loop.remove_reader(source)
            source.close()

    # --- advertisements

    def send(self, frame: bytes) -> None:
        """Put one frame on the link; LinkError when it does not take it."""
        self._socket.send(frame)
        self.sent += 1

    def send_quietly(self, frame: bytes) -> None:
        """Put one frame on the link that may as well be lost."""
        with contextlib.suppress(LinkError):
            self._socket.send(frame)

    def attach(self, channel: Channel, listener: Listener) -> None:
        """From here on `listener` gets what `channel` admits. LinkError where the link lacks the IP version."""
        self._socket.join(channel.family)
        self._channels.setdefault(channel.key, []).append((channel, listener))

    def detach(self, channel: Channel) -> None:
        """Nobody listens under `channel` any more."""
        remaining = [entry for entry in self._channels.get(channel.key, ()) if entry[0] is not channel]
        if remaining:
            self._channels[channel.key] = remaining
        else:
            self._channels.pop(channel.key, None)

    def read(self) -> None:
        """Read what waits, at most the budget."""
        try:
            packets = self._socket.receive(READ_BUDGET)
        except LinkError:
            return  # the link is down or gone: the kernel's event says so too
        to_monotonic_ns = time.monotonic_ns() - time.time_ns()
        for packet in packets:
            misses = self._decoder.misses
            self._dispatch(packet, self._arrival_ns(packet, to_monotonic_ns))
            if self._decoder.misses != misses:
                # Taking apart what was never seen before costs 0.3 ms: a flood of it must not hold up what is due.
                self._loop.breathe()

    def _arrival_ns(self, packet: Received, to_monotonic_ns: int) -> int:
        """When the packet came in, on our clock: timers count from there, not from when we were given the processor.

        Within limits: the kernel's stamp is of the wall clock, which somebody may just have set.
        """
        now_ns = self._loop.now_ns()
        if not packet.arrived_ns:
            return now_ns
        return min(now_ns, max(packet.arrived_ns + to_monotonic_ns, now_ns - _OLDEST_ARRIVAL_NS))

    def _dispatch(self, packet: Received, arrived_ns: int) -> None:
        decoded = self._decoder.decode(packet)
        if isinstance(decoded, Discard):
            self._discard(decoded)
            return
        self.received += 1
        self.neighbours.note(decoded, self._loop.now_ns())
        channels = self._channels.get((decoded.source.version, decoded.vrid))
        if not channels:
            self.discarded[DiscardReason.UNKNOWN_VRID] += 1
            return
        refusal: Discard | None = None
        for channel, listener in channels:
            verdict = admit(decoded, channel.expectation)
            if verdict is None:
                for remark in remarks(decoded, channel.expectation):
                    self.remarks[remark] += 1
                listener.heard(decoded, channel, arrived_ns)
                return
            refusal = refusal or verdict
        assert refusal is not None
        self._discard(refusal)
        if refusal.reason is DiscardReason.VERSION:
            channels[0][1].other_version_heard(decoded)

    def _discard(self, discard: Discard) -> None:
        self.discarded[discard.reason] += 1
        self._complaints.add(
            f"advertisement discarded: {discard.reason}",
            f"from {discard.source or 'an unknown source'}{': ' + discard.detail if discard.detail else ''}",
            self._loop.now_ns(),
        )

    # --- announcements

    def watch(self, listener: Listener, addresses: frozenset[IPAddress]) -> None:
        """Tell `listener` when another station announces one of `addresses`; an empty set ends that."""
        if self._watchers.get(listener, frozenset()) == addresses:
            return
        if addresses:
            self._watchers[listener] = addresses
        else:
            self._watchers.pop(listener, None)
        if not self._closed:
            self._loop.others.set(self._watch_deadline, self._loop.now_ns())

    def _watch_now(self, _now_ns: int) -> None:
        """One kernel filter for all that changed in a turn."""
        with contextlib.suppress(LinkError):
            self._announcements.watch(frozenset().union(*self._watchers.values()))

    def announce(
        self, name: str, frames: list[bytes], *, repeat: int, delay_ns: int, refresh_ns: int, takeover: bool
    ) -> None:
        """Start the announcements of `name` from the beginning; the first ones go out now."""
        now_ns = self._loop.now_ns()
        self._announcer.start(
            name,
            frames,
            repeat=repeat,
            delay_ns=delay_ns,
            refresh_ns=refresh_ns,
            takeover=takeover,
            now_ns=now_ns,
        )
        self._announce_due(now_ns)

    def stop_announcing(self, name: str) -> None:
        """No announcement of `name` from here on."""
        self._announcer.stop(name)
        self._loop.others.set(self._announce_deadline, self._announcer.deadline())

    def _announce_due(self, now_ns: int) -> None:
        for frame in self._announcer.due(now_ns):
            try:
                self._socket.send(frame)
            except LinkError:
                break
        self._loop.others.set(self._announce_deadline, self._announcer.deadline())

    def _read_announcements(self) -> None:
        try:
            seen = self._announcements.receive()
        except LinkError:
            return
        for announced in seen:
            for listener, addresses in tuple(self._watchers.items()):
                if announced.address in addresses:
                    listener.announced(announced.address)
