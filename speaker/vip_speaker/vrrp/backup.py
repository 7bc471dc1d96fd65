"""BACKUP: listen, and become master when nobody better does (RFC 9568 section 6.4.2; SM-20 to SM-28)."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from vip_speaker.vrrp.change import reconfigured_backup
from vip_speaker.vrrp.entry import (
    Step,
    accept,
    announced,
    enter_master,
    forget_former,
    heard_former,
    heard_master,
    notes_on,
    take_over,
)
from vip_speaker.vrrp.timing import (
    master_down_interval_ns,
    own_master_down_interval_ns,
    skew_time_ns,
    standoff_ns,
)
from vip_speaker.vrrp.types import (
    OWNER_PRIORITY,
    RELEASE_PRIORITY,
    Action,
    AddressesExpired,
    AddressServed,
    Advertisement,
    AnnouncementSeen,
    BackupState,
    Cause,
    Config,
    Event,
    Failed,
    FaultState,
    FormerTaken,
    Heard,
    InitState,
    Master,
    Note,
    Noted,
    OtherVersionHeard,
    Reconfigured,
    Recovered,
    RemoveAddresses,
    Role,
    Shutdown,
    Startup,
    State,
    Tick,
    Transition,
    Unsilence,
)


def step_backup(config: Config, state: BackupState, event: Event, now_ns: int) -> Step:
    """One event in BACKUP."""
    match event:
        case Heard():
            return _heard(config, state, event, now_ns)
        case Tick():
            return _tick(config, state, now_ns)
        case AnnouncementSeen():
            if state.handover is None:
                return state, ()
            return replace(state, handover=announced(state.handover, event.address, now_ns)), ()
        case OtherVersionHeard():
            return _somebody_serves(config, state, now_ns), (Noted(note=Note.VERSION_MISMATCH, source=event.source),)
        case AddressServed():
            return _somebody_serves(config, state, now_ns), (Noted(note=Note.ADDRESS_SERVED, source=event.source),)
        case FormerTaken():
            return replace(state, former=None), ()
        case Reconfigured():
            return reconfigured_backup(config, state, event.previous, now_ns)
        case Failed():
            return _leave(state, FaultState(reason=event.reason), Role.FAULT, Cause.FAILED)
        case Shutdown():
            return _leave(state, InitState(), Role.INIT, Cause.SHUTDOWN)
        case AddressesExpired():
            return replace(state, handover=None), _removal(state)
        case Startup() | Recovered():
            return state, ()
        case _:
            assert_never(event)


def _heard(config: Config, state: BackupState, event: Heard, now_ns: int) -> Step:
    advertisement = event.advertisement
    if event.former:
        if state.former is None:
            return state, ()
        state = replace(state, former=heard_former(state.former, advertisement, now_ns))
    if advertisement.priority == RELEASE_PRIORITY:
        return _released(config, state, advertisement, now_ns), ()
    notes = notes_on(config, advertisement, former=event.former)
    # SM-27: a lower priority that is being preempted is heard, and moves no timer.
    # SM-28: an equal priority is accepted whatever its address; addresses are compared between masters only.
    if advertisement.priority >= config.priority:
        if state.preempt_at_ns is not None:
            state = replace(state, preempt_at_ns=None)
    elif _preempts(config):
        if config.priority == OWNER_PRIORITY or config.preempt_delay_ns == 0:
            return replace(state, rival=heard_master(advertisement, now_ns)), notes
        if state.preempt_at_ns is None:
            state = replace(state, preempt_at_ns=now_ns + config.preempt_delay_ns)
        elif now_ns >= state.preempt_at_ns:
            return replace(state, rival=heard_master(advertisement, now_ns)), notes
    return accept(config, state, advertisement, now_ns, former=event.former), notes


def _preempts(config: Config) -> bool:
    """An owner always does, whatever it is told (RFC 9568 section 6.1, Preempt_Mode)."""
    return config.preempt or config.priority == OWNER_PRIORITY


def _released(config: Config, state: BackupState, advertisement: Advertisement, now_ns: int) -> BackupState:
    """SM-25: the master gave up, so only our skew remains, and what better peers have to be ahead of us.

    Only one that we know as a master may say so (A4), and the timer is never moved back: a repeated priority 0 would
    otherwise hold everybody off for ever.
    """
    known = {master.address for master in (state.master, state.rival) if master is not None}
    if known and advertisement.source not in known:
        return state
    skew_ns = skew_time_ns(
        version=advertisement.version, priority=config.priority, interval_ns=state.master_adver_interval_ns
    )
    return replace(
        state,
        master_down_at_ns=min(state.master_down_at_ns, now_ns + skew_ns + standoff_ns(config, advertisement.source)),
        released_by=advertisement.source,
    )


def _tick(config: Config, state: BackupState, now_ns: int) -> Step:
    state = replace(state, former=forget_former(state.former, now_ns))
    if now_ns >= state.master_down_at_ns:
        return _promote(config, state, now_ns)
    if state.handover is not None and now_ns >= state.handover.until_ns:
        return replace(state, handover=None), (RemoveAddresses(),)
    return state, ()


def _promote(config: Config, state: BackupState, now_ns: int) -> Step:
    """SM-24. Addresses that a handover still holds silently are served again."""
    rival = state.rival
    preempted = rival is not None and now_ns - rival.heard_at_ns <= master_down_interval_ns(
        version=config.identity.version, priority=config.priority, interval_ns=rival.interval_ns
    )
    unsilence: tuple[Action, ...] = (Unsilence(),) if state.handover is not None else ()
    transition = _reason(state, rival if preempted else None, now_ns)
    return enter_master(config, now_ns, former=state.former), (
        *unsilence,
        *take_over(config, living=preempted or state.released_by is not None, former=state.former),
        transition,
    )


def _reason(state: BackupState, preempted: Master | None, now_ns: int) -> Transition:
    before, after = Role.BACKUP, Role.MASTER
    if state.released_by is not None:
        return Transition(before=before, after=after, cause=Cause.MASTER_RELEASED, source=state.released_by)
    if preempted is not None:
        return Transition(before=before, after=after, cause=Cause.PREEMPTED, source=preempted.address)
    if state.master is None:
        return Transition(before=before, after=after, cause=Cause.MASTER_DOWN)
    return Transition(
        before=before,
        after=after,
        cause=Cause.MASTER_DOWN,
        source=state.master.address,
        silent_for_ns=now_ns - state.master.heard_at_ns,
    )


def _somebody_serves(config: Config, state: BackupState, now_ns: int) -> BackupState:
    """Whoever was never MASTER stays BACKUP while our addresses are served in a way that we cannot take part in."""
    if state.was_master:
        return state
    full_ns = now_ns + own_master_down_interval_ns(config)
    return replace(state, master_down_at_ns=max(state.master_down_at_ns, full_ns))


def _leave(state: BackupState, successor: State, after: Role, cause: Cause) -> Step:
    """SM-23: nothing is sent."""
    return successor, (*_removal(state), Transition(before=Role.BACKUP, after=after, cause=cause))


def _removal(state: BackupState) -> tuple[Action, ...]:
    return () if state.handover is None else (RemoveAddresses(),)
