"""Work that may hang, done beside the loop: a file may lie on another machine, which may be away.

One thread does it all as long as nothing hangs. What hangs keeps its thread to itself, and others go on in the next
one, up to `MAXIMUM_THREADS`; beyond that work waits. Nothing waits for a thread, not even the end of the process.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from vip_speaker.companion import start_companion
from vip_speaker.router.loop import Loop

MAXIMUM_THREADS = 8
"""So many directories may hang before others wait for them."""

Work = Callable[[], Callable[[], None]]
"""Runs in a thread; what it returns runs on the loop."""
Failed = Callable[[str], None]
"""Runs on the loop instead, with the reason, where the work raised: whoever waits for an answer gets one."""


class Doer(Protocol):
    """Whoever does work somewhere."""

    def do(self, work: Work, failed: Failed) -> None:
        """Have it done soon."""
        ...


class Aside:
    """The threads, started as they are needed. All methods are for the loop's thread."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._wanted: SimpleQueue[tuple[Work, Failed] | None] = SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._finished = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._under_way = 0
        self._threads = 0
        self._closed = False
        loop.add_reader(self, self._take)

    def fileno(self) -> int:
        """Readable when something was done."""
        return self._finished

    def do(self, work: Work, failed: Failed) -> None:
        """Have it done soon: in the order of asking, but for what hangs."""
        self._under_way += 1
        self._wanted.put((work, failed))
        if self._threads < min(self._under_way, MAXIMUM_THREADS):
            self._threads += 1
            start_companion(self._run, f"aside-{self._threads}")

    def close(self) -> None:
        """Take nothing more; idle threads end. The descriptor is kept for those that hang."""
        self._closed = True
        self._loop.remove_reader(self)
        for _ in range(self._threads):
            self._wanted.put(None)
        if not self._under_way:
            os.close(self._finished)

    def _run(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            self._done.append(attempt(*wanted))
            os.eventfd_write(self._finished, 1)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._finished)
        for _ in range(len(self._done)):
            self._under_way -= 1
            self._done.popleft()()
            if self._closed:
                return


def attempt(work: Work, failed: Failed) -> Callable[[], None]:
    """What is to run on the loop after that work, however it ended."""
    try:
        return work()
    except Exception as error:  # others need the thread, and whoever asked waits for an answer
        return partial(failed, f"{type(error).__name__}: {error}")
