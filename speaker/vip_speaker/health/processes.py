"""Which processes run: a pidfd per match tells of deaths at once, four looks a second at what is new of births.

Once a second all of /proc is walked through, for what was missed. Everything goes in slices of bounded length, so that
a node with thousands of processes delays no advertisement. The arguments of a process are read beside the loop: the
kernel takes them from its memory, and waits as long as somebody holds that, for ever where a process hangs.

(The kernel's proc connector would tell of births too, but answers only in the initial network namespace.)
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from vip_speaker.health.aside import Doer
from vip_speaker.health.births import Births, is_process, last_number
from vip_speaker.router.loop import Loop
from vip_speaker.router.timers import Deadline

SCAN_NS = 250_000_000
"""From the start of one turn to the start of the next."""
_WALK_EVERY = 4
"""Turns from one walk through all of /proc to the next."""
_SLICE_NS = 500_000
"""A slice ends after this long, whatever is left."""
_PAUSE_NS = 2_000_000
"""Between slices, for everything else."""
_OLD_PER_TURN = 32
"""How many of those seen before are looked at again: a process may become another program without a new number. Once a
walk those are that count.
"""
_YOUNG_TURNS = 8
"""For how many turns a new process is looked at every time: between fork and exec it bears its parent's name."""
_CHUNK = 64
"""Entries of /proc between two looks at the clock."""
MAXIMUM_WATCHED = 256
"""Descriptors per pattern; of what matches beyond that a death is seen by the next walk."""
_MAXIMUM_COMMAND_BYTES = 4096 + 1024
_COMM_BYTES = 15
_PATIENT_WALKS = 2
"""Walks after which a first count is told, though somebody's arguments are still being read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """By the program's `name`, or by the whole `command_line`."""

    name: str | None = None
    command_line: str | None = None

    @property
    def needs_arguments(self) -> bool:
        """Whether the kernel's `comm` cannot tell by itself."""
        return self.name is None or len(os.fsencode(self.name)) > _COMM_BYTES

    def matches(self, comm: str, arguments: list[str]) -> bool:
        """Whether this is such a process. The kernel keeps only 15 bytes of a `comm`, which a script runs under."""
        if self.command_line is not None:
            return " ".join(arguments) == self.command_line
        assert self.name is not None
        if comm == self.name or (bool(arguments) and arguments[0].rsplit("/", 1)[-1] == self.name):
            return True
        name = os.fsencode(self.name)
        if len(name) <= _COMM_BYTES or os.fsencode(comm) != name[:_COMM_BYTES]:
            return False
        return any(argument.rsplit("/", 1)[-1] == self.name for argument in arguments)  # behind its interpreter


@dataclass(slots=True, kw_only=True)
class _Watch:
    callback: Callable[[int], None]
    matches: dict[int, _Pidfd | None] = field(default_factory=dict)
    walked: bool = False


@dataclass(frozen=True, slots=True)
class _Pidfd:
    fd: int

    def fileno(self) -> int:
        return self.fd

    @property
    def dead(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))


