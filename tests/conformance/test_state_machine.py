"""The state machine, one test per row SM-… of docs/rfc-coverage.md (RFC 9568 section 6.4, RFC 3768 section 6.4).

Sections without an RFC are of RFC 9568. Rows that others than the election carry out (forwarding, ARP, router
advertisements) are in the table with the reason, or the test that covers them.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from vip_api.parse import parse_document
from vip_speaker.vrrp.machine import deadline, holds_addresses
from vip_speaker.vrrp.types import (
    CENTISECOND,
    MS,
    SECOND,
    AddAddresses,
    Announce,
    BackupState,
    Config,
    InitState,
    MasterState,
    Note,
    Noted,
    Peer,
    RemoveAddresses,
    SendAdvertisement,
    Shutdown,
    Silence,
    Startup,
    Tick,
    Transition,
)

from tests.documents import whole
from tests.election import HIGHER_ADDRESS, LOWER_ADDRESS, OURS, Router, backup, config_of, master

SKEW_NS = 609_375_000  # priority 100: 156/256 of a second
DOWN_NS = 3 * SECOND + SKEW_NS
LINK_LOCAL = [IPv6Address(f"fe80::{number}") for number in range(1, 4)]


def config_v6(**changes: object) -> Config:
    return config_of(3, primary_address=LINK_LOCAL[1], addresses=(IPv6Address("fe80::100"),), **changes)


versions = pytest.mark.parametrize("version", [2, 3])
kinds = pytest.mark.parametrize("config", [config_of(2), config_of(3), config_v6()], ids=["v2", "v3-ipv4", "v3-ipv6"])


def refused(**spec: object) -> bool:
    return isinstance(parse_document(whole({"addresses": ["192.0.2.1/24"], **spec}), lone=True), list)


def test_sm02_priority():
    """Section 5.2.4: who backs up uses 1 to 254; 255 is the owner's."""
    assert not refused(priority=1)
    assert not refused(priority=254)
    assert refused(priority=0)
    assert refused(priority=256)


def test_sm03_defaults():
    """Section 6.1: Preempt_Mode is True by default, and an owner always preempts."""
    assert config_of().preempt
    owner = backup()
    owner.config = config_of(priority=255, preempt=False)
    due_ns = owner.backup.master_down_at_ns
    owner.after(SECOND).hear(254)
    assert owner.backup.master_down_at_ns == due_ns


def test_sm04_advertisement_interval():
    """Section 6.1: Advertisement_Interval is 1 to 4095 centiseconds in version 3, whole seconds in version 2."""
    for right in ("10ms", "1s", "40.95s"):
        assert not refused(version=3, advertisementInterval=right)
    for wrong in ("0s", "15ms", "40.96s", "41s"):
        assert refused(version=3, advertisementInterval=wrong)
    for right in ("1s", "255s"):
        assert not refused(version=2, advertisementInterval=right)
    for wrong in ("100ms", "1.5s", "256s"):
        assert refused(version=2, advertisementInterval=wrong)


@kinds
def test_sm10_initialize_startup_owner(config):
    """Section 6.4.1: priority 255 sends an advertisement, announces, sets Adver_Timer and is Active."""
    router = Router(replace(config, priority=255))
    router.do(Startup())
    assert router.kinds == [AddAddresses, SendAdvertisement, Announce, Transition]
    assert router.said == [(255, SECOND)]
    assert isinstance(router.state, MasterState)
    assert router.state.advert_at_ns == router.now_ns + SECOND


@kinds
def test_sm11_initialize_startup(config):
    """Section 6.4.1: Active_Adver_Interval is our own, the timer Active_Down_Interval; nothing is sent."""
    router = Router(config)
    router.do(Startup())
    assert router.kinds == [Transition]
    assert isinstance(router.state, BackupState)
    assert router.state.master_adver_interval_ns == SECOND
    assert router.state.master_down_at_ns == router.now_ns + DOWN_NS


