"""VirtualIP documents from a file or a directory, and what stays in force when one of them is bad.

The directory is watched, never a file: editors replace files, a ConfigMap swaps a symlink. Events only say "look
again"; what counts is the comparison with what was read before. A file that cannot be understood keeps its last good
documents. Whoever writes the directory is not trusted: entries are opened without waiting, must be regular files that
lie inside it, and are bounded in size and number.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from vip_api.model import VirtualIP
from vip_api.parse import document_name, load_documents

from vip_speaker.router.bulkhead import report_bug

# A VirtualIP with 64 addresses and 64 checks is below 32 KiB; several may share a file.
_MAX_FILE_BYTES = 1024 * 1024
# More VIPs than a link has VRIDs in both families, and several documents fit one file.
_MAX_FILES = 1024
# Entries looked at in one go: whoever fills the directory must not keep the loop busy (100,000 take over 50 ms).
_MAX_ENTRIES = 4096
_SUFFIXES = (".yaml", ".yml", ".json")
# An editor that saves by renaming lets a file be absent for a moment; gone is what was absent for this long.
_GONE_AFTER_NS = 150_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One VIP by name: the document in force (None: there was never a good one) and what is wrong with the newest."""

    name: str
    vip: VirtualIP | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that is to be in force now, by name, and problems that belong to no VIP."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What one file gave: `stamp` tells whether it was replaced or written since."""

    stamp: tuple[int, ...]
    manifests: tuple[Manifest, ...]
    problems: tuple[str, ...] = ()
    absent_since_ns: int | None = None


class Manifests:
    """The documents at `path`, a file or a directory. `between` runs between two files: reading many takes a while."""

    def __init__(self, path: Path, *, between: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self.is_directory = path.is_dir()
        self.directory = path if self.is_directory else path.parent
        self.unsettled = False
        self._between = between
        self._files: dict[str, _File] = {}

    def load(self, now_ns: int) -> Snapshot:
        """Look at every file and read those that changed. `unsettled` says that it should be called again soon."""
        names, problems = self._names()
        self.unsettled = False
        for name in names:
            self._read(name)
            self._between()
        for name in self._files.keys() - set(names):
            self._mark_absent(name, now_ns)
        return self._snapshot(problems)

    def _names(self) -> tuple[list[str], list[str]]:
        if not self.is_directory:
            return ([self.path.name] if os.path.lexists(self.path) else []), []
        try:
            with os.scandir(self.directory) as entries:
                seen = [entry.name for entry in islice(entries, _MAX_ENTRIES + 1)]
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except OSError as error:
            # Not to be read now does not mean empty: everything stays as it is.
            return list(self._files), [f"{self.directory}: {error.strerror}"]
        names = sorted(name for name in seen if name.endswith(_SUFFIXES) and not name.startswith("."))
        problems = []
        if len(seen) > _MAX_ENTRIES or len(names) > _MAX_FILES:
            problems.append(f"{self.directory}: too many files; at most {_MAX_FILES} are read")
            # What is in force stays, wherever it is among all the others.
            known = [name for name in sorted(self._files) if os.path.lexists(self.directory / name)]
            names = known + [name for name in names if name not in self._files][: _MAX_FILES - len(known)]
        return names, problems

    def _mark_absent(self, name: str, now_ns: int) -> None:
        file = self._files[name]
        if file.absent_since_ns is None:
            self._files[name] = replace(file, absent_since_ns=now_ns)
            self.unsettled = True
        elif now_ns - file.absent_since_ns >= _GONE_AFTER_NS:
            del self._files[name]
        else:
            self.unsettled = True

    def _read(self, name: str) -> None:
        known = self._files.get(name)
        try:
            stamp, text = _read_bounded(self.directory, name, known.stamp if known else None)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._files[name] = _keep(known, stamp=(), stem=Path(name).stem, problem=f"{name}: {reason}")
            return
        if text is None:
            assert known is not None
            if known.absent_since_ns is not None:
                self._files[name] = replace(known, absent_since_ns=None)
            return
        try:
            self._files[name] = _parsed(known, stamp=stamp, name=name, text=text)
        except Exception:
            problem = f"{name}: {report_bug(name)}"
            self._files[name] = _keep(known, stamp=stamp, stem=Path(name).stem, problem=problem)

    def _snapshot(self, problems: list[str]) -> Snapshot:
        manifests: dict[str, Manifest] = {}
        for file_name, file in sorted(self._files.items()):
            problems.extend(file.problems)
            for manifest in file.manifests:
                first = manifests.setdefault(manifest.name, manifest)
                if first is not manifest:
                    problems.append(f"{file_name}: {manifest.name} is defined in another file already")
                if first.vip is None and manifest.vip is not None:
                    manifests[manifest.name] = manifest
                    problems.extend(first.problems)
        return Snapshot(manifests=manifests, problems=tuple(problems))


def _parsed(known: _File | None, *, stamp: tuple[int, ...], name: str, text: str) -> _File:
    """What a file's text means, given what it meant before."""
    stem = Path(name).stem
    documents = load_documents(text, source=name, lone=True)
    before = {manifest.name: manifest.vip for manifest in known.manifests} if known else {}
    manifests: list[Manifest] = []
    for document in documents:
        problems = tuple(str(problem) for problem in document.problems)
        if document.vip is not None:
            manifests.append(Manifest(name=document.vip.name, vip=document.vip, problems=problems))
        elif document.name is not None:
            manifests.append(Manifest(name=document.name, vip=before.get(document.name), problems=problems))
        else:
            return _keep(known, stamp=stamp, stem=stem, problem=f"{name}:{document.line}: {'; '.join(problems)}")
    return _File(stamp=stamp, manifests=tuple(manifests))


def _keep(known: _File | None, *, stamp: tuple[int, ...], stem: str, problem: str) -> _File:
    """A file that says nothing any more: its last good documents stay. Without any, its name stands for its VIP."""
    if known is None or not known.manifests:
        if document_name({"metadata": {"name": stem}}) is None:
            return _File(stamp=stamp, manifests=(), problems=(problem,))
        manifests: tuple[Manifest, ...] = (Manifest(name=stem, vip=None, problems=(problem,)),)
    else:
        manifests = tuple(replace(manifest, problems=(problem,)) for manifest in known.manifests)
    return _File(stamp=stamp, manifests=manifests)


def _read_bounded(directory: Path, name: str, known: tuple[int, ...] | None) -> tuple[tuple[int, ...], str | None]:
    """The stamp and text of a file; None for the text when the stamp is the one already known.

    A symlink may only lead to a file inside the directory (as a ConfigMap's do). Non-blocking: a FIFO must not stop us.
    """
    path = f"{directory}/{name}"  # not a Path: this runs for every file at every look
    if known is not None and _stamp(os.stat(path)) == known:  # noqa: PTH116
        return known, None
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        real = Path(f"/proc/self/fd/{fd}").readlink()
        if not real.is_relative_to(directory.resolve()):
            raise ValueError("a link that leads out of the directory")
        if status.st_size > _MAX_FILE_BYTES:
            raise ValueError(f"larger than {_MAX_FILE_BYTES} bytes")
        stamp = _stamp(status)
        data = os.read(fd, _MAX_FILE_BYTES + 1)
    finally:
        os.close(fd)
    try:
        return stamp, data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text ({error.reason} at byte {error.start})") from error


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
