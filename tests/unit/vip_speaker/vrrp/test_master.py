from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from vip_speaker.vrrp.timing import REPLY_BURST, REPLY_PERIOD_NS
from vip_speaker.vrrp.types import (
    CENTISECOND,
    MS,
    SECOND,
    AddressesExpired,
    AddressServed,
    AnnouncementSeen,
    BackupState,
    Cause,
    Failed,
    FaultState,
    FormerTaken,
    MasterState,
    Note,
    Noted,
    OtherVersionHeard,
    Recovered,
    RemoveAddresses,
    Role,
    SendAdvertisement,
    Silence,
    Startup,
    StopAnnouncing,
    Transition,
)

from tests.election import HIGHER_ADDRESS, LOWER_ADDRESS, OTHER_V3, OURS, V2, V2_SLOW, VIPS, config_of, master

DOWN_NS = 3_609_375_000
BOTH = pytest.mark.parametrize("version", [2, 3])


@BOTH
def test_the_grid_does_not_drift(version):
    router = master(config_of(version))
    start_ns = router.now_ns
    for slot in range(1, 20):
        router.now_ns = start_ns + slot * SECOND + slot * MS  # ever later, by up to 19 ms
        router.tick()
        assert router.said == [(100, SECOND)]
        assert router.notes == []
        assert router.master.advert_at_ns == start_ns + (slot + 1) * SECOND


def test_nothing_is_sent_before_its_slot():
    router = master()
    assert router.after(SECOND - 1).tick() == ()


def test_missed_slots_are_skipped():
    router = master()
    due_ns = router.master.advert_at_ns
    router.now_ns = due_ns + 2 * SECOND + 1
    router.tick()
    assert router.said == [(100, SECOND)]
    assert router.notes == [Noted(note=Note.ADVERT_LATE, late_ns=2 * SECOND + 1)]
    assert router.master.advert_at_ns == due_ns + 3 * SECOND


@pytest.mark.parametrize(("late_ns", "is_noted"), [(500 * MS, False), (500 * MS + 1, True)])
def test_late_is_more_than_half_an_interval(late_ns, is_noted):
    router = master()
    router.after(SECOND + late_ns).tick()
    assert router.notes == [Noted(note=Note.ADVERT_LATE, late_ns=late_ns)] * is_noted


def test_a_stall_past_the_master_down_interval_listens():
    router = master()
    router.after(SECOND + DOWN_NS).tick()
    assert router.said == [(100, SECOND)]

    router = master()
    router.after(SECOND + DOWN_NS + 1).tick()
    assert router.actions == (
        RemoveAddresses(),
        StopAnnouncing(),
        Transition(before=Role.MASTER, after=Role.BACKUP, cause=Cause.STALLED),
    )
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS
    assert router.backup.was_master


def test_expired_addresses_listen():
    router = master()
    router.do(AddressesExpired())
    assert router.kinds == [RemoveAddresses, StopAnnouncing, Transition]
    assert router.transition.cause is Cause.ADDRESSES_EXPIRED
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS


def test_a_failure_gives_up_at_once():
    router = master()
    router.do(Failed(reason="link down"))
    assert router.state == FaultState(reason="link down")
    assert router.actions == (
        SendAdvertisement(identity=router.config.identity, priority=0, interval_ns=SECOND),
        StopAnnouncing(),
        RemoveAddresses(),
        Transition(before=Role.MASTER, after=Role.FAULT, cause=Cause.FAILED),
    )


# --- replies ---


@BOTH
@pytest.mark.parametrize(
    ("priority", "source"), [(0, HIGHER_ADDRESS), (99, HIGHER_ADDRESS), (100, LOWER_ADDRESS)], ids=repr
)
def test_a_reply_is_extra_and_moves_no_slot(version, priority, source):
    router = master(config_of(version))
    due_ns = router.master.advert_at_ns
    router.after(300 * MS).hear(priority, source)
    assert router.said == [(100, SECOND)]
    assert router.kinds == [SendAdvertisement]  # and no announcement hangs on it
    assert router.master.advert_at_ns == due_ns


def test_another_master_is_noted():
    router = master()
    router.hear(99)
    assert router.notes == [Noted(note=Note.ANOTHER_MASTER, source=HIGHER_ADDRESS)]
    router.hear(0)
    assert router.notes == []


