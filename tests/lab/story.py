"""How the lab speaks: headings, commands with their real output, tcpdump's lines as they come, and what was seen."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable, Sequence

from tests.capture import Capture
from tests.netns import Host

WIDTH = 110
PATIENCE_S = 20


class NotSeenError(Exception):
    """A step did not happen; the message says which."""


class Story:
    """Prints one walk-through; `capture` runs beside it and its lines are shown while the story waits."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.seen_count = 0
        self._shown = 0
        self._step = 0
        self._started = time.monotonic()
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def _print(self, text: str = "") -> None:
        print(text, flush=True)

    def heading(self, title: str) -> None:
        """Begin the next step."""
        self.flush()
        self._step += 1
        elapsed = f"{time.monotonic() - self._started:.0f} s"
        line = f"── {self._step}. {title} "
        self._print("\n" + self._paint("1", line + "─" * max(WIDTH - len(line) - len(elapsed) - 1, 2)) + f" {elapsed}")

    def say(self, text: str) -> None:
        """A sentence or two."""
        self._print(textwrap.fill(" ".join(text.split()), WIDTH))

    def command(self, host: Host, command: str, output: str | None = None) -> None:
        """A command as typed on `host`, and what it printed."""
        self._print(self._paint("36", f"{host.name}# {command}"))
        if output is not None:
            self._print(textwrap.indent(output.rstrip("\n"), "  "))

    def run(self, host: Host, *command: str) -> str:
        """Run a command on `host` and show it with its output."""
        output = host.run(*command, check=False)
        self.command(host, " ".join(command), output)
        return output

    def file(self, host: Host, name: str, text: str) -> None:
        """A file's content, as on `host`."""
        self.command(host, f"cat {name}", text)

    def flush(self) -> None:
        """Show what tcpdump has printed since the last time."""
        lines = self.capture.lines[self._shown :]
        self._shown += len(lines)
        for line in lines:
            self._print(self._paint("33", f"  tcpdump │ {line}"))

    def wait(self, condition: Callable[[], object], *, what: str, patience_s: float = PATIENCE_S) -> None:
        """Let time pass, tcpdump's lines running through, until `condition()`; NotSeenError otherwise."""
        end = time.monotonic() + patience_s
        while not condition():
            self.flush()
            if time.monotonic() > end:
                raise NotSeenError(f"not seen within {patience_s:g} s: {what}")
            time.sleep(0.02)
        self.flush()

    def let_pass(self, seconds: float, *, unless: Callable[[], object], what: str) -> None:
        """Let `seconds` pass; NotSeenError as soon as `unless()` is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.flush()
            if unless():
                raise NotSeenError(what)
            time.sleep(0.02)

    def check(self, truth: object, what: str) -> None:
        """✓ with what was seen, or NotSeenError."""
        if not truth:
            raise NotSeenError(what)
        self.seen(what)

    def seen(self, what: str) -> None:
        """✓ with what was seen."""
        self.seen_count += 1
        self._print(self._paint("32", "✓ ") + what)

    def failed(self, what: str) -> None:
        """✗ with what was not seen."""
        self.flush()
        self._print(self._paint("31", "✗ ") + what)

    def last_lines(self, title: str, text: str, count: int = 15) -> None:
        """The end of a log, for a step that failed."""
        self._print(self._paint("2", title))
        self._print(textwrap.indent("\n".join(text.splitlines()[-count:]), "  "))

    def end(self, sentences: Sequence[str]) -> None:
        """The closing lines."""
        self.flush()
        self._print()
        for sentence in sentences:
            self.say(sentence)
        self._print(f"{self.seen_count} things were to be seen, all were; {time.monotonic() - self._started:.0f} s.")
