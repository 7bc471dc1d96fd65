"""When announcements leave: rounds, repeats, refreshes, and the budget that no neighbour can exceed. Virtual time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from vip_speaker.announcements import BURST, MAX_FRAMES_PER_CALL, Announcer
from vip_speaker.vrrp.types import MS, SECOND


def arp(name: str) -> bytes:
    return b"\xff" * 6 + b"\x02" * 6 + b"\x08\x06" + name.encode()


def na(name: str) -> bytes:
    return b"\x33" * 6 + b"\x02" * 6 + b"\x86\xdd" + name.encode()


def start(announcer: Announcer, frames, *, name="web", at=0, repeat=5, delay=5 * SECOND, refresh=0, takeover=False):
    announcer.start(name, frames, repeat=repeat, delay_ns=delay, refresh_ns=refresh, takeover=takeover, now_ns=at)


def run(announcer: Announcer, *, since: int = 0, until: int) -> list[tuple[int, bytes]]:
    """Everything sent up to `until`, calling as a loop does: at each deadline, and again at once while one is due."""
    sent: list[tuple[int, bytes]] = []
    now = since
    while (deadline := announcer.deadline()) is not None and deadline <= until:
        now = max(now, deadline)
        frames = announcer.due(now)
        assert frames, "a deadline that gives nothing would spin"
        assert len(frames) <= MAX_FRAMES_PER_CALL
        sent += [(now, frame) for frame in frames]
    return sent


def times_ms(sent, frame) -> list[float]:
    return [at / MS for at, one in sent if one == frame]


def test_nothing_started_nothing_due():
    announcer = Announcer()
    assert announcer.deadline() is None
    assert announcer.due(0) == []


def test_one_address_five_at_once_and_five_after_the_delay():
    announcer = Announcer()
    frame = arp("a")
    start(announcer, [frame])
    assert announcer.due(0) == [frame] * 5
    assert announcer.deadline() == 5 * SECOND
    assert announcer.due(5 * SECOND - 1) == []
    assert announcer.due(5 * SECOND) == [frame] * 5
    assert announcer.deadline() is None


def test_every_address_once_before_any_again():
    announcer = Announcer()
    frames = [arp(str(n)) for n in range(64)]
    start(announcer, frames)
    assert announcer.due(0) == frames  # keepalived announces the last of 64 after 118 ms
    sent = run(announcer, until=SECOND)
    assert [frame for _, frame in sent] == frames * 4
    assert sent[-1][0] <= 256 * MS


def test_first_rounds_go_before_repeats_of_others():
    announcer = Announcer()
    start(announcer, [arp(f"a{n}") for n in range(64)], name="a")
    announcer.due(0)
    announcer.due(0)
    late = [arp(f"b{n}") for n in range(10)]
    start(announcer, late, name="b", at=MS)
    assert announcer.deadline() <= MS
    assert announcer.due(MS)[:10] == late


def test_many_routers_at_once_are_all_announced_without_the_budget():
    announcer = Announcer()
    frames = {f"vip{n}": [arp(f"{n}-{m}") for m in range(3)] for n in range(255)}
    for name, theirs in frames.items():
        start(announcer, theirs, name=name)
    first: list[bytes] = []
    while len(first) < 255 * 3:
        assert announcer.deadline() == 0  # no waiting, only room for advertisements in between
        first += announcer.due(0)
    assert first[: 255 * 3] == [frame for theirs in frames.values() for frame in theirs]


def test_repeats_of_several_routers_take_turns():
    announcer = Announcer()
    start(announcer, [arp("a")], name="a", delay=0)
    start(announcer, [arp("b")], name="b", delay=0)
    assert announcer.due(0) == [arp("a"), arp("b")] * 5


def test_refresh():
    announcer = Announcer()
    start(announcer, [arp("a"), arp("b")], repeat=1, delay=0, refresh=60 * SECOND)
    sent = run(announcer, until=200 * SECOND)
    assert times_ms(sent, arp("a")) == [0, 60_000, 120_000, 180_000]
    assert times_ms(sent, arp("b")) == [0, 60_000, 120_000, 180_000]


def test_missed_refreshes_are_not_made_up_for():
    announcer = Announcer()
    start(announcer, [arp("a")], repeat=1, delay=0, refresh=SECOND)
    announcer.due(0)
    assert announcer.due(100 * SECOND) == [arp("a")]
    assert announcer.deadline() == 101 * SECOND


def test_takeover_announces_again_after_100_ms_and_1_s():
    announcer = Announcer()
    start(announcer, [arp("a"), na("b")], repeat=1, delay=0, takeover=True)
    sent = run(announcer, until=10 * SECOND)
    assert times_ms(sent, arp("a")) == [0, 100, 1000]
    assert times_ms(sent, na("b")) == [0, 100, 1000]


def test_neighbour_advertisements_are_separated_and_at_most_three():
    """RFC 4861 section 7.2.6; ARP repeats stay as they are."""
    announcer = Announcer()
    start(announcer, [arp("a"), na("b")], repeat=5, delay=5 * SECOND)
    sent = run(announcer, until=20 * SECOND)
    assert times_ms(sent, arp("a")) == [0] * 5 + [5000] * 5
    assert times_ms(sent, na("b")) == [0, 1000, 2000, 5000, 6000, 7000]


def test_no_advertisement_twice_when_takeover_and_repeat_coincide():
    announcer = Announcer()
    start(announcer, [na("b")], repeat=3, delay=0, takeover=True)
    assert times_ms(run(announcer, until=10 * SECOND), na("b")) == [0, 100, 1000, 2000]


def test_stop():
    announcer = Announcer()
    start(announcer, [arp("a")], name="a", refresh=SECOND)
    start(announcer, [arp("b")], name="b", repeat=1, delay=0)
    announcer.stop("a")
    announcer.stop("never-started")
    assert announcer.due(0) == [arp("b")]
    assert announcer.deadline() is None


def test_stop_in_the_middle_of_a_round():
    announcer = Announcer()
    start(announcer, [arp(str(n)) for n in range(100)], name="a")
    assert len(announcer.due(0)) == MAX_FRAMES_PER_CALL
    announcer.stop("a")
    assert announcer.due(0) == []
    assert announcer.deadline() is None


def test_starting_again_replaces():
    announcer = Announcer()
    start(announcer, [arp("old")], repeat=1)
    announcer.due(0)
    start(announcer, [arp("new")], repeat=1, delay=0, at=2 * SECOND)
    assert announcer.due(2 * SECOND) == [arp("new")]
    assert run(announcer, until=100 * SECOND) == []


def test_no_address_no_announcement():
    announcer = Announcer()
    start(announcer, [])
    assert announcer.deadline() is None


def test_a_storm_of_restarts_stays_within_the_budget():
    """A6: a neighbour that makes a router change roles a thousand times a second."""
    announcer = Announcer()
    frames = [arp(str(n)) for n in range(64)]
    sent = 0
    for step in range(5000):
        start(announcer, frames, at=step * MS)
        sent += len(announcer.due(step * MS))
    free = 5 * 64  # one first round a second
    assert sent <= 5000 + BURST + free
    assert len(announcer._queue) < 50


def test_what_was_stopped_does_not_pile_up():
    """Each start leaves a second burst due in five seconds; a hundred starts a second must not leave hundreds."""
    announcer = Announcer()
    start(announcer, [arp("b")], name="b", repeat=1)  # the next in the queue, in front of all that was stopped
    for step in range(400):
        start(announcer, [arp("a")], repeat=1, at=step * 10 * MS)
        announcer.due(step * 10 * MS)
    assert len(announcer._queue) < 50


def test_a_router_that_flaps_is_still_announced_first():
    announcer = Announcer()
    start(announcer, [arp(f"a{n}") for n in range(64)], name="a")
    start(announcer, [arp("b")], name="b")
    while announcer.deadline() == 0:
        announcer.due(0)
    announcer.stop("b")
    start(announcer, [arp("b")], name="b", at=10 * MS)  # its free round was 10 ms ago
    assert announcer.due(10 * MS)[0] == arp("b")


@settings(max_examples=60, deadline=None)
@given(
    starts=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(1, 6), st.integers(0, 3000), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    refresh_s=st.sampled_from([0, 1, 60]),
)
def test_the_budget_holds_and_nothing_is_forgotten(starts, refresh_s):
    announcer = Announcer()
    sent: list[tuple[int, bytes]] = []
    now = 0
    wanted: dict[int, list[bytes]] = {}
    for name, count, repeat, wait_ms, takeover in starts:
        sent += run(announcer, since=now, until=now + wait_ms * MS)
        now += wait_ms * MS
        wanted[name] = [arp(f"{name}-{n}") for n in range(count)]
        start(
            announcer,
            wanted[name],
            name=str(name),
            at=now,
            repeat=repeat,
            refresh=refresh_s * SECOND,
            takeover=takeover,
        )
    last = run(announcer, since=now, until=now + 20 * SECOND)
    assert {frame for theirs in wanted.values() for frame in theirs} <= {frame for _, frame in sent + last}
    times = sorted(at for at, _ in sent + last)
    assert times == [at for at, _ in sent + last]
    free = 20 * len(starts)
    for at in times:
        within = sum(at <= other < at + SECOND for other in times)
        assert within <= 1000 + BURST + free


def test_what_waits_goes_after_everything_else_and_holds_up_nothing():
    announcer = Announcer()
    question, frame = arp("who"), arp("a")
    announcer.start(
        "web?", [question], repeat=1, delay_ns=0, refresh_ns=60 * SECOND, takeover=False, now_ns=0, wait_ns=4 * SECOND
    )
    start(announcer, [frame])
    sent = run(announcer, until=65 * SECOND)
    assert times_ms(sent, frame) == [0] * 5 + [5000] * 5
    assert times_ms(sent, question) == [4000, 64000]
