from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from vip_speaker.vrrp.machine import deadline, role
from vip_speaker.vrrp.timing import FAREWELL_NS
from vip_speaker.vrrp.types import (
    CENTISECOND,
    MS,
    SECOND,
    AddAddresses,
    AddressesExpired,
    Announce,
    AnnouncementSeen,
    Cause,
    Failed,
    FaultState,
    Handover,
    InitState,
    LeavingState,
    Note,
    Noted,
    OtherVersionHeard,
    Peer,
    Recovered,
    RemoveAddresses,
    Role,
    SendAdvertisement,
    Shutdown,
    Silence,
    Startup,
    StopAnnouncing,
    Transition,
    YieldingState,
)

from tests.election import HIGHER_ADDRESS, LOWER_ADDRESS, OTHER_V3, V2, V3, VIPS, Router, config_of, master


def leaving(version: int = 3, **changes: object) -> Router:
    router = master(config_of(version, **changes))
    router.do(Shutdown())
    assert isinstance(router.state, LeavingState)
    return router


def leaving_silently(**changes: object) -> Router:
    router = leaving(**changes)
    assert router.after(100 * MS).hear(50) == (Silence(),)
    return router


def gone(cause: Cause, source=None) -> tuple[RemoveAddresses, Transition]:
    return RemoveAddresses(), Transition(before=Role.MASTER, after=Role.INIT, cause=cause, source=source)


# --- leaving ---


def test_version_3_asks_for_a_short_skew_first():
    router = leaving(3)
    assert router.said == [(100, FAREWELL_NS), (0, FAREWELL_NS)]
    assert router.kinds == [SendAdvertisement, SendAdvertisement, StopAnnouncing]
    assert role(router.state) is Role.MASTER
    assert router.leaving.until_ns == router.now_ns + 1200 * MS


@pytest.mark.parametrize(("interval_ms", "wait_ms"), [(100, 600), (10, 240), (200, 720)])
def test_it_never_asks_for_more_than_what_is_configured(interval_ms, wait_ms):
    """And waits for a peer that lost priority 0 alone: three of these intervals and a skew."""
    router = leaving(3, advertisement_interval_ns=interval_ms * MS)
    assert {interval_ns for _, interval_ns in router.said} == {min(interval_ms * MS, FAREWELL_NS)}
    assert router.leaving.until_ns == router.now_ns + wait_ms * MS


def test_version_2_says_priority_0():
    router = leaving(2)
    assert router.said == [(0, SECOND)]
    assert router.leaving.until_ns == router.now_ns + 1200 * MS


@pytest.mark.parametrize(("version", "wait_ns"), [(2, 1200 * MS), (3, 5200 * MS)])
def test_peers_wait_by_the_interval_in_version_3_only(version, wait_ns):
    router = leaving(version, advertisement_interval_ns=5 * SECOND)
    assert router.leaving.until_ns == router.now_ns + wait_ns


def test_peers_may_still_wait_by_an_interval_that_was_just_shortened():
    router = master(config_of(advertisement_interval_ns=5 * SECOND))
    router.become(advertisement_interval_ns=SECOND)
    router.do(Shutdown())
    assert router.leaving.until_ns == router.now_ns + 5200 * MS


def test_an_owner_leaves_likewise():
    router = leaving(3, priority=255)
    assert router.said == [(255, FAREWELL_NS), (0, FAREWELL_NS)]


def test_at_once():
    router = master()
    router.do(Shutdown(at_once=True))
    assert router.state == InitState()
    assert router.said == [(100, CENTISECOND), (0, CENTISECOND)]
    assert router.kinds == [SendAdvertisement, SendAdvertisement, StopAnnouncing, RemoveAddresses, Transition]
    assert router.transition.cause is Cause.SHUTDOWN


def test_no_successor():
    router = leaving()
    assert router.after(1200 * MS - 1).tick() == ()
    assert router.after(1).tick() == gone(Cause.NO_SUCCESSOR)
    assert router.state == InitState()


