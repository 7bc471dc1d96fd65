"""Which processes run: a pidfd per match tells of deaths at once, a walk through /proc four times a second of births.

The walk goes in slices of bounded length, so that a node with thousands of processes delays no advertisement. (The
kernel's proc connector would tell of births too, but answers only in the initial network namespace.)
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vip_speaker.router.loop import Loop
from vip_speaker.router.timers import Deadline

SCAN_NS = 250_000_000
"""From the start of one walk to the start of the next."""
_SLICE_NS = 500_000
"""A slice ends after this long, whatever is left."""
_PAUSE_NS = 2_000_000
"""Between slices, for everything else."""
_OLD_PER_WALK = 32
"""How many of those seen before are looked at again: a process may become another program without a new number."""
_YOUNG_WALKS = 8
"""For how many walks a new process is looked at every time: between fork and exec it bears its parent's name."""
MAXIMUM_WATCHED = 256
"""Descriptors per pattern; of what matches beyond that a death is seen by the next walk."""
_MAXIMUM_COMMAND_BYTES = 4096 + 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """By the program's `name`, or by the whole `command_line`."""

    name: str | None = None
    command_line: str | None = None

    def matches(self, comm: str, arguments: list[str]) -> bool:
        """Whether this is such a process. The kernel keeps only 15 bytes of a `comm`, which a script runs under."""
        if self.command_line is not None:
            return " ".join(arguments) == self.command_line
        assert self.name is not None
        return comm == self.name or (bool(arguments) and arguments[0].rsplit("/", 1)[-1] == self.name)


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
    """Counts the processes that match patterns; walks only while somebody watches."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._watches: dict[Pattern, list[_Watch]] = {}
        self._age: dict[int, int] = {}  # process → walks since it was first seen
        self._walk: Iterator[int] | None = None
        self._seen: set[int] = set()
        self._old_left = 0
        self._cursor = 0
        self._began_ns = 0
        self._next = Deadline(self._continue)

    def watch(self, pattern: Pattern, callback: Callable[[int], None]) -> None:
        """Call back with the number of such processes, after the first walk and whenever it is another."""
        self._watches.setdefault(pattern, []).append(_Watch(callback=callback))
        self._age.clear()  # everything is new to this pattern
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
            self._end_walk()

    # --- the walk

    def _begin(self) -> None:
        self._end_walk()
        self._walk = _process_ids()
        self._seen = set()
        self._old_left = _OLD_PER_WALK
        self._began_ns = self._loop.now_ns()
        self._loop.others.set(self._next, self._began_ns)

    def _end_walk(self) -> None:
        self._walk = None

    def _continue(self, now_ns: int) -> None:
        if self._walk is None:
            self._begin()
            return
        until_ns = self._loop.now_ns() + _SLICE_NS
        for pid in self._walk:
            self._look_at(pid)
            if self._loop.now_ns() >= until_ns:
                self._loop.others.set(self._next, self._loop.now_ns() + _PAUSE_NS)
                return
        self._finish()
        self._loop.others.set(self._next, max(now_ns, self._began_ns + SCAN_NS))

    def _look_at(self, pid: int) -> None:
        self._seen.add(pid)
        age = self._age.get(pid, 0)
        self._age[pid] = age + 1
        if age > _YOUNG_WALKS and not self._is_match(pid):
            if self._old_left <= 0 or pid <= self._cursor:
                return
            self._old_left -= 1
            self._cursor = pid
        comm, arguments = _name_of(pid)
        for pattern, watches in self._watches.items():
            matches = pattern.matches(comm, arguments)
            for watch in watches:
                if matches and pid not in watch.matches:
                    self._found(watch, pid)
                elif not matches and pid in watch.matches:
                    self._forget(watch, pid)
                    self._tell(watch)

    def _is_match(self, pid: int) -> bool:
        return any(pid in watch.matches for watches in self._watches.values() for watch in watches)

    def _finish(self) -> None:
        self._walk = None
        if self._old_left > 0:
            self._cursor = 0  # all old ones have had their turn
        for pid in self._age.keys() - self._seen:
            del self._age[pid]
        for watches in tuple(self._watches.values()):
            for watch in tuple(watches):
                for pid in watch.matches.keys() - self._seen:
                    self._forget(watch, pid)
                    self._tell(watch)
                if not watch.walked:
                    watch.walked = True
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
        self._age.pop(pid, None)
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


def _name_of(pid: int) -> tuple[str, list[str]]:
    """The name and the arguments of a process; nothing of one that is gone."""
    try:
        comm = _read(f"/proc/{pid}/comm", 64).rstrip("\n")
        command = _read(f"/proc/{pid}/cmdline", _MAXIMUM_COMMAND_BYTES)
    except OSError:
        return "", []
    return comm, command.rstrip("\0").split("\0") if command else []


def _read(path: str, size: int) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size).decode(errors="surrogateescape")
    finally:
        os.close(fd)
