from __future__ import annotations

import pytest
from vip_speaker.vrrp.machine import deadline
from vip_speaker.vrrp.timing import FAREWELL_NS, STANDOFF_NS
from vip_speaker.vrrp.types import (
    CENTISECOND,
    MS,
    SECOND,
    AddAddresses,
    AddressesExpired,
    AddressServed,
    Announce,
    AnnouncementSeen,
    Cause,
    Failed,
    FaultState,
    FormerTaken,
    Handover,
    InitState,
    Master,
    Note,
    Noted,
    OtherVersionHeard,
    Peer,
    Recovered,
    RemoveAddresses,
    Role,
    SendAdvertisement,
    Shutdown,
    Startup,
    Transition,
    Unsilence,
)

from tests.election import HIGHER_ADDRESS, LOWER_ADDRESS, OTHER_V3, VIPS, backup, config_of, master

DOWN_NS = 3_609_375_000  # priority 100 at one second
SKEW_NS = 609_375_000
BOTH = pytest.mark.parametrize("version", [2, 3])


@BOTH
def test_a_higher_priority_is_the_master(version):
    router = backup(config_of(version)).after(SECOND)
    assert router.hear(200) == ()
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS
    assert router.backup.master == Master(
        address=HIGHER_ADDRESS, priority=200, heard_at_ns=router.now_ns, interval_ns=SECOND
    )


def test_an_equal_priority_is_accepted_and_noted():
    router = backup().after(SECOND)
    assert router.hear(100, LOWER_ADDRESS) == (Noted(note=Note.EQUAL_PRIORITY, source=LOWER_ADDRESS),)
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS


def test_two_owners_are_noted():
    router = backup()
    router.config = config_of(priority=255)
    assert router.hear(255) == (Noted(note=Note.MULTIPLE_OWNERS, source=HIGHER_ADDRESS),)
    assert router.backup.master is not None


def test_version_3_learns_the_interval():
    router = backup().after(SECOND)
    assert router.hear(200, interval_ns=100 * MS) == (Noted(note=Note.INTERVAL_DIFFERS, source=HIGHER_ADDRESS),)
    assert router.backup.master_adver_interval_ns == 100 * MS
    assert router.backup.master_down_at_ns == router.now_ns + 360_937_500


def test_a_squeeze_is_no_difference():
    router = backup()
    assert router.hear(200, interval_ns=CENTISECOND) == ()
    assert router.backup.master_down_at_ns == router.now_ns + 36_093_750


def test_version_2_learns_nothing():
    router = backup(config_of(2))
    router.hear(200, interval_ns=5 * SECOND)  # cannot come from the receiver (RV-15)
    assert router.backup.master_adver_interval_ns == SECOND
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS


# --- preemption ---


def test_a_lower_priority_moves_no_timer():
    router = backup()
    due_ns = router.backup.master_down_at_ns
    router.after(SECOND).hear(50)
    assert router.backup.master_down_at_ns == due_ns
    assert router.backup.master is None
    assert router.backup.rival == Master(
        address=HIGHER_ADDRESS, priority=50, heard_at_ns=router.now_ns, interval_ns=SECOND
    )


def test_without_preemption_a_lower_priority_is_the_master():
    router = backup(config_of(preempt=False)).after(SECOND)
    router.hear(50)
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS


def test_an_owner_preempts_whatever_it_is_told():
    router = backup()
    router.config = config_of(priority=255, preempt=False, preempt_delay_ns=60 * SECOND)
    due_ns = router.backup.master_down_at_ns
    router.after(SECOND).hear(254)
    assert router.backup.master_down_at_ns == due_ns