def test_a_successor_announces_everything():
    router = leaving_silently()
    assert router.leaving.handover == Handover(
        until_ns=router.now_ns + 60 * MS, unannounced=frozenset(VIPS), successor=HIGHER_ADDRESS
    )
    assert deadline(router.state) == router.now_ns + 60 * MS
    assert router.do(AnnouncementSeen(address=VIPS[1])) == ()
    assert router.do(AnnouncementSeen(address=VIPS[0])) == ()
    assert router.after(20 * MS - 1).tick() == (), "what clients sent before they heard it is still on the way"
    assert router.after(1).tick() == gone(Cause.SUCCEEDED, HIGHER_ADDRESS)
    assert router.state == InitState()


def test_a_successor_announces_nothing():
    router = leaving_silently()
    assert router.after(60 * MS - 1).tick() == ()
    assert router.after(1).tick() == gone(Cause.SUCCEEDED, HIGHER_ADDRESS)


def test_the_first_advertisement_counts():
    router = leaving_silently()
    state = router.state
    assert router.after(10 * MS).hear(200, LOWER_ADDRESS) == ()
    assert router.state == state


def test_another_leaver_is_no_successor():
    router = leaving()
    state = router.state
    assert router.hear(0) == ()
    assert router.state == state


def test_an_announcement_before_the_advertisement_is_nothing():
    """An old one of ours that comes back over a loop must not end the service."""
    router = leaving()
    state = router.state
    assert router.do(AnnouncementSeen(address=VIPS[0])) == ()
    assert router.state == state


@pytest.mark.parametrize("make", [leaving, leaving_silently])
@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (Shutdown(at_once=True), Cause.SHUTDOWN),
        (Failed(reason="link down"), Cause.FAILED),
        (AddressesExpired(), Cause.ADDRESSES_EXPIRED),
    ],
    ids=repr,
)
def test_cut_short(make, event, cause):
    router = make()
    assert router.do(event) == gone(cause)
    assert router.state == InitState()


@pytest.mark.parametrize("event", [Shutdown(), OtherVersionHeard(source=LOWER_ADDRESS), Recovered()], ids=repr)
def test_what_does_not_concern_a_leaver(event):
    router = leaving()
    state = router.state
    assert router.after(MS).do(event) == ()
    assert router.state == state


def test_started_again_before_anybody_came():
    router = leaving().after(100 * MS)
    router.do(Startup())
    assert router.actions == (
        SendAdvertisement(identity=V3, priority=100, interval_ns=SECOND),
        Announce(takeover=False),
    )
    assert router.master.advert_at_ns == router.now_ns + SECOND


def test_started_again_after_a_successor_came():
    router = leaving_silently()
    handover = router.leaving.handover
    router.do(Startup())
    assert router.actions == (
        Transition(before=Role.MASTER, after=Role.BACKUP, cause=Cause.STARTED, source=HIGHER_ADDRESS),
    )
    assert router.backup.handover == handover
    assert router.backup.was_master


def test_addresses_change_while_leaving():
    router = leaving()
    assert router.become(addresses=VIPS[:1]) == (AddAddresses(),)
    assert router.become(priority=50) == ()
    router.hear(50)
    assert router.become(addresses=VIPS) == ()
    assert router.do(AnnouncementSeen(address=VIPS[0])) == ()
    assert router.after(20 * MS).tick() == gone(Cause.SUCCEEDED, HIGHER_ADDRESS)


def test_the_last_address_awaited_is_configured_no_more():
    router = leaving_silently()
    router.do(AnnouncementSeen(address=VIPS[0]))
    assert router.become(addresses=VIPS[:1]) == ()
    assert router.after(20 * MS).tick() == gone(Cause.SUCCEEDED, HIGHER_ADDRESS)


