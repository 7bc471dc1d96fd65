"""`file`: the number in a file times the weight, or with `exists` its mere presence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vip_api.model import Track, VirtualIP

from vip_speaker.health.facts import Fact, Verdict, bad
from vip_speaker.health.files import Watched, number_in, presence
from vip_speaker.health.tracker import Surroundings, Watching
from vip_speaker.router.timers import Deadline

# A file that is being rewritten (`echo 10 > file`) is empty for a moment: it is believed at the second look.
_SECOND_LOOK_NS = 20_000_000


class FileTracker(Watching):
    """Told by `Files` what the file is, whenever something happened in its directory."""

    def __init__(self, track: Track, vip: VirtualIP, around: Surroundings, moved: Callable[[], None]) -> None:
        super().__init__(track, vip, around, moved)
        self._path = Path(self.check["path"])
        self._located = around.files.host.locate(self._path)
        self._doubtful_ns: int | None = None
        self._again = Deadline(self._look_again)
        if self._located is None:  # never the 0 of a file that is missing: a mistake must not look like health
            self.put_quietly(bad(f"{self._path} cannot be seen: it is in none of the chart's speaker.hostFiles"))
        else:
            around.files.watch(Watched(at=self._located, path=self._path, look=self._read, told=self._looked_at))

    def close(self) -> None:
        """Watch no more."""
        super().close()
        self.around.loop.others.set(self._again, None)
        if self._located is not None:
            self.around.files.unwatch(self._located, self._looked_at)

    def _read(self, located: Path) -> Fact:
        """In a thread: uses nothing that changes."""
        if self.around.files.host.leads_out(located):
            return bad(f"{self._path} lies behind a link that leads out of the chart's speaker.hostFiles")
        return (presence if self.check["exists"] else number_in)(located, self._path)

    def _look_again(self, _now_ns: int) -> None:
        assert self._located is not None
        self.around.files.look(self._located.parent)

    def _looked_at(self, fact: Fact) -> None:
        if fact.passing and not fact.same_as(self.fact()) and self.fact().verdict is not Verdict.UNKNOWN:
            now_ns = self.around.loop.now_ns()
            if self._doubtful_ns is None:  # else other files of the directory could put it off for ever
                self._doubtful_ns = now_ns
                self.around.loop.others.set(self._again, now_ns + _SECOND_LOOK_NS)
            if now_ns - self._doubtful_ns < _SECOND_LOOK_NS:
                return
        self._doubtful_ns = None
        self.around.loop.others.set(self._again, None)
        self.put(fact)
