"""The guard: the router's parent process. It starts the router, watches it, and carries out its last will.

When the router dies, or its heartbeat stands still though the guard itself ran on time, the guard ends it, removes the
addresses it had added, sends its priority-0 advertisements and starts a new one. So `kill -9` costs the cluster a skew
time and leaves no second holder. Why it is built this way: docs/decisions/guard.md.

Standard library only, without its heavy parts (`typing`, `dataclasses`, `subprocess`, `argparse`): the guard must be
small, and there is little in it that can fail. It runs in one thread and allocates nothing privileged when it acts: its
sockets are open from the start. Started by `vip_speaker.cli` through `guard_program.py`.
"""

from __future__ import annotations

import os
import select
import signal
import time

from vip_speaker.executor import Executor
from vip_speaker.will import WILL_FD_VARIABLE, Will, freeze_limit_ns

TYPE_CHECKING = False  # mypy takes it for typing's, which would cost a megabyte
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MS = 1_000_000
SECOND = 1_000 * MS

START_LIMIT_NS = 60 * SECOND
"""A router that has not beaten once by then hangs in its start. Imports take seconds on a busy machine, not minutes."""
KILL_WAIT_NS = 50 * MS
"""How long a killed router may take to be gone before its will is carried out all the same: it runs no more code."""
LOOK_PERIOD_NS, START_LOOK_PERIOD_NS = SECOND, 100 * MS
"""How often the heartbeat is looked at, at least: the first beat and a shorter interval must not go unseen for long."""
IDLE_LIMIT_NS = 2 * SECOND
"""For a router whose will is empty, at any interval: nobody else can hold what it does not, and a start takes as long.
A BACKUP that is kept from running is needed the moment it runs again."""
LATENESS_MINIMUM_NS = 20 * MS
LATENESS_COUNTED_NS = 100 * MS
"""More is a stop, which is over, and not how this machine is: it must not make the guard slow for the minute after."""
SECOND_LOOK_NS = 100 * MS
POSTPONEMENTS = 3
QUICK_DEATH_NS = 10 * SECOND
STARTS_WITHOUT_A_BEAT = 5
"""A router that never came as far as one heartbeat will not the next time: the service manager is to know that."""
BACKOFF_NS = (0, 200 * MS, 400 * MS, 800 * MS, 1600 * MS, 3200 * MS, 5 * SECOND)

STATUS_OK, STATUS_BAD_CONFIGURATION = 0, 2

_PR_SET_PDEATHSIG = 1
_REALTIME_PRIORITY = 11  # one above the router's
_PIPE_BUF = 4096  # a pipe that poll calls writable takes as much at once


