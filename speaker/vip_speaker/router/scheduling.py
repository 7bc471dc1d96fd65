"""Which scheduling and memory rights this process has, taken where they are granted and said in one sentence.

In a pod neither is granted unless the chart's `realtime: true` adds SYS_NICE and IPC_LOCK; the goals hold without.
"""

from __future__ import annotations

import ctypes
import gc
import os

_MCL_CURRENT_AND_FUTURE = 3
_REALTIME_PRIORITY = 10


def take_rights() -> str:
    """Ask for SCHED_FIFO and locked memory; a sentence that says what was granted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_REALTIME_PRIORITY))
        scheduling = f"real-time scheduling (SCHED_FIFO {_REALTIME_PRIORITY})"
    except OSError as error:
        scheduling = f"normal scheduling ({error.strerror})"
    libc = ctypes.CDLL(None, use_errno=True)
    locked = libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0
    memory = "locked memory" if locked else f"swappable memory ({os.strerror(ctypes.get_errno())})"
    return f"running with {scheduling} and {memory}"


def settle_memory() -> None:
    """After start: what exists now stays, so the collector never walks it again."""
    gc.collect()
    gc.freeze()
