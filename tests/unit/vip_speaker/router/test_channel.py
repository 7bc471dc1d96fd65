"""What a channel admits, of its own virtual router and not what this host says on another link; what it has ready."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from vip_api.model import VirtualAddress
from vip_speaker import will
from vip_speaker.router.channel import Channel
from vip_speaker.router.resolution import Resolved
from vip_speaker.vrrp.types import MS, SECOND, Advertisement, Config, Identity
from vip_speaker.wire.discard import DiscardReason

VIP, OURS, THEIRS = (ip_address(f"10.0.0.{last}") for last in (100, 1, 2))


def channel_of(*, version: int = 3, **fields) -> Channel:
    config = Config(
        identity=Identity(version=version, vrid=51),
        priority=100,
        advertisement_interval_ns=SECOND,
        primary_address=OURS,
        addresses=(VIP,),
    )
    resolved = Resolved(
        ifindex=2,
        interface="eth0",
        mac="02:00:00:00:00:01",
        own_addresses=frozenset({OURS}),
        config=config,
        addresses=(VirtualAddress(ip=VIP),),
        advertised=(VIP,),
        **fields,
    )
    return Channel(resolved, SimpleNamespace(ifindex=2), source_mac=resolved.mac, unicast=None)  # type: ignore[arg-type]


@pytest.fixture
def channel() -> Channel:
    return channel_of()


@pytest.mark.parametrize(
    ("fields", "guarded"), [({}, False), ({"password": b"1111"}, True), ({"peers": (THEIRS,)}, True)]
)
def test_with_a_password_or_peers_nobody_else_has_a_say(fields, guarded):
    assert channel_of(**fields).guarded is guarded


def advertisement(*addresses: str, source=THEIRS, vrid=51) -> Advertisement:
    return Advertisement(
        version=3,
        vrid=vrid,
        priority=200,
        interval_ns=SECOND,
        source=source,
        addresses=tuple(map(ip_address, addresses)),
    )


def test_the_addresses_of_a_master_are_no_reason_to_drop(channel):
    """RV-18: that would make two masters."""
    assert channel.admit(advertisement("10.0.0.77")) is None
    assert channel.is_ours(advertisement("10.0.0.77"))


def test_under_a_former_identity_one_address_has_to_be_ours(channel):
    """Its VRID may be another virtual router's by now: two VIPs that swap theirs hear each other's masters."""
    channel.former = True
    assert channel.admit(advertisement("10.0.0.77")) is None
    assert not channel.is_ours(advertisement("10.0.0.77"))
    assert not channel.is_ours(advertisement())
    assert channel.is_ours(advertisement("10.0.0.77", str(VIP)))


def test_what_goes_out_on_the_former_link_is_not_taken_for_another_router(channel):
    refused = channel.admit(advertisement(str(VIP), source=OURS))
    assert refused is not None
    assert refused.reason is DiscardReason.OWN_TRANSMISSION
    assert channel.admit(advertisement(str(VIP))) is None
    channel.own_elsewhere = THEIRS
    refused = channel.admit(advertisement(str(VIP)))
    assert refused is not None
    assert refused.reason is DiscardReason.OWN_TRANSMISSION


@pytest.mark.parametrize(("version", "said"), [(2, 2), (3, 6)])
def test_what_may_be_needed_in_a_hurry_is_encoded_ahead(version, said, monkeypatch):
    sent: list[bytes] = []
    channel = channel_of(version=version)
    channel.link.send = sent.append
    channel.prepare()
    monkeypatch.delattr(Channel, "_encode")  # whoever encodes from here on ends the test
    intervals = [SECOND] if version == 2 else [SECOND, 130 * MS, 10 * MS]
    for priority in (100, 0):
        for interval_ns in intervals:
            channel.send(priority=priority, interval_ns=interval_ns)
    channel.farewell(priority=100)
    assert len(set(sent)) == said


def test_each_peer_is_told_of_the_end_but_not_ourselves():
    entries = channel_of(peers=(OURS, THEIRS)).farewell(priority=100)
    assert [(type(one), one.source, one.destination) for one in entries] == [(will.Packet, str(OURS), str(THEIRS))] * 2
