"""Why a packet was not accepted: one reason per rule, for counters and log lines.

Beside each reason: its row in docs/rfc-coverage.md, and the counter of the VRRP MIB (RFC 6527) that it
belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vip_speaker.vrrp.types import IPAddress


class DiscardReason(StrEnum):
    """One per rule. The values are label values of a metric: they never change."""

    OWN_TRANSMISSION = "own-transmission"  # RV-01, A10
    VLAN_TAGGED = "vlan-tagged"  # RV-02, A13
    OTHER_STATION = "other-station"  # RV-02: addressed to another station's link-layer address, or broadcast
    FRAGMENT = "fragment"  # RV-02
    AUTHENTICATION_HEADER = "authentication-header"  # protocol 51 (RFC 2338 type 2), not offered
    NOT_VRRP = "not-vrrp"  # neither protocol 112 nor 51: only when no kernel filter is attached
    MALFORMED = "malformed"  # RV-03: not an IP packet, header checksum wrong
    PACKET_LENGTH = "packet-length"  # RV-03, RV-06, RV-10; vrrpv3StatisticsPacketLengthErrors
    DESTINATION = "destination"  # RV-04, A12
    TTL = "ttl"  # RV-05; vrrpv3StatisticsIpTtlErrors
    UNKNOWN_VRID = "unknown-vrid"  # RV-07; vrrpv3RouterVrIdErrors
    VERSION = "version"  # RV-08; vrrpv3RouterVersionErrors
    PACKET_TYPE = "packet-type"  # RV-09; vrrpv3StatisticsRcvdInvalidTypePackets
    ADDRESS_COUNT = "address-count"  # RV-11; vrrpv3StatisticsAddressListErrors
    CHECKSUM = "checksum"  # RV-12; vrrpv3RouterChecksumErrors
    INTERVAL = "interval"  # RV-13, RV-15; vrrpv3StatisticsAdvIntervalErrors
    AUTHENTICATION_TYPE = "authentication-type"  # RV-14; vrrpStatsAuthTypeMismatch, vrrpStatsInvalidAuthType
    AUTHENTICATION_FAILED = "authentication-failed"  # RV-14; vrrpStatsAuthFailures
    FIRST_NOT_LINK_LOCAL = "first-not-link-local"  # RV-17, only where it is asked for
    SOURCE = "source"  # RV-19
    UNLISTED_SOURCE = "unlisted-source"  # unicast: not one of the peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """A packet that changes nothing: no state, no timer, no reply. `detail` is for the (rate-limited) log
    line.
    """

    reason: DiscardReason
    source: IPAddress | None = None
    detail: str = ""