def test_a_flood_gets_a_burst_and_then_ten_a_second():
    router = master(config_of(advertisement_interval_ns=40 * SECOND))
    replies = 0
    for _ in range(2000):
        router.after(MS).hear(50, LOWER_ADDRESS)
        replies += len(router.sent)
        if not router.sent:
            assert Noted(note=Note.REPLY_SUPPRESSED, source=LOWER_ADDRESS) in router.notes
    assert REPLY_BURST + 2000 * MS // REPLY_PERIOD_NS - 1 <= replies <= REPLY_BURST + 2000 * MS // REPLY_PERIOD_NS


def test_a_flood_costs_no_slot():
    """keepalived puts its next advertisement off at any packet for its VRID."""
    router = master()
    slots = 0
    for _ in range(10_000):
        router.now_ns += MS
        if router.master.advert_at_ns <= router.now_ns:
            router.tick()
            slots += len(router.sent)
        router.hear(50, LOWER_ADDRESS)
    assert slots == 10


def test_in_a_squeeze_replies_say_its_interval():
    router = master()
    router.become(priority=90)
    router.hear(80)
    assert router.said == [(90, CENTISECOND)]


# --- losing ---


@BOTH
@pytest.mark.parametrize(
    ("priority", "source", "cause"),
    [
        (101, LOWER_ADDRESS, Cause.HIGHER_PRIORITY),
        (255, LOWER_ADDRESS, Cause.HIGHER_PRIORITY),
        (100, HIGHER_ADDRESS, Cause.HIGHER_ADDRESS),
    ],
)
def test_losing_to_a_better_one(version, priority, source, cause):
    router = master(config_of(version, preempt=False)).after(300 * MS)
    router.hear(priority, source)
    assert router.kinds == [Silence, SendAdvertisement, Transition]
    assert router.said == [(1, SECOND)]  # heard by a keepalived that then announces again; beats nobody
    assert router.transition == Transition(before=Role.MASTER, after=Role.BACKUP, cause=cause, source=source)
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS
    assert router.backup.master is not None
    assert router.backup.was_master
    assert router.backup.handover is not None


def test_the_loser_learns_the_interval():
    router = master()
    router.hear(200, interval_ns=100 * MS)
    assert router.backup.master_adver_interval_ns == 100 * MS
    assert router.backup.master_down_at_ns == router.now_ns + 360_937_500
    assert router.notes == [Noted(note=Note.INTERVAL_DIFFERS, source=HIGHER_ADDRESS)]


def test_our_own_address_is_neither_greater_nor_less():
    router = master()
    state = router.state
    router.hear(100, OURS)
    assert router.state == state
    assert router.actions == (
        Noted(note=Note.EQUAL_PRIORITY, source=OURS),
        Noted(note=Note.DUPLICATE_ADDRESS, source=OURS),
    )


def test_two_owners_settle_by_address():
    router = master(config_of(priority=255))
    router.hear(255, LOWER_ADDRESS)
    assert router.said == [(255, SECOND)]
    assert Noted(note=Note.MULTIPLE_OWNERS, source=LOWER_ADDRESS) in router.notes
    router.hear(255, HIGHER_ADDRESS)
    assert isinstance(router.state, BackupState)
    router.tick_when_due()
    router.tick_when_due()
    assert router.said == [(255, SECOND)]  # and nobody lowered itself


# --- a former identity ---


def test_a_master_of_the_former_identity_is_answered_under_it():
    router = master()
    former = router.config.identity
    router.become(identity=OTHER_V3, advertisement_interval_ns=100 * MS)
    router.hear(50, former=True)
    assert [(sent.identity, sent.interval_ns) for sent in router.sent] == [(former, SECOND)]
    router.hear(50)
    assert [(sent.identity, sent.interval_ns) for sent in router.sent] == [(OTHER_V3, 100 * MS)]


def test_a_better_master_of_the_former_identity_wins():
    router = master()
    former = router.config.identity
    router.become(identity=OTHER_V3, advertisement_interval_ns=100 * MS)
    router.after(100 * MS).hear(200, former=True)
    assert [(sent.identity, sent.priority, sent.interval_ns) for sent in router.sent] == [(former, 1, SECOND)]
    assert router.backup.former is not None
    assert router.backup.former.forget_at_ns == router.now_ns + 600 * SECOND


