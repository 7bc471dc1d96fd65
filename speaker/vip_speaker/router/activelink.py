"""One link that virtual routers use: its sockets, its announcements, and who an advertisement on it is for.

All VIPs of a link share one packet socket. What arrives is decoded once and handed to the channel it is admitted by;
what nobody admits is counted by reason.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import Protocol

from vip_speaker.announcements import Announcer
from vip_speaker.link import AnnouncementSocket, LinkError, LinkSocket
from vip_speaker.router.channel import Channel
from vip_speaker.router.complaints import Complaints
from vip_speaker.router.heard import Neighbours
from vip_speaker.router.loop import Loop
from vip_speaker.router.timers import Deadline
from vip_speaker.vrrp.types import MS, RELEASE_PRIORITY, Advertisement, IPAddress
from vip_speaker.wire.admission import remarks
from vip_speaker.wire.decoder import Decoder
from vip_speaker.wire.discard import Discard, DiscardReason
from vip_speaker.wire.neighbour import Announced
from vip_speaker.wire.received import Received

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

    def address_served(self, advertisement: Advertisement) -> None:
        """Nobody here may accept the advertisement, and it names our first address."""
        ...

    def former_taken(self) -> None:
        """The VRID of the former identity is used for other addresses than ours."""
        ...

    def announced(self, announced: Announced) -> None:
        """Another station claims one of the addresses that are watched."""
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
        self._first: dict[IPAddress, tuple[Channel, Listener]] = {}
        self._watchers: dict[Listener, frozenset[IPAddress]] = {}
        self._watched: dict[IPAddress, dict[Listener, None]] = {}
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
        entries = self._channels.setdefault(channel.key, [])
        entries.append((channel, listener))
        self._first[channel.first_address] = channel, listener
        for former, other in tuple(entries):
            if former.former and self.is_taken(former):
                other.former_taken()

    def is_taken(self, channel: Channel) -> bool:
        """Whether another virtual router of this host has the VRID of `channel`, a former one."""
        entries = self._channels.get(channel.key, ())
        own = [listener for other, listener in entries if other is channel]
        return any(not other.former and listener not in own for other, listener in entries)

    def detach(self, channel: Channel) -> None:
        """Nobody listens under `channel` any more."""
        remaining = [entry for entry in self._channels.get(channel.key, ()) if entry[0] is not channel]
        if self._first.get(channel.first_address, (None,))[0] is channel:
            del self._first[channel.first_address]
        if remaining:
            self._channels[channel.key] = remaining
        else:
            self._channels.pop(channel.key, None)

    def read(self) -> None:
        """Read what waits, at most the budget."""
        if self._closed:
            return  # the link is gone, and somebody who was leaving on it still looks
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
        refusal: Discard | None = None
        for channel, listener in tuple(channels or ()):
            verdict = channel.admit(decoded)
            if verdict is not None:
                refusal = refusal or verdict
            elif channel.is_ours(decoded):
                for remark in remarks(decoded, channel.expectation):
                    self.remarks[remark] += 1
                listener.heard(decoded, channel, arrived_ns)
                return
            else:
                listener.former_taken()
        if channels and refusal is not None and refusal.reason is DiscardReason.VERSION:
            self._discard(refusal)
            channels[0][1].other_version_heard(decoded)
            return
        if refusal is None:
            self.discarded[DiscardReason.UNKNOWN_VRID] += 1
        else:
            self._discard(refusal)
        self._tell_whose_address(decoded)

    def _tell_whose_address(self, advertisement: Advertisement) -> None:
        """Somebody serves, only not as the virtual router that we would be."""
        if advertisement.priority == RELEASE_PRIORITY:
            return
        for address in advertisement.addresses:
            if address in self._first:
                channel, listener = self._first[address]
                if not channel.former and advertisement.source not in channel.expectation.own_addresses:
                    listener.address_served(advertisement)
                return

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
        former = self._watchers.pop(listener, frozenset())
        if addresses:
            self._watchers[listener] = addresses
        if former == addresses:
            return
        for address in former - addresses:
            del self._watched[address][listener]
            if not self._watched[address]:
                del self._watched[address]
        for address in addresses - former:
            self._watched.setdefault(address, {})[listener] = None
        if not self._closed:
            self._loop.others.set(self._watch_deadline, self._loop.now_ns())

    def _watch_now(self, _now_ns: int) -> None:
        """One kernel filter for all that changed in a turn."""
        with contextlib.suppress(LinkError):
            self._announcements.watch(self._watched)

    def announce(
        self,
        name: str,
        frames: list[bytes],
        *,
        repeat: int,
        delay_ns: int,
        refresh_ns: int,
        takeover: bool,
        wait_ns: int = 0,
    ) -> None:
        """Start the announcements of `name` from the beginning; the first ones go out now, or after `wait_ns`."""
        now_ns = self._loop.now_ns()
        self._announcer.start(
            name,
            frames,
            repeat=repeat,
            delay_ns=delay_ns,
            refresh_ns=refresh_ns,
            takeover=takeover,
            wait_ns=wait_ns,
            now_ns=now_ns,
        )
        self._announce_due(now_ns)

    def stop_announcing(self, *names: str) -> None:
        """No announcement of `names` from here on."""
        for name in names:
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
            for listener in tuple(self._watched.get(announced.address, ())):
                listener.announced(announced)
