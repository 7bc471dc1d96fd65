"""Which processes were born since the last look, without a walk through all of them.

The kernel gives process numbers out in ascending order, and says in /proc/loadavg which it gave out last. Threads have
such numbers too, and whoever restores a process may choose its number: what was missed, a walk through /proc finds.
"""

from __future__ import annotations

import os
from collections.abc import Callable

MAXIMUM_BORN = 1024
"""So many numbers are tried; after more births at once the walk has to do. Each costs three microseconds."""


class Births:
    """`last_number` reads the number given out last, or None where that is not known."""

    def __init__(self, last_number: Callable[[], int | None]) -> None:
        self._last_number = last_number
        self._last: int | None = None

    def numbers(self) -> range:
        """The numbers given out since the last call; none the first time, after too many, and when they began anew."""
        before, self._last = self._last, self._last_number()
        if before is None or self._last is None or not 0 <= self._last - before <= MAXIMUM_BORN:
            return range(0)
        return range(before + 1, self._last + 1)


def last_number() -> int | None:
    """What /proc/loadavg says."""
    try:
        fd = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.read(fd, 128).rsplit(None, 1)[-1])
        finally:
            os.close(fd)
    except (OSError, ValueError, IndexError):
        return None


def is_process(number: int) -> bool:
    """Whether that is a process, and not a thread of one, nor gone."""
    try:
        os.close(os.pidfd_open(number))
    except OSError:
        return False
    return True