def test_sm12_initialize_hears_nothing():
    router = Router()
    assert router.hear(0) == router.hear(100) == router.hear(255) == ()
    assert router.state == InitState()


@pytest.mark.parametrize("row", ["sm20-arp", "sm21-nd", "sm22-accept"])
def test_sm20_sm21_sm22_a_backup_answers_and_accepts_nothing(row):
    """Section 6.4.2: a Backup answers no ARP and no ND for the addresses, and accepts no packet to them.

    What is not on the link is not answered for. After a mastership the addresses stay for a moment, silently: a
    deviation that docs/rfc-coverage.md records.
    """
    router = backup(config_v6() if row == "sm21-nd" else None)
    assert not holds_addresses(router.state)
    router.hear(200)
    router.hear(0)
    assert not holds_addresses(router.state)

    router = master()
    router.hear(200)
    assert router.kinds[0] is Silence  # no answer from here on
    router.tick_when_due()
    assert router.kinds == [RemoveAddresses]
    assert not holds_addresses(router.state)


@kinds
def test_sm23_backup_shutdown(config):
    """Section 6.4.2: the timer is cancelled, Initialize entered; no advertisement."""
    router = backup(config)
    router.do(Shutdown())
    assert router.kinds == [Transition]
    assert router.state == InitState()
    assert deadline(router.state) is None


@kinds
def test_sm24_active_down_timer(config):
    """Section 6.4.2: when the timer fires: an advertisement, the announcements, Adver_Timer, Active."""
    router = backup(config)
    router.after(DOWN_NS - 1).tick()
    assert router.actions == ()
    router.after(1).tick()
    assert router.kinds == [SendAdvertisement, AddAddresses, Announce, Transition]
    assert router.said == [(100, SECOND)]
    assert isinstance(router.state, MasterState)
    assert router.state.advert_at_ns == router.now_ns + SECOND


@pytest.mark.parametrize(("version", "interval_ns", "skew_ns"), [(2, SECOND, SKEW_NS), (3, 100 * MS, 60_937_500)])
def test_sm25_backup_priority_0(version, interval_ns, skew_ns):
    """Section 6.4.2: priority 0 sets the timer to Skew_Time."""
    router = backup(config_of(version))
    router.hear(200, interval_ns=interval_ns)
    router.after(10 * MS).hear(0, interval_ns=interval_ns)
    assert router.backup.master_down_at_ns == router.now_ns + skew_ns


@pytest.mark.parametrize(("heard", "skew_ns"), [((200,), 3 * SECOND + SKEW_NS), ((200, 0), SKEW_NS)])
def test_sm24_sm25_sm26_better_peers_go_first(heard, skew_ns):
    """A recorded deviation: 10 ms more for each better peer that it was told of, and nothing where it was not."""
    peers = (Peer(priority=200, address=HIGHER_ADDRESS), Peer(priority=102), Peer(priority=101), Peer(priority=99))
    for told, more_ns in (((), 0), (peers, 20 * MS)):
        router = backup(config_of(peers=told))
        for priority in heard:
            router.hear(priority)
        assert router.backup.master_down_at_ns == router.now_ns + skew_ns + more_ns


@pytest.mark.parametrize(("priority", "preempt"), [(200, True), (100, True), (50, False), (200, False)])
def test_sm26_backup_accepts(priority, preempt):
    """Section 6.4.2: Active_Adver_Interval is learned, the skew and the timer are computed by it."""
    router = backup(config_of(preempt=preempt))
    router.after(SECOND).hear(priority, interval_ns=500 * MS)
    assert router.backup.master_adver_interval_ns == 500 * MS
    assert router.backup.master_down_at_ns == router.now_ns + 1500 * MS + SKEW_NS // 2


