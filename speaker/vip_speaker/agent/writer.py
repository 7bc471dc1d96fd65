"""Keeps the router's documents as the store says. The body of a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from vip_speaker.agent.answers import CONFIRM_AFTER_S
from vip_speaker.agent.api import ApiError, NotTextError
from vip_speaker.agent.desired import (
    deleted,
    desired,
    goes_on_as,
    is_accepted,
    is_assigned,
    is_deleted,
    is_whole,
    password_of,
    secret_reference,
    with_stale_facts,
)
from vip_speaker.agent.directory import DesiredDirectory
from vip_speaker.agent.passwords import refusal, trouble
from vip_speaker.agent.store import Store

log = logging.getLogger(__name__)

IDLE_S = 10.0
"""Looks again without a cause: a file that someone else changed or removed is put right."""
PACE_S = 0.02
"""After a look the next one waits so long for more of the same burst."""
SECRET_REFRESH_S = 30.0
"""A changed password is seen after this. Watching Secrets would need the right to list them."""
SECRET_RETRY_S = 5.0
DELETED_FOR_S = 2.0
"""The router reads a document within milliseconds; one that says "deleted" stays at least this long for it to see."""


class Secrets(Protocol):
    """What of the API is needed here."""

    def secret_value(self, name: str, key: str) -> str | None:
        """A key of a Secret, None if it does not exist; ApiError."""
        ...


class Writer:
    """Compares level by level: what the directory holds with what it should hold.

    While `stale` says that the API server does not answer, what the operator saw last stays, and is marked.
    """

    def __init__(
        self,
        store: Store,
        directory: DesiredDirectory,
        secrets: Secrets,
        *,
        node: str,
        stale: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._directory, self._secrets, self._node, self._clock = store, directory, secrets, node, clock
        self._stale = stale
        self._is_away = False  # in this look a Secret could not be asked for
        self._passwords: dict[tuple[str, str], tuple[str | None, float]] = {}
        self._unusable: dict[tuple[str, str], str] = {}
        self._password_problems: dict[str, str] = {}
        self._deleted_at: dict[str, float] = {}
        self._missing_since: dict[str, float] = {}
        self._present: dict[str, Mapping[str, Any]] = {}
        self._settled: dict[str, Mapping[str, Any]] = {}
        self._said: dict[str, str] = {}
        self._compared_at = self._looked_at = float("-inf")
        self._was_stale = False
        self._wake = threading.Event()
        self._stopped = False
        self._trouble = ""
        self.beat_at = clock()

    def password_problem(self, name: str) -> str:
        """Why the password that a VIP's document asks for is not the one in force, or nothing. From any thread."""
        return self._password_problems.get(name, "")

    def poke(self) -> None:
        """The store changed. From any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Write nothing from here on."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        """Write until stopped."""
        while not self._stopped:
            self._wake.wait(self._idle_s())
            self._wake.clear()
            self.beat_at = self._clock()
            if self._stopped:
                continue
            self._wait_for_more()
            trouble = self.synchronise(thoroughly=self._clock() - self._compared_at >= IDLE_S)
            self._looked_at = self._clock()
            if trouble != self._trouble and trouble:
                log.error("documents for the router cannot be written: %s", trouble)
            self._trouble = trouble

    def _idle_s(self) -> float:
        due_s = [since + CONFIRM_AFTER_S - self._clock() for since in self._missing_since.values()]
        return max(0.0, min([IDLE_S, *due_s]))

    def _wait_for_more(self) -> None:
        if (left := self._looked_at + PACE_S - self._clock()) > 0:
            time.sleep(left)
            self._wake.clear()

    def synchronise(self, *, thoroughly: bool = True) -> str:
        """Write what differs, remove what is not to be there. What one file meets is returned and stops no other.

        `thoroughly`: read every file; else only objects that changed are looked at, and the files are taken to be as
        they were left.
        """
        stale, troubles = self._stale(), list[str]()
        thoroughly = thoroughly or stale != self._was_stale
        if thoroughly:
            try:
                self._present = dict(self._directory.read_all(self._store.all().keys()))
            except OSError as error:
                return str(error)
            self._settled = {}
            self._compared_at, self._was_stale = self._clock(), stale
        if not self._store.listed.is_set():
            return self._mark_all() if stale else ""  # nobody knows better than the files
        bodies = self._store.all()
        self._said = {name: what for name, what in self._said.items() if name in bodies or name in self._present}
        wanted = {secret_reference(body) for body in bodies.values()}
        self._passwords = {reference: known for reference, known in self._passwords.items() if reference in wanted}
        self._unusable = {reference: why for reference, why in self._unusable.items() if reference in wanted}
        self._missing_since = {name: since for name, since in self._missing_since.items() if name in self._present}
        self._is_away = False
        for name in sorted(self._present.keys() | self._settled.keys() | bodies.keys()):
            body = bodies.get(name)
            if not thoroughly and body is not None and body is self._settled.get(name):
                continue
            self._settled.pop(name, None)
            self.beat_at = self._clock()
            try:
                self._settle(name, body, self._present.get(name), stale=stale)
            except OSError as error:
                troubles.append(str(error))
            except Exception:
                log.exception("%s: a bug of kube-vrrp; its document stays as it is", name)
                troubles.append(f"{name}: a bug of kube-vrrp")
            else:
                if body is not None:
                    self._settled[name] = body
        return "; ".join(troubles[:3])

    def _mark_all(self) -> str:
        """What the files say is not confirmed."""
        try:
            for name, document in tuple(self._present.items()):
                self._write(name, with_stale_facts(document))
        except OSError as error:
            return str(error)
        return ""

    def _settle(
        self, name: str, body: Mapping[str, Any] | None, former: Mapping[str, Any] | None, *, stale: bool
    ) -> None:
        if body is None:
            self._password_problems.pop(name, None)
            self._settle_deleted(name, former)
            return
        self._deleted_at.pop(name, None)
        self._missing_since.pop(name, None)
        known = former if former is not None and not is_deleted(former) and goes_on_as(former, body) else None
        password = self._password(body, known)
        self._note_problem(name, body)
        wanted = desired(body, self._node, known, password)
        if wanted is None and former is not None:
            self._directory.remove(name)
            del self._present[name]
            self._say(name, "removed, not assigned to this node")
        elif wanted is not None:
            self._write(name, with_stale_facts(wanted) if stale else wanted)

    def _note_problem(self, name: str, body: Mapping[str, Any]) -> None:
        reference = secret_reference(body)
        if reference is None or not is_assigned(body, self._node):
            self._password_problems.pop(name, None)
        else:
            self._password_problems[name] = self._unusable.get(reference, "")

    def _write(self, name: str, wanted: Mapping[str, Any]) -> None:
        if wanted != self._present.get(name):
            self._directory.write(name, wanted)
            self._present[name] = wanted
            self._say(name, _told(wanted))

    def _say(self, name: str, what: str) -> None:
        """Documents differ in more than what is said of them: what is reported of the peers."""
        log.log(logging.INFO if self._said.get(name) != what else logging.DEBUG, "%s: %s", name, what)
        self._said[name] = what

    def _may_come_back(self, name: str) -> bool:
        """Whether a list lacks it, no deletion was told, and the watch after that list had no time to show it."""
        if self._store.is_deleted(name):
            self._missing_since.pop(name, None)
            return False
        now = self._clock()
        if name not in self._missing_since:
            log.warning("%s: not listed any more; released in %g s unless it comes back", name, CONFIRM_AFTER_S)
        if now - self._missing_since.setdefault(name, now) < CONFIRM_AFTER_S:
            return True
        del self._missing_since[name]
        return False

    def _settle_deleted(self, name: str, former: Mapping[str, Any] | None) -> None:
        """First the router is told that nobody will serve the VIP, so that it waits for no successor."""
        if former is not None and is_whole(former) and not is_deleted(former):
            if self._may_come_back(name):
                return
            told = deleted(former, datetime.now(UTC))
            self._directory.write(name, told)
            self._present[name] = told
            self._deleted_at[name] = self._clock()
            self._say(name, "deleted")
            return
        self._missing_since.pop(name, None)
        if self._clock() - self._deleted_at.get(name, -DELETED_FOR_S) >= DELETED_FOR_S:
            self._directory.remove(name)
            self._present.pop(name, None)
            self._deleted_at.pop(name, None)

    def _password(self, body: Mapping[str, Any], former: Mapping[str, Any] | None) -> str | None:
        """The password from the Secret; the one the router has while the API does not answer."""
        reference = secret_reference(body)
        kept = former["spec"] if former is not None and is_whole(former) and not is_accepted(body) else None
        if kept is not None and kept.get("authentication") != (body.get("spec") or {}).get("authentication"):
            return password_of(former)  # the generation in force has its own; which Secret is read, only the API says
        if reference is None or not is_assigned(body, self._node):
            return None
        known = self._passwords.get(reference)
        if known is not None and self._clock() < known[1]:
            return known[0] if known[0] is not None else password_of(former)
        if self._is_away:  # each further one would be waited for as long
            return known[0] if known is not None and known[0] is not None else password_of(former)
        value, again_s = (known[0] if known else None), SECRET_RETRY_S
        try:
            found = self._secrets.secret_value(*reference)
        except ApiError as error:
            self._is_away = error.status is None and not isinstance(error, NotTextError)
            log.warning("the Secret %s cannot be read, the password stays as it is: %s", reference[0], error)
            if problem := refusal(*reference, error):
                self._unusable[reference] = problem
        else:
            self._unusable[reference] = trouble(*reference, found)
            value = found if not self._unusable[reference] else None
            again_s = SECRET_REFRESH_S if value is not None else SECRET_RETRY_S
        self._passwords[reference] = (value, self._clock() + again_s)
        return value if value is not None else password_of(former)


def _told(document: Mapping[str, Any]) -> str:
    """What goes to the log. The document may be one that the router could have changed."""
    assignment, facts = document["assignment"], document["assignment"].get("facts") or ()
    stale = ", its facts stale" if any(isinstance(f, Mapping) and f.get("stale") for f in facts) else ""
    return (
        f"generation {document['metadata'].get('generation')}, priority {assignment.get('priority')}, "
        f"VRID {assignment.get('virtualRouterID', 'not decided')}{stale}"
    )
