"""Builds VRRP ADVERTISEMENTs, version 2 (RFC 3768, PASS of RFC 2338) and 3 (RFC 9568), over IPv4 and IPv6.

scapy does the layout and the checksums. It takes a third of a millisecond, so a caller builds once per change of
what an advertisement says and keeps the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vip_speaker.vrrp.types import CENTISECOND, SECOND, IPAddress
from vip_speaker.wire.layers import IP, VRRP, Ether, IPv6, VRRPv3, packed

PROTOCOL_VRRP = 112
PROTOCOL_AH = 51
GROUP_V4 = IPv4Address("224.0.0.18")  # RFC 9568 section 5.1.1.2
GROUP_V6 = IPv6Address("ff02::12")  # RFC 9568 section 5.1.2.2
GROUP_MAC_V4 = "01:00:5e:00:00:12"
GROUP_MAC_V6 = "33:33:00:00:00:12"
TTL = 255  # "MUST be set to 255", RFC 9568 sections 5.1.1.3 and 5.1.2.3
INTERNETWORK_CONTROL = 0xC0  # the traffic class that keepalived and FRR use
PASSWORD_BYTES = 8
MAX_ADDRESSES = 65  # of a document, and a link-local one that is derived
AUTH_NONE = 0
AUTH_PASSWORD = 1


def group_of(source: IPAddress) -> IPAddress:
    """Where the advertisements of a router with this source address go."""
    return GROUP_V4 if source.version == 4 else GROUP_V6


def password_field(password: bytes) -> bytes:
    """The 8 bytes of authentication data: zero-filled, cut off at 8 as keepalived does."""
    return password[:PASSWORD_BYTES].ljust(PASSWORD_BYTES, b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an advertisement says, and from whom.

    Of `addresses` those of `source`'s family are advertised, for IPv6 a link-local one first (RFC 9568 section 5.2.9,
    erratum 8300). `interval_ns` is whole centiseconds in version 3, whole seconds in version 2.
    """

    version: int
    vrid: int
    priority: int
    interval_ns: int
    source: IPAddress
    addresses: Sequence[IPAddress]
    password: bytes | None = None


def encode_message(content: Content, *, destination: IPAddress | None = None) -> bytes:
    """The VRRP message alone; its checksum holds for a packet to `destination` (None: the group)."""
    packet = packed(*_layers(content, destination or group_of(content.source)))
    return packet[20 if content.source.version == 4 else 40 :]


def encode_frame(content: Content, *, source_mac: str) -> bytes:
    """An Ethernet frame to the group, ready to be sent as it is."""
    group_mac = GROUP_MAC_V4 if content.source.version == 4 else GROUP_MAC_V6
    return packed(Ether(src=source_mac, dst=group_mac), *_layers(content, group_of(content.source)))


def encode_packet(content: Content, *, destination: IPAddress) -> bytes:
    """What `UnicastSocket` sends to one peer: IPv4 the whole IP packet, IPv6 the message (the kernel adds the
    header).
    """
    packet = packed(*_layers(content, destination))
    return packet if content.source.version == 4 else packet[40:]


def _layers(content: Content, destination: IPAddress) -> tuple[Any, Any]:
    """IP header and message. A value that does not fit is a bug of the caller
    (AssertionError).
    """
    version, source, password = content.version, content.source, content.password
    advertised = [address for address in content.addresses if address.version == source.version]
    assert 1 <= len(advertised) <= MAX_ADDRESSES, "1 to 65 addresses of the source's family"
    assert 1 <= content.vrid <= 255 and 0 <= content.priority <= 255
    message: Any
    if version == 2:
        assert source.version == 4, "VRRPv2 is IPv4 only"
        seconds, rest = divmod(content.interval_ns, SECOND)
        assert rest == 0 and 1 <= seconds <= 255, "VRRPv2 advertises whole seconds"
        auth = password_field(password or b"")
        message = VRRP(
            vrid=content.vrid,
            priority=content.priority,
            authtype=AUTH_NONE if password is None else AUTH_PASSWORD,
            adv=seconds,
            addrlist=[str(address) for address in advertised],
            auth1=int.from_bytes(auth[:4], "big"),
            auth2=int.from_bytes(auth[4:], "big"),
        )
    else:
        assert version == 3 and password is None, "VRRPv3 has no authentication"
        centiseconds, rest = divmod(content.interval_ns, CENTISECOND)
        assert rest == 0 and 1 <= centiseconds <= 4095, "VRRPv3 advertises whole centiseconds"
        advertised.sort(key=lambda address: address.version == 6 and not address.is_link_local)
        message = VRRPv3(
            vrid=content.vrid,
            priority=content.priority,
            adv=centiseconds,
            addrlist=[str(address) for address in advertised],
        )
    return _header(source, destination), message


def _header(source: IPAddress, destination: IPAddress) -> Any:
    if source.version == 4:
        # DF and no identification: an atomic datagram (RFC 6864).
        return IP(
            src=str(source),
            dst=str(destination),
            ttl=TTL,
            tos=INTERNETWORK_CONTROL,
            id=0,
            flags="DF",
            proto=PROTOCOL_VRRP,
        )
    return IPv6(src=str(source), dst=str(destination), hlim=TTL, tc=INTERNETWORK_CONTROL, nh=PROTOCOL_VRRP)