def test_sm26_version_2_only_resets_the_timer():
    """RFC 3768 section 6.4.2: Master_Down_Timer is reset, nothing is learned."""
    router = backup(config_of(2))
    router.after(SECOND).hear(200)
    assert router.backup.master_adver_interval_ns == SECOND
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS


@versions
def test_sm27_backup_discards_a_lower_priority(version):
    """Section 6.4.2: discarded, and the timer keeps running."""
    router = backup(config_of(version))
    due_ns = router.backup.master_down_at_ns
    while router.now_ns + SECOND < due_ns:
        router.after(SECOND).hear(99)
        assert router.backup.master_down_at_ns == due_ns
    router.tick_when_due()
    assert isinstance(router.state, MasterState)


@versions
@pytest.mark.parametrize("source", [LOWER_ADDRESS, HIGHER_ADDRESS])
def test_sm28_backup_equal_priority(version, source):
    """Section 6.4.2 compares no address: a running master of equal priority is not deposed."""
    router = backup(config_of(version))
    router.after(SECOND).hear(100, source)
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS


@versions
def test_sm34_active_shutdown(version):
    """Section 6.4.3: an advertisement with priority 0, then Initialize."""
    router = master(config_of(version))
    router.do(Shutdown(at_once=True))
    assert router.said[-1][0] == 0
    assert router.state == InitState()

    router = master(config_of(version))
    router.do(Shutdown())
    assert router.said[-1][0] == 0  # at once; the addresses stay for the successor, a recorded deviation
    while not isinstance(router.state, InitState):
        router.tick_when_due()
        assert router.sent == []


@kinds
def test_sm35_adver_timer(config):
    """Section 6.4.3: when Adver_Timer fires, an advertisement; the next after Advertisement_Interval."""
    router = master(config)
    for _ in range(5):
        due_ns = deadline(router.state)
        router.tick_when_due()
        assert router.kinds == [SendAdvertisement]
        assert router.said == [(100, SECOND)]
        assert deadline(router.state) == due_ns + SECOND


@versions
def test_sm36_active_priority_0(version):
    """Section 6.4.3: priority 0 is answered by an advertisement. Our grid stays, a recorded deviation."""
    router = master(config_of(version))
    due_ns = deadline(router.state)
    router.after(300 * MS).hear(0)
    assert router.said == [(100, SECOND)]
    assert isinstance(router.state, MasterState)
    assert deadline(router.state) == due_ns


@versions
@pytest.mark.parametrize(("priority", "source"), [(101, LOWER_ADDRESS), (100, HIGHER_ADDRESS)])
def test_sm37_active_loses(version, priority, source):
    """Section 6.4.3: the interval is learned, the timer set by it, Backup entered; no priority 0."""
    router = master(config_of(version))
    interval_ns = SECOND if version == 2 else 500 * MS
    router.hear(priority, source, interval_ns=interval_ns)
    assert router.backup.master_adver_interval_ns == interval_ns
    down_ns = DOWN_NS if version == 2 else DOWN_NS // 2
    assert router.backup.master_down_at_ns == router.now_ns + down_ns
    assert 0 not in [priority for priority, _ in router.said]  # no priority 0


@versions  # in version 2 too, as keepalived does: RFC 3768 only discards
@pytest.mark.parametrize(("priority", "source"), [(99, HIGHER_ADDRESS), (100, LOWER_ADDRESS)])
def test_sm38_active_wins(version, priority, source):
    """Section 6.4.3: discarded, and answered by an advertisement at once."""
    router = master(config_of(version))
    due_ns = deadline(router.state)
    router.after(300 * MS).hear(priority, source)
    assert router.said == [(100, SECOND)]
    assert isinstance(router.state, MasterState)
    assert deadline(router.state) == due_ns


def test_sm39_active_ignores_preempt_mode():
    """Section 6.4.3 does not name Preempt_Mode: of two masters the better stays."""
    for preempt in (True, False):
        router = master(config_of(preempt=preempt))
        router.hear(99)
        assert isinstance(router.state, MasterState)
        router.hear(101)
        assert isinstance(router.state, BackupState)


