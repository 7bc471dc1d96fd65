"""`spec.track[]`: the checks that may move a VIP. A new kind is one entry of `KINDS`."""

from __future__ import annotations

import re
from typing import Any

from .fields import Field, Flag, Integer, Reader, Record, Rule, Sequence, Text
from .selectors import selector
from .values import (
    DNS_LABEL,
    DURATION,
    HOST_NAME,
    IPV4,
    LABEL_KEY,
    LINK_NAME,
    PORT,
    cel_is_local,
    cel_matches,
    duration,
    duration_ms,
    form,
    is_local,
    matches,
    parse_ip,
)

MAX_WEIGHT = 253

_FILE_PATH = r"/[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f/]"
_PARENT = r"(^|/)\.\.(/|$)"
_SCRIPT_NAME = r"[A-Za-z0-9_][-A-Za-z0-9_.]*"
_PRINTABLE = r"[^\x00-\x1f\x7f]+"
_URL = (
    rf"https?://({HOST_NAME}|{IPV4}|\[[0-9A-Fa-f:.]{{2,45}}\])(:{PORT})?"
    r"(/([!$&(-;=?-Z_a-z~]|%[0-9A-Fa-f]{2})*)?"
)


def _url_host(url: str) -> str:
    """The host of a URL that matches _URL."""
    authority = url.split("/")[2]
    return authority.split("]")[0].removeprefix("[") if authority.startswith("[") else authority.split(":")[0]


def _url_is_right(url: str) -> bool:
    return matches(_URL, url) and ("[" not in url or parse_ip(_url_host(url)) is not None)


# CEL's url() would do, but its parts count as strings without bound and break the cost limit.
_CEL_HOST = "self.url.split('/')[2]"
_CEL_HOST = f"({_CEL_HOST}.startsWith('[') ? {_CEL_HOST}.split(']')[0].split('[')[1] : {_CEL_HOST}.split(':')[0])"
_CEL_URL_IS_RIGHT = f"{cel_matches('self', _URL)} && (!self.contains('[') || isIP(self.split('[')[1].split(']')[0]))"

_LOCAL_MESSAGE = "is this node itself or only its own link; say allowLocal: true if that is meant"


def _pace(*, interval: str = "1s") -> dict[str, Field]:
    """The fields of checks that run again and again."""
    return {
        "interval": duration(
            "Time from the start of one run to the start of the next, 100ms to 3600s.",
            minimum="100ms",
            maximum="3600s",
            default=interval,
        ),
        "timeout": duration(
            "Time after which a run counts as failed; at most the interval, which is also its default.",
            minimum="10ms",
            maximum="3600s",
        ),
        "rise": Integer(
            description="Good runs in a row after which a failed check is good again.",
            minimum=1,
            maximum=255,
            default=1,
        ),
        "fall": Integer(
            description="Bad runs in a row after which a good check is failed.",
            minimum=1,
            maximum=255,
            default=1,
        ),
    }


def _timeout_fits(check: dict[str, Any]) -> str | None:
    timeout = check.get("timeout")
    return None if timeout is None or duration_ms(timeout) <= duration_ms(check["interval"]) else ""


_TIMEOUT_RULE = Rule(
    message="must not be longer than the interval",
    cel=f"!has(self.timeout) || !{cel_matches('self.timeout', DURATION)} || "
    f"!{cel_matches('self.interval', DURATION)} || duration(self.timeout) <= duration(self.interval)",
    broken=_timeout_fits,
    reads=("interval", "timeout"),
    field="timeout",
)

_ALLOW_LOCAL = Flag(description="Allow a target that is this node itself (loopback) or link-local.", default=False)

INTERFACE = Record(
    description="Good while a network interface is up and running.",
    required=("name",),
    fields={
        "name": Text(
            description="The interface's name on the node.",
            max_length=64,
            rules=(form(LINK_NAME, "must be the name of an interface: at most 15 characters, no space, / or :"),),
        )
    },
)

