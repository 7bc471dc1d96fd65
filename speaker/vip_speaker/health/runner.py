"""The router's end of the checks process: asks for runs, hands answers on, and never waits for either.

One message is one packet of a Unix SOCK_SEQPACKET socket, JSON. The process is either there already (a container of
the pod, at a path) or started by us, and then ended and started anew when it ends or hangs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from vip_speaker.router.loop import Loop
from vip_speaker.router.timers import Deadline

log = logging.getLogger(__name__)

_MS = 1_000_000
_SECOND = 1_000 * _MS
# Pauses before a new attempt; the last one stays.
_PAUSES_NS = tuple(pause * _MS for pause in (100, 200, 500, 1000, 2000, 5000))
# TERM, two seconds later KILL, and then the answer has to come.
_HUNG_AFTER_NS = 3_500 * _MS
# A new process imports its modules first, which takes seconds on a busy machine.
_START_NS = 15_000 * _MS
_REAP_NS = 50 * _MS
# A process that lost us ends what it runs, and then itself. One that hangs does neither.
_GRACE_NS = 1_000 * _MS
_MAXIMUM_ANSWER_BYTES = 4096
MAXIMUM_REASON = 200
"""Characters of a reason that are kept; it goes into state files, the API and the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One run. Of one `key` never two run at the same time."""

    key: str
    kind: str
    check: dict[str, Any]
    timeout_ms: int
    environment: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended; `good` is None where there is no result."""

    good: bool | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    callback: Callable[[Outcome], None]
    until_ns: int
    sent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The socket of a checks process that others run, or the directory of scripts for one of our own."""

    socket: Path | None = None
    scripts_dir: Path | None = None


class Runner:
    """Connects with the first run. `problem` says why there may be no answer."""

    def __init__(self, loop: Loop, where: Where) -> None:
        self.problem = ""
        self._loop = loop
        self._where = where
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._dying: list[tuple[subprocess.Popen[bytes], int]] = []  # and when to kill it
        self._numbers = count(1)
        self._pending: dict[int, _Pending] = {}
        self._starting_until_ns = 0
        self._wanted = False
        self._failures = 0
        self._connect = Deadline(self._connect_now)
        self._hung = Deadline(self._look_for_hung)
        self._reap = Deadline(self._reap_now)

    def run(self, request: Request, callback: Callable[[Outcome], None]) -> int:
        """Ask for a run; `callback` is called later, once. The number is for `forget`."""
        number = next(self._numbers)
        now_ns = self._loop.now_ns()
        if not self._wanted:
            self._wanted = True
            self._loop.others.set(self._connect, now_ns)
        sent = self._send(_message(number, request))
        patience_ns = request.timeout_ms * _MS + _HUNG_AFTER_NS
        until_ns = max(now_ns + patience_ns, self._starting_until_ns) if sent else now_ns
        self._pending[number] = _Pending(callback=callback, until_ns=until_ns, sent=sent)
        self._await_answers()
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for that answer any more."""
        self._pending.pop(number, None)

    def close(self) -> None:
        """End the process that we started, and with it what it runs. Waits for it."""
        self._pending.clear()
        self._wanted = False
        for deadline in (self._connect, self._hung, self._reap):
            self._loop.others.set(deadline, None)
        self._disconnect()
        for process, kill_at_ns in self._dying:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0, kill_at_ns - self._loop.now_ns()) / _SECOND)
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)

    def _send(self, message: bytes) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.send(message)
        except BlockingIOError:
            self.problem = "the checks process does not read what it is asked"
            return False
        except OSError as error:
            self._lost(f"the checks process cannot be asked: {error.strerror}")
            return False
        return True

    # --- the connection

    def _connect_now(self, _now_ns: int) -> None:
        if self._socket is not None or not self._wanted:
            return
        try:
            self._socket = self._reach() if self._where.socket is not None else self._start()
        except OSError as error:
            self._lost(f"the checks process cannot be reached: {error.strerror or error}")
            return
        self._socket.setblocking(False)
        self._starting_until_ns = self._loop.now_ns() + _START_NS
        self._loop.add_reader(self._socket, self._read)

    def _reach(self) -> socket.socket:
        there = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            there.setblocking(False)  # a full backlog must not stop us: then it is EAGAIN, and tried again
            there.connect(str(self._where.socket))
        except OSError:
            there.close()
            raise
        return there

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "vip_speaker.checks", "--fd", str(theirs.fileno())]
        if self._where.scripts_dir is not None:
            command += ["--scripts-dir", str(self._where.scripts_dir)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _lost(self, problem: str) -> None:
        """No connection: every run that waits is without a result, and a new attempt follows."""
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem
        self._disconnect()
        pause_ns = _PAUSES_NS[min(self._failures, len(_PAUSES_NS) - 1)]
        self._failures += 1
        self._loop.others.set(self._connect, self._loop.now_ns() + pause_ns)
        self._answer_nothing(tuple(self._pending))

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._dying.append((self._process, self._loop.now_ns() + _GRACE_NS))
            self._process = None
            self._reap_now(self._loop.now_ns())

    def _reap_now(self, now_ns: int) -> None:
        """Without waiting: a process takes a moment to end."""
        for process, kill_at_ns in self._dying:
            if now_ns >= kill_at_ns:
                process.kill()
        self._dying = [one for one in self._dying if one[0].poll() is None]
        self._loop.others.set(self._reap, now_ns + _REAP_NS if self._dying and self._wanted else None)

    def _answer_nothing(self, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            self._pending.pop(number).callback(Outcome(good=None, reason=self.problem))

    # --- answers

    def _read(self) -> None:
        """One answer per turn of the loop: what is due goes out between any two, however many wait."""
        if self._socket is None:
            return
        try:
            message = self._socket.recv(_MAXIMUM_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(f"the checks process is gone: {error.strerror}")
            return
        if not message:
            self._lost("the checks process has ended")
            return
        answer = _parse(message)
        waiting = self._pending.pop(answer[0], None) if answer is not None else None
        if answer is not None and waiting is not None:
            self._failures, self.problem, self._starting_until_ns = 0, "", 0
            waiting.callback(answer[1])

    def _look_for_hung(self, now_ns: int) -> None:
        late = tuple(number for number, one in self._pending.items() if one.until_ns <= now_ns)
        if self._socket is not None and any(self._pending[number].sent for number in late):
            self._lost("the checks process does not answer")
        else:
            self._answer_nothing(late)
        self._await_answers()

    def _await_answers(self) -> None:
        self._loop.others.set(self._hung, min((one.until_ns for one in self._pending.values()), default=None))


def _message(number: int, request: Request) -> bytes:
    message = {
        "id": number,
        "key": request.key,
        "kind": request.kind,
        "check": request.check,
        "timeout_ms": request.timeout_ms,
        "environment": request.environment,
    }
    return json.dumps(message, separators=(",", ":")).encode()


def _parse(message: bytes) -> tuple[int, Outcome] | None:
    """Number and outcome; None for what is no answer. The other side is not trusted."""
    try:
        answer = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    number, good, reason = (answer.get(name) for name in ("id", "good", "reason"))
    if not isinstance(number, int) or not isinstance(good, bool | None) or not isinstance(reason, str):
        return None
    return number, Outcome(good=good, reason=clean(reason))


def clean(text: str) -> str:
    """One line that can be shown anywhere."""
    return "".join(one if one.isprintable() else " " for one in text[:MAXIMUM_REASON]).strip()