def test_squeezes_under_all_identities_come_first():
    router = master()
    router.become(identity=OTHER_V3)
    router.do(Shutdown())
    assert [(sent.identity, sent.priority) for sent in router.sent] == [
        (OTHER_V3, 100),
        (V3, 100),
        (OTHER_V3, 0),
        (V3, 0),
    ]
    assert router.hear(50, former=True) == (Silence(),)


def test_between_versions_each_identity_gets_its_own_farewell():
    router = master(config_of(2))
    router.become(identity=V3, advertisement_interval_ns=5 * SECOND)
    router.do(Shutdown())
    assert [(sent.identity, sent.priority, sent.interval_ns) for sent in router.sent] == [
        (V3, 100, FAREWELL_NS),
        (V3, 0, FAREWELL_NS),
        (V2, 0, SECOND),
    ]


def test_the_identity_changes_while_leaving():
    router = leaving()
    assert router.hear(50, former=True) == ()
    assert router.become(identity=OTHER_V3) == ()
    assert router.hear(50, former=True) == (Silence(),)


@pytest.mark.parametrize("heard", [False, True])
def test_started_again_it_still_knows_the_former_identity(heard):
    router = master()
    router.become(identity=OTHER_V3)
    router.do(Shutdown())
    if heard:
        router.hear(50)
    router.do(Startup())
    assert (router.backup if heard else router.master).former is not None


# --- yielding: a demoted master that cannot squeeze ---

BETTER = (Peer(priority=90, address=HIGHER_ADDRESS),)
NO_BETTER = (Peer(priority=50, address=HIGHER_ADDRESS),)


def yielding(version: int = 2, **changes: object) -> Router:
    router = master(config_of(version, preempt=version == 2, **changes))
    router.become(priority=50, peers=BETTER)
    assert isinstance(router.state, YieldingState)
    return router


def test_version_2_offers_by_priority_0():
    router = yielding()
    assert router.actions == (SendAdvertisement(identity=V2, priority=0, interval_ns=SECOND),)
    assert role(router.state) is Role.MASTER
    assert deadline(router.state) == router.now_ns + 1200 * MS


def test_peers_that_do_not_preempt_are_offered_it_too():
    router = yielding(3)
    assert router.said == [(100, FAREWELL_NS), (0, FAREWELL_NS)]


@pytest.mark.parametrize("priority", [200, 10])
def test_whoever_answers_is_master(priority):
    router = yielding().after(200 * MS)
    assert router.hear(priority) == (
        Silence(),
        Transition(before=Role.MASTER, after=Role.BACKUP, cause=Cause.DEMOTED, source=HIGHER_ADDRESS),
    )
    assert router.backup.handover is not None
    assert router.backup.master is not None
    assert router.backup.master_down_at_ns == router.now_ns + 3 * SECOND + 206 * SECOND // 256


def test_nobody_answers():
    router = yielding()
    assert router.after(1200 * MS - 1).tick() == ()
    assert router.after(1).tick() == (SendAdvertisement(identity=V2, priority=50, interval_ns=SECOND),)
    assert router.master.advert_at_ns == router.now_ns + SECOND