@versions
def test_sm40_our_own_address_advertises(version):
    """Neither greater nor less (section 6.4.3): nothing moves, nothing is answered, it is named."""
    router = master(config_of(version))
    before = router.state
    router.hear(100, OURS)
    assert router.state == before
    assert router.sent == []
    assert Noted(note=Note.DUPLICATE_ADDRESS, source=OURS) in router.actions


def test_sm41_ipv6_tie():
    """Section 6.4.3: the link-local sources are compared, as unsigned integers in network byte order."""
    router = master(config_v6())
    router.hear(100, LINK_LOCAL[0])
    assert isinstance(router.state, MasterState)
    router.hear(100, LINK_LOCAL[2])
    assert isinstance(router.state, BackupState)

    router = master(config_v6())
    router.hear(100, IPv6Address("fe80:0:0:1::"))  # greater in its high bytes alone
    assert isinstance(router.state, BackupState)


@kinds
def test_sm50_sm51_announcements_follow_the_addresses(config):
    """Sections 8.1.2 and 8.2.2: no gratuitous ARP and no unsolicited NA before the address (and its MAC) is there."""
    for living in (True, False):
        router = backup(config)
        if living:
            router.hear(200)
            router.hear(0)
        router.tick_when_due()
        assert router.kinds.index(AddAddresses) < router.kinds.index(Announce)


def test_sm56_more_than_one_owner():
    """Section 8.3.2: further advertisers of priority 255 are logged, equal priorities too."""
    owner = master(config_of(priority=255))
    owner.hear(255, LOWER_ADDRESS)
    assert Noted(note=Note.MULTIPLE_OWNERS, source=LOWER_ADDRESS) in owner.actions
    other = backup()
    other.hear(100, LOWER_ADDRESS)
    assert Noted(note=Note.EQUAL_PRIORITY, source=LOWER_ADDRESS) in other.actions


def test_sm58_late_advertisements():
    """Section 2.5: advertisements that are delayed are logged."""
    router = master()
    router.after(SECOND + 600 * MS).tick()
    assert router.notes == [Noted(note=Note.ADVERT_LATE, late_ns=600 * MS)]


# --- what the RFCs do not say, and this router promises ---


def test_attack_a4_a_foreign_priority_0_starts_nobody():
    router = backup()
    router.hear(200)
    before = router.state
    router.after(SECOND).hear(0, LOWER_ADDRESS)
    assert router.state == before


@pytest.mark.parametrize("priority", [0, 50], ids=["a5-priority-0", "a6-lower-priority"])
def test_attacks_a5_a6_a_flood_is_answered_ten_times_a_second(priority):
    router = master()
    replies = 0
    for _ in range(1000):
        router.now_ns += MS
        if deadline(router.state) <= router.now_ns:
            router.do(Tick())
        router.hear(priority, LOWER_ADDRESS)
        replies += len(router.sent)
        assert Announce not in router.kinds
    assert 10 <= replies <= 15


def test_attack_a2_the_next_good_advertisement_repairs_a_learned_interval():
    router = backup()
    router.hear(200, interval_ns=4095 * CENTISECOND)
    assert router.backup.master_down_at_ns > router.now_ns + 120 * SECOND
    assert Noted(note=Note.INTERVAL_DIFFERS, source=HIGHER_ADDRESS) in router.actions
    router.after(SECOND).hear(200)
    assert router.backup.master_down_at_ns == router.now_ns + DOWN_NS


def test_keepalived_bug_6_one_way_loss_announces_nothing():
    """A deaf BACKUP that believes it is master: its advertisements are answered, and no announcement hangs on them."""
    router = master()
    for _ in range(60):
        router.tick_when_due()
        router.hear(50, LOWER_ADDRESS)
        assert Announce not in router.kinds
        assert isinstance(router.state, MasterState)
