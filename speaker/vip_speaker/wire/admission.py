"""Whether an advertisement is meant for one configured virtual router, and what is odd about it all the same.

The rules of RFC 9568 section 7.1 and RFC 3768 section 7.1 that compare a packet with the configuration.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from vip_speaker.vrrp.types import OWNER_PRIORITY, Advertisement, IPAddress
from vip_speaker.wire.advertisement import AUTH_NONE, AUTH_PASSWORD, password_field
from vip_speaker.wire.decoder import first_is_link_local
from vip_speaker.wire.discard import Discard, DiscardReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a virtual router expects to hear.

    `interval_ns` is compared where it is not 0 (version 2: RV-15). `password` is PASS authentication (version 2), None
    for none. `peers` are the unicast peers, None for multicast. `own_addresses` are this node's own on the link: what
    comes from one of them is our own, sent back to us, and a unicast advertisement must be to one of them (where any
    are given). `addresses` are those that we would advertise ourselves.
    """

    version: int
    vrid: int
    interval_ns: int
    password: bytes | None = field(default=None, repr=False)
    peers: frozenset[IPAddress] | None = None
    own_addresses: frozenset[IPAddress] = frozenset()
    addresses: frozenset[IPAddress] = frozenset()


class Remark(StrEnum):
    """What is reported of an advertisement that is accepted."""

    INTERVAL_DIFFERS = "interval-differs"  # RV-15, version 3
    MULTIPLE_OWNERS = "multiple-owners"  # RV-16: another one with priority 255
    FIRST_NOT_LINK_LOCAL = "first-not-link-local"  # RV-17
    ADDRESSES_DIFFER = "addresses-differ"  # RV-18: never a reason to drop, that would make two masters


def admit(advertisement: Advertisement, expectation: Expectation) -> Discard | None:
    """None if the advertisement is for this virtual router and passes; otherwise why not."""
    source = advertisement.source
    if advertisement.vrid != expectation.vrid:
        return Discard(reason=DiscardReason.UNKNOWN_VRID, source=source, detail=str(advertisement.vrid))  # RV-07
    if source in expectation.own_addresses:
        return Discard(reason=DiscardReason.OWN_TRANSMISSION, source=source)  # RV-01
    refused = _judge_transport(advertisement, expectation)
    if refused is not None:
        return refused
    if advertisement.version != expectation.version:
        # RV-08. Only here does this reason mean our virtual router, spoken in the other version.
        return Discard(reason=DiscardReason.VERSION, source=source, detail=f"version {advertisement.version}")
    if advertisement.version == 3:
        return None
    return _judge_authentication(advertisement, expectation) or _judge_interval(advertisement, expectation)


def remarks(advertisement: Advertisement, expectation: Expectation) -> Iterator[Remark]:
    """What an accepted advertisement does that ours would not: to be counted, never acted upon."""
    if expectation.interval_ns and advertisement.interval_ns != expectation.interval_ns:
        yield Remark.INTERVAL_DIFFERS
    if advertisement.priority == OWNER_PRIORITY:
        yield Remark.MULTIPLE_OWNERS
    if not first_is_link_local(advertisement):
        yield Remark.FIRST_NOT_LINK_LOCAL
    if expectation.addresses and frozenset(advertisement.addresses) != expectation.addresses:
        yield Remark.ADDRESSES_DIFFER


def _judge_transport(advertisement: Advertisement, expectation: Expectation) -> Discard | None:
    """RV-04: to the group in multicast; in unicast from a listed peer to an address of ours."""
    source, destination = advertisement.source, advertisement.destination
    if expectation.peers is None:
        if destination is not None:
            return Discard(reason=DiscardReason.DESTINATION, source=source, detail=f"to {destination}")
        return None
    if source not in expectation.peers:
        return Discard(reason=DiscardReason.UNLISTED_SOURCE, source=source)
    if destination is None:
        return Discard(reason=DiscardReason.DESTINATION, source=source, detail="to the group")
    if expectation.own_addresses and destination not in expectation.own_addresses:
        return Discard(reason=DiscardReason.DESTINATION, source=source, detail=f"to {destination}")
    return None


def _judge_authentication(advertisement: Advertisement, expectation: Expectation) -> Discard | None:
    """RV-14. The comparison takes the same time however many bytes agree."""
    wanted = AUTH_NONE if expectation.password is None else AUTH_PASSWORD
    if advertisement.auth_type != wanted:
        return Discard(
            reason=DiscardReason.AUTHENTICATION_TYPE,
            source=advertisement.source,
            detail=f"type {advertisement.auth_type}",
        )
    if expectation.password is not None and not hmac.compare_digest(
        advertisement.auth_data, password_field(expectation.password)
    ):
        return Discard(reason=DiscardReason.AUTHENTICATION_FAILED, source=advertisement.source)
    return None


def _judge_interval(advertisement: Advertisement, expectation: Expectation) -> Discard | None:
    """RV-15: version 2 "MUST verify that the Adver Interval in the packet is the same as the locally
    configured".
    """
    if advertisement.interval_ns != expectation.interval_ns:
        return Discard(
            reason=DiscardReason.INTERVAL,
            source=advertisement.source,
            detail=f"{advertisement.interval_ns // 1_000_000_000} s",
        )
    return None
