"""The last will of one VIP: what the guard is to send for it, and when that is not encoded anew."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from vip_api.model import VirtualAddress
from vip_speaker import will
from vip_speaker.kernel import Assigned, removal_requests
from vip_speaker.router import lastwill
from vip_speaker.router.channel import Channel
from vip_speaker.router.identities import Identities
from vip_speaker.router.lastwill import LastWill
from vip_speaker.router.resolution import Resolved
from vip_speaker.vrrp.types import MS, SECOND, Advertisement, Config, Identity, InitState
from vip_speaker.wire.decoder import Decoder
from vip_speaker.wire.received import ETH_P_IP, Received

VIP = ip_address("10.0.0.100")
HELD = (Assigned(ifindex=2, ip=VIP, prefix_length=32),)


def channel_of(*, vrid: int = 51, version: int = 3, priority: int = 200) -> Channel:
    resolved = Resolved(
        ifindex=2,
        interface="eth0",
        mac="02:00:00:00:00:01",
        own_addresses=frozenset(),
        config=Config(
            identity=Identity(version=version, vrid=vrid),
            priority=priority,
            advertisement_interval_ns=SECOND,
            primary_address=ip_address("10.0.0.1"),
            addresses=(VIP,),
        ),
        addresses=(VirtualAddress(ip=VIP),),
        advertised=(VIP,),
    )
    link = SimpleNamespace(ifindex=2, detach=lambda channel: None)
    return Channel(resolved, link, source_mac=resolved.mac, unicast=None)  # type: ignore[arg-type]


@pytest.fixture(name="identities")
def _identities() -> Identities:
    return Identities()


def change(identities: Identities, channel: Channel) -> None:
    if (previous := identities.enter(channel)) is not None:
        identities.leave(previous)


def said(farewell: bytes) -> list[tuple[int, int, int]]:
    """VRID, priority and interval in milliseconds of each advertisement."""
    told = []
    for entry in will.decode(farewell):
        assert isinstance(entry, will.Frame)
        received = Received(packet=entry.data[14:], ethertype=ETH_P_IP, source_mac=b"\2\0\0\0\0\1", ifindex=2)
        advertisement = Decoder().decode(received)
        assert isinstance(advertisement, Advertisement)
        told.append((advertisement.vrid, advertisement.priority, advertisement.interval_ns // MS))
    return told


def test_the_addresses_go_by_ready_made_requests(identities):
    change(identities, channel_of())
    requests, _ = LastWill(identities).over(HELD, silenced=False)
    assert will.decode(requests) == [
        will.NetlinkRequest(protocol=will.NETLINK_ROUTE, data=data) for data in removal_requests(HELD)
    ]


@pytest.mark.parametrize(("version", "expected"), [(2, [(51, 0, 1000)]), (3, [(51, 200, 10), (51, 0, 10)])])
def test_a_master_gives_up_in_version_3_after_a_squeeze(identities, version, expected):
    change(identities, channel_of(version=version))
    assert said(LastWill(identities).over(HELD, silenced=False)[1]) == expected


def test_under_a_former_identity_it_gives_up_too_at_the_priority_of_now(identities):
    change(identities, channel_of(vrid=51, priority=200))
    change(identities, channel_of(vrid=52, priority=150))
    farewell = LastWill(identities).over(HELD, silenced=False)[1]
    assert said(farewell) == [(52, 150, 10), (52, 0, 10), (51, 150, 10), (51, 0, 10)]


def test_who_is_silent_is_succeeded_already(identities):
    change(identities, channel_of())
    requests, farewell = LastWill(identities).over(HELD, silenced=True)
    assert len(will.decode(requests)) == 1
    assert farewell == b""


def test_who_holds_nothing_says_nothing(identities):
    assert LastWill(identities).over(HELD, silenced=False)[1] == b"", "there is no identity yet"
    change(identities, channel_of())
    assert LastWill(identities).over((), silenced=False) == (b"", b"")


def test_what_was_prepared_is_there_at_the_promotion(identities, monkeypatch):
    change(identities, channel_of())
    last_will = LastWill(identities)
    planned = last_will.over(HELD, silenced=False)
    monkeypatch.delattr(lastwill, "removal_requests")  # whoever encodes again ends the test
    assert last_will.over(tuple(HELD), silenced=False) is planned


def test_it_follows_whatever_it_tells_of(identities):
    last_will = LastWill(identities)
    change(identities, channel_of())
    first = last_will.over(HELD, silenced=False)
    more = (*HELD, Assigned(ifindex=2, ip=ip_address("10.0.0.101"), prefix_length=32))
    assert last_will.over(more, silenced=False) != first
    assert last_will.over(HELD, silenced=True) != first
    assert last_will.over(HELD, silenced=False) == first
    change(identities, channel_of(priority=150))
    second = last_will.over(HELD, silenced=False)
    assert said(second[1]) == [(51, 150, 10), (51, 0, 10)]
    change(identities, channel_of(vrid=52, priority=150))
    assert [vrid for vrid, _, _ in said(last_will.over(HELD, silenced=False)[1])] == [52, 52, 51, 51]
    identities.follow(InitState())
    assert [vrid for vrid, _, _ in said(last_will.over(HELD, silenced=False)[1])] == [52, 52], "the former is forgotten"
