"""Files that are tracked: one inotify watch per directory, and a look at every file now and then.

A file is opened relative to its directory, without following a link in its place and without blocking, and at most
`MAXIMUM_BYTES` of it are read: a FIFO, a device or a file of a gigabyte costs no more than any other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vip_speaker.health.facts import Fact, Verdict, bad, good
from vip_speaker.router.kernelfd import DirectoryWatch
from vip_speaker.router.loop import Loop
from vip_speaker.router.timers import Deadline

MAXIMUM_BYTES = 64
"""A number and a line's end."""
_NUMBER = re.compile(rb"\s*([-+]?[0-9]{1,10})\s*")
# Inotify tells of everything but a writer who keeps the file open, and of a directory that is on another machine.
_LOOK_NS = 1_000_000_000
# A directory that is not there is looked for this often.
_ATTACH_NS = 250_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFiles:
    """Where the files are that documents name: at their path, or in a container below `root`, if mounted there."""

    root: Path | None = None
    directories: tuple[Path, ...] = ()

    def locate(self, path: Path) -> Path | None:
        """Where to look for `path`; None: nowhere."""
        if self.root is None:
            return path
        mounted = any(path.is_relative_to(directory) for directory in self.directories)
        return self.root / path.relative_to("/") if mounted else None

    def leads_out(self, located: Path) -> bool:
        """Whether a link on the way to that place leaves what is mounted: there it means another directory."""
        return self.root is not None and not located.parent.resolve().is_relative_to(self.root.resolve())


class Files:
    """Calls back whoever is interested in a directory when something in it changed."""

    def __init__(self, loop: Loop, host: HostFiles | None = None) -> None:
        self._loop = loop
        self.host = host or HostFiles()
        self._directories: dict[Path, _Directory] = {}

    def watch(self, directory: Path, callback: Callable[[], None]) -> None:
        """Call back after every change in `directory`, and every second."""
        watched = self._directories.get(directory)
        if watched is None:
            watched = self._directories[directory] = _Directory(directory, self._loop)
        watched.callbacks.append(callback)

    def unwatch(self, directory: Path, callback: Callable[[], None]) -> None:
        """Undo one `watch`."""
        watched = self._directories[directory]
        watched.callbacks.remove(callback)
        if not watched.callbacks:
            self._directories.pop(directory).close()


class _Directory:
    def __init__(self, path: Path, loop: Loop) -> None:
        self.callbacks: list[Callable[[], None]] = []
        self._loop = loop
        self._watch: DirectoryWatch | None = None
        # no descriptor or instance left: every second has to do
        with contextlib.suppress(OSError):
            self._watch = DirectoryWatch(path)
            loop.add_reader(self._watch, self._on_event)
        self._look = Deadline(self._look_now)
        self._schedule()

    def close(self) -> None:
        self._loop.others.set(self._look, None)
        if self._watch is not None:
            self._loop.remove_reader(self._watch)
            self._watch.close()

    def _schedule(self) -> None:
        attached = self._watch is None or self._watch.attached
        self._loop.others.set(self._look, self._loop.now_ns() + (_LOOK_NS if attached else _ATTACH_NS))

    def _on_event(self) -> None:
        assert self._watch is not None
        if self._watch.drain():
            self._tell()
        self._schedule()

    def _look_now(self, _now_ns: int) -> None:
        if self._watch is not None and not self._watch.attached:
            self._watch.attach()
        self._tell()
        self._schedule()

    def _tell(self) -> None:
        for callback in tuple(self.callbacks):
            callback()


def presence(located: Path, path: Path) -> Fact:
    """Whether something has that path, whatever it is. `path` is what it is called."""
    try:
        located.lstat()
    except OSError as error:
        return bad(f"{path} cannot be looked at: {error.strerror}" if _is_odd(error) else f"{path} does not exist")
    return good(f"{path} exists")


def number_in(located: Path, path: Path) -> Fact:
    """The number in a file; missing or empty is 0. BAD without a number: there is something, but it says nothing.

    `path` is what it is called.
    """
    try:
        content = _content(located)
    except OSError as error:
        if not _is_odd(error):
            return Fact(verdict=Verdict.GOOD, reason=f"{path} does not exist", number=0)
        why = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        return bad(f"{path} {why}")
    if content is None:
        return bad(f"{path} is not a regular file")
    if not content.strip():
        return Fact(verdict=Verdict.GOOD, reason=f"{path} is empty", number=0)
    match = _NUMBER.fullmatch(content)
    if match is None:
        return bad(f"{path} does not hold a number")
    number = int(match[1])
    return Fact(verdict=Verdict.BAD if number else Verdict.GOOD, reason=f"{path} holds {number}", number=number)


def _is_odd(error: OSError) -> bool:
    return error.errno not in (errno.ENOENT, errno.ENOTDIR)


def _content(path: Path) -> bytes | None:
    """What is in a regular file, one byte more than it may have; None for everything else that has the name."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    mode = path.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        return None  # opening a device may do things
    fd = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.read(fd, MAXIMUM_BYTES + 1)
    finally:
        os.close(fd)
