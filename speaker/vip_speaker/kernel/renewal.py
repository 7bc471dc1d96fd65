"""Renewing addresses beside the loop, in one thread.

A request that changes an address takes some microseconds, but first the kernel's one lock on network configuration,
which whoever starts or stops containers holds for milliseconds, now and then for hundreds; and IPv6 goes through all
addresses of the node for each one that is renewed. Renewals are the only such requests that come again and again, so
they alone would make advertisements late. Here they wait where nobody waits for them.

The thread never renews on its own: it carries out what the loop asked for since, so that a loop that stands still
lets its addresses run out. And it brings back nothing: what is cancelled, or has run out before its turn, is not sent.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vip_speaker.companion import start_companion
from vip_speaker.kernel.addresses import Assigned
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.netlink import Requests

_CANCEL_POLL_S = 0.0002
_SLICE = 32  # renewals sent at a time: about as long as a removal may have to wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A renewal to be sent before `until_ns` (monotonic; None: at any time), when the address may be gone."""

    assigned: Assigned
    message: bytes
    lifetime_s: int | None
    until_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What became of a renewal that was sent at `at_ns`; `error` None: the kernel accepted it."""

    assigned: Assigned
    lifetime_s: int | None
    at_ns: int
    error: KernelError | None = None


class Renewer:
    """The thread and what waits for it. The methods are for the loop's thread and never wait for the other, but see
    `cancel`.

    There is no lock: the thread might be off the processor while it holds one. What both touch are single operations of
    built-in containers, each of them whole under the interpreter's lock; the order of the two in `_next` and in
    `cancel` matters.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._wanted: dict[Assigned, Renewal] = {}
        self._turns: deque[Assigned] = deque()  # each key of `_wanted` is in it, maybe twice
        self._sending: frozenset[Assigned] = frozenset()
        self._done: deque[Renewed] = deque()
        self._closed = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._finished = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Readable when `take_results` has something."""
        return self._finished

    def submit(self, renewals: Iterable[Renewal]) -> None:
        """Have these sent soon. One that still waits for an address is replaced."""
        for one in renewals:
            self._wanted[one.assigned] = one
            self._turns.append(one.assigned)  # at most three times per lifetime: what has run out is not submitted
        os.eventfd_write(self._wake, 1)
        if self._thread is None:
            # not before the first renewal: by then the loop has its scheduling class
            self._thread = start_companion(self._run, "renewals")

    def cancel(self, assigned: Collection[Assigned]) -> None:
        """From here on nothing is sent for these. Waits for the slice on its way if one of them is in it: the kernel
        would add the address again after its removal.
        """
        for one in assigned:
            self._wanted.pop(one, None)
        while not self._sending.isdisjoint(assigned):
            time.sleep(_CANCEL_POLL_S)

    def take_results(self) -> list[Renewed]:
        """What became of renewals since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._finished)
        return [self._done.popleft() for _ in range(len(self._done))]

    def idle(self) -> bool:
        """Whether nothing waits or is on its way."""
        return not self._turns and not self._sending

    def close(self) -> None:
        """End the thread, after the slice on its way."""
        self._closed = True
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join()
        self._requests.close()
        os.close(self._finished)
        os.close(self._wake)

    def _run(self) -> None:
        while not self._closed:
            os.eventfd_read(self._wake)
            while self._turns and not self._closed:
                self._done.extend(self._send(self._next()))
                self._sending = frozenset()
                os.eventfd_write(self._finished, 1)

    def _next(self) -> list[Renewal]:
        """The next slice, announced in `_sending` before it is taken, so that `cancel` cannot miss it."""
        turns = [self._turns[index] for index in range(min(_SLICE, len(self._turns)))]
        self._sending = frozenset(turns)
        for _ in turns:
            self._turns.popleft()
        taken = (self._wanted.pop(one, None) for one in turns)
        return [one for one in taken if one is not None]

    def _send(self, batch: list[Renewal]) -> list[Renewed]:
        at_ns = time.monotonic_ns()
        wanted = [one for one in batch if one.until_ns is None or at_ns < one.until_ns]
        if not wanted:
            return []
        try:
            refusals = {one.index: one for one in self._requests.send([one.message for one in wanted])}
        except KernelError as error:
            return [_told(one, at_ns, error) for one in wanted]
        results = []
        for index, one in enumerate(wanted):
            refusal = refusals.get(index)
            refused = None
            if refusal is not None:
                refused = KernelError(f"{one.assigned} cannot be renewed", refusal.code, refusal.detail)
            results.append(_told(one, at_ns, refused))
        return results


def _told(renewal: Renewal, at_ns: int, error: KernelError | None) -> Renewed:
    return Renewed(assigned=renewal.assigned, lifetime_s=renewal.lifetime_s, at_ns=at_ns, error=error)
