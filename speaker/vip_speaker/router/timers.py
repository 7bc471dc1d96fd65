"""Deadlines of everything that waits, earliest first. Pure: the loop asks for the next instant and runs what is due.

A deadline is set, never cancelled and re-created: an entry of the heap counts only while it still says what its
`Deadline` says, and what is due together runs only while nothing set it anew, so a stale timer cannot fire.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Deadline:
    """One thing that waits: `callback(now_ns)` runs once when its instant has come."""

    __slots__ = ("at_ns", "callback", "due")

    def __init__(self, callback: Callable[[int], None]) -> None:
        self.callback = callback
        self.at_ns: int | None = None
        self.due = False  # its instant has come, and it has not run yet


class TimerQueue:
    """Deadlines ordered by their instant."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Deadline]] = []
        self._serial = count()

    def set(self, deadline: Deadline, at_ns: int | None) -> None:
        """Run `deadline` at `at_ns`, instead of when it was set to before; None: not at all, even where it is due."""
        deadline.due = False
        if at_ns == deadline.at_ns:
            return
        deadline.at_ns = at_ns
        if at_ns is not None:
            heapq.heappush(self._heap, (at_ns, next(self._serial), deadline))

    def next_at_ns(self) -> int | None:
        """The earliest instant that something waits for."""
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].at_ns:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run_due(self, now_ns: int, *, between: Callable[[], None] | None = None) -> None:
        """Run all whose instant is not after `now_ns`, and `between` after each.

        What they set anew for `now_ns` or before runs next time.
        """
        due: list[Deadline] = []
        while (at_ns := self.next_at_ns()) is not None and at_ns <= now_ns:
            deadline = heapq.heappop(self._heap)[2]
            deadline.at_ns, deadline.due = None, True
            due.append(deadline)
        for deadline in due:
            if deadline.due:
                deadline.due = False
                deadline.callback(now_ns)
                if between is not None:
                    between()
