"""`file`: the number in a file times the weight, or with `exists` its mere presence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vip_api.model import Track, VirtualIP

from vip_speaker.health.facts import Fact, bad
from vip_speaker.health.files import number_in, presence
from vip_speaker.health.tracker import Surroundings, Watching
from vip_speaker.router.timers import Deadline

# A file that is being rewritten (`echo 10 > file`) is empty for a moment: it is believed at the second look.
_SECOND_LOOK_NS = 20_000_000


class FileTracker(Watching):
    """Looked at whenever inotify tells of its directory."""

    def __init__(self, track: Track, vip: VirtualIP, around: Surroundings, moved: Callable[[], None]) -> None:
        super().__init__(track, vip, around, moved)
        self._path = Path(self.check["path"])
        self._located = around.files.host.locate(self._path)
        self._again = Deadline(lambda _now_ns: self.put(self._read()))
        if self._located is not None:
            around.files.watch(self._located.parent, self._look_at_file)
        self.put_quietly(self._read())

    def close(self) -> None:
        """Watch no more."""
        super().close()
        self.around.loop.others.set(self._again, None)
        if self._located is not None:
            self.around.files.unwatch(self._located.parent, self._look_at_file)

    def _read(self) -> Fact:
        if self._located is None:  # never the 0 of a file that is missing: a mistake must not look like health
            return bad(f"{self._path} cannot be seen: it is in none of the chart's speaker.hostFiles")
        if self.around.files.host.leads_out(self._located):
            return bad(f"{self._path} lies behind a link that leads out of the chart's speaker.hostFiles")
        return (presence if self.check["exists"] else number_in)(self._located, self._path)

    def _look_at_file(self) -> None:
        fact = self._read()
        if fact.number != 0 or fact.same_as(self.fact()):
            self.around.loop.others.set(self._again, None)
            self.put(fact)
        elif self._again.at_ns is None:  # else other files of the directory could put it off for ever
            self.around.loop.others.set(self._again, self.around.loop.now_ns() + _SECOND_LOOK_NS)