def test_the_former_identity_is_spoken_under_for_ten_minutes():
    """Who was not told of the change, for whatever reason, is to hear that somebody serves."""
    router = master()
    former = router.config.identity
    router.become(identity=OTHER_V3, advertisement_interval_ns=100 * MS)
    for _ in range(9):
        router.after(100 * MS).tick()
        assert [sent.identity for sent in router.sent] == [OTHER_V3]
    router.after(100 * MS).tick()
    # at the interval from before the change, by which it waits
    assert [(sent.identity, sent.interval_ns) for sent in router.sent] == [(OTHER_V3, 100 * MS), (former, SECOND)]
    said = 0
    while router.master.former is not None:
        router.tick_when_due()
        said += former in [sent.identity for sent in router.sent]
    assert router.now_ns == 8_609_375_000 + 600 * SECOND
    assert said == 598
    state = router.state
    assert router.hear(200, former=True) == ()
    assert router.state == state


def test_a_shorter_former_interval_of_version_2_is_kept():
    router = master(config_of(2))
    router.become(identity=V2_SLOW, advertisement_interval_ns=5 * SECOND)
    for _ in range(4):
        router.tick_when_due()
        assert [(sent.identity, sent.interval_ns) for sent in router.sent] == [(V2, SECOND)]
    router.tick_when_due()
    assert [sent.identity for sent in router.sent] == [V2_SLOW, V2]


def test_whoever_speaks_under_the_former_identity_prolongs_it():
    router = master()
    router.become(identity=OTHER_V3)
    router.after(100 * MS).hear(50, former=True)
    assert router.master.former is not None
    assert router.master.former.forget_at_ns == router.now_ns + 600 * SECOND


def test_a_stall_counts_by_the_shorter_former_interval():
    router = master(config_of(2))
    router.become(identity=V2_SLOW, advertisement_interval_ns=5 * SECOND)
    router.after(5 * SECOND).tick()
    assert isinstance(router.state, BackupState)
    assert router.transition.cause is Cause.STALLED


def test_a_former_identity_whose_vrid_is_taken_is_not_spoken_under():
    router = master()
    router.become(identity=OTHER_V3)
    assert router.do(FormerTaken()) == ()
    assert router.master.former is None


def test_another_virtual_router_with_our_address_is_noted():
    router = master()
    assert router.do(AddressServed(source=LOWER_ADDRESS)) == (Noted(note=Note.ADDRESS_SERVED, source=LOWER_ADDRESS),)
    assert isinstance(router.state, MasterState)


def test_a_failure_is_told_under_both():
    router = master()
    former = router.config.identity
    router.become(identity=OTHER_V3)
    router.do(Failed(reason="link down"))
    assert [(sent.identity, sent.priority) for sent in router.sent] == [(OTHER_V3, 0), (former, 0)]


@pytest.mark.parametrize("stalled", [False, True])
def test_whoever_listens_still_knows_the_former_identity(stalled):
    router = master(config_of(advertisement_interval_ns=10 * SECOND))
    router.become(identity=OTHER_V3, advertisement_interval_ns=SECOND)
    if stalled:
        router.after(SECOND + DOWN_NS + 1).tick()
        assert router.transition.cause is Cause.STALLED
    else:
        router.do(AddressesExpired())
    assert router.backup.former is not None


# --- what a master takes note of, or not ---


def test_the_other_version_is_noted():
    router = master()
    state = router.state
    assert router.do(OtherVersionHeard(source=LOWER_ADDRESS)) == (
        Noted(note=Note.VERSION_MISMATCH, source=LOWER_ADDRESS),
    )
    assert router.state == state


@pytest.mark.parametrize("event", [Startup(), Recovered(), AnnouncementSeen(address=VIPS[0])], ids=repr)
def test_what_does_not_concern_a_master(event):
    router = master()
    state = router.state
    assert router.after(MS).do(event) == ()
    assert router.state == state


def test_a_tick_between_slots_forgets_only():
    router = master()
    router.become(identity=OTHER_V3, advertisement_interval_ns=40 * SECOND)
    former = router.master.former
    assert former is not None
    router.now_ns = former.forget_at_ns
    router.state = replace(router.master, advert_at_ns=former.forget_at_ns + SECOND)
    assert router.tick() == ()
    assert router.master.former is None


@pytest.mark.parametrize(("source", "kind"), [(LOWER_ADDRESS, MasterState), (HIGHER_ADDRESS, BackupState)])
def test_of_two_with_one_priority_the_addresses_of_the_identity_count_that_both_speak_under(source, kind):
    """An IPv6 address is higher than any of IPv4, and the other one, which was not told yet, compares IPv4 ones."""
    router = master()
    router.become(identity=OTHER_V3, primary_address=IPv6Address("fe80::1"))
    router.hear(router.config.priority, source, former=True)
    assert isinstance(router.state, kind)
