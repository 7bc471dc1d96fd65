"""Log lines about what a neighbour can cause as often as it likes: each kind once, then at most every minute."""

from __future__ import annotations

import logging

from vip_speaker.vrrp.types import SECOND

log = logging.getLogger(__name__)

_EVERY_NS = 60 * SECOND


class Complaints:
    """Lines about one VIP or link, each kind at a rate that no neighbour decides. Kinds are few and ours."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._said: dict[str, tuple[int, int]] = {}

    def add(self, kind: str, detail: str, now_ns: int, *, level: int = logging.WARNING) -> None:
        """`kind` happened again; `detail` (who, how), if any, is said with the ones that are logged."""
        said_ns, held_back = self._said.get(kind, (None, 0))
        if said_ns is not None and now_ns - said_ns < _EVERY_NS:
            self._said[kind] = (said_ns, held_back + 1)
            return
        more = f"; {held_back} more since the last such line" if held_back else ""
        log.log(level, "%s%s", f"{kind} {detail}".rstrip(), more, extra={"vip": self._about})
        self._said[kind] = (now_ns, 0)