class Processes:
    """Counts the processes that match patterns; looks only while somebody watches."""

    def __init__(self, loop: Loop, aside: Doer) -> None:
        self._loop = loop
        self._aside = aside
        self._asked: set[int] = set()  # whose arguments are being read
        self._watches: dict[Pattern, list[_Watch]] = {}
        self._names: dict[int, str] = {}  # of every process that was seen
        self._young: dict[int, int] = {}  # process → turns left in which it is looked at every time
        self._old: Iterator[int] = iter(())
        self._births = Births(last_number)
        self._turn: Iterator[None] | None = None
        self._turns = self._walks = 0
        self._began_ns = 0
        self._next = Deadline(self._continue)

    def watch(self, pattern: Pattern, callback: Callable[[int], None]) -> None:
        """Call back with the number of such processes, after the first walk and whenever it is another."""
        self._watches.setdefault(pattern, []).append(_Watch(callback=callback))
        self._names.clear()  # everything is new to this pattern
        self._turns = self._walks = 0
        self._begin()

    def unwatch(self, pattern: Pattern, callback: Callable[[int], None]) -> None:
        """Undo one `watch`."""
        watches = self._watches[pattern]
        gone = next(one for one in watches if one.callback == callback)
        watches.remove(gone)
        for pid in tuple(gone.matches):
            self._forget(gone, pid)
        if not watches:
            del self._watches[pattern]
        if not self._watches:
            self._loop.others.set(self._next, None)
            self._turn = None

    # --- turns

    def _begin(self) -> None:
        self._turn = self._look_around()
        self._began_ns = self._loop.now_ns()
        self._loop.others.set(self._next, self._began_ns)

    def _continue(self, now_ns: int) -> None:
        if self._turn is None:
            self._begin()
            return
        until_ns = self._loop.now_ns() + _SLICE_NS
        for _ in self._turn:
            if self._loop.now_ns() >= until_ns:
                self._loop.others.set(self._next, self._loop.now_ns() + _PAUSE_NS)
                return
        self._turn = None
        self._turns += 1
        self._loop.others.set(self._next, max(now_ns, self._began_ns + SCAN_NS))

    def _look_around(self) -> Iterator[None]:
        """One turn; it may be left between any two steps."""
        for pid in self._births.numbers():
            if is_process(pid):
                self._meet(pid)
            yield
        for pid, turns in tuple(self._young.items()):
            self._young[pid] = turns - 1
            if turns <= 1:
                del self._young[pid]
                self._names.pop(pid, None)  # once more closely: its arguments come after its name
            self._look_at(pid)
            yield
        for pid in self._some_old():
            if pid not in self._young:
                self._look_at(pid)
                yield
        if self._turns % _WALK_EVERY == 0:
            for pid in self._matches():
                self._look_at(pid)
                yield
            yield from self._walk()

    def _matches(self) -> set[int]:
        return {pid for watches in self._watches.values() for watch in watches for pid in watch.matches}

    def _some_old(self) -> list[int]:
        """The next of those seen before, so that all have their turn."""
        some = list(islice(self._old, _OLD_PER_TURN))
        if len(some) < _OLD_PER_TURN:
            self._old = iter(tuple(self._names))
        return some

    def _walk(self) -> Iterator[None]:
        """Through all of /proc: meet whom we missed, forget who is gone."""
        there: set[int] = set()
        ids = _process_ids()
        while chunk := set(islice(ids, _CHUNK)):
            there |= chunk
            for pid in chunk - self._names.keys():
                self._meet(pid)
                yield
            yield
        for pid in self._names.keys() - there:
            if _comm_of(pid) is None:  # it may have been born meanwhile
                self._gone(pid)
            yield
        self._walks += 1
        self._tell_first()

    def _tell_first(self) -> None:
        """Tell those who have not been told yet how many there are, once that is known. Whoever hangs is not known."""
        if not self._walks or (self._asked and self._walks <= _PATIENT_WALKS):
            return
        for watches in tuple(self._watches.values()):
            for watch in tuple(watches):
                if not watch.walked:
                    watch.walked = True
                    self._tell(watch)

    def _meet(self, pid: int) -> None:
        self._young[pid] = _YOUNG_TURNS
        self._names.pop(pid, None)
        self._look_at(pid)

    def _look_at(self, pid: int) -> None:
        """Who that is now. A program that has the same name as before is the same, but for its arguments."""
        comm = _comm_of(pid)
        if comm is None:
            self._gone(pid)
            return
        if comm == self._names.get(pid) and not self._by_arguments:
            return
        self._names[pid] = comm
        if pid not in self._asked:
            self._asked.add(pid)
            self._aside.do(lambda: self._ask(pid), lambda _reason: self._identified(pid, []))

    def _ask(self, pid: int) -> Callable[[], None]:
        """In a thread."""
        arguments = _arguments_of(pid)
        return lambda: self._identified(pid, arguments)

    def _identified(self, pid: int, arguments: list[str]) -> None:
        self._asked.discard(pid)
        comm = self._names.get(pid)
        if comm is not None:
            for pattern, watches in self._watches.items():
                matches = pattern.matches(comm, arguments)
                for watch in watches:
                    if matches and pid not in watch.matches:
                        self._found(watch, pid)
                    elif not matches and pid in watch.matches:
                        self._forget(watch, pid)
                        self._tell(watch)
        self._tell_first()

    @property
    def _by_arguments(self) -> bool:
        return any(pattern.needs_arguments for pattern in self._watches)

    def _gone(self, pid: int) -> None:
        self._names.pop(pid, None)
        self._young.pop(pid, None)
        for watches in tuple(self._watches.values()):
            for watch in tuple(watches):
                if pid in watch.matches:
                    self._forget(watch, pid)
                    self._tell(watch)

    # --- matches

    def _found(self, watch: _Watch, pid: int) -> None:
        pidfd = None
        if len(watch.matches) < MAXIMUM_WATCHED:
            try:
                pidfd = _Pidfd(os.pidfd_open(pid))
            except ProcessLookupError:
                return
            except OSError:
                pidfd = None  # no descriptor left: the next walk has to do
        if pidfd is not None and pidfd.dead:  # a zombie keeps its name
            os.close(pidfd.fd)
            return
        watch.matches[pid] = pidfd
        if pidfd is not None:
            self._loop.add_reader(pidfd, lambda: self._died(watch, pid))
        self._tell(watch)

    def _died(self, watch: _Watch, pid: int) -> None:
        self._forget(watch, pid)
        self._tell(watch)

    def _forget(self, watch: _Watch, pid: int) -> None:
        pidfd = watch.matches.pop(pid, None)
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd.fd)

    def _tell(self, watch: _Watch) -> None:
        if watch.walked:
            watch.callback(len(watch.matches))


def _process_ids() -> Iterator[int]:
    """The numbers in /proc, read as they are asked for; none where /proc cannot be read."""
    with contextlib.suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)


def _comm_of(pid: int) -> str | None:
    """The name of a process; None of one that is gone."""
    try:
        return _read(f"/proc/{pid}/comm", 64).rstrip("\n")
    except OSError:
        return None


def _arguments_of(pid: int) -> list[str]:
    """The arguments of a process; none of one that is gone, and of the kernel's own."""
    try:
        command = _read(f"/proc/{pid}/cmdline", _MAXIMUM_COMMAND_BYTES)
    except OSError:
        return []
    return command.rstrip("\0").split("\0") if command else []


def _read(path: str, size: int) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size).decode(errors="surrogateescape")
    finally:
        os.close(fd)
