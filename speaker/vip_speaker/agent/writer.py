"""Keeps the router's documents as the store says. The body of a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vip_speaker.agent.api import ApiError
from vip_speaker.agent.desired import desired, is_assigned, password_of, secret_reference
from vip_speaker.agent.directory import DesiredDirectory
from vip_speaker.agent.store import Store

log = logging.getLogger(__name__)

IDLE_S = 10.0
"""Looks again without a cause: a file that someone else changed or removed is put right."""
SECRET_REFRESH_S = 30.0
"""A changed password is seen after this. Watching Secrets would need the right to list them."""
SECRET_RETRY_S = 5.0


class Secrets(Protocol):
    """What of the API is needed here."""

    def secret_value(self, name: str, key: str) -> str | None:
        """A key of a Secret, None if it does not exist; ApiError."""
        ...


class Writer:
    """Compares level by level: what the directory holds with what it should hold."""

    def __init__(
        self,
        store: Store,
        directory: DesiredDirectory,
        secrets: Secrets,
        *,
        node: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._directory, self._secrets, self._node, self._clock = store, directory, secrets, node, clock
        self._passwords: dict[tuple[str, str], tuple[str | None, float]] = {}
        self._wake = threading.Event()
        self._stopped = False
        self._trouble = ""
        self.beat_at = clock()

    def poke(self) -> None:
        """The store changed. From any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Write nothing from here on."""
        self._stopped = True
        self._wake.set()

    def holding(self) -> bool:
        """Whether the router has documents."""
        try:
            return bool(self._directory.read_all())
        except OSError:
            return False

    def run(self) -> None:
        """Write until stopped."""
        while not self._stopped:
            self._wake.wait(IDLE_S)
            self._wake.clear()
            self.beat_at = self._clock()
            if self._stopped or not self._store.listed.is_set():
                continue  # before the first list nobody knows better than the files
            trouble = self.synchronise()
            if trouble != self._trouble and trouble:
                log.error("documents for the router cannot be written: %s", trouble)
            self._trouble = trouble

    def synchronise(self) -> str:
        """Write what differs, remove what is not to be there. What one file meets is returned and stops no other."""
        bodies, troubles = self._store.all(), []
        try:
            present = self._directory.read_all(bodies.keys())
        except OSError as error:
            return str(error)
        wanted = {secret_reference(body) for body in bodies.values()}
        self._passwords = {reference: known for reference, known in self._passwords.items() if reference in wanted}
        for name in sorted(present.keys() | bodies.keys()):
            try:
                self._settle(name, bodies.get(name), present.get(name))
            except OSError as error:
                troubles.append(str(error))
        return "; ".join(troubles[:3])

    def _settle(self, name: str, body: Mapping[str, Any] | None, former: Mapping[str, Any] | None) -> None:
        wanted = desired(body, self._node, former, self._password(body, former)) if body is not None else None
        if wanted is None and former is not None:
            self._directory.remove(name)
            log.info("%s: removed, %s", name, "deleted" if body is None else "not assigned to this node")
        elif wanted is not None and wanted != former:
            self._directory.write(name, wanted)
            log.info("%s: generation %s, %s", name, wanted["metadata"].get("generation"), _told(wanted))

    def _password(self, body: Mapping[str, Any], former: Mapping[str, Any] | None) -> str | None:
        """The password from the Secret; the one the router has while the API does not answer."""
        reference = secret_reference(body)
        if reference is None or not is_assigned(body, self._node):
            return None
        known = self._passwords.get(reference)
        if known is not None and self._clock() < known[1]:
            return known[0] if known[0] is not None else password_of(former)
        try:
            value = self._secrets.secret_value(*reference)
        except ApiError as error:
            log.warning("the Secret %s cannot be read, the password stays as it is: %s", reference[0], error)
            value, again_s = (known[0] if known else None), SECRET_RETRY_S
        else:
            again_s = SECRET_REFRESH_S if value is not None else SECRET_RETRY_S
        self._passwords[reference] = (value, self._clock() + again_s)
        return value if value is not None else password_of(former)


def _told(document: Mapping[str, Any]) -> str:
    assignment = document["assignment"]
    return f"priority {assignment['priority']}, VRID {assignment.get('virtualRouterID', 'not decided')}"
