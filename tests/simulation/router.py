"""The real router on a virtual node, clock and LAN: everything above system calls is the product's.

What stands for the system: the clock (time passes while the router works, and now and then it is off the processor for
a while), asyncio's loop, the timer, packet sockets, netlink (node.py). Documents, state and record are real files.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from vip_speaker.kernel import Kernel, Record
from vip_speaker.kernel.renewal import Renewer
from vip_speaker.link import LinkError
from vip_speaker.router.cleanup import Cleanup
from vip_speaker.router.daemon import Daemon, Settings
from vip_speaker.router.loop import Loop
from vip_speaker.router.outlet import Outlet
from vip_speaker.statedirectory import StateDirectory
from vip_speaker.vrrp.types import MS, SECOND, IPAddress
from vip_speaker.will import Will
from vip_speaker.wire.neighbour import Announced
from vip_speaker.wire.received import Received

from tests.simulation.node import Node, Requests

_LOOK_NS = 1_000  # what a look at the clock costs, and whatever was done since the last one
_BUSY_TURNS = 2_000  # a loop that does so much at one instant does not come to rest


class VirtualTimer:
    """`kernelfd.DeadlineTimer`; it fires a little late."""

    def __init__(self, host: VirtualHost) -> None:
        self._host, self.closed = host, False
        self._armed_at_ns: int | None = None
        self.fires_at_ns: int | None = None

    def fileno(self) -> int:
        return self._host.number(self)

    @property
    def readable(self) -> bool:
        return self.fires_at_ns is not None and self.fires_at_ns <= self._host.now_ns

    def arm(self, at_ns: int | None) -> None:
        if at_ns is None or (self._armed_at_ns is not None and self._armed_at_ns <= at_ns):
            return
        self._armed_at_ns = at_ns
        self.fires_at_ns = max(at_ns, self._host.now_ns) + self._host.lateness_ns()

    def acknowledge(self) -> None:
        self._armed_at_ns = self.fires_at_ns = None

    def close(self) -> None:
        self.closed = True


class VirtualRenewer(Renewer):
    """The thread of renewals as something that happens a little later."""

    def __init__(self, host: VirtualHost, requests: Requests) -> None:
        super().__init__(requests)  # type: ignore[arg-type]
        self._thread = SimpleNamespace(join=lambda: None)  # type: ignore[assignment]
        self._host = host
        self.due_ns: int | None = None
        self.closed = False

    def submit(self, renewals: Any) -> None:
        super().submit(renewals)
        if self.due_ns is None:
            self.due_ns = self._host.now_ns + self._host.random.choice((0, 100_000, 50 * MS))

    def carry_out(self) -> None:
        self.due_ns = None
        while self._turns:
            self._done.extend(self._send(self._next()))
            self._sending = frozenset()

    @property
    def readable(self) -> bool:
        return bool(self._done)

    def close(self) -> None:
        self.closed = True
        super().close()


class VirtualSocket:
    """What all sockets of a link have in common. One that was open while its link went is of no use any more."""

    def __init__(self, host: VirtualHost, ifindex: int) -> None:
        self.host, self.ifindex, self.closed, self.waiting = host, ifindex, False, deque[Any]()
        if ifindex not in host.node.links:
            raise LinkError("open", OSError(19, "no such device"))
        host.sockets.append(self)

    def fileno(self) -> int:
        return self.host.number(self)

    @property
    def readable(self) -> bool:
        return bool(self.waiting)

    def close(self) -> None:
        self.closed = True

    def _check(self, action: str) -> None:
        if self.closed:
            raise LinkError(action, OSError(9, "bad file descriptor"))
        link = self.host.node.links.get(self.ifindex)
        if link is None:
            raise LinkError(action, OSError(6, "no such device or address"))
        if not link.up:
            raise LinkError(action, OSError(100, "network is down"))

    def _take(self, budget: int) -> Iterator[Any]:
        assert not self.closed
        for _ in range(min(budget, len(self.waiting))):
            one = self.waiting.popleft()
            if isinstance(one, LinkError):
                raise one
            yield one


class VirtualLinkSocket(VirtualSocket):
    """`link.LinkSocket`."""

    def send(self, frame: bytes) -> None:
        self._check("send")
        self.host.sent(self.ifindex, frame)

    def join(self, family: int) -> None:
        assert not self.closed
        if self.ifindex not in self.host.node.links:
            raise LinkError("join", OSError(19, "no such device"))

    def receive(self, budget: int = 64) -> list[Received]:
        return list(self._take(budget))


class VirtualAnnouncementSocket(VirtualSocket):
    """`link.AnnouncementSocket`."""

    watched: frozenset[IPAddress] = frozenset()

    def watch(self, addresses: Any) -> None:
        assert not self.closed
        self.watched = frozenset(addresses)

    def receive(self, budget: int = 8) -> list[Announced]:
        return [one for one in self._take(budget) if one.address in self.watched]


class VirtualUnicastSocket:
    """`link.UnicastSocket`."""

    def __init__(self, host: VirtualHost, family: int) -> None:
        self.host, self.family, self.closed = host, family, False
        host.sockets.append(self)

    def send(self, packet: bytes, *, source: IPAddress, destination: IPAddress, ifindex: int) -> None:
        assert not self.closed
        link = self.host.node.links.get(ifindex)
        if link is None or not link.up:
            raise LinkError("send", OSError(101, "network is unreachable"))

    def close(self) -> None:
        self.closed = True


class VirtualWatch:
    """`kernelfd.DirectoryWatch` of the documents. (Of real inotify instances a user has few, and others need them.)"""

    def __init__(self, host: VirtualHost) -> None:
        self._host, self.closed = host, False
        self.attached, self.replaced, self.readable = True, False, False

    def fileno(self) -> int:
        return self._host.number(self)

    def attach(self) -> bool:
        return True

    def drain(self) -> bool:
        seen, self.readable = self.readable, False
        self.replaced = seen
        return seen

    def close(self) -> None:
        self.closed = True


def _not_here(*_: object, **__: object) -> None:
    """A router would go on without that VIP; here a bug is to be found."""
    raise  # noqa: PLE0704


class VirtualHost:
    """One host, its router, and the time. Use it as a context: the system calls of this process are replaced in it."""

    def __init__(self, random: Random, directory: Path, *, address_lifetime_s: int | None) -> None:
        self.random = random
        self.now_ns = 1000 * SECOND
        self.late_ns = 200_000  # timers, at most
        self.off_processor = 0.0  # how likely a look at the clock finds that time has passed, and how much
        self.off_processor_ns = 2 * MS
        self.node = Node(random, lambda: self.now_ns)
        self.sockets: list[Any] = []
        self._documents = directory / "documents"
        self._documents.mkdir()
        self._directory, self._address_lifetime_s = directory, address_lifetime_s
        self.state_directory = directory / "state"
        self._numbers: dict[int, Any] = {}
        self._readers: dict[int, Callable[[], None]] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._patches = ExitStack()
        self.ended = False
        self.sent: Callable[[int, bytes], None] = lambda ifindex, frame: None

    def __enter__(self) -> VirtualHost:
        put = self._patches.enter_context
        put(mock.patch.object(time, "monotonic_ns", self._look_at_clock))
        put(mock.patch.object(time, "sleep", self._sleep))
        asyncio = SimpleNamespace(
            get_running_loop=lambda: SimpleNamespace(
                add_reader=self._readers.__setitem__,
                remove_reader=lambda fd: self._readers.pop(fd, None),
                call_soon=self._soon.append,
            )
        )
        put(mock.patch("vip_speaker.router.loop.asyncio", asyncio))
        put(mock.patch("vip_speaker.router.loop.DeadlineTimer", self._make_timer))
        put(mock.patch("vip_speaker.router.documents.DirectoryWatch", self._make_watch))
        put(mock.patch("vip_speaker.router.activelink.LinkSocket", lambda ifindex: VirtualLinkSocket(self, ifindex)))
        put(
            mock.patch(
                "vip_speaker.router.activelink.AnnouncementSocket",
                lambda ifindex: VirtualAnnouncementSocket(self, ifindex),
            )
        )
        put(mock.patch("vip_speaker.router.daemon.UnicastSocket", lambda family: VirtualUnicastSocket(self, family)))
        put(mock.patch("vip_speaker.kernel.silence.Requests", lambda protocol: Requests(self.node, silence=True)))
        put(mock.patch("vip_speaker.kernel.kernel.claim_namespace", lambda: None))
        put(mock.patch("vip_speaker.router.bulkhead.log.exception", _not_here))
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ended:
            self.end()
        self._patches.close()

    def start(self) -> None:
        """As `vip_speaker.router.__main__` does."""
        self.loop = Loop()
        self.renewer = VirtualRenewer(self, Requests(self.node))
        self.kernel = Kernel(self.node.events, Requests(self.node), self.renewer)  # type: ignore[arg-type]
        self.kernel._watch.read_all()
        state = StateDirectory(self.state_directory)
        state.create()
        state.hold()
        self._state = state
        self.outlet = Outlet(self.loop, self.kernel, state)
        self.outlet.start()
        self.record = Record(self._directory / "held", boot="this one")
        self.will = Will.create()
        self.cleanup = Cleanup(self.loop, self.kernel, record=self.record, will=self.will)
        settings = Settings(
            config=self._documents,
            state_dir=self.state_directory,
            node="here",
            address_lifetime_s=self._address_lifetime_s,
        )
        self.daemon = Daemon(settings, self.loop, self.kernel, self.cleanup, self.outlet)
        self.cleanup.start()
        self.daemon.start()
        self.loop.rearm()

    def end(self) -> None:
        """After `daemon.left`, as `vip_speaker.router.__main__` does."""
        self.ended = True
        self.cleanup.end()
        self.outlet.flush()
        self.daemon.close()
        self.will.close()
        if self._state._lock is not None:  # a process lets go of it when it ends
            os.close(self._state._lock)

    # --- documents

    def write(self, name: str, text: str) -> None:
        """Replace the file of the VIP `name`, as an agent does."""
        draft = self._documents / f".{name}.new"
        draft.write_text(text)
        draft.replace(self._documents / f"{name}.json")
        self._watch.readable = True

    def remove(self, name: str) -> None:
        """Remove that file."""
        (self._documents / f"{name}.json").unlink()
        self._watch.readable = True

    # --- time

    def run_for(self, length_ns: int) -> None:
        """Let the router do all that it has to do in this time, the last instant included."""
        end_ns = self.now_ns + length_ns
        while True:
            self.settle()
            at_ns = min((one for one in self._instants() if one is not None), default=end_ns + 1)
            if at_ns > end_ns:
                break
            self.now_ns = max(self.now_ns, at_ns)
        self.now_ns = max(self.now_ns, end_ns)
        self.settle()

    def settle(self) -> None:
        """Until there is nothing to do at this instant."""
        for _ in range(_BUSY_TURNS):
            if not self._turn():
                return
        raise AssertionError("the loop does not come to rest")

    def lateness_ns(self) -> int:
        return self.random.randint(0, self.late_ns)

    def number(self, source: Any) -> int:
        """A file descriptor that no real one is."""
        number = 1_000_000 + id(source)
        self._numbers[number] = source
        return number

    def _instants(self) -> Iterator[int | None]:
        yield self._timer.fires_at_ns
        yield self.renewer.due_ns
        yield self.node.next_expiry_ns()

    def _turn(self) -> bool:
        self.node.expire()
        if self.renewer.due_ns is not None and self.renewer.due_ns <= self.now_ns:
            self.renewer.carry_out()
        worked = bool(self._soon)
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        readers = list(self._readers)
        self.random.shuffle(readers)
        for fd in readers:
            if fd in self._readers and self._readable(fd):
                worked = True
                self._readers[fd]()
        return worked

    def _readable(self, fd: int) -> bool:
        if fd in self._numbers:
            return bool(self._numbers[fd].readable)
        if fd == self.kernel.fileno():
            return bool(self.node.events.waiting) or self.node.events.overflowed or self.renewer.readable
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))

    def _make_timer(self) -> VirtualTimer:
        self._timer = VirtualTimer(self)
        return self._timer

    def _make_watch(self, directory: Path) -> VirtualWatch:
        self._watch = VirtualWatch(self)
        return self._watch

    def _look_at_clock(self) -> int:
        self.now_ns += _LOOK_NS
        if self.off_processor and self.random.random() < self.off_processor:
            self.now_ns += self.random.randint(0, self.off_processor_ns)
        return self.now_ns

    def _sleep(self, length_s: float) -> None:
        self.now_ns += int(length_s * SECOND)

    # --- the LAN

    def deliver(self, received: Received) -> None:
        """An advertisement reaches the host."""
        self._hand_over(VirtualLinkSocket, received.ifindex, received)

    def announce(self, ifindex: int, announced: Announced) -> None:
        """Another station's announcement reaches the host."""
        self._hand_over(VirtualAnnouncementSocket, ifindex, announced)

    def link_went_down(self, ifindex: int) -> None:
        """Every socket on it says so once."""
        for one in self.sockets:
            if isinstance(one, VirtualSocket) and one.ifindex == ifindex and not one.closed:
                one.waiting.append(LinkError("receive", OSError(100, "network is down")))

    def _hand_over(self, kind: type[VirtualSocket], ifindex: int, what: Any) -> None:
        for one in self.sockets:
            if isinstance(one, kind) and one.ifindex == ifindex and not one.closed:
                one.waiting.append(what)
