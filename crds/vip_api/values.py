"""Addresses, durations and names: what a string has to look like, in Python and as CEL, side by side.

Patterns are the common subset of Python's `re` and Go's RE2: no anchors (both sides match the whole string), explicit
ASCII classes only, no quote characters.
"""

from __future__ import annotations

import re
from fractions import Fraction
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network

from .fields import Reader, Rule, Text
from .model import IPAddress, VirtualAddress

# Whole milliseconds by form: a fraction of one would have to be rounded.
DURATION = r"[0-9]{1,6}(\.0{1,3})?ms|[0-9]{1,6}(\.[0-9]{1,3})?s"
DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DNS_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
# The last label starts with a letter, so that 10.0.0.300 is not a name.
HOST_NAME = r"([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.?"
# What Linux takes as the name of a link, as far as it is printable ASCII.
LINK_NAME = r"[!-.0-9;-~]{1,15}"
LINK_GLOB = r"[!-.0-9;-~]{1,15}|[!-.0-9;-~]*[*?\[][!-.0-9;-~]*"
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
LABEL_KEY = r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")

# A duration in milliseconds per unit.
_UNITS = {"ms": 1, "s": 1000}


def cel_matches(subject: str, pattern: str) -> str:
    """CEL: the whole of `subject` matches."""
    return f"{subject}.matches(r'^(?:{pattern})$')"


def matches(pattern: str, value: str) -> bool:
    """The same here."""
    return re.fullmatch(pattern, value, re.ASCII) is not None


def form(pattern: str, message: str) -> Rule:
    """A string has to match."""
    return Rule(
        message=message,
        cel=cel_matches("self", pattern),
        broken=lambda value: None if matches(pattern, value) else "",
    )


def duration_ms(text: str) -> int:
    """Milliseconds of a string that matches DURATION."""
    unit = "ms" if text.endswith("ms") else "s"
    milliseconds = Fraction(text.removesuffix(unit)) * _UNITS[unit]
    assert milliseconds.denominator == 1
    return int(milliseconds)


DURATION_RULE = form(DURATION, "must be a duration in s or ms, such as 1s, 1.5s or 100ms, of whole milliseconds")
GIVE_UNIT = "give it a unit, such as 1s or 100ms"


def duration(
    description: str,
    *,
    minimum: str,
    maximum: str,
    default: str | None = None,
    or_zero: bool = False,
    only: Reader | None = None,
) -> Text:
    """A duration between two others, both included, and with `or_zero` also none at all."""
    low, high = duration_ms(minimum), duration_ms(maximum)
    zero_cel = "duration(self) == duration('0s') || " if or_zero else ""
    bounds = Rule(
        message=f"must be {'0s or ' if or_zero else ''}between {minimum} and {maximum}",
        cel=f"!{cel_matches('self', DURATION)} || {zero_cel}"
        f"(duration(self) >= duration('{minimum}') && duration(self) <= duration('{maximum}'))",
        broken=lambda text: None if low <= duration_ms(text) <= high or (or_zero and not duration_ms(text)) else "",
    )
    return Text(
        description=description,
        max_length=32,
        default=default,
        rules=(DURATION_RULE, bounds),
        unquoted=GIVE_UNIT,
        only=only,
    )


def parse_ip(text: str) -> IPAddress | None:
    """An address as the API server takes it: no zone, no IPv4 address in IPv6 clothes."""
    try:
        return IPv4Address(text)
    except AddressValueError:
        pass
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return None
    return None if address.scope_id is not None or address.ipv4_mapped is not None else address


def parse_address(text: str) -> VirtualAddress | None:
    """An address with or without a prefix length; None where it is neither."""
    bare, slash, length = text.partition("/")
    ip = parse_ip(bare)
    if ip is None or not slash:
        return None if ip is None else VirtualAddress(ip=ip)
    if _PREFIX_LENGTH.fullmatch(length) is None or int(length) > ip.max_prefixlen:
        return None
    return VirtualAddress(ip=ip, prefix_length=int(length))