class Heartbeat:
    """Decides whether a router is frozen. Pure: `look` by `deadline_ns` at the latest; instants of one clock, in ns.

    A guard that wakes late says nothing about the router: what stopped the one (a suspended machine, no processor time)
    may have stopped the other. Then the router gets a new limit, at most `POSTPONEMENTS` times in a row. And as a stop
    of both may end just before the deadline, a silent router is looked at twice before it is called frozen.
    """

    def __init__(self, started_ns: int) -> None:
        self.deadline_ns = started_ns + START_LOOK_PERIOD_NS
        self._beat_ns = 0
        self._moved_ns = started_ns
        self._suspect = False
        self._postponed = 0
        self._worst_lateness_ns = 0

    def look(self, *, beat_ns: int, fastest_interval_ns: int, idle: bool, now_ns: int) -> bool:
        """True if the router is frozen. `beat_ns` is its last sign of life, 0 before the first.

        `idle`: its will is empty.
        """
        lateness_ns = max(0, now_ns - self.deadline_ns)
        self._worst_lateness_ns = max(min(lateness_ns, LATENESS_COUNTED_NS), self._worst_lateness_ns * 15 // 16)
        quickest_ns = freeze_limit_ns(fastest_interval_ns)
        # A guard that is often late has a router that is: the measured floor.
        limit_ns = max(quickest_ns, IDLE_LIMIT_NS if idle else 0, 4 * self._worst_lateness_ns)
        if not beat_ns:
            limit_ns = START_LIMIT_NS
        # A stop of the whole machine shorter than this cannot by itself use up the limit.
        tolerance_ns = max(LATENESS_MINIMUM_NS, limit_ns // 8)
        if beat_ns != self._beat_ns:
            self._beat_ns = beat_ns
            self._moved_ns = min(beat_ns, now_ns)
            self._postponed = 0
        if lateness_ns > tolerance_ns and self._postponed < POSTPONEMENTS:
            self._moved_ns = now_ns
            self._postponed += 1
        second_look_ns = min(tolerance_ns, SECOND_LOOK_NS)
        suspect_at_ns = self._moved_ns + limit_ns - second_look_ns
        if now_ns < suspect_at_ns:
            self._suspect = False
            period_ns = LOOK_PERIOD_NS if beat_ns else START_LOOK_PERIOD_NS
            if idle:  # it may be MASTER the next moment, and freeze
                period_ns = min(period_ns, quickest_ns // 2)
            self.deadline_ns = min(suspect_at_ns, now_ns + period_ns)
            return False
        if not self._suspect:
            self._suspect = True
            self.deadline_ns = now_ns + second_look_ns
            return False
        return now_ns >= self.deadline_ns


class Guard:
    """One router command under guard. `run` returns the status to exit with."""

    def __init__(self, command: Sequence[str], *, grace_ns: int, say: Callable[[str, str], None]) -> None:
        self._command = list(command)
        self._grace_ns = grace_ns
        self._say = say
        self._will = Will.create()
        self._executor = Executor()
        self._poll = select.poll()
        self._signals, self._signals_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._signals, select.POLLIN)
        self._pid = 0
        self._pidfd = -1
        self._wait_status: int | None = None
        self._stopping = False
        self._kill_at_ns: int | None = None

    def run(self) -> int:
        """Keep a router running until it ends by itself with status 0 or 2, or a signal ends it; its status."""
        signal.set_wakeup_fd(self._signals_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        quick_deaths = starts = 0
        has_run = False
        while True:
            started_ns = time.monotonic_ns()
            self._start()
            cause = self._watch(started_ns)
            report = self._carry_out()
            self._await_end()
            status = _exit_status(self._wait_status)
            if self._stopping and status in (128 + signal.SIGTERM, 128 + signal.SIGINT):
                status = STATUS_OK  # it had not come as far as handling the signal: it held nothing
            if self._stopping or (not cause and status in (STATUS_OK, STATUS_BAD_CONFIGURATION)):
                if cause or report:
                    self._say("warning", f"router {self._pid} {cause or 'has ended'}{report}")
                return status
            starts += 1
            has_run = has_run or self._will.heartbeat_ns != 0
            if not has_run and starts == STARTS_WITHOUT_A_BEAT:
                self._say("error", f"the router cannot start here: it {cause or _describe(self._wait_status)}")
                return status
            self._say(
                "error", f"router {self._pid} {cause or _describe(self._wait_status)}{report}; starting a new one"
            )
            quick_deaths = quick_deaths + 1 if time.monotonic_ns() - started_ns < QUICK_DEATH_NS else 0
            self._pause(BACKOFF_NS[min(quick_deaths, len(BACKOFF_NS)) - 1] if quick_deaths else 0)
            if self._stopping:
                return STATUS_OK

    def _start(self) -> None:
        """Start the router with an empty will and a heartbeat that has not begun."""
        self._will.beat(0)
        self._will.fastest_interval_ns = 0
        self._wait_status = None
        guard_pid = os.getpid()
        everything = signal.valid_signals()
        # Blocked across fork, so that a signal meets the guard's handlers or the router, nothing in between.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, everything)
        self._pid = os.fork()
        if self._pid == 0:
            _become_router(self._command, self._will.fd, guard_pid, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pidfd = os.pidfd_open(self._pid)
        self._poll.register(self._pidfd, select.POLLIN)

    def _watch(self, started_ns: int) -> str:
        """Return when the router has ended (an empty text) or was killed (why)."""
        heartbeat = Heartbeat(started_ns)
        while True:
            now_ns = time.monotonic_ns()
            deadline_ns = heartbeat.deadline_ns
            if self._kill_at_ns is not None:
                deadline_ns = min(deadline_ns, self._kill_at_ns)
            if self._wait(deadline_ns - now_ns):
                return ""
            now_ns = time.monotonic_ns()
            beat_ns, interval_ns = self._will.heartbeat_ns, self._will.fastest_interval_ns
            cause = ""
            idle = self._will.is_empty
            if heartbeat.look(beat_ns=beat_ns, fastest_interval_ns=interval_ns, idle=idle, now_ns=now_ns):
                cause = f"had frozen for {(now_ns - beat_ns) // MS} ms" if beat_ns else "hung as it started"
            elif self._kill_at_ns is not None and now_ns >= self._kill_at_ns:
                cause = f"had not ended {self._grace_ns / SECOND:g} s after the signal"
            if cause:
                self._send_signal(signal.SIGKILL)
                limit_ns = time.monotonic_ns() + KILL_WAIT_NS
                while (left_ns := limit_ns - time.monotonic_ns()) > 0 and not self._wait(left_ns):
                    pass
                return cause + " and was killed"

    def _wait(self, timeout_ns: int) -> bool:
        """Sleep until something happens, at most `timeout_ns`; see to signals; True if the router has ended."""
        ended = False
        for descriptor, _ in self._poll.poll(max(0, -(-timeout_ns // MS))):
            if descriptor == self._pidfd:
                ended = True
            else:
                for number in os.read(self._signals, 512):
                    self._on_signal(number)
        return ended

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if not self._stopping:
                self._stopping = True
                self._kill_at_ns = time.monotonic_ns() + self._grace_ns
            self._send_signal(number)
        elif number == signal.SIGHUP:
            self._send_signal(number)
        elif number == signal.SIGCHLD:
            self._reap()

    def _send_signal(self, number: int) -> None:
        """Through the pidfd: never to another process that got the same number."""
        if self._pidfd >= 0:
            try:  # noqa: SIM105 contextlib would have to be imported
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass

    def _carry_out(self) -> str:
        """Carry out the will and withdraw it, so that nothing of it happens twice; what to say about it."""
        begin_ns = time.monotonic_ns()
        entries = self._will.read()
        if not entries:
            return ""
        failures = self._executor.carry_out(entries)
        took_ms = (time.monotonic_ns() - begin_ns) / MS
        self._will.write(())
        for failure in failures[:5]:
            self._say("error", f"last will: {failure}")
        return f"; last will carried out in {took_ms:.1f} ms, {len(entries) - len(failures)} of {len(entries)} entries"

    def _await_end(self) -> None:
        """Return once the router is gone and reaped."""
        while not self._wait(SECOND):
            pass
        self._poll.unregister(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._reap()

    def _reap(self) -> None:
        """Reap the router, and whatever else was left to us where the guard is PID 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._wait_status = status

    def _pause(self, length_ns: int) -> None:
        end_ns = time.monotonic_ns() + length_ns
        while not self._stopping and (left_ns := end_ns - time.monotonic_ns()) > 0:
            self._wait(left_ns)


def _become_router(command: list[str], will_fd: int, guard_pid: int, mask: set[int | signal.Signals]) -> None:
    """In the child: default signals, SIGTERM when the guard dies, then the router's program. Does not return."""
    try:
        os.setpgid(0, 0)  # Ctrl-C reaches the guard alone, which passes it on once
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        import ctypes  # here only: the guard itself is to stay small  # noqa: PLC0415

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == guard_pid:  # it may have died before prctl
            os.set_inheritable(will_fd, True)
            os.environ[WILL_FD_VARIABLE] = str(will_fd)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execvp(command[0], command)  # noqa: S606 no shell is the point
    except BaseException as error:  # whatever it is, this copy of the guard must not go on
        os.write(2, f"guard: cannot start {command[0]}: {error}\n".encode())
    os._exit(127)


def _exit_status(wait_status: int | None) -> int:
    """As a shell would give it: 128 + the signal for a process that was killed."""
    if wait_status is None:
        return 1
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def _describe(wait_status: int | None) -> str:
    if wait_status is not None and os.WIFSIGNALED(wait_status):
        return f"was ended by {signal.Signals(os.WTERMSIG(wait_status)).name}"
    return f"ended with status {_exit_status(wait_status)}"


def say_plain(level: str, message: str) -> None:
    """One line on standard error, as the router writes its own."""
    _write(f"{_timestamp()} {level.upper()} guard: {message}\n")


def say_json(level: str, message: str) -> None:
    """The same as a JSON object."""
    text = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    _write(f'{{"time": "{_timestamp()}", "level": "{level}", "message": "guard: {text}"}}\n')


def _timestamp() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"


def _write(line: str) -> None:
    """Drop the line if it cannot be taken at once: whoever stopped reading our log must not stop the guard."""
    writable = select.poll()
    writable.register(2, select.POLLOUT)
    if writable.poll(0):
        try:  # noqa: SIM105 contextlib would have to be imported
            os.write(2, line.encode()[:_PIPE_BUF])
        except OSError:
            pass


def _take_priority() -> None:
    """Run before a router that spins with real-time priority, and before other load, where that is granted."""
    try:  # noqa: SIM105 contextlib would have to be imported
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_REALTIME_PRIORITY))
    except OSError:
        pass


def main(arguments: list[str]) -> int:
    """`GRACE_SECONDS plain|json COMMAND…`, as `vip_speaker.cli` gives it; the status to exit with."""
    grace_ns = int(float(arguments[0]) * SECOND)
    say = say_json if arguments[1] == "json" else say_plain
    try:
        guard = Guard(arguments[2:], grace_ns=grace_ns, say=say)
    except PermissionError:
        say("error", "needs root, or the capabilities NET_ADMIN and NET_RAW, to move addresses and send VRRP")
        return STATUS_BAD_CONFIGURATION
    _take_priority()
    return guard.run()
