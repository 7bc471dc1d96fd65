"""rtnetlink messages as the kernel sends them, for the modules that read them."""

from __future__ import annotations

import socket
import struct
import sys

from vip_speaker.kernel import Assigned, codec
from vip_speaker.kernel.links import RTM_DELADDR, RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK

_IFA_ADDRESS = 1


def link_told(ifindex: int, *, gone: bool = False, name: str = "eth0", family: int = 0, flags: int = 0) -> bytes:
    """RTM_NEWLINK, or RTM_DELLINK where it is `gone`."""
    fields = {"family": family, "index": ifindex, "flags": flags}
    return codec.encode(codec.ifinfmsg, RTM_DELLINK if gone else RTM_NEWLINK, 0, fields, [("IFLA_IFNAME", name)])


def address_told(one: Assigned, *, gone: bool = False, flags: int = 0) -> bytes:
    """RTM_NEWADDR, or RTM_DELADDR where it is `gone`, with IFA_ADDRESS in front, as from a broadcast link."""
    family = socket.AF_INET if one.ip.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, one.prefix_length, flags, 0, one.ifindex)
    body += struct.pack("=HH", 4 + len(one.ip.packed), _IFA_ADDRESS) + one.ip.packed
    header = codec.HEADER.pack(codec.HEADER.size + len(body), RTM_DELADDR if gone else RTM_NEWADDR, 0, 0, 0)
    return header + body


def kind_of(message: bytes) -> int:
    """The type in the header."""
    return int.from_bytes(message[4:6], sys.byteorder)
