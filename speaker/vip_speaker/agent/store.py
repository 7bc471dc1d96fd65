"""The VirtualIPs as the API server showed them last. Filled by the reflector, read by writer and reporter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]


class Store:
    """All methods may be called from any thread. `listed` is set once a list has been believed."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._objects: dict[str, Object] = {}
        self._deleted: set[str] = set()
        self._everything_deleted = False
        self.listed = threading.Event()

    def subscribe(self, poke: Callable[[], None]) -> None:
        """Have `poke` called after every change, from whatever thread made it."""
        self._subscribers.append(poke)

    def _on_change(self) -> None:
        for poke in self._subscribers:
            poke()

    def replace(self, bodies: Iterable[Object], *, everything_deleted: bool = False) -> None:
        """Take in a full list."""
        everything = {body["metadata"]["name"]: body for body in bodies}
        with self._lock:
            self._objects = {name: body for name, body in everything.items() if not _is_ending(body)}
            self._deleted = (self._deleted | everything.keys()) - self._objects.keys()
            self._everything_deleted = everything_deleted
        self.listed.set()
        self._on_change()

    def put(self, body: Object, *, instead_of: Object | None = None) -> None:
        """Take in one object unless a newer version of it is here. What was written gives what is newer than
        `instead_of`, whatever its number: a backup that is restored sets the numbers back. It brings nothing back that
        was deleted meanwhile: the watch may be quicker than the answer.
        """
        if _is_ending(body):
            self.remove(body)
            return
        name = body["metadata"]["name"]
        with self._lock:
            known = self._objects.get(name)
            if instead_of is not None and (known is None or _uid(known) != _uid(body)):
                return
            if known is not None and _uid(known) == _uid(body):
                is_older = _version(body) < _version(known) and known is not instead_of
                if is_older or _version(body) == _version(known):
                    return
            self._objects[name] = body
            self._deleted.discard(name)
        self._on_change()

    def remove(self, body: Object) -> None:
        """Forget an object, unless the one of that name is another by now."""
        with self._lock:
            name = body["metadata"]["name"]
            known = self._objects.get(name)
            if known is None or _uid(known) != _uid(body):
                return
            del self._objects[name]
            self._deleted.add(name)
        self._on_change()

    def clear(self) -> None:
        """Forget everything: all of it is deleted, also what was never seen here."""
        self.replace((), everything_deleted=True)

    def is_deleted(self, name: str) -> bool:
        """Whether that was said of it; what merely lacks in a list may be there again at once: a cluster to which
        everything is applied again is listed in the midst of that.
        """
        with self._lock:
            return name not in self._objects and (self._everything_deleted or name in self._deleted)

    def all(self) -> dict[str, Object]:
        """Every object by name."""
        with self._lock:
            return dict(self._objects)

    def is_empty(self) -> bool:
        """Whether no object is known."""
        with self._lock:
            return not self._objects


def _is_ending(body: Object) -> bool:
    """Deleted, and held by somebody's finalizer: there is no way back, so nobody is to serve it meanwhile."""
    return "deletionTimestamp" in body["metadata"]


def _uid(body: Object) -> object:
    return body["metadata"].get("uid")


def _version(body: Object) -> int:
    """Resource versions are ordered numbers (Kubernetes 1.35 says so, every version before did it)."""
    version = str(body["metadata"].get("resourceVersion", "0"))
    return int(version) if version.isdigit() else 0
