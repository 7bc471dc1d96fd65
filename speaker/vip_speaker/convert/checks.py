"""keepalived's track_* blocks as entries of `spec.track`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from vip_api.fields import Reader, Report
from vip_api.track import KINDS, MAX_WEIGHT

from vip_speaker.convert.config import Note, Statement

# Blocks that define a check by name, and the kind of track_* block that refers to it.
DEFINITIONS = {
    "vrrp_script": "track_script",
    "track_file": "track_file",
    "vrrp_track_file": "track_file",
    "vrrp_track_process": "track_process",
}
REFERENCES = ("track_interface", "track_script", "track_file", "track_process")
# What counts as one where nothing is said.
_DEFAULT_WEIGHTS = {"track_interface": 0, "track_script": 0, "track_file": 1, "track_process": 1}

_SHELL = re.compile(r"[<>|&;`$*?()\n]")
_PROCESS_TOOLS = ("killall", "pidof", "pgrep")


@dataclass(slots=True)
class Definitions:
    """The checks that the file defines: by (kind of reference, name)."""

    found: dict[tuple[str, str], Statement] = field(default_factory=dict)

    def add(self, statement: Statement) -> None:
        """A vrrp_script, track_file or vrrp_track_process block."""
        self.found[DEFINITIONS[statement.keyword], statement.argument] = statement


def label(name: str) -> str:
    """A DNS label that reads like the name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-") or "unnamed"