PROCESS = Record(
    description="Good while enough matching processes run on the node. In a cluster this needs the chart's hostPID.",
    fields={
        "name": Text(
            description="The program's name: the last part of the path of what was started.",
            max_length=255,
            rules=(form(r"[^\x00-\x1f\x7f/]+", "must be the name of a program, without its directory"),),
        ),
        "commandLine": Text(
            description="The whole command line, arguments separated by one space.",
            max_length=1024,
            rules=(form(_PRINTABLE, "must be a command line of printable characters"),),
        ),
        "quorum": Integer(description="How many such processes there have to be.", minimum=1, maximum=10000, default=1),
    },
    rules=(
        Rule(
            message="needs either name or commandLine, not both",
            cel="has(self.name) != has(self.commandLine)",
            broken=lambda check: None if ("name" in check) != ("commandLine" in check) else "",
            reads=("name", "commandLine"),
            whole=True,
        ),
    ),
)

FILE = Record(
    description="Reads a number from a file: the number times the weight is added to the priority; a "
    "missing or empty file "
    "counts as 0. With weight 0 any other number is FAULT. With `exists`, good while the file is there.",
    required=("path",),
    fields={
        "path": Text(
            description="The file's absolute path on the node.",
            max_length=1024,
            rules=(
                Rule(
                    message="must be the absolute path of a file, such as /run/web/healthy, without .. in it",
                    cel=f"{cel_matches('self', _FILE_PATH)} && !self.matches(r'{_PARENT}')",
                    broken=lambda path: None if matches(_FILE_PATH, path) and re.search(_PARENT, path) is None else "",
                ),
            ),
        ),
        "exists": Flag(description="Judge by the file's presence alone, whatever is in it.", default=False),
    },
)

SCRIPT = Record(
    description="Runs a script that an administrator put into the scripts directory; exit status 0 is good. "
    "It runs without privileges.",
    required=("name",),
    fields={
        "name": Text(
            description="The script's file name in the scripts directory; never a path or a command.",
            max_length=128,
            rules=(
                form(
                    _SCRIPT_NAME,
                    "must be a file name of letters, digits, dashes, dots and underscores: a script is "
                    "named, never "
                    "given as a path or command",
                ),
            ),
        ),
        "args": Sequence(
            description="Its arguments.",
            max_items=32,
            items=Text(
                description="",
                max_length=256,
                rules=(form(r"[^\x00]*", "must not hold a NUL character"),),
            ),
        ),
        **_pace(),
        "initFail": Flag(description="Begin as failed: `rise` good runs in a row make it good.", default=False),
    },
    rules=(_TIMEOUT_RULE,),
)

_HOST_RULE = Rule(
    message="must be an address or a host name, such as 192.168.137.10 or db.example.com",
    cel=f"isIP(self) || {cel_matches('self', HOST_NAME)}",
    broken=lambda host: None if parse_ip(host) is not None or matches(HOST_NAME, host) else "",
)

TCP = Record(
    description="Good while a TCP connection can be made from the node.",
    required=("host", "port"),
    fields={
        "host": Text(description="Address or name to connect to.", max_length=253, rules=(_HOST_RULE,)),
        "port": Integer(description="Port to connect to.", minimum=1, maximum=65535),
        **_pace(),
        "allowLocal": _ALLOW_LOCAL,
    },
    rules=(
        _TIMEOUT_RULE,
        Rule(
            message=_LOCAL_MESSAGE,
            cel=f"self.allowLocal || !{cel_is_local('self.host')}",
            broken=lambda check: "" if not check["allowLocal"] and is_local(check["host"]) else None,
            reads=("host", "allowLocal"),
            field="host",
        ),
    ),
)

