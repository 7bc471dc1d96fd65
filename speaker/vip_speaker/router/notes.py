"""Things worth a counter and a log line that a neighbour can cause as often as it likes."""

from __future__ import annotations

import logging
from collections import Counter

from vip_speaker.vrrp.types import SECOND, IPAddress, Note

log = logging.getLogger(__name__)

# Logged once, then at most this often, with the number that was held back.
_EVERY_NS = 60 * SECOND


class Notes:
    """Counts notes, and logs each kind at a rate that no neighbour decides."""

    def __init__(self, name: str) -> None:
        self.counts: Counter[Note] = Counter()
        self._name = name
        self._logged: dict[Note, tuple[int, int]] = {}

    def add(self, note: Note, source: IPAddress | None, now_ns: int) -> None:
        """`note` happened, caused by `source`."""
        self.counts[note] += 1
        logged = self._logged.get(note)
        if logged is not None and now_ns - logged[0] < _EVERY_NS:
            self._logged[note] = (logged[0], logged[1] + 1)
            return
        whom = f" ({source})" if source is not None else ""
        more = f"; {logged[1]} more since the last such line" if logged is not None and logged[1] else ""
        log.warning("%s%s%s", note, whom, more, extra={"vip": self._name})
        self._logged[note] = (now_ns, 0)
