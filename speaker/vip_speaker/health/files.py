"""Files that are tracked: one inotify watch per directory, and a look at every file now and then.

A file is opened relative to its directory, without following a link in its place and without blocking, and at most
`MAXIMUM_BYTES` of it are read: a FIFO, a device or a file of a gigabyte costs no more than any other. A look goes on
beside the loop: where a file system hangs, its files do not answer, and nothing else waits.
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

from vip_speaker.health.aside import Doer
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
PATIENCE_NS = 2_000_000_000
"""A look that is not back by then has found a file system that hangs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watched:
    """A file under watch. `look`, beside the loop, says what is at `at`, and `told` hears it; documents name `path`."""

    at: Path
    path: Path
    look: Callable[[Path], Fact]
    told: Callable[[Fact], None]


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
        return self.root is not None and not _real(located.parent).is_relative_to(_real(self.root))


class Files:
    """Tells what files say, soon and whenever something in their directory changed."""

    def __init__(self, loop: Loop, aside: Doer, host: HostFiles | None = None) -> None:
        self._loop = loop
        self._aside = aside
        self.host = host or HostFiles()
        self._directories: dict[Path, _Directory] = {}

    def watch(self, file: Watched) -> None:
        """Look at it soon, after every change in its directory, and every second."""
        directory = self._directories.get(file.at.parent)
        if directory is None:
            directory = _Directory(file.at.parent, self._loop, self._aside, ended=self._directories.pop)
            self._directories[file.at.parent] = directory
        directory.open()
        directory.files.append(file)
        directory.look()

    def unwatch(self, at: Path, told: Callable[[Fact], None]) -> None:
        """Undo one `watch`."""
        directory = self._directories[at.parent]
        directory.files.remove(next(one for one in directory.files if (one.at, one.told) == (at, told)))
        if not directory.files:
            directory.close()

    def look(self, directory: Path) -> None:
        """Look at what is watched in `directory` now."""
        self._directories[directory].look()


class _Directory:
    """What is watched in one directory. Of one directory never two looks are under way: one that hangs when the last
    file goes is waited for, and serves those that come meanwhile. `ended` is called with the path when all is over.
    """

    def __init__(self, path: Path, loop: Loop, aside: Doer, *, ended: Callable[[Path], object]) -> None:
        self.files: list[Watched] = []
        self._path = path
        self._ended = ended
        self._loop = loop
        self._aside = aside
        self._watch: DirectoryWatch | None = None
        self._looking = False
        self._again = False
        self._open = False
        self._patient = False  # `_late` is to come
        # no descriptor or instance left: every second has to do
        with contextlib.suppress(OSError):
            self._watch = DirectoryWatch(path, attach=False)
        self._look = Deadline(lambda _now_ns: self.look())
        self._late = Deadline(self._give_up)

    def open(self) -> None:
        """Hear of events, if that is not so already."""
        if not self._open and self._watch is not None:
            self._loop.add_reader(self._watch, self._on_event)
        self._open = True

    def close(self) -> None:
        """Nothing is watched any more."""
        self._open = self._patient = False
        for deadline in (self._look, self._late):
            self._loop.others.set(deadline, None)
        if self._watch is not None:
            self._loop.remove_reader(self._watch)
        if not self._looking:
            self._end()

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._ended(self._path)

    def look(self) -> None:
        """Look at everything; once more where that is under way already."""
        self._again = self._looking
        if not self._patient:  # also while a look hangs: a file that came since is to be told
            self._patient = True
            self._loop.others.set(self._late, self._loop.now_ns() + PATIENCE_NS)
        if self._looking:
            return
        self._looking = True
        self._loop.others.set(self._look, None)
        files, watch = tuple(self.files), self._watch

        def work() -> Callable[[], None]:
            if watch is not None:
                watch.attach()  # before the look, so that nothing is missed; it may be another directory by now
            facts = [(file, file.look(file.at)) for file in files]
            return lambda: self._looked(facts)

        def failed(reason: str) -> None:
            self._looked([(file, bad(f"{file.path} cannot be looked at: {reason}")) for file in files])

        self._aside.do(work, failed)

    def _looked(self, facts: list[tuple[Watched, Fact]]) -> None:
        self._looking = self._patient = False
        self._loop.others.set(self._late, None)
        if not self._open:
            self._end()
            return
        attached = self._watch is None or self._watch.attached
        self._loop.others.set(self._look, self._loop.now_ns() + (_LOOK_NS if attached else _ATTACH_NS))
        for file, fact in facts:
            if file in self.files:
                file.told(fact)
        if self._again and self._open:
            self.look()

    def _give_up(self, _now_ns: int) -> None:
        """It may come back yet, and then counts."""
        self._patient = False
        for file in tuple(self.files):
            file.told(bad(f"{file.path} does not answer: its file system hangs"))

    def _on_event(self) -> None:
        assert self._watch is not None
        if self._watch.drain():
            self.look()


def _real(path: Path) -> Path:
    """Without links, as far as they lead anywhere. `Path.resolve` raises where they go in a circle."""
    return Path(os.path.realpath(path))


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
            return Fact(verdict=Verdict.GOOD, reason=f"{path} does not exist", number=0, passing=True)
        why = "is a symbolic link" if located.is_symlink() else f"cannot be read: {error.strerror}"
        return bad(f"{path} {why}")
    if content is None:
        return bad(f"{path} is not a regular file")
    if not content.strip():
        return Fact(verdict=Verdict.GOOD, reason=f"{path} is empty", number=0, passing=True)
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