class TestPreemptDelay:
    def test_it_starts_at_the_first_lower_priority_and_accepts_it_meanwhile(self):
        router = backup(config_of(preempt_delay_ns=10 * SECOND)).after(SECOND)
        router.hear(50)
        ends_ns = router.now_ns + 10 * SECOND
        for _ in range(9):
            assert router.backup.preempt_at_ns == ends_ns
            assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS
            router.after(SECOND).hear(50)
        due_ns = router.backup.master_down_at_ns
        router.after(SECOND).hear(50)
        assert router.backup.master_down_at_ns == due_ns
        assert router.backup.rival is not None

    @pytest.mark.parametrize("priority", [100, 200])
    def test_an_equal_or_higher_priority_cancels_it(self, priority):
        router = backup(config_of(preempt_delay_ns=10 * SECOND))
        router.hear(50)
        router.after(SECOND).hear(priority)
        assert router.backup.preempt_at_ns is None
        router.after(SECOND).hear(50)
        assert router.backup.preempt_at_ns == router.now_ns + 10 * SECOND

    def test_it_delays_nothing_when_nobody_is_heard(self):
        router = backup(config_of(preempt_delay_ns=60 * SECOND))
        router.hear(50)
        router.after(DOWN_NS).tick()
        assert router.transition.cause is Cause.MASTER_DOWN


# --- priority 0 ---


@BOTH
def test_the_master_gives_up(version):
    router = backup(config_of(version))
    router.hear(200)
    router.after(SECOND).hear(0)
    assert router.backup.master_down_at_ns == router.now_ns + SKEW_NS
    router.tick_when_due()
    assert router.transition == Transition(
        before=Role.BACKUP, after=Role.MASTER, cause=Cause.MASTER_RELEASED, source=HIGHER_ADDRESS
    )
    # It serves until it hears us: addresses first.
    assert router.kinds == [AddAddresses, SendAdvertisement, Announce, Transition]
    assert Announce(takeover=True) in router.actions


def test_after_a_squeeze_the_skew_is_that_of_10_ms():
    router = backup()
    router.hear(200)
    router.hear(200, interval_ns=CENTISECOND)
    router.hear(0, interval_ns=CENTISECOND)
    assert router.backup.master_down_at_ns == router.now_ns + 6_093_750


def test_nobody_else_gives_up_for_the_master():
    router = backup()
    router.hear(200)
    state = router.state
    router.after(SECOND).hear(0, LOWER_ADDRESS)
    assert router.state == state


def test_a_rival_may_give_up():
    router = backup().after(SECOND)
    router.hear(50)
    router.hear(0)
    assert router.backup.master_down_at_ns == router.now_ns + SKEW_NS
    assert router.backup.released_by == HIGHER_ADDRESS


def test_before_any_master_is_known_anybody_may():
    router = backup()
    router.hear(0)
    assert router.backup.master_down_at_ns == router.now_ns + SKEW_NS


def test_repeating_it_holds_nobody_off():
    router = backup()
    router.hear(200)
    router.hear(0)
    due_ns = router.backup.master_down_at_ns
    router.after(500 * MS).hear(0)
    assert router.backup.master_down_at_ns == due_ns


def test_the_next_advertisement_takes_it_back():
    router = backup()
    router.hear(200)
    router.hear(0)
    router.after(MS).hear(200)
    assert router.backup.released_by is None
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS


# --- promotion ---


@BOTH
def test_nobody_lives_advertisement_first(version):
    router = backup(config_of(version))
    router.hear(200)
    router.tick_when_due()
    assert router.actions == (
        SendAdvertisement(identity=router.config.identity, priority=100, interval_ns=SECOND),
        AddAddresses(),
        Announce(takeover=False),
        Transition(
            before=Role.BACKUP,
            after=Role.MASTER,
            cause=Cause.MASTER_DOWN,
            source=HIGHER_ADDRESS,
            silent_for_ns=DOWN_NS,
        ),
    )
    assert router.master.advert_at_ns == router.now_ns + SECOND


def test_nobody_was_ever_heard():
    router = backup()
    router.tick_when_due()
    assert router.transition == Transition(before=Role.BACKUP, after=Role.MASTER, cause=Cause.MASTER_DOWN)


def test_preempting_a_living_master_addresses_first():
    router = backup()
    for _ in range(3):
        router.after(SECOND).hear(50)
    router.tick_when_due()
    assert router.kinds == [AddAddresses, SendAdvertisement, Announce, Transition]
    assert Announce(takeover=True) in router.actions
    assert router.transition == Transition(
        before=Role.BACKUP, after=Role.MASTER, cause=Cause.PREEMPTED, source=HIGHER_ADDRESS
    )


