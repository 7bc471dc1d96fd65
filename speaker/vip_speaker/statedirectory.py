"""The state directory: what the router says about each VIP, read by `vip-speaker status` and the agent.

One JSON document per VIP (statefile.py), replaced atomically so that a reader sees the old or the new one, whole.
Writer and readers live in different containers and treat the directory as hostile: everything is opened relative to the
directory's descriptor, without following links and without blocking, and only regular files of bounded size are read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vip_speaker.replace import make_way, replace_file
from vip_speaker.statefile import VirtualIPState, parse_state

DEFAULT_STATE_DIRECTORY = Path("/run/kube-vrrp")
METRICS_FILE = "metrics.json"
LOCK_FILE = "router.lock"
SUFFIX = ".vip.json"

MAXIMUM_FILE_BYTES = 256 * 1024
"""A VIP with 64 addresses, 64 checks and a full table of heard routers stays below 64 KiB."""
MAXIMUM_FILES = 4096
"""Directory entries looked at: whoever may write there must not keep a reader busy for ever."""

_LOCK_PATIENCE_S = 0.1

Stamp = tuple[int, ...]
"""What differs once a file or directory was replaced or written."""

SETTLED_NS = 50_000_000
"""File times stand still for up to 10 ms: a stamp younger than this may be that of two versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A directory entry that is no state document, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a reader that looks again and again has seen: the documents by VIP, and what came of each file. A stamp is
    None where it was too young to tell a later version from this one.
    """

    states: Mapping[str, VirtualIPState]
    skipped: tuple[Skipped, ...]
    stamp: Stamp | None
    files: Mapping[str, tuple[Stamp | None, VirtualIPState | str]]

    def why_not(self, name: str) -> str | None:
        """Why the file of that VIP, which is there, is no document; None where it is one or there is none."""
        _, came = self.files.get(file_name(name), (None, None))
        return came if isinstance(came, str) else None


class NoStateDirectoryError(OSError):
    """The state directory does not exist or may not be read; the message is meant for a person."""


class AlreadyHeldError(OSError):
    """Another router writes to this state directory."""


class StateDirectory:
    """The directory `path`. It may be deleted and made again at any time: only the lock stays open between calls."""

    def __init__(self, path: Path | str = DEFAULT_STATE_DIRECTORY) -> None:
        self.path = Path(path)
        self._lock: int | None = None

    def create(self) -> None:
        """Make the directory where it is missing (mode 0755)."""
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)

    def hold(self) -> None:
        """Be the router of this directory until the process ends; AlreadyHeldError if another one is.

        The kernel lets go of the lock when the process dies, however it does, so a reader can tell documents of a
        router that runs from what a killed one left behind. A router's lock is a regular file of its own user. That
        always stays; whatever else has the name makes way.
        """
        with self._opened() as directory:
            if not _is_own_file(directory, LOCK_FILE):
                make_way(directory, LOCK_FILE)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            lock = os.open(LOCK_FILE, flags, 0o644, dir_fd=directory)
            os.fchmod(lock, 0o644)
        try:
            _lock_patiently(lock)
        except BlockingIOError as error:
            os.close(lock)
            raise AlreadyHeldError(error.errno, "another router uses this state directory", str(self.path)) from error
        self._lock = lock

    def router_runs(self) -> bool | None:
        """Whether a router holds the directory; None where that cannot be told (no lock file that can be opened)."""
        with self._opened() as directory:
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                lock = os.open(LOCK_FILE, flags, dir_fd=directory)
            except OSError:
                return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def write(self, state: VirtualIPState) -> None:
        """Replace the document of a VIP. OSError if the directory cannot be written."""
        self._replace(file_name(state.name), _fields(state))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Replace the counters, `metrics.json`."""
        self._replace(METRICS_FILE, dict(metrics))

    def remove(self, name: str) -> None:
        """Remove the document of a VIP; it is no error if there is none."""
        with self._opened() as directory, contextlib.suppress(FileNotFoundError):
            os.unlink(file_name(name), dir_fd=directory)

    def clear(self) -> None:
        """Remove every document and the metrics: what a router does as it starts and as it ends."""
        with self._opened() as directory:
            for name in _names(directory):
                if name.endswith((SUFFIX, SUFFIX + ".new")) or name in (METRICS_FILE, METRICS_FILE + ".new"):
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=directory)

    def read_all(self) -> list[VirtualIPState]:
        """Every readable document, sorted by name."""
        return self.scan()[0]

    def scan(self, wanted: Collection[str] = ()) -> tuple[list[VirtualIPState], list[Skipped]]:
        """Every readable document, sorted by name, and what was skipped. NoStateDirectoryError without a directory.

        The documents of the VIPs that are `wanted` are found however many files others have put beside them.
        """
        look = self.look(wanted=wanted)
        return sorted(look.states.values(), key=lambda state: state.name), list(look.skipped)

    def look(self, former: Look | None = None, *, wanted: Collection[str] = ()) -> Look:
        """What `scan` finds, reading only files that are not as they were in `former`; `former` itself, or at least its
        `states`, where nothing is new. NoStateDirectoryError without a directory.
        """
        with self._opened() as directory:
            stamp = _stamp(os.fstat(directory), time.time_ns())
            if former is not None and stamp is not None and stamp == former.stamp:
                return former
            known = former.files if former is not None else {}
            names = _names(directory)
            if len(names) >= MAXIMUM_FILES:
                names = sorted({*names, *_existing(directory, wanted)})
            files = {name: _look(directory, name, known.get(name)) for name in names if name.endswith(SUFFIX)}
        states = {state.name: state for _, state in files.values() if isinstance(state, VirtualIPState)}
        skipped = tuple(Skipped(name=name, reason=why) for name, (_, why) in files.items() if isinstance(why, str))
        unchanged = former is not None and states == former.states
        return Look(states=former.states if former and unchanged else states, skipped=skipped, stamp=stamp, files=files)

    def read_metrics(self) -> dict[str, Any] | None:
        """The counters; None if there are none that can be read."""
        with self._opened() as directory:
            metrics = _load(directory, METRICS_FILE)
        return metrics if isinstance(metrics, dict) else None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NoStateDirectoryError(error.errno, error.strerror, str(self.path)) from error
        try:
            yield directory
        finally:
            os.close(directory)

    def _replace(self, name: str, document: Mapping[str, Any]) -> None:
        """The agent is another user: readable by all."""
        text = json.dumps(document, separators=(",", ":"), default=_fields).encode()
        with self._opened() as directory:
            replace_file(directory, name, text, temporary=name + ".new", mode=0o644)