def is_host_address(ip: IPAddress) -> bool:
    """Whether a host can have it on a link."""
    broadcast = ip == IPv4Address("255.255.255.255")
    return not (ip.is_unspecified or ip.is_loopback or ip.is_multicast or broadcast)


def names_its_subnet(address: VirtualAddress) -> bool:
    """Whether it is its subnet's first address, or IPv4's last, where these do not belong to a host."""
    length = address.prefix_length
    if length is None or length > address.ip.max_prefixlen - 2:
        return False
    subnet = ip_network((address.ip, length), strict=False)
    return address.ip == subnet.network_address or (subnet.version == 4 and address.ip == subnet.broadcast_address)


_LOCAL_NAME = r"([A-Za-z0-9-]+\.)*[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]\.?"


def is_local(host: str) -> bool:
    """Whether a name or address means this node itself or only its own link."""
    ip = parse_ip(host)
    if ip is None:
        return matches(_LOCAL_NAME, host)
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified


def cel_is_local(host: str) -> str:
    """CEL: the same."""
    address = f"ip({host}).isLoopback() || ip({host}).isLinkLocalUnicast() || ip({host}).isUnspecified()"
    return f"(isIP({host}) ? ({address}) : {cel_matches(host, _LOCAL_NAME)})"


_IS_ADDRESS = "(isIP(self) || isCIDR(self))"
_IP = "(isCIDR(self) ? cidr(self).ip() : ip(self))"
_IS_HOST = f"({_IP}.isGlobalUnicast() || {_IP}.isLinkLocalUnicast())"
# CEL has no broadcast address and no shift: the address as a number, plus one, is a multiple of the subnet's
# size.
_BROADCAST = (
    "[self.split('/')[0].split('.').map(o, int(o))].exists(o, "
    "(o[0] * 16777216 + o[1] * 65536 + o[2] * 256 + o[3] + 1) "
    "% ([16777216, 65536, 256, 1][cidr(self).prefixLength() / 8]"
    " * [256, 128, 64, 32, 16, 8, 4, 2][cidr(self).prefixLength() % 8]) == 0)"
)
_NAMES_SUBNET = (
    "(cidr(self).prefixLength() <= (cidr(self).ip().family() == 4 ? 30 : 126) && "
    f"(cidr(self).masked().ip() == cidr(self).ip() || (cidr(self).ip().family() == 4 && {_BROADCAST})))"
)


def _address(text: str) -> VirtualAddress:
    address = parse_address(text)
    assert address is not None
    return address


# Each is tried only where those before it hold, here and in CEL: one mistake, one message.
ADDRESS_RULES = (
    Rule(
        message="must be an IPv4 or IPv6 address, with or without a prefix length, such as 192.168.137.200, "
        "192.168.137.200/24 or 2001:db8::200 (no zone, no IPv4-mapped address)",
        cel=_IS_ADDRESS,
        broken=lambda text: "" if parse_address(text) is None else None,
    ),
    Rule(
        message="must be the address of a host, not a multicast, loopback, unspecified or broadcast one",
        cel=f"!{_IS_ADDRESS} || {_IS_HOST}",
        broken=lambda text: None if is_host_address(_address(text).ip) else "",
    ),
    Rule(
        message="a prefix length of 0 would make the whole Internet this link's subnet",
        cel=f"!isCIDR(self) || !{_IS_HOST} || cidr(self).prefixLength() > 0",
        broken=lambda text: "" if _address(text).prefix_length == 0 else None,
    ),
    Rule(
        message="must not be the network or broadcast address of its subnet",
        cel=f"!isCIDR(self) || !{_IS_HOST} || cidr(self).prefixLength() == 0 || !{_NAMES_SUBNET}",
        broken=lambda text: "" if names_its_subnet(_address(text)) else None,
    ),
)