def test_a_rival_of_long_ago_lives_no_more():
    router = backup()
    router.hear(50, LOWER_ADDRESS)
    router.after(MS).hear(200)
    router.tick_when_due()
    assert router.transition.cause is Cause.MASTER_DOWN
    assert Announce(takeover=False) in router.actions


@pytest.mark.parametrize(("more_ns", "cause"), [(0, Cause.PREEMPTED), (1, Cause.MASTER_DOWN)])
def test_a_rival_lives_for_a_master_down_interval(more_ns, cause):
    router = backup()
    router.hear(50)
    router.after(DOWN_NS + more_ns).tick()
    assert router.transition.cause is cause


def test_too_early_a_tick_does_nothing():
    router = backup()
    state = router.state
    assert router.after(DOWN_NS - 1).tick() == ()
    assert router.state == state
    assert router.after(1).tick() != ()


def test_an_advertisement_that_waited_is_heard_before_the_timer():
    router = backup()
    router.hear(200)
    router.after(10 * SECOND).hear(200)
    assert router.tick() == ()


# --- a handover after losing ---


def lost(**changes: object):
    router = master(config_of(**changes))
    router.hear(200)
    assert router.backup.handover == Handover(
        until_ns=router.now_ns + 60 * MS, unannounced=frozenset(VIPS), successor=HIGHER_ADDRESS
    )
    return router


def test_the_handover_ends_when_every_address_was_announced():
    router = lost()
    assert router.do(AnnouncementSeen(address=VIPS[0])) == ()
    assert router.do(AnnouncementSeen(address=VIPS[0])) == ()
    assert router.do(AnnouncementSeen(address=VIPS[1])) == ()
    assert router.after(15 * MS).do(AnnouncementSeen(address=VIPS[1])) == (), "said again: as nothing"
    assert deadline(router.state) == router.now_ns + 5 * MS
    assert router.after(5 * MS - 1).tick() == (), "what clients sent before they heard it is still on the way"
    assert router.after(1).tick() == (RemoveAddresses(),)
    assert router.backup.handover is None
    assert router.do(AnnouncementSeen(address=VIPS[1])) == ()


def test_announcements_do_not_lengthen_a_handover():
    router = lost().after(50 * MS)
    for address in VIPS:
        router.do(AnnouncementSeen(address=address))
    assert router.after(10 * MS).tick() == (RemoveAddresses(),)


def test_the_handover_ends_by_time():
    router = lost()
    assert deadline(router.state) == router.now_ns + 60 * MS
    assert router.after(59 * MS).tick() == ()
    assert router.after(MS).tick() == (RemoveAddresses(),)
    assert router.backup.handover is None


def test_promoted_again_in_a_handover():
    router = lost()
    router.hear(200, interval_ns=CENTISECOND)
    router.hear(0, interval_ns=CENTISECOND)
    router.tick_when_due()
    assert router.kinds == [Unsilence, AddAddresses, SendAdvertisement, Announce, Transition]


def test_the_addresses_expire_in_a_handover():
    router = lost()
    assert router.do(AddressesExpired()) == (RemoveAddresses(),)
    assert router.backup.handover is None
    assert router.do(AddressesExpired()) == ()


@pytest.mark.parametrize(
    ("event", "state", "after", "cause"),
    [
        (Shutdown(), InitState(), Role.INIT, Cause.SHUTDOWN),
        (Failed(reason="link down"), FaultState(reason="link down"), Role.FAULT, Cause.FAILED),
    ],
    ids=["shutdown", "failed"],
)
def test_leaving_backup_sends_nothing(event, state, after, cause):
    transition = Transition(before=Role.BACKUP, after=after, cause=cause)
    router = backup()
    assert router.do(event) == (transition,)
    assert router.state == state
    router = lost()
    assert router.do(event) == (RemoveAddresses(), transition)
    assert router.state == state


# --- served in a way that we cannot take part in ---

SERVED = [
    (OtherVersionHeard(source=HIGHER_ADDRESS), Note.VERSION_MISMATCH),
    (AddressServed(source=HIGHER_ADDRESS), Note.ADDRESS_SERVED),
]


