"""Runs a script that an administrator put into one directory: by its name, never a path or a command.

Standard input is closed, what it prints is bounded and its last line becomes the reason; at the timeout its process
group gets TERM, and KILL two seconds later. What it leaves running when it ends is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vip_speaker.checks.server import Result

KILL_AFTER_S = 2.0
MAXIMUM_OUTPUT_BYTES = 1024 * 1024
"""Whoever prints more is stopped: reading it would cost more than the check is worth."""
_TAIL_BYTES = 1024
_LINE = 160
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(slots=True)
class _Run:
    process: subprocess.Popen[bytes]
    tail: bytes = b""
    printed: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    kill: asyncio.TimerHandle | None = None


class ScriptCheck:
    """Scripts of `directory`; `refused` says why none may be run."""

    def __init__(self, directory: Path | None, *, refused: str | None) -> None:
        self._directory = directory
        self._refused = refused
        self._runs: dict[str, _Run] = {}

    def busy(self, key: str) -> bool:
        """Whether that script still runs."""
        return key in self._runs

    def close(self) -> None:
        """Kill what has not ended, also what has been told to and had time left for it."""
        for run in self._runs.values():
            _signal(run.process, signal.SIGKILL)

    async def run(self, check: Mapping[str, Any], *, timeout_s: float, environment: Mapping[str, str]) -> Result:
        """Good with exit status 0 in time."""
        name, key = check["name"], check["key"]
        program = self._program(name)
        if isinstance(program, str):
            return Result(good=False, reason=program)
        try:
            process = subprocess.Popen(
                [str(program), *check.get("args", ())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": _PATH, **environment},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return Result(good=False, reason=f"{name} cannot be run: {getattr(error, 'strerror', None) or error}")
        run = self._runs[key] = _Run(process)
        self._follow(key, run)
        try:
            await asyncio.wait_for(run.ended.wait(), timeout_s)
        except TimeoutError:
            self._end(run)
            return Result(good=False, reason=f"{name} did not end within {timeout_s:g} s")
        except asyncio.CancelledError:
            _signal(run.process, signal.SIGKILL)
            raise
        return _result(name, run)

    def _program(self, name: str) -> Path | str:
        """What to start; text says why not."""
        if self._directory is None:
            return "no scripts directory is configured (--scripts-dir, or the chart's speaker.scripts)"
        if self._refused is not None:
            return self._refused
        try:
            directory = self._directory.resolve(strict=True)
            program = (directory / name).resolve(strict=True)
            if not program.is_relative_to(directory):
                return f"{name} is a link out of the scripts directory"
            problem = _is_unsafe(directory) or _is_unsafe(program)
        except FileNotFoundError:
            return f"there is no {name} in {self._directory}"
        except OSError as error:
            return f"{name} cannot be looked at: {error.strerror}"
        if problem is not None:
            return problem
        if not program.is_file():
            return f"{name} is not a regular file"
        return program if os.access(program, os.X_OK) else f"{name} is not executable by this user"

    def _follow(self, key: str, run: _Run) -> None:
        loop = asyncio.get_running_loop()
        assert run.process.stdout is not None
        output = run.process.stdout.fileno()
        os.set_blocking(output, False)
        loop.add_reader(output, self._read, run)
        pidfd = os.pidfd_open(run.process.pid)
        loop.add_reader(pidfd, self._ended, key, run, pidfd)

    def _read(self, run: _Run) -> None:
        output = run.process.stdout
        if output is None or output.closed:
            return
        try:
            data = os.read(output.fileno(), 65536)
        except BlockingIOError:
            return
        run.tail = (run.tail + data)[-_TAIL_BYTES:]
        run.printed += len(data)
        if not data or run.printed > MAXIMUM_OUTPUT_BYTES:
            asyncio.get_running_loop().remove_reader(output.fileno())
            output.close()

    def _ended(self, key: str, run: _Run, pidfd: int) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(pidfd)
        os.close(pidfd)
        if run.kill is not None:
            run.kill.cancel()
        _signal(run.process, signal.SIGKILL)  # the rest of its group, as long as its number is still taken
        output = run.process.stdout
        for _ in range(MAXIMUM_OUTPUT_BYTES // 65536):
            before = run.printed
            self._read(run)
            if run.printed == before:
                break
        if output is not None and not output.closed:
            loop.remove_reader(output.fileno())
            output.close()
        run.process.wait()
        del self._runs[key]
        self._end_strays()
        run.ended.set()

    def _end(self, run: _Run) -> None:
        _signal(run.process, signal.SIGTERM)
        loop = asyncio.get_running_loop()
        run.kill = loop.call_later(KILL_AFTER_S, _signal, run.process, signal.SIGKILL)

    def _end_strays(self) -> None:
        """Kill and reap what scripts that have ended left in sessions of their own: as subreaper it is our child."""
        running = {run.process.pid for run in self._runs.values()}
        try:
            listed = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
        except OSError:
            return
        for pid in map(int, listed.split()):
            if pid not in running:
                with contextlib.suppress(OSError):
                    if os.getsid(pid) not in running:
                        os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, os.WNOHANG)


def _is_unsafe(path: Path) -> str | None:
    """Whether someone other than root could have put something there."""
    status = path.stat()
    if status.st_uid != 0:
        return f"{path.name} is not root's"
    read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not read_only:
        return f"{path.name} can be written by others"
    return None


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _result(name: str, run: _Run) -> Result:
    status = run.process.returncode
    if status == 0:
        return Result(good=True, reason=f"{name} succeeded")
    how = f"ended with status {status}" if status > 0 else f"was ended by {_signal_name(-status)}"
    if run.printed > MAXIMUM_OUTPUT_BYTES:
        return Result(good=False, reason=f"{name} {how}: printed more than {MAXIMUM_OUTPUT_BYTES} bytes")
    lines = [line.strip() for line in run.tail.decode(errors="replace").splitlines() if line.strip()]
    return Result(good=False, reason=f"{name} {how}" + (f": {lines[-1][:_LINE]}" if lines else ""))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
