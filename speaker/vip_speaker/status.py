"""`vip-speaker status`: what `kubectl get vip` shows, for the VIPs of this host, read from the state directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TextIO

from vip_speaker.statedirectory import NoStateDirectoryError, Skipped, StateDirectory
from vip_speaker.statefile import VirtualIPState, check_changes

POLL_SECONDS = 0.5

EXIT_NO_ROUTER = 1

Column = tuple[str, Callable[[VirtualIPState, float], str]]

TABLE: tuple[Column, ...] = (
    ("NAME", lambda state, _: state.name),
    ("ADDRESS", lambda state, _: state.addresses[0] if state.addresses else ""),
    ("VRID", lambda state, _: str(state.virtualRouterID or "")),
    ("STATE", lambda state, _: state.state),
    ("MASTER", lambda state, _: state.master),
    ("PRIORITY", lambda state, _: str(state.effectivePriority or "")),
    ("FOR", lambda state, now: duration(now, state.since)),
)
WIDE: tuple[Column, ...] = (
    *TABLE,
    ("ADDRESSES", lambda state, _: ",".join(state.addresses)),
    ("INTERFACE", lambda state, _: state.interface),
    ("SINCE", lambda state, _: state.since),
    ("REASON", lambda state, _: explained(state)),
)


def run_status(directory: StateDirectory, *, output: str, watch: bool, out: TextIO, err: TextIO) -> int:
    """Print the VIPs of this host as `table`, `wide` or `json`; with `watch`, changed ones again until Ctrl-C.

    Exit status 0; 1 if no router runs here.
    """
    try:
        states, skipped = directory.scan()
        runs = directory.router_runs()
    except NoStateDirectoryError as error:
        print(no_router(directory, error), file=err)
        return EXIT_NO_ROUTER
    if runs is False:
        print(left_behind(directory, states), file=err)
        return EXIT_NO_ROUTER
    if runs is None and not states:
        print(no_state(directory), file=err)
        return EXIT_NO_ROUTER
    if output == "json":
        print(json.dumps([asdict(state) for state in states], indent=2), file=out)
    elif states:
        print_table(states, TABLE if output == "table" else WIDE, time.time(), out)
    else:
        print("No VIPs: the router's configuration has none.", file=err)
    for line in warnings(states, skipped):
        print(line, file=err)
    if watch:
        _watch(directory, states, output=output, out=out, err=err)
    return 0


def _runs(directory: StateDirectory, states: Sequence[VirtualIPState]) -> bool:
    """Whether a router runs here; where the directory cannot tell, documents speak for it."""
    runs = directory.router_runs()
    return bool(states) if runs is None else runs


def _watch(
    directory: StateDirectory, shown: Sequence[VirtualIPState], *, output: str, out: TextIO, err: TextIO
) -> None:
    """Print every VIP again whose document has changed, until Ctrl-C."""
    before = {state.name: state for state in shown}
    warned = set(warnings(shown, ()))
    ran = True
    while True:
        out.flush()
        time.sleep(POLL_SECONDS)
        try:
            states, _ = directory.scan()
            runs = _runs(directory, states)
        except NoStateDirectoryError:
            states, runs = [], False
        if runs != ran:
            print("The router runs again." if runs else "The router does not run any more.", file=err)
            ran = runs
        changed = [state for state in states if before.get(state.name) != state]
        for name in before.keys() - {state.name for state in states}:
            print(f"{printable(name)}: removed", file=err)
        before = {state.name: state for state in states}
        if output == "json":
            for state in changed:
                print(json.dumps(asdict(state)), file=out)
        elif changed:
            print_table(changed, TABLE if output == "table" else WIDE, time.time(), out, header=False, beside=states)
        news = warnings(states, ())
        for line in news:
            if line not in warned:
                print(line, file=err)
        warned = set(news)


def print_table(
    states: Sequence[VirtualIPState],
    columns: Sequence[Column],
    now: float,
    out: TextIO,
    *,
    header: bool = True,
    beside: Sequence[VirtualIPState] = (),
) -> None:
    """Print one row per VIP, columns three blanks apart as kubectl does, wide enough for the rows of `beside` too."""
    titles = [title for title, _ in columns]

    def row(state: VirtualIPState) -> list[str]:
        return [printable(cell(state, now)) or "<none>" for _, cell in columns]

    rows = [row(state) for state in states]
    everything = [titles, *rows, *(row(state) for state in beside)]
    widths = [max(len(line[at]) for line in everything) for at in range(len(titles))]
    for line in [titles, *rows] if header else rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=out)


def warnings(states: Iterable[VirtualIPState], skipped: Iterable[Skipped]) -> list[str]:
    """What a person should see beside the rows: problems of manifests, split brain, files that are no state."""
    lines = []
    for state in states:
        lines += [f"Warning: {state.name}: {problem}" for problem in state.problems]
        if state.splitBrain is not None:
            split = state.splitBrain
            lines.append(f"Warning: {state.name}: split brain: {split.source} is MASTER too, since {split.since}")
    lines += [f"Warning: skipped {entry.name}: it {entry.reason}" for entry in skipped]
    return [printable(line) for line in lines]


def explained(state: VirtualIPState) -> str:
    """Why the VIP is in its state, and what its checks change in the priority: `httpd not running: -10`."""
    return "; ".join([*filter(None, [state.reason]), *check_changes(state)])


def duration(now: float, since: str) -> str:
    """How long ago the instant `since` (RFC 3339) is, in kubectl's words: 95s, 4m12s, 45m, 5h12m, 26h, 3d."""
    try:
        seconds = int(now - datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError):
        return ""
    minutes, hours = seconds // 60, seconds // 3600
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def printable(text: str) -> str:
    """Text for a terminal: names and reasons may come from the LAN or from a stranger's file."""
    return "".join(character if character.isprintable() else "?" for character in text)


def no_router(directory: StateDirectory, error: NoStateDirectoryError) -> str:
    """What to say without a state directory."""
    if isinstance(error.__cause__, PermissionError):
        return f"The state directory {directory.path} may not be read by this user."
    return (
        f"No router runs on this host: {directory.path} does not exist.\n"
        "Start one with `systemctl start vip-speaker`, or `vip-speaker router --config PATH`; "
        "if its state is elsewhere, name it with --state-dir."
    )


def no_state(directory: StateDirectory) -> str:
    """What to say of a directory in which no router was ever seen."""
    return (
        f"No router runs on this host: {directory.path} has no state of one. "
        "If its state is elsewhere, name it with --state-dir."
    )


def left_behind(directory: StateDirectory, states: Sequence[VirtualIPState]) -> str:
    """What to say when a state directory is there but nobody holds it."""
    found = ""
    if states:
        last = ", ".join(f"{state.name} {state.state} since {state.since or 'unknown'}" for state in states)
        found = f"\nWhat it said last: {printable(last)}."
    return f"No router runs on this host: {directory.path} is left from one that has ended.{found}"