HTTP = Record(
    description="Good while a GET request from the node is answered as expected. Redirects are not followed.",
    required=("url",),
    fields={
        "url": Text(
            description="What to ask for, such as http://192.168.137.10:8080/healthz.",
            max_length=512,
            rules=(
                Rule(
                    message="must be a URL such as http://192.168.137.10:8080/healthz: http or https, a "
                    "host, no user or "
                    "fragment",
                    cel=_CEL_URL_IS_RIGHT,
                    broken=lambda url: None if _url_is_right(url) else "",
                ),
            ),
        ),
        "expect": Record(
            description="What a good answer looks like; without it any status from 200 to 299.",
            fields={
                "status": Sequence(
                    description="The status codes that are good; without it 200 to 299.",
                    max_items=16,
                    items=Integer(description="", minimum=100, maximum=599),
                ),
                "body": Text(description="Text that the first 64 KiB of the body must contain.", max_length=256),
            },
        ),
        **_pace(),
        "allowLocal": _ALLOW_LOCAL,
    },
    rules=(
        _TIMEOUT_RULE,
        Rule(
            message=_LOCAL_MESSAGE,
            cel=f"self.allowLocal || !self.url.matches(r'^https?://[^/]') || !{cel_is_local(_CEL_HOST)}",
            broken=lambda check: "" if not check["allowLocal"] and is_local(_url_host(check["url"])) else None,
            reads=("url", "allowLocal"),
            field="url",
        ),
    ),
)

NODE = Record(
    description="Good while a condition of the Kubernetes node is True, such as Ready; with `reverse`, for "
    "conditions such as "
    "DiskPressure.",
    only=Reader.CLUSTER,
    required=("condition",),
    fields={
        "condition": Text(
            description="The condition's type.",
            max_length=316,
            rules=(form(LABEL_KEY, "must be the type of a node condition, such as Ready or DiskPressure"),),
        )
    },
)

PODS = Record(
    description="Good while enough of the selected pods on the node are ready.",
    only=Reader.CLUSTER,
    required=("namespace", "selector"),
    fields={
        "namespace": Text(
            description="The pods' namespace.",
            max_length=253,
            rules=(form(DNS_LABEL, "must be the name of a namespace"),),
        ),
        "selector": selector("Which pods of the namespace are looked at."),
        "minReady": Integer(
            description="How many of them have to be ready on the node.", minimum=1, maximum=1000, default=1
        ),
    },
)

KINDS: dict[str, Record] = {
    "interface": INTERFACE,
    "process": PROCESS,
    "file": FILE,
    "script": SCRIPT,
    "tcp": TCP,
    "http": HTTP,
    "node": NODE,
    "pods": PODS,
}

_ONE_KIND = Rule(
    message=f"needs exactly one of {', '.join(KINDS)}",
    cel=f"[{', '.join(f'has(self.{kind})' for kind in KINDS)}].exists_one(x, x)",
    broken=lambda entry: None if sum(kind in entry for kind in KINDS) == 1 else "",
    reads=tuple(KINDS),
    whole=True,
)

TRACK = Sequence(
    description="Checks that change a node's priority, or take it out (FAULT), when they fail.",
    max_items=64,
    key="name",
    items=Record(
        description="One check: a name, a weight, and exactly one kind of check.",
        required=("name",),
        fields={
            "name": Text(
                description="The check's name, as status and logs show it.",
                max_length=253,
                rules=(form(DNS_LABEL, "must be lower-case letters, digits and dashes, at most 63 characters"),),
            ),
            "weight": Integer(
                description="Added to the priority while the check is good (above 0), or while it is bad "
                "(below 0). "
                "0: while it is bad the node is in FAULT and cannot be MASTER.",
                minimum=-MAX_WEIGHT,
                maximum=MAX_WEIGHT,
                default=0,
            ),
            "reverse": Flag(
                description="Count the weight with the opposite sign; with weight 0, being good is FAULT.",
                default=False,
            ),
            **KINDS,
        },
        rules=(_ONE_KIND,),
    ),
)