def test_stalled_while_waiting():
    router = yielding()
    router.after(1200 * MS + 3 * SECOND + 206 * SECOND // 256).tick()
    assert router.said == [(50, SECOND)]
    router = yielding()
    router.after(1200 * MS + 3 * SECOND + 206 * SECOND // 256 + 1).tick()
    assert router.kinds == [RemoveAddresses, StopAnnouncing, Transition]
    assert router.transition.cause is Cause.STALLED


@pytest.mark.parametrize("stalled", [False, True])
def test_whoever_listens_after_waiting_still_knows_the_former_identity(stalled):
    router = yielding(3)
    router.become(identity=OTHER_V3, priority=40)
    router.become(priority=30)
    assert isinstance(router.state, YieldingState)
    if stalled:
        router.state = replace(router.state, until_ns=router.now_ns - 10 * SECOND)
        router.tick()
    else:
        router.do(AddressesExpired())
    assert router.backup.former is not None


def test_addresses_expire_while_waiting():
    router = yielding()
    router.do(AddressesExpired())
    assert router.kinds == [RemoveAddresses, StopAnnouncing, Transition]


def test_a_leaver_or_a_forgotten_identity_is_no_answer():
    router = yielding()
    state = router.state
    assert router.hear(0) == router.hear(200, former=True) == ()
    assert router.state == state


def test_an_answer_under_the_former_identity():
    router = master(config_of(2))
    router.become(identity=V3, preempt=False)
    router.become(priority=50, peers=BETTER)
    assert [(sent.identity.version, sent.priority) for sent in router.sent] == [(3, 100), (3, 0), (2, 0)]
    router.after(100 * MS).hear(200, former=True, version=2)
    assert router.backup.former is not None
    assert router.backup.former.forget_at_ns == router.now_ns + 600 * SECOND - 100 * MS


def test_the_former_identity_is_forgotten_while_waiting():
    router = master(config_of(2))
    router.become(identity=V3, preempt=False, advertisement_interval_ns=10 * SECOND)
    router.after(595 * SECOND)
    router.state = replace(router.master, advert_at_ns=router.now_ns)
    router.become(priority=50, peers=BETTER)
    router.tick_when_due()
    assert isinstance(router.state, YieldingState)
    assert router.state.former is None
    router.tick_when_due()
    assert [sent.identity for sent in router.sent] == [V3]


def test_a_failure_while_waiting():
    router = yielding()
    router.do(Failed(reason="link down"))
    assert router.state == FaultState(reason="link down")
    assert router.kinds == [StopAnnouncing, RemoveAddresses, Transition]


def test_shutdown_while_waiting():
    router = yielding()
    router.do(Shutdown())
    assert router.said == [(0, SECOND)]
    assert router.leaving.until_ns == router.now_ns + 1200 * MS


def test_the_other_version_while_waiting():
    router = yielding()
    assert router.do(OtherVersionHeard(source=LOWER_ADDRESS)) == (
        Noted(note=Note.VERSION_MISMATCH, source=LOWER_ADDRESS),
    )


@pytest.mark.parametrize("event", [Startup(), Recovered(), AnnouncementSeen(address=VIPS[0])], ids=repr)
def test_what_does_not_concern_a_yielding_master(event):
    router = yielding()
    state = router.state
    assert router.after(MS).do(event) == ()
    assert router.state == state


NEW_VIP = IPv4Address("10.0.0.102")


class TestChangeWhileYielding:
    def test_lower_still(self):
        router = yielding()
        state = router.state
        assert router.become(priority=40) == ()
        assert router.state == state

    def test_addresses(self):
        router = yielding()
        assert router.become(addresses=VIPS[:1]) == (AddAddresses(),)
        assert isinstance(router.state, YieldingState)

    def test_an_address_that_is_new_is_announced(self):
        """It serves on, for as long as nobody better takes over."""
        router = yielding()
        assert router.become(addresses=(*VIPS, NEW_VIP)) == (AddAddresses(), Announce(takeover=False))
        assert isinstance(router.state, YieldingState)

    @pytest.mark.parametrize("change", [{"priority": 60}, {"peers": NO_BETTER}], ids=repr)
    def test_the_reason_is_gone(self, change):
        router = yielding()
        router.become(**change)
        assert router.said == [(router.config.priority, SECOND)]
        assert router.kinds == [SendAdvertisement]
        assert router.master.advert_at_ns == router.now_ns + SECOND

    def test_another_identity(self):
        router = yielding()
        router.become(identity=V3)
        assert [(sent.identity, sent.priority) for sent in router.sent] == [(V2, 50), (V3, 50)]
        assert router.master.former is not None
