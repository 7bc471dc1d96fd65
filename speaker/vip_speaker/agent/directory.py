"""The directory of documents for the router: one JSON file per VIP, replaced atomically.

The router can write there too, so nothing in it is trusted: opened relative to the directory, never through a
link, never blocking, bounded in size and number.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from vip_speaker.agent.desired import is_deleted
from vip_speaker.replace import replace_file

SUFFIX = ".json"
MODE = 0o640
"""For the pod's group, which the router is in; it may hold a password."""
MAX_FILE_BYTES = 1024 * 1024
MAX_FILES = 1024
"""As many as the router reads."""


class DesiredDirectory:
    """Nothing is kept open between calls. Every method raises OSError if the directory cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_all(self, wanted: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        """Every document that can be read, by the VIP's name; those of the VIPs that are `wanted` however many files
        others have put beside them.
        """
        documents = {}
        with self._opened() as directory:
            for name in dict.fromkeys([*self._names(directory), *(one + SUFFIX for one in wanted)]):
                document = _load(directory, name)
                if document is not None:
                    documents[name.removesuffix(SUFFIX)] = document
        return documents

    def holding(self) -> bool:
        """Whether the router has documents of VIPs that are not deleted."""
        try:
            return not all(is_deleted(document) for document in self.read_all().values())
        except OSError:
            return False

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Replace the document of a VIP."""
        text = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        with self._opened() as directory:
            replace_file(directory, name + SUFFIX, text, temporary=f".{name}.new", mode=MODE)

    def remove(self, name: str) -> None:
        """Remove the document of a VIP; it is no error if there is none."""
        with self._opened() as directory, contextlib.suppress(FileNotFoundError):
            os.unlink(name + SUFFIX, dir_fd=directory)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield directory
        finally:
            os.close(directory)

    @staticmethod
    def _names(directory: int) -> list[str]:
        with os.scandir(directory) as entries:
            names = [e.name for e, _ in zip(entries, range(4 * MAX_FILES), strict=False)]
        return sorted(n for n in names if n.endswith(SUFFIX) and not n.startswith("."))[:MAX_FILES]


def _load(directory: int, name: str) -> dict[str, Any] | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with open(fd, "rb") as file:  # noqa: PTH123 a descriptor
        try:
            document = json.loads(file.read(MAX_FILE_BYTES + 1))
        except (ValueError, RecursionError, OSError):
            return None
    return document if isinstance(document, dict) else None
