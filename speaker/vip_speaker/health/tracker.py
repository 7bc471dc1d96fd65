"""What every kind of check is to the rest: one entry of `spec.track` of one VIP, watched."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vip_api.model import Track, VirtualIP

from vip_speaker.health.damping import Hold
from vip_speaker.health.evaluate import is_fault
from vip_speaker.health.facts import Fact, unknown
from vip_speaker.router.timers import Deadline

if TYPE_CHECKING:
    from vip_speaker.health.files import Files
    from vip_speaker.health.processes import Processes
    from vip_speaker.health.runner import Runner
    from vip_speaker.kernel import Kernel
    from vip_speaker.router.loop import Loop

# What has no interval of its own changes the priority at most this often.
HOLD_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What trackers watch by. `role` says what the VIP of that name is now, in the user's words."""

    loop: Loop
    kernel: Kernel
    files: Files
    processes: Processes
    runner: Runner
    role: Callable[[str], str]


class Tracker(abc.ABC):
    """One check of one VIP. `moved` is called whenever `fact` may say something else."""

    def __init__(self, track: Track, vip: VirtualIP, around: Surroundings, moved: Callable[[], None]) -> None:
        self.track = track
        self.check: dict[str, Any] = dict(track.check)
        self.vip = vip
        self.around = around
        self.moved = moved

    @abc.abstractmethod
    def fact(self) -> Fact:
        """What is known now."""

    def close(self) -> None:  # noqa: B027 most have nothing to end
        """Watch no more."""


class Watching(Tracker):
    """A check that something tells of changes: damped, so that it moves the VIP at most once per `HOLD_NS`."""

    def __init__(self, track: Track, vip: VirtualIP, around: Surroundings, moved: Callable[[], None]) -> None:
        super().__init__(track, vip, around, moved)
        self._hold = Hold(unknown("not looked at yet"), interval_ns=HOLD_NS)
        self._due = Deadline(self._look)

    def fact(self) -> Fact:
        """What is known, as far as it may count already."""
        return self._hold.fact

    def put(self, latest: Fact) -> None:
        """What is true now."""
        if self.put_quietly(latest):
            self.moved()

    def put_quietly(self, latest: Fact) -> bool:
        """What is true now; whether that counts at once, for who asks by itself."""
        urgent = is_fault(self.track, latest)  # a host that must not serve stops at once
        moved = self._hold.put(latest, self.around.loop.now_ns(), urgent=urgent)
        self.around.loop.others.set(self._due, self._hold.deadline_ns)
        return moved

    def close(self) -> None:
        """Watch no more."""
        self.around.loop.others.set(self._due, None)

    def _look(self, now_ns: int) -> None:
        if self._hold.look(now_ns):
            self.moved()
        self.around.loop.others.set(self._due, self._hold.deadline_ns)
