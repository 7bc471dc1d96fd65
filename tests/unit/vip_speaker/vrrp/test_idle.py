from __future__ import annotations

import pytest
from vip_speaker.vrrp.machine import deadline
from vip_speaker.vrrp.types import (
    AddAddresses,
    AddressesExpired,
    Announce,
    AnnouncementSeen,
    BackupState,
    Cause,
    Failed,
    FaultState,
    InitState,
    MasterState,
    OtherVersionHeard,
    Reconfigured,
    Recovered,
    Role,
    SendAdvertisement,
    Shutdown,
    Startup,
    Tick,
    Transition,
)

from tests.election import HIGHER_ADDRESS, VIPS, Router, config_of, master

ELSEWHERE = [
    Tick(),
    OtherVersionHeard(source=HIGHER_ADDRESS),
    AnnouncementSeen(address=VIPS[0]),
    Reconfigured(previous=config_of()),
    AddressesExpired(),
]


def fault() -> Router:
    router = master()
    router.do(Failed(reason="link down"))
    assert router.state == FaultState(reason="link down")
    return router


@pytest.mark.parametrize("event", [*ELSEWHERE, Shutdown(), Failed(reason="x"), Recovered()], ids=repr)
def test_init_ignores_everything_but_startup(event):
    router = Router()
    assert router.do(event) == ()
    assert router.state == InitState()


@pytest.mark.parametrize("event", [*ELSEWHERE, Startup()], ids=repr)
def test_fault_ignores_what_does_not_end_it(event):
    router = fault()
    assert router.do(event) == ()
    assert router.state == FaultState(reason="link down")
    assert deadline(router.state) is None


def test_fault_hears_nobody():
    router = fault()
    assert router.hear(0) == router.hear(200) == ()
    assert isinstance(router.state, FaultState)


def test_a_second_failure_renames_the_first():
    router = fault()
    assert router.do(Failed(reason="check failed")) == ()
    assert router.state == FaultState(reason="check failed")


def test_recovery_listens_for_a_full_timer():
    router = fault()
    router.after(10**9).do(Recovered())
    assert router.transition == Transition(before=Role.FAULT, after=Role.BACKUP, cause=Cause.RECOVERED)
    assert router.backup.master_down_at_ns == router.now_ns + 3_609_375_000


def test_an_owner_recovers_to_master():
    router = master(config_of(priority=255))
    router.do(Failed(reason="link down"))
    router.do(Recovered())
    assert isinstance(router.state, MasterState)
    assert router.transition == Transition(before=Role.FAULT, after=Role.MASTER, cause=Cause.OWNER)
    assert router.kinds == [AddAddresses, SendAdvertisement, Announce, Transition]


def test_shutdown_in_fault():
    router = fault()
    router.do(Shutdown())
    assert router.state == InitState()
    assert router.transition == Transition(before=Role.FAULT, after=Role.INIT, cause=Cause.SHUTDOWN)


def test_startup_twice_changes_nothing():
    router = Router()
    router.do(Startup())
    state = router.state
    assert router.after(10**9).do(Startup()) == ()
    assert router.state == state
    assert isinstance(state, BackupState)