@pytest.mark.parametrize(("event", "note"), SERVED)
def test_who_was_never_master_waits_while_somebody_serves(event, note):
    router = backup()
    for _ in range(10):
        assert router.after(SECOND).do(event) == (Noted(note=note, source=HIGHER_ADDRESS),)
        assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS
    router.tick_when_due()
    assert router.transition.after is Role.MASTER


@pytest.mark.parametrize(("event", "note"), SERVED)
def test_who_was_master_does_not_wait(event, note):
    router = lost()
    due_ns = router.backup.master_down_at_ns
    assert router.after(SECOND).do(event) == (Noted(note=note, source=HIGHER_ADDRESS),)
    assert router.backup.master_down_at_ns == due_ns


@pytest.mark.parametrize(("event", "note"), SERVED)
def test_who_serves_shortens_no_timer(event, note):
    router = backup()
    router.hear(200, interval_ns=10 * SECOND)
    due_ns = router.backup.master_down_at_ns
    router.do(event)
    assert router.backup.master_down_at_ns == due_ns


def test_a_former_identity_whose_vrid_is_taken_is_not_listened_under():
    router = backup()
    router.become(identity=OTHER_V3)
    assert router.do(FormerTaken()) == ()
    assert router.backup.former is None


def test_a_slower_master_of_the_former_identity_is_waited_for():
    """In version 3 a master may be slower than we were told to be."""
    router = backup(config_of(advertisement_interval_ns=100 * MS))
    router.hear(200, interval_ns=10 * SECOND)
    router.become(identity=OTHER_V3)
    for _ in range(3):
        router.after(9_999 * MS).tick()
        assert router.hear(200, interval_ns=10 * SECOND, former=True) == ()
        assert router.backup.former is not None


@pytest.mark.parametrize("event", [Startup(), Recovered()], ids=repr)
def test_what_does_not_concern_a_backup(event):
    router = backup()
    state = router.state
    assert router.after(SECOND).do(event) == ()
    assert router.state == state


def test_a_former_identity_that_is_forgotten_is_not_heard():
    router = backup()
    state = router.state
    assert router.hear(200, former=True) == ()
    assert router.state == state


class TestStandOff:
    """A BACKUP that was told of better ones lets them go first, whatever made it wait."""

    PEERS = (Peer(priority=200, address=HIGHER_ADDRESS), Peer(priority=150, address=LOWER_ADDRESS))

    def test_nothing_was_heard_yet(self):
        router = backup(config_of(peers=self.PEERS))
        assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS + 2 * STANDOFF_NS

    @BOTH
    def test_the_master_falls_silent(self, version):
        router = backup(config_of(version, peers=self.PEERS)).after(SECOND)
        router.hear(200)
        assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS + STANDOFF_NS

    @BOTH
    def test_the_master_gives_up(self, version):
        router = backup(config_of(version, peers=self.PEERS)).after(SECOND)
        router.hear(200)
        router.hear(0)
        assert router.backup.master_down_at_ns == router.now_ns + SKEW_NS + STANDOFF_NS

    def test_a_better_one_that_takes_over_meanwhile_is_the_master(self):
        router = backup(config_of(peers=self.PEERS)).after(SECOND)
        router.hear(200, interval_ns=CENTISECOND)
        router.hear(0, interval_ns=CENTISECOND)
        router.after(CENTISECOND).hear(150, LOWER_ADDRESS)
        assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS + STANDOFF_NS

    def test_the_timer_follows_what_is_told_of_others(self):
        router = backup().after(SECOND)
        router.hear(200)
        before_ns = router.backup.master_down_at_ns
        router.become(peers=self.PEERS)
        assert router.backup.master_down_at_ns == before_ns + STANDOFF_NS
        router.become(priority=160)
        skews_differ_ns = 60 * SECOND // 256
        assert router.backup.master_down_at_ns == before_ns - skews_differ_ns
        router.become(priority=100, peers=())
        assert router.backup.master_down_at_ns == before_ns


def test_what_a_leaver_says_is_no_interval_that_differs():
    assert backup().hear(200, interval_ns=FAREWELL_NS) == ()
