from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from vip_speaker.vrrp.types import (
    CENTISECOND,
    MS,
    SECOND,
    AddAddresses,
    Announce,
    AnnouncementSeen,
    MasterState,
    Peer,
    RemoveAddresses,
    SendAdvertisement,
    Squeeze,
)

from tests.election import HIGHER_ADDRESS, OTHER_V3, V2, V2_SLOW, V3, VIPS, Router, backup, config_of, master

DOWN_NS = 3_609_375_000
NEW_VIP = IPv4Address("10.0.0.102")


class TestBackup:
    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize("priority", [90, 110, 254])
    def test_a_priority_shifts_the_timer_by_the_skews(self, version, priority):
        router = backup(config_of(version))
        router.hear(255, interval_ns=SECOND)
        due_ns = router.backup.master_down_at_ns
        router.after(SECOND)
        assert router.become(priority=priority) == ()
        assert router.backup.master_down_at_ns == due_ns + (100 - priority) * SECOND // 256

    def test_by_the_interval_that_was_learned(self):
        router = backup()
        router.hear(200, interval_ns=100 * MS)
        due_ns = router.backup.master_down_at_ns
        router.become(priority=228)
        assert router.backup.master_down_at_ns == due_ns - 128 * 100 * MS // 256

    def test_a_shorter_interval_before_any_master(self):
        router = backup(config_of(advertisement_interval_ns=40 * SECOND)).after(SECOND)
        router.become(advertisement_interval_ns=SECOND)
        assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS
        assert router.backup.master_adver_interval_ns == SECOND

    def test_a_longer_interval_lengthens_no_timer(self):
        router = backup()
        due_ns = router.backup.master_down_at_ns
        router.become(advertisement_interval_ns=40 * SECOND)
        assert router.backup.master_down_at_ns == due_ns

    def test_the_interval_of_a_master_stays_learned(self):
        router = backup()
        router.hear(200, interval_ns=2 * SECOND)
        state = router.state
        router.become(advertisement_interval_ns=100 * MS)
        assert router.state == state

    def test_a_running_preempt_delay_follows(self):
        router = backup(config_of(preempt_delay_ns=10 * SECOND))
        router.hear(50)
        started_ns = router.now_ns
        router.after(SECOND).become(preempt_delay_ns=30 * SECOND)
        assert router.backup.preempt_at_ns == started_ns + 30 * SECOND
        router.become(preempt=False)
        assert router.backup.preempt_at_ns is None

    def test_an_identity_is_listened_under_until_it_is_silent(self):
        router = backup()
        router.hear(200)
        router.after(3 * SECOND).become(identity=OTHER_V3)
        assert router.backup.former is not None
        assert router.backup.former.identity == V3
        assert router.backup.former.forget_at_ns == router.now_ns + 4200 * MS
        # The master may be under the new one already, and what it said before we listened there is lost.
        assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS
        for _ in range(5):
            router.after(SECOND).hear(200, former=True)
            assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS
            assert router.backup.former.forget_at_ns == router.now_ns + 4200 * MS
        router.hear(200)
        for _ in range(4):
            router.after(SECOND).tick()
            router.hear(200)
            assert router.backup.former is not None
        router.after(200 * MS).tick()
        assert router.backup.former is None

    def test_a_former_version_2_interval_counts_as_it_was(self):
        router = backup(config_of(2, identity=V2_SLOW, advertisement_interval_ns=5 * SECOND))
        router.hear(200)
        router.become(identity=V2, advertisement_interval_ns=SECOND)
        router.hear(200, interval_ns=5 * SECOND, former=True)
        assert router.backup.master_down_at_ns == router.now_ns + 15 * SECOND + 609_375_000

    def test_it_keeps_a_longer_timer(self):
        router = backup()
        router.hear(200, interval_ns=10 * SECOND)
        due_ns = router.backup.master_down_at_ns
        router.become(identity=OTHER_V3)
        assert router.backup.master_down_at_ns == due_ns

    def test_a_master_that_gave_up_is_not_waited_for_again(self):
        router = backup()
        router.hear(200)
        router.hear(0)
        due_ns = router.backup.master_down_at_ns
        router.become(identity=OTHER_V3)
        assert router.backup.master_down_at_ns == due_ns
        router.tick_when_due()
        # Those that still listen under the former one, the leaver too, hear who took over.
        assert [sent.identity for sent in router.sent] == [OTHER_V3, V3]
        assert router.master.former is not None

    def test_addresses_in_a_handover(self):
        router = master()
        router.hear(200)
        router.do(AnnouncementSeen(address=VIPS[0]))
        assert router.become(addresses=(*VIPS, NEW_VIP)) == ()
        assert router.become(addresses=(VIPS[0], NEW_VIP)) == ()
        assert router.after(20 * MS).tick() == (RemoveAddresses(),)
        assert router.backup.handover is None
        assert router.become(addresses=VIPS) == ()


