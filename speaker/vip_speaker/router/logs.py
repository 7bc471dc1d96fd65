"""Log lines of the router: plain or JSON, and never a reason to wait.

A pipe whose reader stopped would stop the election; so a line that cannot be taken at once is dropped, counted, and the
number said in the next line that gets through.
"""

from __future__ import annotations

import json
import logging
import os
import select
from datetime import UTC, datetime

# A pipe that select() calls writable takes this much at once (POSIX: PIPE_BUF).
_MAX_LINE = 4096


class PlainFormatter(logging.Formatter):
    """`2026-11-23T18:00:00.123Z INFO web: BACKUP → MASTER, …`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        return f"{_timestamp(record)} {record.levelname} {_message(record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `message`, and `vip` where the line is about one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry = {"time": _timestamp(record), "level": record.levelname.lower(), "message": record.getMessage()}
        if vip := getattr(record, "vip", None):
            entry["vip"] = vip
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class UnblockingHandler(logging.Handler):
    """Writes to a descriptor only what it takes at once."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or count it as dropped."""
        if not select.select([], [self._descriptor], [], 0)[1]:
            self._dropped += 1
            return
        line = self.format(record)
        if self._dropped:
            line = f"{line} [{self._dropped} lines before this one were not taken by the reader]"
        data = line.encode(errors="backslashreplace")[: _MAX_LINE - 1] + b"\n"
        try:
            os.write(self._descriptor, data)
        except OSError:
            self._dropped += 1
        else:
            self._dropped = 0


def configure(*, log_format: str, level: str) -> None:
    """Send every log line of this process to standard error in `log_format` (`plain` or `json`)."""
    handler = UnblockingHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else PlainFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _timestamp(record: logging.LogRecord) -> str:
    stamp = datetime.fromtimestamp(record.created, UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    vip = getattr(record, "vip", None)
    text = record.getMessage()
    if record.exc_info:
        text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
    return f"{vip}: {text}" if vip else text
