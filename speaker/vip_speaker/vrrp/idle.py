"""INIT and FAULT: the states that take no part (RFC 9568 section 6.4.1). Advertisements are ignored (SM-12)."""

from __future__ import annotations

from vip_speaker.vrrp.entry import Step, start
from vip_speaker.vrrp.types import (
    Cause,
    Config,
    Event,
    Failed,
    FaultState,
    InitState,
    Recovered,
    Role,
    Shutdown,
    Startup,
    Transition,
)


def step_init(config: Config, state: InitState, event: Event, now_ns: int) -> Step:
    """INIT knows Startup alone; a failure that lasts is told again after it."""
    if isinstance(event, Startup):
        return start(config, now_ns, before=Role.INIT, cause=Cause.STARTED)
    return state, ()


def step_fault(config: Config, state: FaultState, event: Event, now_ns: int) -> Step:
    """FAULT ends by recovery, as a start does (a full timer), or by Shutdown."""
    match event:
        case Recovered():
            return start(config, now_ns, before=Role.FAULT, cause=Cause.RECOVERED)
        case Failed():
            return FaultState(reason=event.reason), ()
        case Shutdown():
            return InitState(), (Transition(before=Role.FAULT, after=Role.INIT, cause=Cause.SHUTDOWN),)
        case _:
            return state, ()