class TestMaster:
    def test_an_identity_changes_in_place(self):
        router = master().after(300 * MS)
        router.become(identity=OTHER_V3)
        assert router.actions == (
            SendAdvertisement(identity=V3, priority=100, interval_ns=SECOND),
            AddAddresses(),
            SendAdvertisement(identity=OTHER_V3, priority=100, interval_ns=SECOND),
            Announce(takeover=False),
        )
        assert router.master.advert_at_ns == router.now_ns + SECOND
        assert router.master.former is not None
        assert router.master.former.identity == V3

    def test_from_version_2_to_3_and_back(self):
        router = master(config_of(2))
        router.become(identity=V3, advertisement_interval_ns=100 * MS)
        assert [(sent.identity, sent.interval_ns) for sent in router.sent] == [(V2, SECOND), (V3, 100 * MS)]
        router.become(identity=V2_SLOW, advertisement_interval_ns=5 * SECOND)
        assert [(sent.identity, sent.interval_ns) for sent in router.sent] == [(V3, 100 * MS), (V2_SLOW, 5 * SECOND)]
        assert router.master.advert_at_ns == router.now_ns + 5 * SECOND
        assert router.master.former is not None
        assert router.master.former.identity == V3

    def test_a_squeeze_ends_with_its_identity(self):
        router = master()
        router.become(priority=90)
        router.become(identity=V2)
        assert [(sent.identity, sent.interval_ns) for sent in router.sent] == [(V3, SECOND), (V2, SECOND)]
        assert router.master.squeeze is None
        assert router.master.advert_at_ns == router.now_ns + SECOND

    @pytest.mark.parametrize("addresses", [(*VIPS, NEW_VIP), VIPS[:1], (NEW_VIP,)], ids=len)
    def test_addresses_change_in_place(self, addresses):
        router = master().after(300 * MS)
        due_ns = router.master.advert_at_ns
        router.become(addresses=addresses)
        assert router.actions == (
            AddAddresses(),
            SendAdvertisement(identity=V3, priority=100, interval_ns=SECOND),
            Announce(takeover=False),
        )
        assert router.master.advert_at_ns == due_ns

    def test_a_raise_is_said_at_once(self):
        router = master().after(300 * MS)
        due_ns = router.master.advert_at_ns
        router.become(priority=110)
        assert router.said == [(110, SECOND)]
        assert router.master.advert_at_ns == due_ns

    def test_a_shorter_interval_counts_from_now(self):
        router = master(config_of(advertisement_interval_ns=40 * SECOND)).after(SECOND)
        assert router.become(advertisement_interval_ns=SECOND) == ()
        assert router.master.advert_at_ns == router.now_ns + SECOND

    def test_a_longer_interval_is_said_in_the_slot_that_peers_expect(self):
        router = master()
        due_ns = router.master.advert_at_ns
        router.after(300 * MS).become(advertisement_interval_ns=40 * SECOND)
        router.tick_when_due()
        assert router.now_ns == due_ns
        assert router.said == [(100, 40 * SECOND)]
        assert router.master.advert_at_ns == due_ns + 40 * SECOND

    @pytest.mark.parametrize(
        "change", [{"preempt": False}, {"preempt_delay_ns": SECOND}, {"peers": (Peer(priority=200),)}]
    )
    def test_what_a_master_does_not_use(self, change):
        router = master()
        state = router.state
        assert router.after(MS).become(**change) == ()
        assert router.state == state


