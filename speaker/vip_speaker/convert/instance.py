"""One vrrp_instance as one VirtualIP document."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vip_api.fields import Reader, Report
from vip_api.schema import API_VERSION, KIND
from vip_api.spec import ADDRESSES, MAX_ADDRESSES, SPEC
from vip_api.values import parse_address, parse_ip

from vip_speaker.convert.checks import REFERENCES, Definitions, label, track_entries, unique
from vip_speaker.convert.config import Note, Statement

_DEFAULT_PRIORITY = 100
# spec's fields in the order in which a person reads them.
_ORDER = (
    "addresses",
    "interfaces",
    "virtualRouterID",
    "version",
    "advertisementInterval",
    "priority",
    "preempt",
    "preemptDelay",
    "authentication",
    "transport",
    "unicastPeers",
    "virtualMAC",
    "announcements",
    "track",
)
# What is so anyway, or read elsewhere, and needs no word.
_ALREADY_SO = frozenset({"version", "accept", "preempt", "check_unicast_src", "native_ipv6", "promote_secondaries"})
_GARP = {"garp_master_repeat": "repeat", "garp_master_delay": "delay", "garp_master_refresh": "refresh"}
_ADDRESS_OPTIONS = {"dev": 2, "brd": 2, "broadcast": 2, "label": 2, "scope": 2, "peer": 2, "preferred_lft": 2}

_TELL = "the log and the state directory tell of transitions, in a cluster also Events and metrics"
REASONS = {
    "unicast_src_ip": "advertisements are sent from the interface's primary address",
    "mcast_src_ip": "advertisements are sent from the interface's primary address",
    "no_accept": "packets to the addresses are always accepted",
    "dont_track_primary": "an instance is always in FAULT while its interface is down",
    "virtual_routes": "routes are not moved with the addresses",
    "virtual_rules": "routing rules are not moved with the addresses",
    "lvs_sync_daemon_interface": "there is no LVS here",
    "smtp_alert": f"no mail is sent; {_TELL}",
    "mcast_dst_ip": "the group is always the one that the RFC names",
    "down_timer_adverts": "peers take over after three intervals, as the RFC says",
    "track_bfd": "there is no check by BFD",
    "native_ipv6": "the family is that of the first address",
    "use_ipvlan": "virtualMAC (macvlan) is the only kind of interface of its own",
    "unicast_ttl": "packets are sent with a TTL of 255 and taken with no other",
    "strict_mode": "there is no such mode",
    "debug": "there is no such level",
}
_NOTIFY = f"no script is run on transitions; {_TELL}"


def reason(keyword: str) -> str:
    """Why a keyword is not carried over."""
    return _NOTIFY if keyword.startswith("notify") else REASONS.get(keyword, "there is no such setting")


@dataclass(slots=True, kw_only=True)
class Defaults:
    """What global_defs says for every instance."""

    version: int = 2
    interface: str | None = None
    announcements: dict[str, Any] = field(default_factory=dict)


class Instance:
    """Reads the statements of one block and collects a spec; `document` is the result."""

    def __init__(self, block: Statement, *, defaults: Defaults, definitions: Definitions, notes: list[Note]) -> None:
        self._block = block
        self._defaults = defaults
        self._definitions = definitions
        self._notes = notes
        self._spec: dict[str, Any] = {}
        self._taken: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._devices: list[str] = []
        self._by_keyword: dict[str, Callable[[Statement], None]] = {
            "interface": lambda it: self._put(it, "interfaces", [it.argument]),
            "virtual_router_id": lambda it: self._put_number(it, "virtualRouterID"),
            "priority": lambda it: self._put_number(it, "priority"),
            "state": self._state,
            "nopreempt": self._nopreempt,
            "preempt_delay": self._preempt_delay,
            "unicast_peer": self._unicast_peer,
            "use_vmac": self._use_vmac,
            **dict.fromkeys(_GARP, self._garp),
            **dict.fromkeys(REFERENCES, self._track),
        }
        # These need to know the version, which needs to know the addresses' family.
        self._later = {
            "virtual_ipaddress": self._addresses,
            "virtual_ipaddress_excluded": self._addresses,
            "authentication": self._authentication,
            "advert_int": self._interval,
        }

    def document(self, taken: set[str]) -> dict[str, Any] | None:
        """The VirtualIP, under a name that is not taken; None where nothing usable is left, which is noted."""
        self._spec["priority"] = _DEFAULT_PRIORITY
        if self._defaults.announcements:
            self._spec["announcements"] = dict(self._defaults.announcements)
        for statement in self._block.body:
            if statement.keyword in self._by_keyword:
                self._by_keyword[statement.keyword](statement)
            elif statement.keyword not in self._later and statement.keyword not in _ALREADY_SO:
                self._note(statement, reason(statement.keyword))
        self._spec["version"] = self._version()
        for keyword, read in self._later.items():
            for statement in self._all(keyword):
                read(statement)
        self._choose_interface()
        if "addresses" not in self._spec:
            self._note(self._block, "no address is left; no VirtualIP is made of it")
            return None
        spec = {name: self._spec[name] for name in _ORDER if name in self._spec}
        if self._is_refused(spec):
            return None
        name = unique(label(self._block.argument), taken)
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}

    def _is_refused(self, spec: dict[str, Any]) -> bool:
        """Whether the fields, each right by itself, are wrong together; noted."""
        report = Report(reader=Reader.LONE)
        SPEC.read(spec, "spec", report)
        for problem in report.problems:
            self._note(self._block, f"no VirtualIP is made of it: {problem}")
        if "virtualRouterID" not in spec:
            self._note(self._block, "has no virtual_router_id; a router without a cluster needs one")
        return bool(report.problems)

    def _note(self, statement: Statement, text: str) -> None:
        self._notes.append(Note(line=statement.line, text=f"{statement}: {text}"))

    def _all(self, keyword: str) -> list[Statement]:
        return [statement for statement in self._block.body if statement.keyword == keyword]

    def _has(self, keyword: str, argument: str = "") -> bool:
        return any(not argument or statement.argument == argument for statement in self._all(keyword))

    def _put(self, statement: Statement, name: str, value: Any) -> None:
        """Sets a field of spec if it may have that value; else notes why not."""
        report = Report(reader=Reader.LONE)
        SPEC.fields[name].read(value, name, report)
        for problem in report.problems:
            self._note(statement, problem.message)
        if not report.problems:
            self._spec[name] = value

    def _put_number(self, statement: Statement, name: str) -> None:
        if re.fullmatch(r"[0-9]{1,9}", statement.argument):
            self._put(statement, name, int(statement.argument))
        else:
            self._note(statement, "not a whole number; left out")

    def _version(self) -> int:
        version = self._defaults.version
        for statement in self._all("version"):
            if statement.argument in {"2", "3"}:
                version = int(statement.argument)
            else:
                self._note(statement, "there are versions 2 and 3 only")
        firsts = [entry.keyword for block in self._all("virtual_ipaddress") for entry in block.body][:1]
        address = parse_address(firsts[0]) if firsts else None
        if version == 2 and address is not None and address.ip.version == 6:
            return 3  # as keepalived does: there is no VRRPv2 for IPv6
        return version

    def _addresses(self, block: Statement) -> None:
        before: list[str] = self._spec.get("addresses", [])
        families = {found.ip.version for text in before if (found := parse_address(text)) is not None}
        added = [entry.keyword for entry in block.body if self._may_add(entry)]
        same = [text for text in added if (found := parse_address(text)) and found.ip.version in families]
        if block.keyword == "virtual_ipaddress_excluded" and same:
            self._note(block, "addresses of the first one's family are advertised like the others")

    def _may_add(self, entry: Statement) -> bool:
        """Adds an address where that is possible; else notes why not."""
        text = entry.keyword
        report = Report(reader=Reader.LONE)
        ADDRESSES.items.read(text, "", report)
        for problem in report.problems:
            self._note(entry, problem.message)
        address = parse_address(text)
        if report.problems or address is None:
            return False
        device = entry.words[entry.words.index("dev") + 1 :][:1] if "dev" in entry.words else []
        interface = (self._spec.get("interfaces") or device or [""])[0]
        addresses: list[str] = self._spec.get("addresses", [])
        if device and device[0] != (self._devices or [interface])[0]:
            self._note(entry, f"all addresses are on the interface of the instance, {interface}, not on {device[0]}")
        elif self._spec["version"] == 2 and address.ip.version == 6:
            self._note(entry, "VRRPv2 carries IPv4 only; version 3 can have both families")
        elif any((known := parse_address(other)) and known.ip == address.ip for other in addresses):
            self._note(entry, "the address is there twice")
        elif len(addresses) == MAX_ADDRESSES:
            self._note(entry, f"a VirtualIP has at most {MAX_ADDRESSES} addresses; put it into another one")
        else:
            self._devices += device
            self._spec.setdefault("addresses", []).append(text)
            self._note_options(entry)
            return True
        return False

    def _note_options(self, entry: Statement) -> None:
        rest = entry.words[1:]
        while rest:
            option = rest[0]
            if option != "dev":
                self._note(entry, f"{option} is not carried over; the address itself is")
            rest = rest[_ADDRESS_OPTIONS.get(option, 1) :]

    def _choose_interface(self) -> None:
        if "interfaces" not in self._spec:
            interface = self._devices[0] if self._devices else self._defaults.interface
            if interface is not None:
                self._spec["interfaces"] = [interface]

    def _state(self, statement: Statement) -> None:
        if statement.argument == "MASTER" and not self._has("priority"):
            self._note(
                statement,
                "keepalived takes this without a priority for 255, the owner of the addresses; "
                f"the VirtualIP says {_DEFAULT_PRIORITY}, give it the one that is meant",
            )

    def _nopreempt(self, statement: Statement) -> None:
        self._put(statement, "preempt", False)
        if self._has("state", "MASTER"):
            self._note(
                statement,
                "keepalived ignores this together with `state MASTER` (it needs `state BACKUP`) and does preempt; "
                "the VirtualIP says preempt: false, which is obeyed",
            )

    def _preempt_delay(self, statement: Statement) -> None:
        if self._has("nopreempt"):
            self._note(statement, "has no effect with nopreempt; left out")
            return
        self._put(statement, "preemptDelay", f"{statement.argument}s")
        if self._has("state", "MASTER"):
            self._note(statement, "keepalived ignores this together with `state MASTER`; here it is obeyed")

    def _interval(self, statement: Statement) -> None:
        if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", statement.argument) is None:
            self._note(statement, "not a number of seconds; left out, which means 1s")
            return
        seconds, _, part = statement.argument.partition(".")
        milliseconds = int(seconds) * 1000 + int((part + "000")[:3])
        text = f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"
        report = Report(reader=Reader.LONE)
        trial = {"addresses": ["192.0.2.1"], "version": self._spec["version"], "advertisementInterval": text}
        SPEC.read(trial, "spec", report)
        for problem in report.problems:
            self._note(statement, f"{problem.message}; left out, which means 1s")
        if not report.problems:
            self._spec["advertisementInterval"] = text

    def _authentication(self, block: Statement) -> None:
        given = {statement.keyword: statement for statement in block.body}
        kind, password = given.get("auth_type"), given.get("auth_pass")
        if self._spec["version"] == 3:
            self._note(block, "VRRPv3 has no authentication; keepalived does not use it there either")
        elif kind is not None and kind.argument.upper() != "PASS":
            self._note(kind, "only PASS is offered")
        elif password is None or not password.argument:
            self._note(block, "has no auth_pass")
        else:
            text = password.argument
            if len(text.encode()) > 8:
                text = text.encode()[:8].decode(errors="ignore")
                self._notes.append(
                    Note(line=password.line, text="auth_pass: keepalived uses the first 8 characters; so are these")
                )
            self._put(
                Statement(words=["auth_pass"], line=password.line), "authentication", {"type": "PASS", "password": text}
            )

    def _unicast_peer(self, block: Statement) -> None:
        peers = []
        for entry in block.body:
            if parse_ip(entry.keyword) is None:
                self._note(entry, "is not an address; left out")
            else:
                peers.append(entry.keyword)
                if entry.words[1:]:
                    self._note(entry, "packets with a TTL below 255 are discarded, whatever is said here")
        if peers:
            self._put(block, "unicastPeers", peers)
            self._put(block, "transport", "Unicast")
        else:
            self._note(block, "names no peer")

    def _use_vmac(self, statement: Statement) -> None:
        self._put(statement, "virtualMAC", True)
        if statement.argument:
            self._note(statement, "the interface's name and MAC address cannot be chosen")

    def _garp(self, statement: Statement) -> None:
        announcements = self._spec.get("announcements", {})
        self._put(statement, "announcements", announcements | garp(statement))

    def _track(self, block: Statement) -> None:
        entries = list(track_entries(block, self._definitions, self._taken, self._seen, self._notes))
        if entries:
            self._put(block, "track", self._spec.get("track", []) + entries)


def garp(statement: Statement) -> dict[str, Any]:
    """The field of `announcements` that a (vrrp_)garp_master_* statement sets."""
    name = _GARP[statement.keyword.removeprefix("vrrp_")]
    if name == "repeat":
        return {
            name: int(statement.argument) if re.fullmatch(r"[0-9]{1,9}", statement.argument) else statement.argument
        }
    return {name: f"{statement.argument}s"}


def is_garp(keyword: str) -> bool:
    """Whether `garp` takes it."""
    return keyword.removeprefix("vrrp_") in _GARP
