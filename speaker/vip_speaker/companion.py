"""A thread beside the loop, for calls of the kernel that may wait where the loop must not."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

_STACK_BYTES = 512 << 10  # with locked memory all of it is resident; the default is 8 MiB


def start_companion(work: Callable[[], None], name: str) -> threading.Thread:
    """Run `work` in a daemon thread with the calling thread's scheduling class: start it when the loop has its own.

    With a lesser one it could be kept off the processor while it holds the interpreter's lock.
    """
    policy, parameters = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0)

    def run() -> None:
        with contextlib.suppress(OSError):  # 0 is the calling thread
            os.sched_setscheduler(0, policy, parameters)
        work()

    before = threading.stack_size(_STACK_BYTES)
    try:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    return thread
