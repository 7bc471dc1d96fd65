"""What an answer of the API server means for the VIPs of this node: the one table that all depends on.

Only two answers can take a VIP away: its deletion, and a list without it. Everything that may be an outage, a
mistake in RBAC, or a control plane that is being restored keeps what there is, for as long as it lasts.

A watch shows what comes after a version; that nothing before it is changed holds only while the API server's store is
not set back to a backup, for which every API server has to end (docs/decisions/set-back.md). So whatever ends a watch
but its own timeout is followed by a list.
"""

from __future__ import annotations

from enum import StrEnum


class Answer(StrEnum):
    """Everything that a list, a watch or the discovery can end in."""

    LISTED = "a list with objects"
    EMPTY_LIST = "an empty list"
    CHANGED = "ADDED or MODIFIED"
    BOOKMARK = "BOOKMARK"
    DELETED = "DELETED"
    ENDED = "the watch ended by its timeout"
    CUT = "the watch ended before its timeout"
    GONE = "410 or 400: the version is too old or unknown"
    NOT_FOUND = "404 of the resource"
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    TOO_MANY = "429"
    SERVER_ERROR = "5xx"
    OTHER_STATUS = "any other status"
    UNREACHABLE = "no answer: refused, reset, timed out, garbled"


class Effect(StrEnum):
    """What is done about it."""

    REPLACE = "the list replaces what is known; what it lacks is released after a while"
    CONFIRM = "with VIPs on this node: list again after a while, then the list replaces what is known"
    UPDATE = "the object replaces its former version"
    RELEASE = "the VIP is released"
    GO_ON = "watch on from the version it named"
    LIST_SOON = "watch on from the version it named, and list again within seconds"
    RELIST = "list again, keep everything meanwhile"
    ASK_DISCOVERY = "keep everything, unless discovery denies the resource for long"
    KEEP = "keep everything, try again after a growing delay, and list within seconds of the first answer"


EFFECTS: dict[Answer, Effect] = {
    Answer.LISTED: Effect.REPLACE,
    Answer.EMPTY_LIST: Effect.CONFIRM,
    Answer.CHANGED: Effect.UPDATE,
    Answer.BOOKMARK: Effect.GO_ON,
    Answer.DELETED: Effect.RELEASE,
    Answer.ENDED: Effect.GO_ON,
    Answer.CUT: Effect.LIST_SOON,
    Answer.GONE: Effect.RELIST,
    Answer.NOT_FOUND: Effect.ASK_DISCOVERY,
    Answer.UNAUTHORIZED: Effect.KEEP,
    Answer.FORBIDDEN: Effect.KEEP,
    Answer.TOO_MANY: Effect.KEEP,
    Answer.SERVER_ERROR: Effect.KEEP,
    Answer.OTHER_STATUS: Effect.KEEP,
    Answer.UNREACHABLE: Effect.KEEP,
}

CONFIRM_AFTER_S = 10.0
"""An API server that comes up over an empty store (a restore under way) answers with an empty list for a
while, and with some of what there was while it is applied again.
"""

ABSENT_FOR_S = 300.0
"""A CRD that is deleted for good is not seen by a watch; one that is re-created is back long before."""

_BY_STATUS = {
    400: Answer.GONE,
    401: Answer.UNAUTHORIZED,
    403: Answer.FORBIDDEN,
    404: Answer.NOT_FOUND,
    410: Answer.GONE,
    429: Answer.TOO_MANY,
}


def of_status(status: int | None) -> Answer:
    """The answer that an HTTP status stands for; None: there was none."""
    if status is None or status == 0:
        return Answer.UNREACHABLE
    if status >= 500:
        return Answer.SERVER_ERROR
    return _BY_STATUS.get(status, Answer.OTHER_STATUS)


def of_event(kind: str, code: int | None = None) -> Answer:
    """The answer that a watch event stands for; an ERROR event carries a status code."""
    match kind:
        case "ADDED" | "MODIFIED":
            return Answer.CHANGED
        case "DELETED":
            return Answer.DELETED
        case "BOOKMARK":
            return Answer.BOOKMARK
        case "ERROR":
            return of_status(code)
    return Answer.OTHER_STATUS
