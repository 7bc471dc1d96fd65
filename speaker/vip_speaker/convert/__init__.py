"""keepalived.conf to VirtualIP documents, and an honest list of what that leaves out.

Facts about keepalived are those of its manual page. What the file says is carried over even where keepalived itself
would not do it, with a note that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vip_api.fields import Reader, Report
from vip_api.spec import ANNOUNCEMENTS

from vip_speaker.convert.checks import DEFINITIONS, Definitions
from vip_speaker.convert.config import Note, Statement, read_config
from vip_speaker.convert.instance import Defaults, Instance, garp, is_garp, reason

__all__ = ["Converted", "convert"]

# Far above any file that a person keeps.
MAX_TEXT_BYTES = 1024 * 1024

_IGNORED_BLOCKS = {
    "vrrp_sync_group": "instances do not move together; one VirtualIP can have the addresses of several",
    "virtual_server": "there is no LVS here; a Kubernetes Service does this",
    "virtual_server_group": "there is no LVS here; a Kubernetes Service does this",
    "static_ipaddress": "only virtual addresses are looked after",
    "static_routes": "only virtual addresses are looked after",
    "static_rules": "only virtual addresses are looked after",
    "bfd_instance": "there is no check by BFD",
    "garp_group": "announcements have a rate budget of their own per link",
}
_GLOBAL_REASONS = {
    "router_id": "a name for mails and SNMP, of which there is neither",
    "script_user": "scripts always run as one unprivileged user",
    "enable_script_security": "always so: scripts that others could have written are refused",
    "vrrp_strict": "there is no such mode",
}
_MAILS = ("notification_email", "smtp_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The VirtualIP documents for one host, and what was not carried over: `line 12: …`, in the order of lines."""

    documents: list[dict[str, Any]]
    notes: list[str]


def convert(text: str) -> Converted:
    """What a keepalived.conf says, for a router without a cluster. Never an exception, whatever the text."""
    if len(text) > MAX_TEXT_BYTES:
        return Converted(documents=[], notes=[f"the file is larger than {MAX_TEXT_BYTES // 1024} KiB"])
    statements, notes = read_config(text)
    statements = _without_preprocessing(statements, notes)
    defaults = Defaults()
    definitions = Definitions()
    for statement in statements:
        if statement.keyword == "global_defs":
            _read_global(statement, defaults, notes)
        elif statement.keyword in DEFINITIONS:
            definitions.add(statement)
        elif statement.keyword != "vrrp_instance":
            why = _IGNORED_BLOCKS.get(statement.keyword, "there is no such setting")
            notes.append(Note(line=statement.line, text=f"{statement}: {why}"))
    taken: set[str] = set()
    weighted: set[str] = set()  # instances with a script that has a weight
    documents = []
    for statement in statements:
        if statement.keyword == "vrrp_instance":
            instance = Instance(statement, defaults=defaults, definitions=definitions, notes=notes)
            document = instance.document(taken)
            if document is not None:
                documents.append(document)
                if any("script" in check and check["weight"] for check in document["spec"].get("track", ())):
                    weighted.add(statement.argument)
    for statement in statements:
        if statement.keyword == "vrrp_sync_group":
            _note_weights(statement, weighted, notes)
    if not any(statement.keyword == "vrrp_instance" for statement in statements):
        notes.append(Note(line=0, text="there is no vrrp_instance in it"))
    # A definition that two instances refer to is noted twice.
    ordered = dict.fromkeys(sorted(notes, key=lambda note: note.line))
    return Converted(documents=documents, notes=[str(note) for note in ordered])


def _note_weights(group: Statement, weighted: set[str], notes: list[Note]) -> None:
    """Where scripts count here that keepalived does not let count."""
    if any(statement.keyword == "sync_group_tracking_weight" for statement in group.body):
        return
    members = {word for block in group.body if block.keyword == "group" for it in block.body for word in it.words}
    if found := sorted(members & weighted):
        why = (
            "without sync_group_tracking_weight keepalived ignores the weighted scripts of its instances "
            f"({', '.join(found)}); here they count"
        )
        notes.append(Note(line=group.line, text=f"{group}: {why}"))


def _without_preprocessing(statements: list[Statement], notes: list[Note]) -> list[Statement]:
    """The statements without what only keepalived's preprocessor understands, at every depth."""
    kept = []
    for statement in statements:
        why = _preprocessing(statement)
        if why:
            notes.append(Note(line=statement.line, text=f"{statement}: {why}"))
        else:
            statement.body = _without_preprocessing(statement.body, notes)
            kept.append(statement)
    return kept


def _preprocessing(statement: Statement) -> str:
    keyword = statement.keyword
    if keyword in {"include", "includer", "includem", "includew", "includeb", "includea"}:
        return "other files are not read; convert that file by itself, or paste it in here"
    if keyword.startswith("@"):
        return "conditional lines are not carried over; keep those of this host, without the @"
    if keyword.startswith(("~SEQ", "~LST")):
        return "sequences are not carried over; write the lines out"
    if any(word.startswith("$") or "${" in word for word in statement.words):
        return "definitions ($NAME) are not carried over; write the value out"
    return ""


def _read_global(block: Statement, defaults: Defaults, notes: list[Note]) -> None:
    for statement in block.body:
        if statement.keyword == "vrrp_version" and statement.argument in {"2", "3"}:
            defaults.version = int(statement.argument)
        elif statement.keyword == "default_interface" and statement.argument:
            defaults.interface = statement.argument
        elif is_garp(statement.keyword):
            _read_garp(statement, defaults, notes)
        else:
            why = _GLOBAL_REASONS.get(statement.keyword, reason(statement.keyword))
            if statement.keyword.startswith(_MAILS):
                why = reason("smtp_alert")
            notes.append(Note(line=statement.line, text=f"{statement}: {why}"))


def _read_garp(statement: Statement, defaults: Defaults, notes: list[Note]) -> None:
    announcements = defaults.announcements | garp(statement)
    report = Report(reader=Reader.LONE)
    ANNOUNCEMENTS.read(announcements, "announcements", report)
    notes.extend(Note(line=statement.line, text=f"{statement}: {problem.message}") for problem in report.problems)
    if not report.problems:
        defaults.announcements = announcements
