"""`process`: good while at least `quorum` matching processes run on this host."""

from __future__ import annotations

import os
from collections.abc import Callable

from vip_api.model import Track, VirtualIP

from vip_speaker.health.facts import bad, good
from vip_speaker.health.processes import Pattern
from vip_speaker.health.tracker import Surroundings, Watching


class ProcessTracker(Watching):
    """Told by `Processes` how many there are."""

    def __init__(self, track: Track, vip: VirtualIP, around: Surroundings, moved: Callable[[], None]) -> None:
        super().__init__(track, vip, around, moved)
        self._pattern = Pattern(name=self.check.get("name"), command_line=self.check.get("commandLine"))
        self._quorum = int(self.check["quorum"])
        around.processes.watch(self._pattern, self._counted)

    def close(self) -> None:
        """Watch no more."""
        super().close()
        self.around.processes.unwatch(self._pattern, self._counted)

    def _counted(self, count: int) -> None:
        what = self._pattern.name or self._pattern.command_line
        if count >= self._quorum:
            self.put(good(f"{what} is running"))
        elif count:
            self.put(bad(f"{what} running {count} times, not {self._quorum}"))
        else:
            self.put(bad(f"{what} not running{_blindness()}"))


def _blindness() -> str:
    """Where our parent, the guard, is process 1, /proc shows this container only."""
    return " (only this container's processes are seen: set the chart's speaker.hostPID)" if os.getppid() == 1 else ""