def unique(name: str, taken: set[str]) -> str:
    """The name, or where it is taken the name with a number; it is taken from now on."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name[:58]}-{number}"
    taken.add(candidate)
    return candidate


def track_entries(
    block: Statement, definitions: Definitions, taken: set[str], seen: set[tuple[str, str]], notes: list[Note]
) -> Iterator[dict[str, Any]]:
    """The entries that one track_* block of an instance stands for. `seen`: (kind, name) of those before."""
    for reference in block.body:
        if (block.keyword, reference.keyword) in seen:
            why = "named twice, and counts once, as in keepalived; left out"
            notes.append(Note(line=reference.line, text=f"{reference}: {why}"))
            continue
        entry = _entry(block.keyword, reference, definitions, notes)
        if entry is not None:
            seen.add((block.keyword, reference.keyword))
            yield {"name": unique(label(reference.keyword), taken)} | entry


def _entry(kind: str, reference: Statement, definitions: Definitions, notes: list[Note]) -> dict[str, Any] | None:
    definition = definitions.found.get((kind, reference.keyword))
    weight, reverse = _DEFAULT_WEIGHTS[kind], False
    if kind == "track_interface":
        check: dict[str, Any] | None = {"interface": {"name": reference.keyword}}
    elif definition is None:
        notes.append(Note(line=reference.line, text=f"{kind}: {reference.keyword} is not defined in this file"))
        return None
    else:
        check = _MAKERS[kind](definition, notes)
        weight, reverse = _weight(_find(definition, "weight"), weight, reverse, notes)
    weight, reverse = _weight(reference, weight, reverse, notes)
    if check is None or not _is_right(check, definition or reference, notes):
        return None
    return {"weight": weight} | ({"reverse": True} if reverse else {}) | check


def _is_right(check: dict[str, Any], statement: Statement, notes: list[Note]) -> bool:
    ((kind, given),) = check.items()
    report = Report(reader=Reader.LONE)
    KINDS[kind].read(given, kind, report)
    notes.extend(Note(line=statement.line, text=f"{statement}: {problem}") for problem in report.problems)
    return not report.problems


def _find(block: Statement, keyword: str) -> Statement | None:
    """The last statement of that name, which is the one that counts."""
    return next((statement for statement in reversed(block.body) if statement.keyword == keyword), None)


def _weight(statement: Statement | None, weight: int, reverse: bool, notes: list[Note]) -> tuple[int, bool]:
    """What `weight N [reverse|noreverse]` in these words makes of the weight so far; without either that stays."""
    if statement is None or "weight" not in statement.words:
        return weight, reverse
    words = statement.words[statement.words.index("weight") + 1 :]
    if not words or re.fullmatch(r"[-+]?[0-9]{1,10}", words[0]) is None:
        notes.append(Note(line=statement.line, text=f"{statement}: weight without a number, taken as {weight}"))
        return weight, reverse
    asked = int(words[0])
    bounded = max(-MAX_WEIGHT, min(MAX_WEIGHT, asked))
    if bounded != asked:
        notes.append(
            Note(line=statement.line, text=f"{statement}: written as {bounded}; no priority can change by more")
        )
    if "reverse" in words[1:]:
        return bounded, True
    return bounded, reverse and not {"noreverse", "no_reverse"} & set(words[1:])


def _without(block: Statement, known: tuple[str, ...], notes: list[Note]) -> None:
    """Notes what else a definition says."""
    notes.extend(
        Note(line=statement.line, text=f"{statement}: {_REASONS.get(statement.keyword, 'there is no such setting')}")
        for statement in block.body
        if statement.keyword not in {*known, "weight"}
    )


_REASONS = {
    "user": "scripts always run as one unprivileged user",
    "init_file": "the router never writes to a file that it watches; create it before",
    "delay": "what starts or ends counts at once, and changes the priority at most once a second",
    "terminate_delay": "what ends counts at once, and changes the priority at most once a second",
    "fork_delay": "what starts counts at once, and changes the priority at most once a second",
    "quorum_max": "only a lower bound can be given (quorum)",
    "param_match": "arguments are compared as a whole (commandLine)",
}


def _script(definition: Statement, notes: list[Note]) -> dict[str, Any] | None:
    """A script by its file name: a VirtualIP never carries a path or a command."""
    _without(definition, ("script", "interval", "timeout", "rise", "fall", "init_fail"), notes)
    command = _find(definition, "script")
    try:
        arguments = shlex.split(command.argument) + command.words[2:] if command is not None else []
    except ValueError:
        arguments = []
    if command is None or not arguments:
        notes.append(Note(line=definition.line, text=f"{definition}: names no script"))
        return None
    if _SHELL.search(" ".join(arguments)):
        reason = "this needs a shell: write it into a file, put that into the scripts directory and name it here"
        notes.append(Note(line=command.line, text=f"{command}: {reason}"))
        return None
    name = PurePosixPath(arguments[0]).name
    reason = f"put it as {name} into the scripts directory, which is the only place that scripts are taken from"
    if name in _PROCESS_TOOLS:
        reason += "; `process` does this without a script"
    notes.append(Note(line=command.line, text=f"{command}: {reason}"))
    script: dict[str, Any] = {"name": name}
    if arguments[1:]:
        script["args"] = arguments[1:]
    script |= _pace(definition, notes)
    if _find(definition, "init_fail") is not None:
        script["initFail"] = True
    return {"script": script}


def _pace(definition: Statement, notes: list[Note]) -> dict[str, Any]:
    """interval, timeout, rise and fall."""
    pace: dict[str, Any] = {}
    seconds = {keyword: _number(definition, keyword, notes) for keyword in ("interval", "timeout")}
    interval = seconds["interval"] or 1
    if seconds["interval"]:
        pace["interval"] = f"{interval}s"
    if seconds["timeout"] is not None:
        pace["timeout"] = f"{min(seconds['timeout'], interval)}s"
        if seconds["timeout"] > interval:
            statement = _find(definition, "timeout") or definition
            reason = f"written as {interval}s: a run ends before the next one starts"
            notes.append(Note(line=statement.line, text=f"{statement}: {reason}"))
    for keyword in ("rise", "fall"):
        count = _number(definition, keyword, notes)
        if count is not None:
            pace[keyword] = count
    return pace


def _number(definition: Statement, keyword: str, notes: list[Note]) -> int | None:
    """The whole number behind a keyword."""
    statement = _find(definition, keyword)
    if statement is None:
        return None
    if re.fullmatch(r"[0-9]{1,10}", statement.argument) is None:
        notes.append(Note(line=statement.line, text=f"{statement}: not a whole number; left out"))
        return None
    return int(statement.argument)


def _file(definition: Statement, notes: list[Note]) -> dict[str, Any] | None:
    _without(definition, ("file",), notes)
    path = _find(definition, "file")
    if path is None or not path.argument:
        notes.append(Note(line=definition.line, text=f"{definition}: names no file"))
        return None
    return {"file": {"path": path.argument}}


def _process(definition: Statement, notes: list[Note]) -> dict[str, Any] | None:
    _without(definition, ("process", "quorum", "full_command"), notes)
    statement = _find(definition, "process")
    if statement is None or not statement.argument:
        notes.append(Note(line=definition.line, text=f"{definition}: names no process"))
        return None
    whole = len(statement.words) > 2 or _find(definition, "full_command") is not None
    process: dict[str, Any] = (
        {"commandLine": " ".join(statement.words[1:])} if whole else {"name": PurePosixPath(statement.argument).name}
    )
    quorum = _number(definition, "quorum", notes)
    if quorum is not None:
        process["quorum"] = quorum
    return {"process": process}


_MAKERS: dict[str, Callable[[Statement, list[Note]], dict[str, Any] | None]] = {
    "track_script": _script,
    "track_file": _file,
    "track_process": _process,
}