class TestDemotion:
    def test_a_squeeze_asks_for_120_ms_and_ends_as_it_was(self):
        router = master().after(300 * MS)
        router.become(priority=90)
        began_ns = router.now_ns
        assert router.said == [(100, CENTISECOND)]  # the old priority: peers must accept it to learn the interval
        assert router.master.squeeze == Squeeze(until_ns=began_ns + 120 * MS)
        for slot in range(1, 12):
            router.tick_when_due()
            assert router.now_ns == began_ns + slot * CENTISECOND
            assert router.said == [(90, CENTISECOND)]
        for slot in (12, 13, 14):  # three times: to a peer that lost it we would be dead 30 ms later
            router.tick_when_due()
            assert router.now_ns == began_ns + slot * CENTISECOND
            assert router.said == [(90, SECOND)]
            assert router.notes == []
        assert router.master.squeeze is None
        assert router.master.advert_at_ns == began_ns + 140 * MS + SECOND

    def test_a_better_peer_takes_over_within_40_ms(self):
        peer = backup(config_of(priority=95))
        router = master()
        peer.now_ns = router.now_ns
        router.become(priority=90)
        peer.hear(*router.said[0][:1], interval_ns=CENTISECOND)
        began_ns = peer.now_ns
        while not isinstance(peer.state, MasterState):
            peer.now_ns += CENTISECOND
            peer.hear(90, interval_ns=CENTISECOND)
            peer.tick()
        assert peer.now_ns - began_ns <= 40 * MS
        assert Announce(takeover=True) in peer.actions

    def test_a_worse_peer_does_not(self):
        peer = backup(config_of(priority=80))
        peer.hear(100, interval_ns=CENTISECOND)
        for slot in range(12):
            peer.after(CENTISECOND)
            assert peer.tick() == ()
            peer.hear(90, interval_ns=SECOND if slot == 11 else CENTISECOND)
        assert peer.backup.master_down_at_ns == peer.now_ns + 3 * SECOND + 176 * SECOND // 256

    def test_again_during_a_squeeze(self):
        router = master()
        router.become(priority=90)
        router.after(50 * MS).become(priority=80)
        assert router.said == [(90, CENTISECOND)]
        assert router.master.squeeze == Squeeze(until_ns=router.now_ns + 120 * MS)

    def test_raised_again_during_a_squeeze(self):
        router = master()
        router.become(priority=90)
        router.tick_when_due()
        due_ns = router.master.advert_at_ns
        router.become(priority=120)
        assert router.said == [(120, SECOND)]
        assert router.master.advert_at_ns == due_ns

    def test_a_stall_in_a_squeeze_is_measured_by_the_configured_interval(self):
        router = master()
        router.become(priority=90)
        router.after(200 * MS).tick()
        assert router.said == [(90, SECOND)]
        assert router.master.squeeze is None

    def test_replies_at_its_end_say_the_configured_interval(self):
        router = master()
        router.become(priority=90)
        router.after(110 * MS).tick()
        router.hear(80)
        assert router.said == [(90, CENTISECOND)]
        router.after(10 * MS).tick()
        router.hear(80)
        assert router.said == [(90, SECOND)]

    @pytest.mark.parametrize(("version", "preempt"), [(2, True), (3, False)])
    def test_without_a_better_peer_it_is_just_lower(self, version, preempt):
        named = (Peer(priority=90, address=HIGHER_ADDRESS), Peer(priority=80))
        router = master(config_of(version, preempt=preempt, peers=named))
        state = router.state
        assert router.become(priority=90) == ()
        assert router.state == state
        router.tick_when_due()
        assert router.said == [(90, SECOND)]

    def test_with_a_new_identity_the_old_priority_is_said_first(self):
        router = master()
        router.become(identity=OTHER_V3, priority=90)
        assert [(sent.identity, sent.priority, sent.interval_ns) for sent in router.sent] == [
            (V3, 100, SECOND),
            (OTHER_V3, 100, SECOND),
            (OTHER_V3, 100, CENTISECOND),
        ]
        assert router.master.squeeze is not None


def test_without_a_part_in_the_election_nothing_is_done():
    router = Router()
    assert router.become(identity=OTHER_V3, priority=1, addresses=VIPS[:1]) == ()
    assert HIGHER_ADDRESS not in router.config.addresses
