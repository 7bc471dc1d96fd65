"""List and watch, for ever: keeps the store equal to the API server's VirtualIPs whenever that can be
reached.

It never ends and never raises; what each answer leads to is the table in `answers`.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from vip_speaker.agent.answers import (
    ABSENT_FOR_S,
    CONFIRM_AFTER_S,
    EFFECTS,
    Answer,
    Effect,
    of_event,
    of_status,
)
from vip_speaker.agent.api import SILENCE_S, ApiError
from vip_speaker.agent.store import Store

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
SHORTEST_WATCH_S = 1.0
"""One that ends earlier without an event is not followed by the next at once."""
WATCH_S = 300
"""After this the server ends a watch; the next one goes on where it stopped."""
EARLY_S = 1.0
"""A watch that ended by more than this before its time was cut."""
RELIST_S = 1200.0
"""Whatever was missed, by a mistake of whomever, is seen after this."""
LIST_SPREAD_S = 5.0
"""An API server that ends cuts the watches of all nodes at once; they list one after the other within this."""
LIST_PAUSE_S = 20.0
"""Not sooner after the last list, however often watches are cut: a load balancer may do that all the time."""

STALE_AFTER_S = 5.0
"""An API server that has not answered for this long does not confirm what the operator said last."""


class Source(Protocol):
    """What of the API is needed here."""

    def list(self) -> tuple[list[dict[str, Any]], str]:
        """All VirtualIPs, and the version of the list."""
        ...

    def watch(self, version: str, seconds: int) -> Iterator[dict[str, Any]]:
        """The events after `version`, for so long; the call itself waits for the server's answer."""
        ...

    def is_served(self) -> bool:
        """Whether discovery knows the resource."""
        ...


class Reflector:
    """`run` is the body of a thread. `holding` says whether this node has VIPs that a list could take
    away.
    """

    def __init__(
        self,
        api: Source,
        store: Store,
        *,
        holding: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._api, self._store, self._holding, self._clock = api, store, holding, clock
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._version: str | None = None
        self._listed_at = self._list_at = float("-inf")
        self._empty_since: float | None = None
        self._absent_since: float | None = None
        self._failures = 0
        self._failing_since: float | None = None
        self.beat_at = clock()
        self.answered_at = float("-inf")
        self.last_answer = Answer.UNREACHABLE

    def run(self) -> None:
        """Reflect until `stop`."""
        self._sleep(random.uniform(0, FIRST_DELAY_S))  # noqa: S311 jitter: not every node at once
        while not self._stopped.is_set():
            self._sleep(self.turn())

    def stop(self) -> None:
        """End `run` soon."""
        self._stopped.set()

    def is_stale(self) -> bool:
        """Whether the API server has not answered for a while. From any thread."""
        since = self._failing_since
        return since is not None and self._clock() - since >= STALE_AFTER_S

    def turn(self) -> float:
        """One list or one watch. Returns the seconds to wait before the next turn."""
        self.beat_at = self._clock()
        try:
            if self._version is None or self._clock() >= self._list_at:
                return self._list()
            return self._watch(self._version)
        except ApiError as error:
            self._empty_since = None  # what was empty before an outage says nothing of a list after it
            if self._clock() - self.beat_at >= SILENCE_S:
                # not even a bookmark came: a connection that is half open, or a version that the server has not reached
                self._version = None
            return self._carry_out(of_status(error.status), str(error))
        except Exception:
            log.exception("the reflector met something unforeseen; it lists again")
            self._version = None
            return self._delay()

    def _list(self) -> float:
        bodies, version = self._api.list()
        if bodies:
            self._note(Answer.LISTED)
        elif self._must_confirm():
            return CONFIRM_AFTER_S
        self._empty_since = None
        self._version, self._listed_at = version, self._clock()
        self._list_at = self._listed_at + RELIST_S * random.uniform(0.5, 1.5)  # noqa: S311 jitter
        self._store.replace(bodies, everything_deleted=not bodies)
        return 0.0

    def _must_confirm(self) -> bool:
        """Whether an empty list is the first one of its kind while this node has VIPs."""
        self._note(Answer.EMPTY_LIST)
        if not self._holding():
            return False
        if self._empty_since is None:
            self._empty_since = self._clock()
            self._version = None
            log.warning("the list is empty; asking again in %g s before anything is released", CONFIRM_AFTER_S)
            return True
        return self._clock() - self._empty_since < CONFIRM_AFTER_S

    def _watch(self, version: str) -> float:
        began, seen = self._clock(), False
        seconds = math.ceil(max(1.0, min(self._list_at - began, WATCH_S)))
        events = self._api.watch(version, seconds)
        self._failing_since = None  # it may be long until the first event
        for event in events:
            self.beat_at, seen = self._clock(), True
            body = event.get("object") or {}
            answer = of_event(str(event.get("type")), body.get("code"))
            if EFFECTS[answer] not in (Effect.UPDATE, Effect.RELEASE, Effect.GO_ON):
                return self._carry_out(answer, str(body.get("message", event.get("type"))))
            self._note(answer)
            self._version = body["metadata"]["resourceVersion"]
            if answer is Answer.CHANGED:
                self._store.put(body)
            elif answer is Answer.DELETED:
                log.info("%s was deleted", body["metadata"]["name"])
                self._store.remove(body)
            if self._stopped.is_set():
                break
        is_cut = self._clock() - began < seconds - EARLY_S
        if is_cut:
            self._list_soon()
        if not seen and self._clock() - began < SHORTEST_WATCH_S:
            return self._delay()  # whatever answers there, it is no API server that is well
        self._note(Answer.CUT if is_cut else Answer.ENDED)
        return 0.0

    def _list_soon(self) -> None:
        """The API server may have ended, and its store be another now: what was seen is to be compared with it."""
        soon = self._clock() + random.uniform(0.0, LIST_SPREAD_S)  # noqa: S311 jitter: not every node at once
        self._list_at = min(self._list_at, max(soon, self._listed_at + LIST_PAUSE_S))

    def _note(self, answer: Answer) -> None:
        """An answer that shows that the API is there."""
        self.last_answer, self.answered_at = answer, self._clock()
        self._failures = 0
        self._failing_since = None
        self._absent_since = None

    def _carry_out(self, answer: Answer, detail: str) -> float:
        """An answer that changes no object."""
        if answer is not self.last_answer:
            log.warning("%s: %s (%s)", answer, EFFECTS[answer], detail)
        self.last_answer = answer
        self._list_soon()
        match EFFECTS[answer]:
            case Effect.RELIST:
                self._version = None
            case Effect.ASK_DISCOVERY:
                self._version = None
                self._ask_discovery()
        return self._delay()

    def _ask_discovery(self) -> None:
        try:
            served = self._api.is_served()
        except ApiError:
            return  # not an answer: neither there nor absent
        if served:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = self._clock()
        elif self._clock() - self._absent_since >= ABSENT_FOR_S and not self._store.is_empty():
            log.warning("the resource has been absent for %g s: everything is released", ABSENT_FOR_S)
            self._store.clear()
        elif self._clock() - self._absent_since >= ABSENT_FOR_S and self._holding():
            self._store.clear()

    def _delay(self) -> float:
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = self._clock()
        longest = min(FIRST_DELAY_S * 2 ** min(self._failures - 1, 10), LONGEST_DELAY_S)
        return longest * random.uniform(0.5, 1)  # noqa: S311 jitter
