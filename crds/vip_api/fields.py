"""The kinds of fields that a document is made of; each knows its OpenAPI form and how to read a value.

The CRD (`schema`) and the parser (`parse`) walk the same tree of these, so the API server and a router that reads
files refuse the same documents. A rule that OpenAPI cannot say is a `Rule`: its CEL expression for the API server, and
beside it the same in Python. `tests/documents` proves that the two agree.

Reading is total: whatever JSON or YAML can hold gives a value or problems, never an exception. Where we differ in
form: null in a mapping is an absent field, as the API server treats it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from .model import Problem

# A document that is wrong in more places than this is not meant as one; the bound keeps state files and logs
# small.
MAX_PROBLEMS = 50
_SHOWN_CHARACTERS = 64
# A bound from here on is there for the format's sake, and tells nobody anything.
_ANY_NUMBER = 1 << 31


class Reader(Enum):
    """Who reads the document: a cluster's API server and speakers, or a router on its own."""

    CLUSTER = "cluster"
    LONE = "lone router"


@dataclass(slots=True)
class Report:
    """Collects problems while a document is read; `count` goes on where `problems` has reached its bound.

    With `accepted`, unknown fields are `remarks` instead: an operator has accepted the document, so they are of a newer
    version of the API than this reader, and what it does know stays true.
    """

    reader: Reader = Reader.CLUSTER
    accepted: bool = False
    problems: list[Problem] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)
    count: int = 0

    def unknown(self, path: str, message: str) -> bool:
        """A field that this reader does not know; True where that makes the document wrong."""
        if not self.accepted:
            self.add(path, message)
        elif len(self.remarks) < MAX_PROBLEMS:
            self.remarks.append(Problem(path=path, message="ignored: a newer kube-vrrp has this field"))
        return not self.accepted

    def add(self, path: str, message: str) -> None:
        """One more thing that is wrong."""
        self.count += 1
        if self.count < MAX_PROBLEMS:
            self.problems.append(Problem(path=path, message=message))
        elif self.count == MAX_PROBLEMS:
            self.problems.append(Problem(path="", message="more is wrong than is worth a list"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What must hold of a value, beyond its type and bounds.

    `broken` gets a value that is right in itself and returns None where the rule holds, else where below the value it
    does not (`""`: the value itself, `[2]`: its third item). `cel` says the same; None where the API server has no such
    field. `reads` names the fields of a record that the rule looks at; it is not tried while one of them is wrong.
    `field` is the field of the record that the message is about. `whole`: not tried beside an unknown field, which most
    likely is the misspelt one that the rule would miss. `only`: the one reader that has the rule.
    """

    message: str
    cel: str | None
    broken: Callable[[Any], str | None]
    reads: tuple[str, ...] = ()
    field: str = ""
    whole: bool = False
    only: Reader | None = None

    def openapi(self) -> dict[str, Any]:
        """The entry of x-kubernetes-validations."""
        rule: dict[str, Any] = {"rule": self.cel, "message": self.message}
        if self.field:
            rule["fieldPath"] = f".{self.field}"
        return rule

    def check(self, value: Any, path: str, report: Report, shown: str = "") -> bool:
        """True where the rule holds; else reports it."""
        where = self.broken(value)
        if where is None:
            return True
        below = f".{self.field}" if self.field else ""
        report.add(f"{path}{below}{where}", shown + self.message)
        return False


class Field(Protocol):
    """What every kind of field can do."""

    @property
    def description(self) -> str:
        """What `kubectl explain` says."""

    @property
    def default(self) -> Any:
        """The value of an absent field; None: it has none."""

    @property
    def only(self) -> Reader | None:
        """The one reader that takes this field; None: both do."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI v3 schema, with Kubernetes' extensions."""

    def read(self, value: Any, path: str, report: Report) -> Any:
        """The value with defaults filled in. What it returns after a problem is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A string. Only the first broken rule is reported. `secret`: its value never shows up in a problem.

    `unquoted` says what to do about a number in its place, which YAML makes of what is written without quotes.
    """

    description: str
    max_length: int
    choices: tuple[str, ...] = ()
    default: str | None = None
    rules: tuple[Rule, ...] = ()
    secret: bool = False
    format: str | None = None
    unquoted: str = "put it in quotes"
    only: Reader | None = None

    def openapi(self) -> dict[str, Any]:
        """See `Field`."""
        schema: dict[str, Any] = {"type": "string"}
        if self.choices:
            schema["enum"] = list(self.choices)
        else:
            schema["maxLength"] = self.max_length
        if self.format is not None:
            schema["format"] = self.format
        return _finish(schema, self, self.rules)

    def read(self, value: Any, path: str, report: Report) -> Any:
        """See `Field`."""
        if not isinstance(value, str):
            remedy = f": {self.unquoted}" if isinstance(value, int | float) else ""
            report.add(path, f"must be text, not {_kind(value)}{remedy}")
        elif any("\ud800" <= character <= "\udfff" for character in value):
            report.add(path, "holds half of a surrogate pair, which is not a character")
        elif self.choices:
            if value not in self.choices:
                report.add(path, f"{_shown(value)}must be {_one_of(self.choices)}")
        elif len(value) > self.max_length:
            report.add(path, f"must be at most {self.max_length} characters long")
        else:
            shown = "" if self.secret else _shown(value)
            all(rule.check(value, path, report, shown) for rule in self.rules)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """A whole number between two bounds, both included; or one of a few."""

    description: str
    minimum: int
    maximum: int
    choices: tuple[int, ...] = ()
    default: int | None = None
    format: str | None = None
    only: Reader | None = None

    def openapi(self) -> dict[str, Any]:
        """See `Field`."""
        schema: dict[str, Any] = {"type": "integer"}
        if self.format is not None:
            schema["format"] = self.format
        if self.choices:
            schema["enum"] = list(self.choices)
        else:
            schema |= {"minimum": self.minimum, "maximum": self.maximum}
        return _finish(schema, self)

    def read(self, value: Any, path: str, report: Report) -> Any:
        """See `Field`. 3.0 is 3, as in JSON schema."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            report.add(path, f"must be a whole number, not {_kind(value)}")
        elif self.choices:
            if value not in self.choices:
                report.add(path, f"must be {_one_of(tuple(str(choice) for choice in self.choices))}")
        elif not self.minimum <= value <= self.maximum:
            report.add(path, f"must be between {self.minimum} and {self.maximum}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """True or false."""

    description: str
    default: bool | None = None
    only: Reader | None = None

    def openapi(self) -> dict[str, Any]:
        """See `Field`."""
        return _finish({"type": "boolean"}, self)

    def read(self, value: Any, path: str, report: Report) -> Any:
        """See `Field`."""
        if not isinstance(value, bool):
            report.add(path, f"must be true or false, not {_kind(value)}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A list. With `key`, a map in the form of a list: no two entries share that field."""

    description: str
    items: Field
    max_items: int
    min_items: int = 0
    key: str | None = None
    unique: bool = False
    rules: tuple[Rule, ...] = ()
    default: None = None
    only: Reader | None = None

    def openapi(self) -> dict[str, Any]:
        """See `Field`."""
        schema: dict[str, Any] = {"type": "array"}
        if self.min_items:
            schema["minItems"] = self.min_items
        schema["maxItems"] = self.max_items
        if self.key is not None:
            schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        else:
            schema["x-kubernetes-list-type"] = "set" if self.unique else "atomic"
        schema["items"] = self.items.openapi()
        return _finish(schema, self, self.rules)

    def read(self, value: Any, path: str, report: Report) -> Any:
        """See `Field`. Rules see None in place of an item that is wrong by itself."""
        if not isinstance(value, list | tuple):
            report.add(path, f"must be a list, not {_kind(value)}")
            return ()
        if not self.min_items <= len(value) <= self.max_items:
            report.add(path, f"must have between {self.min_items} and {self.max_items} entries")
            return ()
        items: list[Any] = []
        seen: set[Any] = set()
        for index, given in enumerate(value):
            before = report.count
            item = self.items.read(given, f"{path}[{index}]", report)
            items.append(item if report.count == before else None)
            identity = given.get(self.key) if self.key and isinstance(given, Mapping) else None
            if isinstance(identity, str) and identity in seen:
                report.add(
                    f"{path}[{index}]",
                    f'there is an earlier entry with {self.key} "{identity[:_SHOWN_CHARACTERS]}"',
                )
            elif isinstance(identity, str):
                seen.add(identity)
        for rule in self.rules:
            rule.check(items, path, report)
        return tuple(items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A mapping with named fields."""

    description: str
    fields: Mapping[str, Field]
    required: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    default: None = None
    only: Reader | None = None

    def openapi(self) -> dict[str, Any]:
        """See `Field`. Fields that only a lone router takes are not there."""
        schema: dict[str, Any] = {"type": "object"}
        if self.required:
            schema["required"] = list(self.required)
        schema["properties"] = {
            name: below.openapi() for name, below in self.fields.items() if below.only is not Reader.LONE
        }
        return _finish(schema, self, self.rules)

    def read(self, value: Any, path: str, report: Report) -> Any:
        """See `Field`."""
        if not isinstance(value, Mapping):
            report.add(path, f"must be a mapping of fields, not {_kind(value)}")
            return {}
        wrong = self._read_keys(value, path, report)
        whole = not wrong
        result: dict[str, Any] = {}
        for name, below in self.fields.items():
            given = value.get(name)
            before = report.count
            if name in wrong:
                continue
            if given is not None:
                result[name] = below.read(given, _join(path, name), report)
            elif below.default is not None:
                result[name] = below.default
            elif name in self.required:
                report.add(_join(path, name), "is required")
            if report.count > before:
                wrong.add(name)
        for rule in self.rules:
            applies = (whole or not rule.whole) and rule.only in {None, report.reader}
            if applies and wrong.isdisjoint(rule.reads):
                rule.check(result, path, report)
        return result

    def _read_keys(self, value: Mapping[Any, Any], path: str, report: Report) -> set[str]:
        """The names of fields that may not be here: unknown ones, and those that only the other reader takes."""
        wrong: set[str] = set()
        for name, given in value.items():
            if report.count + len(report.remarks) >= MAX_PROBLEMS:
                break  # a mapping may have any number of keys, and looking for the field that was meant takes time
            below = self.fields.get(name) if isinstance(name, str) else None
            if below is None:
                if report.unknown(_join(path, str(name)[:_SHOWN_CHARACTERS]), _unknown(name, self.fields)):
                    wrong.add(str(name))
            elif below.only not in {None, report.reader} and given is not None:
                report.add(_join(path, name), _misplaced(report.reader))
                wrong.add(name)
        return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A mapping whose keys are free."""

    description: str
    values: Text
    max_entries: int
    rules: tuple[Rule, ...] = ()
    default: None = None
    only: Reader | None = None

    def openapi(self) -> dict[str, Any]:
        """See `Field`."""
        schema = {
            "type": "object",
            "maxProperties": self.max_entries,
            "additionalProperties": self.values.openapi(),
        }
        return _finish(schema, self, self.rules)

    def read(self, value: Any, path: str, report: Report) -> Any:
        """See `Field`."""
        if not isinstance(value, Mapping):
            report.add(path, f"must be a mapping of text to text, not {_kind(value)}")
            return {}
        if len(value) > self.max_entries:
            report.add(path, f"must have at most {self.max_entries} entries")
            return {}
        before = report.count
        result: dict[str, Any] = {}
        for key, given in value.items():
            if isinstance(key, str):
                result[key] = self.values.read(given, _join(path, key[:_SHOWN_CHARACTERS]), report)
            else:
                report.add(path, f"must have text as its keys, not {_kind(key)}: put it in quotes")
        if report.count == before:
            all(rule.check(result, path, report) for rule in self.rules)
        return result


def _finish(schema: dict[str, Any], of: Field, rules: tuple[Rule, ...] = ()) -> dict[str, Any]:
    """Puts the description first, default and rules last. `kubectl explain` shows neither bounds nor defaults, so the
    description says them.
    """
    description = " ".join(filter(None, [of.description, _bounds(schema, of.default)])) if of.description else ""
    described = {"description": description} | schema if description else schema
    if of.default is not None:
        described["default"] = of.default
    validations = [rule.openapi() for rule in rules if rule.cel is not None]
    if validations:
        described["x-kubernetes-validations"] = validations
    return described


def _bounds(schema: dict[str, Any], default: Any) -> str:
    said = []
    if schema.get("maximum", _ANY_NUMBER) < _ANY_NUMBER:
        said.append(f"{schema['minimum']} to {schema['maximum']}")
    if default is not None:
        word = "default" if said else "Default"
        said.append(f"{word} {str(default).lower() if isinstance(default, bool) else default}")
    return f"{', '.join(said)}." if said else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _kind(value: Any) -> str:
    """What a person would call a value of this type."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case None:
            return "nothing"
        case _:
            return type(value).__name__


def _shown(value: str) -> str:
    """The value as the beginning of a message, in one bounded line of printable characters."""
    short = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
    return f'"{"".join(c if c.isprintable() else "?" for c in short)}": '


def _one_of(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _unknown(name: object, known: Mapping[str, Field]) -> str:
    near = difflib.get_close_matches(str(name)[:_SHOWN_CHARACTERS], known, n=1)
    return f"unknown field; did you mean {near[0]}?" if near else "unknown field"


def _misplaced(reader: Reader) -> str:
    if reader is Reader.LONE:
        return "only an operator in a cluster acts on this; leave it out for a router on its own"
    return "unknown field: only a router on its own, outside a cluster, takes this"
