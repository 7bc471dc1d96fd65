"""Which channel a virtual router speaks through, and until when it listens under the one before."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from vip_api.model import VirtualAddress
from vip_speaker.router.channel import Channel
from vip_speaker.router.identities import Identities
from vip_speaker.router.resolution import Resolved
from vip_speaker.vrrp.types import SECOND, BackupState, Config, FormerIdentity, Identity, InitState

VIP = ip_address("10.0.0.100")


class Link:
    """Stands for an ActiveLink: who listens, and which VRIDs other virtual routers of this host have."""

    ifindex = 2

    def __init__(self) -> None:
        self.attached: list[Channel] = []
        self.taken: set[int] = set()

    def detach(self, channel: Channel) -> None:
        self.attached.remove(channel)

    def is_taken(self, channel: Channel) -> bool:
        return channel.identity.vrid in self.taken


class Router:
    """Identities, changed as an instance does it."""

    def __init__(self) -> None:
        self.identities, self.link = Identities(), Link()

    def change(self, *, vrid: int, priority: int = 100, source: str = "10.0.0.1") -> Channel:
        resolved = Resolved(
            ifindex=2,
            interface="eth0",
            mac="02:00:00:00:00:01",
            own_addresses=frozenset(),
            config=Config(
                identity=Identity(version=3, vrid=vrid),
                priority=priority,
                advertisement_interval_ns=SECOND,
                primary_address=ip_address(source),
                addresses=(VIP,),
            ),
            addresses=(VirtualAddress(ip=VIP),),
            advertised=(VIP,),
        )
        channel = Channel(resolved, self.link, source_mac=resolved.mac, unicast=None)  # type: ignore[arg-type]
        self.link.attached.append(channel)
        self.identities.prepare(channel)
        previous = self.identities.enter(channel)
        if previous is not None:
            assert previous in self.link.attached, "no advertisement is missed in between"
            self.identities.leave(previous)
        return channel

    def listens(self, former: Identity | None) -> bool:
        """The election does, under `former` as well; whether that ends another one."""
        state = BackupState(master_down_at_ns=0, master_adver_interval_ns=SECOND)
        if former is not None:
            state = replace(
                state, former=FormerIdentity(identity=former, interval_ns=SECOND, address=VIP, forget_at_ns=0)
            )
        return self.identities.follow(state)


@pytest.fixture(name="router")
def _router() -> Router:
    return Router()


def test_nobody_speaks_before_the_first_document(router):
    assert router.identities.under(Identity(version=3, vrid=51)) is None
    assert not router.identities.former_is_taken
    router.identities.follow(InitState())
    router.identities.close()


def test_the_first_is_followed_by_no_former_one(router):
    first = router.change(vrid=51)
    assert router.identities.under(first.identity) is first
    assert router.identities.under(Identity(version=2, vrid=51)) is None
    assert (router.identities.former, first.own_elsewhere) == (None, None)


def test_a_change_that_is_none_of_identity_leaves_one_channel(router):
    router.change(vrid=51)
    second = router.change(vrid=51, priority=50)
    assert router.identities.under(second.identity) is second
    assert router.identities.former is None
    assert router.link.attached == [second]


def test_what_is_said_alike_is_not_encoded_again(router):
    first = router.change(vrid=51)
    assert router.change(vrid=51, priority=50)._cache is first._cache
    assert router.change(vrid=52)._cache is not first._cache


def test_after_a_change_of_identity_both_speak_and_neither_takes_the_other_for_a_stranger(router):
    first = router.change(vrid=51)
    second = router.change(vrid=52, source="10.0.0.2")
    assert router.identities.under(first.identity) is first
    assert router.identities.under(second.identity) is second
    assert router.link.attached == [first, second]
    assert (first.former, second.former) == (True, False)
    assert (first.own_elsewhere, second.own_elsewhere) == (second.source, first.source)


def test_they_know_each_other_also_after_a_change_that_is_none_of_identity(router):
    first = router.change(vrid=51)
    router.change(vrid=52, source="10.0.0.2")
    third = router.change(vrid=52, priority=50, source="10.0.0.3")
    assert router.identities.former is first
    assert (first.own_elsewhere, third.own_elsewhere) == (third.source, first.source)


def test_of_two_former_ones_the_younger_counts(router):
    first, second, third = (router.change(vrid=vrid) for vrid in (51, 52, 53))
    assert router.identities.former is second
    assert router.identities.under(first.identity) is None
    assert router.link.attached == [second, third]


def test_it_lasts_as_long_as_the_election_listens_under_it(router):
    first, second = router.change(vrid=51), router.change(vrid=52)
    assert not router.listens(first.identity)
    assert router.identities.former is first
    assert router.listens(None), "the last will has to be told"
    assert router.identities.former is None
    assert not router.listens(None)
    assert router.link.attached == [second]
    assert second.own_elsewhere is None


@pytest.mark.parametrize("vrid", [52, 53])
def test_it_is_forgotten_where_the_election_knows_another_one(router, vrid):
    router.change(vrid=51), router.change(vrid=52)
    router.listens(Identity(version=3, vrid=vrid))
    assert router.identities.former is None


def test_who_takes_no_part_has_no_former_identity(router):
    router.change(vrid=51), router.change(vrid=52)
    router.identities.follow(InitState())
    assert router.identities.former is None


def test_only_the_former_one_may_be_anothers_by_now(router):
    router.change(vrid=51)
    router.link.taken = {51}
    assert not router.identities.former_is_taken
    router.change(vrid=52)
    assert router.identities.former_is_taken
    router.link.taken = {52}
    assert not router.identities.former_is_taken


def test_nobody_listens_once_closed(router):
    first, second = router.change(vrid=51), router.change(vrid=52)
    router.identities.close()
    assert router.link.attached == []
    assert router.identities.under(first.identity) is router.identities.under(second.identity) is None
