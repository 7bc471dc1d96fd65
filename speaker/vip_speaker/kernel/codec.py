"""pyroute2's message classes, and nothing else of pyroute2: what turns netlink messages into bytes and back.

`import pyroute2` brings in every protocol it knows, an event loop and a database: 13 MB that the router does not need.
So its package is entered without running its `__init__`; the entry is taken out again afterwards, and whoever imports
pyroute2 in the ordinary way later gets all of it. No socket of pyroute2 is used either: version 0.9 runs an asyncio
loop of its own inside each.
"""

from __future__ import annotations

import importlib
import importlib.util
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

_PACKAGE = "pyroute2"


def _load(*names: str) -> list[ModuleType]:
    if _PACKAGE in sys.modules:
        return [importlib.import_module(f"{_PACKAGE}.{name}") for name in names]
    spec = importlib.util.find_spec(_PACKAGE)
    assert spec is not None, "pyroute2 is not installed"
    bare = ModuleType(_PACKAGE)
    bare.__path__ = list(spec.submodule_search_locations or [])
    bare.__spec__ = spec
    sys.modules[_PACKAGE] = bare
    try:
        return [importlib.import_module(f"{_PACKAGE}.{name}") for name in names]
    finally:
        del sys.modules[_PACKAGE]


netlink, rtnl, _ifaddrmsg, _ifinfmsg, _rtmsg, nfnetlink, nftsocket = _load(
    "netlink",
    "netlink.rtnl",
    "netlink.rtnl.ifaddrmsg",
    "netlink.rtnl.ifinfmsg",
    "netlink.rtnl.rtmsg",
    "netlink.nfnetlink",
    "netlink.nfnetlink.nftsocket",
)
ifaddrmsg: Any = _ifaddrmsg.ifaddrmsg
rtmsg: Any = _rtmsg.rtmsg
ifinfmsg: Any = _ifinfmsg.ifinfmsg


class error_answer(netlink.nlmsg):  # type: ignore[name-defined]  # noqa: N801 - named like pyroute2's own
    """NLMSG_ERROR with the header of the request and no more of it (NETLINK_CAP_ACK); pyroute2 expects all or
    nothing.
    """

    fields = (("error", "i"), ("length", "I"), ("type", "H"), ("flags", "H"), ("sequence", "I"), ("port", "I"))
    nla_map = ((1, "NLMSGERR_ATTR_MSG", "asciiz"),)


HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
ERROR = struct.Struct("=i")  # struct nlmsgerr: the negative errno in front


def encode(
    message_class: Any, kind: int, flags: int, fields: Mapping[str, Any], attributes: Iterable[tuple[str, Any]] = ()
) -> bytes:
    """One message, sequence number 0, port 0."""
    message = message_class()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    message.encode()
    return bytes(message.data)


def decode(message_class: Any, data: bytes, offset: int = 0) -> Any:
    """The message at `offset`; its attributes are decoded when they are asked for."""
    message = message_class(data, offset=offset)
    message.decode()
    return message


def numbered(message: bytes, sequence: int) -> bytes:
    """`message` with its sequence number set."""
    return message[:8] + sequence.to_bytes(4, sys.byteorder) + message[12:]


def split(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """(offset, type, flags, sequence, port) of each message in one datagram. A torn tail ends the iteration."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            return
        yield offset, kind, flags, sequence, port
        offset += (length + 3) & ~3
