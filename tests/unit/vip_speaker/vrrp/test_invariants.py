"""What holds for whatever happens, in any order (besides the rules of tests.election.check_step)."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vip_speaker.vrrp.machine import deadline, holds_addresses, role, step
from vip_speaker.vrrp.types import (
    CENTISECOND,
    MS,
    SECOND,
    AddressesExpired,
    AnnouncementSeen,
    BackupState,
    Failed,
    FaultState,
    InitState,
    LeavingState,
    MasterState,
    OtherVersionHeard,
    Peer,
    Recovered,
    Role,
    SendAdvertisement,
    Shutdown,
    Startup,
    State,
    YieldingState,
)

from tests.election import OTHER_V3, V2, V3, VIPS, Router, backup, config_of, master

PRIORITIES = st.sampled_from((1, 50, 99, 100, 101, 150, 254, 255))
SOURCES = st.sampled_from([IPv4Address(f"10.0.0.{last}") for last in (10, 20, 30)])
PEERS = st.lists(st.builds(Peer, priority=PRIORITIES, address=st.none() | SOURCES), max_size=3).map(tuple)
INTERVALS = st.sampled_from((CENTISECOND, 100 * MS, SECOND, 10 * SECOND))
LENGTHS = st.one_of(st.integers(0, 15 * SECOND), st.sampled_from((0, 1, CENTISECOND, 50 * MS, SECOND, 3 * SECOND)))
LONGEST_NS = 10 * SECOND
LATEST_NS = 4 * LONGEST_NS + SECOND  # no deadline is further away: master-down interval, wait for a successor, former


class Election(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.router = Router()

    @initialize(
        version=st.sampled_from((2, 3)),
        priority=PRIORITIES,
        preempt=st.booleans(),
        delay_ns=st.sampled_from((0, 5 * SECOND)),
        peers=PEERS,
    )
    def configure(self, version, priority, preempt, delay_ns, peers):
        self.router.config = config_of(
            version, priority=priority, preempt=preempt, preempt_delay_ns=delay_ns, peers=peers
        )
        self.router.do(Startup())

    @rule(length_ns=LENGTHS)
    def wait_and_tick(self, length_ns):
        self.router.after(length_ns).tick()
        self._check_what_was_sent()

    @rule()
    @precondition(lambda self: deadline(self.router.state) is not None)
    def tick_when_due(self):
        due_ns = deadline(self.router.state)
        assert due_ns is not None
        self.router.now_ns = max(self.router.now_ns, due_ns)
        self.router.tick()
        self._check_what_was_sent()

    @rule(
        priority=st.one_of(st.just(0), PRIORITIES),
        source=SOURCES,
        interval_ns=INTERVALS,
        former=st.sampled_from((None, None, 2, 3)),
    )
    def hear(self, priority, source, interval_ns, former):
        """`former`: the version of the former identity under which it comes."""
        router = self.router
        before = router.state
        due_ns = deadline(before)
        own = router.config.identity.version
        if not former and own == 2:
            interval_ns = router.config.advertisement_interval_ns  # anything else was discarded (RV-15)
        router.hear(priority, source, interval_ns=interval_ns, former=former is not None, version=former)
        self._check_what_was_sent()
        if former and getattr(before, "former", None) is None:
            assert router.state == before
            assert router.actions == ()
        if isinstance(before, MasterState) and isinstance(router.state, MasterState):
            assert router.state.advert_at_ns == before.advert_at_ns
        if isinstance(before, BackupState) and isinstance(router.state, BackupState) and priority == 0:
            assert router.state.master_down_at_ns <= before.master_down_at_ns
        if isinstance(before, InitState | FaultState):
            assert (router.state, router.actions, deadline(router.state)) == (before, (), due_ns)

    @rule(
        event=st.sampled_from(
            (
                Startup(),
                Shutdown(),
                Shutdown(at_once=True),
                Failed(reason="x"),
                Recovered(),
                AddressesExpired(),
                OtherVersionHeard(source=VIPS[0]),
                AnnouncementSeen(address=VIPS[0]),
                AnnouncementSeen(address=VIPS[1]),
            )
        ),
        length_ns=LENGTHS,
    )
    def happen(self, event, length_ns):
        self.router.after(length_ns).do(event)
        self._check_what_was_sent()

    @rule(
        changes=st.fixed_dictionaries(
            {},
            optional={
                "priority": PRIORITIES,
                "preempt": st.booleans(),
                "peers": PEERS,
                "preempt_delay_ns": st.sampled_from((0, SECOND, 5 * SECOND)),
                "addresses": st.sampled_from((VIPS, VIPS[:1], VIPS[1:])),
                "identity": st.sampled_from((V2, V3, OTHER_V3)),
                "interval_ns": INTERVALS,
            },
        )
    )
    def change(self, changes):
        interval_ns = changes.pop("interval_ns", self.router.config.advertisement_interval_ns)
        if changes.get("identity", self.router.config.identity).version == 2:
            interval_ns = SECOND
        was_master = role(self.router.state) is Role.MASTER
        self.router.become(advertisement_interval_ns=interval_ns, **changes)
        # A change of the configuration never moves the addresses by itself.
        assert (role(self.router.state) is Role.MASTER) == (was_master and not isinstance(self.router.state, InitState))

    def _check_what_was_sent(self) -> None:
        for action in self.router.actions:
            if isinstance(action, SendAdvertisement):
                assert action.priority in (0, 1, self.router.config.priority)
                if action.identity.version == 2:
                    assert action.interval_ns == action.identity.advertisement_interval_ns

    @invariant()
    def without_a_part_there_are_no_addresses_and_no_timer(self):
        state = self.router.state
        if isinstance(state, InitState | FaultState):
            assert not holds_addresses(state)
            assert deadline(state) is None
        if role(state) is Role.MASTER:
            assert holds_addresses(state)

    @invariant()
    def no_deadline_is_further_than_the_longest_wait(self):
        due_ns = deadline(self.router.state)
        assert due_ns is None or due_ns <= self.router.now_ns + LATEST_NS


Election.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestElection = Election.TestCase


def states() -> list[State]:
    leaver = master()
    leaver.do(Shutdown())
    yielder = master(config_of(2))
    yielder.become(priority=50, peers=(Peer(priority=90),))
    found = [backup().state, master().state, leaver.state, yielder.state]
    assert [type(state) for state in found] == [BackupState, MasterState, LeavingState, YieldingState]
    return found


@pytest.mark.parametrize("state", states(), ids=lambda state: type(state).__name__)
def test_an_event_that_does_not_exist_is_our_bug(state):
    with pytest.raises(AssertionError):
        step(config_of(), state, "nonsense", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "function", [deadline, role, holds_addresses, lambda state: step(config_of(), state, Startup(), 0)]
)
def test_a_state_that_does_not_exist_is_our_bug(function):
    with pytest.raises(AssertionError):
        function("nonsense")