def _lock_patiently(lock: int) -> None:
    """BlockingIOError where another router has it. A reader that asks for one has it for microseconds."""
    until = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(_LOCK_PATIENCE_S / 20)


def _fields(value: Any) -> dict[str, Any]:
    """One level of `asdict`, which copies everything: 2.8 ms for a link with 200 routers."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def file_name(name: str) -> str:
    """The file of a VIP's document. ValueError for a name that is no Kubernetes object name."""
    if not name or len(name) > 240 or "/" in name or "\0" in name or name.startswith("."):
        raise ValueError(f"{name!r} cannot be the name of a VirtualIP")
    return name + SUFFIX


def _names(directory: int) -> list[str]:
    """The first MAXIMUM_FILES entries of the directory."""
    names: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) >= MAXIMUM_FILES:
                break
    return names


def _stamp(status: os.stat_result, now_ns: int) -> Stamp | None:
    if now_ns - status.st_ctime_ns < SETTLED_NS:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _look(
    directory: int, name: str, known: tuple[Stamp | None, VirtualIPState | str] | None
) -> tuple[Stamp | None, VirtualIPState | str]:
    """Stamp and state of one file, or why it has none; `known` where it is as it was then."""
    try:
        stamp = _stamp(os.stat(name, dir_fd=directory, follow_symlinks=False), time.time_ns())
    except OSError as error:
        return None, f"cannot be looked at: {error.strerror}"
    if known is not None and stamp is not None and stamp == known[0]:
        return known
    document = _load(directory, name)
    state = parse_state(document) if not isinstance(document, str) else document
    if isinstance(state, VirtualIPState) and file_name(state.name) != name:
        return stamp, f"is the document of {state.name}"
    return stamp, state


def _is_own_file(directory: int, name: str) -> bool:
    """Whether that is a regular file of the user that we are."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _existing(directory: int, wanted: Collection[str]) -> list[str]:
    """The files of these VIPs that are there."""
    found = []
    for name in map(file_name, wanted):
        with contextlib.suppress(OSError):
            os.stat(name, dir_fd=directory, follow_symlinks=False)
            found.append(name)
    return found


def _load(directory: int, name: str) -> Any:
    """The JSON object in a file, or, as text, why there is none. Never blocks and never follows a link."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        return "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be opened: {error.strerror}"
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return "is not a regular file"
        content = _read(fd)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    finally:
        os.close(fd)
    if len(content) > MAXIMUM_FILE_BYTES:
        return f"has more than {MAXIMUM_FILE_BYTES} bytes"
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return "is not JSON"
    return document if isinstance(document, dict) else "is not a JSON object"


def _read(fd: int) -> bytes:
    """The file's content, at most one byte more than a document may have."""
    parts: list[bytes] = []
    left = MAXIMUM_FILE_BYTES + 1
    while left > 0 and (part := os.read(fd, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
