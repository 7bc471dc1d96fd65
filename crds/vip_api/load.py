"""From the text of a file to its documents. Whatever the text: documents and problems, never an exception.

YAML is read as the API server's clients read it: no values that only YAML 1.1 knows (dates, base 60, where an IPv6
address would turn into a number), no key twice in one mapping. Anchors and aliases are refused, with nesting bounded:
a few hundred bytes of them can stand for more than the machine's memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.resolver import Resolver

from .document import document_name, parse_remarked
from .model import Problem, VirtualIP

# The largest VirtualIP that an API server stores, as JSON, which takes some 10 ms to read.
MAX_JSON_BYTES = 1024 * 1024
# What people write is far smaller, and a router reads it in its loop: this much YAML takes about 0.2 s.
MAX_YAML_BYTES = 64 * 1024
# As many virtual routers as one link can tell apart.
MAX_DOCUMENTS = 255
MAX_DEPTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDocument:
    """One document of a text: `vip`, or the problems why there is none.

    `line` is where it begins, from 1. `name` is its metadata.name where that can be read, also beside problems.
    """

    source: str
    line: int
    name: str | None
    vip: VirtualIP | None
    problems: tuple[Problem, ...] = ()


def load_documents(text: str, *, source: str, lone: bool = False) -> list[LoadedDocument]:
    """Every document of a YAML (`---` between documents) or JSON text; at least one, which may be just a problem.

    A text that cannot be read to its end gives one entry with the reason, and nothing of what precedes it: half a file
    is not what its author means. `lone` as in `parse_document`; a document with an `assignment` comes from a cluster's
    agent, whatever `lone` says.
    """
    text = text.removeprefix("\ufeff")
    try:
        values = _read(text)
    except _UnreadableError as error:
        problem = Problem(path=f"line {error.line}" if error.line else "", message=error.reason)
        return [LoadedDocument(source=source, line=error.line or 1, name=None, vip=None, problems=(problem,))]
    return [_load(value, source=source, line=line, lone=lone) for line, value in values]


def _load(value: object, *, source: str, line: int, lone: bool) -> LoadedDocument:
    assigned = isinstance(value, Mapping) and "assignment" in value
    parsed, remarks = parse_remarked(value, lone=lone and not assigned)
    vip = parsed if isinstance(parsed, VirtualIP) else None
    return LoadedDocument(
        source=source,
        line=line,
        name=document_name(value),
        vip=vip,
        # a field of a newer version may be what is missing: a check of a kind that this one does not know
        problems=(*remarks, *(() if isinstance(parsed, VirtualIP) else parsed)),
    )


class _UnreadableError(Exception):
    """The text is neither YAML nor JSON, or beyond our bounds. `line` from 1; 0: unknown."""

    def __init__(self, reason: str, *, line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def _read(text: str) -> list[tuple[int, object]]:
    """Each document's first line and value."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise _UnreadableError("holds half of a surrogate pair, which is not a character", line=line) from None
    if size > MAX_JSON_BYTES:
        raise _UnreadableError(f"there is more of it than {MAX_JSON_BYTES // 1024} KiB")
    if text.lstrip().startswith("{"):
        try:
            return [(1, _read_json(text))]
        except (ValueError, RecursionError):
            # `{apiVersion: …}` is YAML too, and YAML's errors know their line.
            pass
    if size > MAX_YAML_BYTES:
        raise _UnreadableError(f"it is not JSON, and as YAML more than {MAX_YAML_BYTES // 1024} KiB")
    documents = _read_yaml(text)
    if not documents:
        raise _UnreadableError("there is no document in it")
    return documents


def _read_json(text: str) -> object:
    def without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)

    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, object_pairs_hook=without_twins, parse_constant=refuse)


def _read_yaml(text: str) -> list[tuple[int, object]]:
    documents: list[tuple[int, object]] = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            value = loader.construct_document(node)
            if value is not None:
                documents.append((node.start_mark.line + 1, value))
            if len(documents) > MAX_DOCUMENTS:
                raise _UnreadableError(f"there are more than {MAX_DOCUMENTS} documents in it")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "not YAML"
        raise _UnreadableError(f"not YAML: {reason}", line=mark.line + 1 if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise _UnreadableError(f"not YAML: {error.reason}", line=line) from None
    return documents


class _Loader(Composer, CParser, SafeConstructor, Resolver):
    """A safe loader with the bounds and the plain values that the module's docstring names.

    libyaml takes the text apart, five times as fast as PyYAML's own parser; a router reads files in its loop.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own form)

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _UnreadableError("aliases (*name) are not supported: write the value out", line=line)
        if getattr(event, "tag", None) is not None:
            raise _UnreadableError(f"tags ({event.tag}) are not supported: write the value out", line=line)
        if self._depth >= MAX_DEPTH:
            raise _UnreadableError("nested too deeply", line=line)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _UnreadableError("a key must be plain text", line=key.start_mark.line + 1)
            if key.value in seen:
                raise _UnreadableError(f'the key "{key.value[:64]}" is there twice', line=key.start_mark.line + 1)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _resolve(tag: str, pattern: str, first: Iterable[str]) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


_resolve("null", r"~|null|Null|NULL|", ["~", "n", "N", ""])
_resolve("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO")
_resolve("int", r"[-+]?(?:0|[1-9][0-9]{0,30})", "-+0123456789")
_resolve("float", r"[-+]?(?:[0-9]{1,30}\.[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,5})?", "-+.0123456789")
