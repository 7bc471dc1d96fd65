"""The election: one event in, the next state and what to do out. Pure: the shell has the clock, sockets and kernel.

A state holds its own deadline, so a stale timer cannot exist. The shell's part: call step() with Tick when deadline()
is reached (a master sends what is due before it reads; a BACKUP reads what waits before it ticks), carry out the
actions in order, never go back with `now_ns`, and tell Failed again after Startup if it still holds.
"""

from __future__ import annotations

from typing import assert_never

from vip_speaker.vrrp.backup import step_backup
from vip_speaker.vrrp.change import reconfigured_yielding
from vip_speaker.vrrp.entry import Step
from vip_speaker.vrrp.idle import step_fault, step_init
from vip_speaker.vrrp.master import step_master
from vip_speaker.vrrp.planned import step_leaving, step_yielding
from vip_speaker.vrrp.types import (
    BackupState,
    Config,
    Event,
    FaultState,
    InitState,
    LeavingState,
    MasterState,
    Reconfigured,
    Role,
    State,
    YieldingState,
)


def step(config: Config, state: State, event: Event, now_ns: int) -> Step:
    """What `event` makes of `state` under `config`, and the actions, to be carried out in the order given."""
    match state:
        case InitState():
            return step_init(config, state, event, now_ns)
        case FaultState():
            return step_fault(config, state, event, now_ns)
        case BackupState():
            return step_backup(config, state, event, now_ns)
        case MasterState():
            return step_master(config, state, event, now_ns)
        case LeavingState():
            return step_leaving(config, state, event, now_ns)
        case YieldingState():
            if isinstance(event, Reconfigured):
                return reconfigured_yielding(config, state, event.previous, now_ns)
            return step_yielding(config, state, event, now_ns)
        case _:
            assert_never(state)


def deadline(state: State) -> int | None:
    """When step() wants a Tick at the latest, in nanoseconds of the shell's clock; None: never."""
    match state:
        case InitState() | FaultState():
            return None
        case BackupState():
            instants = [state.master_down_at_ns]
            if state.handover is not None:
                instants.append(state.handover.until_ns)
            if state.former is not None:
                instants.append(state.former.forget_at_ns)
            return min(instants)
        case MasterState():
            former = state.former
            if former is None:
                return state.advert_at_ns
            return min(state.advert_at_ns, former.advert_at_ns, former.forget_at_ns)
        case LeavingState():
            return state.until_ns if state.handover is None else state.handover.until_ns
        case YieldingState():
            former = state.former
            return state.until_ns if former is None else min(state.until_ns, former.forget_at_ns)
        case _:
            assert_never(state)


def role(state: State) -> Role:
    """What a user sees. A master that leaves or yields is MASTER until it is gone: it serves, or its successor does."""
    match state:
        case InitState():
            return Role.INIT
        case FaultState():
            return Role.FAULT
        case BackupState():
            return Role.BACKUP
        case MasterState() | LeavingState() | YieldingState():
            return Role.MASTER
        case _:
            assert_never(state)


def holds_addresses(state: State) -> bool:
    """Whether the addresses are on the link after the actions up to `state`, silently or not."""
    match state:
        case InitState() | FaultState():
            return False
        case BackupState():
            return state.handover is not None
        case MasterState() | LeavingState() | YieldingState():
            return True
        case _:
            assert_never(state)
