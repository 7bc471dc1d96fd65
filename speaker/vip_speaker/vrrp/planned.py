"""Planned moves: a master that leaves, or offers its place, keeps serving until somebody else does.

LEAVING: on Shutdown a master sends priority 0 at once (SM-34) and enters Initialize when a successor serves or nobody
will. YIELDING: a demoted master where a squeeze cannot work, version 2 and peers that do not preempt. Both hold the
addresses: answering, and silently from the successor's first advertisement on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from vip_speaker.vrrp.entry import (
    Step,
    advertise,
    announced,
    enter_backup,
    enter_master,
    everywhere,
    forget_former,
    former_of,
    hand_over,
    listen,
    lose_to,
    narrowed,
)
from vip_speaker.vrrp.timing import (
    SUCCESSOR_MARGIN_NS,
    farewell_interval_ns,
    longest_skew_ns,
    own_master_down_interval_ns,
)
from vip_speaker.vrrp.types import (
    CENTISECOND,
    RELEASE_PRIORITY,
    AddAddresses,
    AddressesExpired,
    AddressServed,
    Announce,
    AnnouncementSeen,
    Cause,
    Config,
    Event,
    Failed,
    FaultState,
    FormerIdentity,
    FormerTaken,
    Heard,
    InitState,
    IPAddress,
    LeavingState,
    MasterState,
    Note,
    Noted,
    OtherVersionHeard,
    Reconfigured,
    Recovered,
    RemoveAddresses,
    Role,
    SendAdvertisement,
    Shutdown,
    Silence,
    Startup,
    StopAnnouncing,
    Tick,
    Transition,
    YieldingState,
)


def successor_wait_ns(config: Config, *, last_sent_interval_ns: int) -> int:
    """How long after priority 0 a successor may still come: the longest skew of any peer, and a margin.

    In version 3 that is a whole interval, although a shorter one was said before: a peer that lost it still waits by
    the interval it learned earlier, which is the one in force or one that was just shortened. A peer that lost priority
    0 alone waits three of the shorter ones and a skew.
    """
    interval_ns = max(
        config.advertisement_interval_ns,
        last_sent_interval_ns,
        4 * farewell_interval_ns(config.advertisement_interval_ns),
    )
    return longest_skew_ns(version=config.identity.version, interval_ns=interval_ns) + SUCCESSOR_MARGIN_NS


def farewell(
    config: Config, *, priority: int, former: FormerIdentity | None, served: bool = True
) -> tuple[SendAdvertisement, ...]:
    """Priority 0; in version 3 after an advertisement at `priority` that makes the successor's skew a short one.

    Under all identities that one first: a peer that listens under both may take over at the first priority 0. Where
    the addresses are not `served` until then, nothing counts but the time.
    """
    identities = [(config.identity, config.advertisement_interval_ns)]
    if former is not None:
        identities.append((former.identity, former.interval_ns))
    said = [
        (identity, (farewell_interval_ns(interval_ns) if served else CENTISECOND) if identity.version == 3 else None)
        for identity, interval_ns in identities
    ]
    openers = tuple(
        advertise(config, identity=identity, priority=priority, interval_ns=interval_ns)
        for identity, interval_ns in said
        if interval_ns is not None
    )
    return openers + tuple(
        advertise(config, identity=identity, priority=RELEASE_PRIORITY, interval_ns=interval_ns)
        for identity, interval_ns in said
    )


def leave(config: Config, state: MasterState, now_ns: int, *, at_once: bool) -> Step:
    """Shutdown of a master (SM-34), an owner too."""
    sent = farewell(config, priority=config.priority, former=state.former, served=not at_once)
    if at_once:
        gone, actions = _gone(Cause.SHUTDOWN)
        return gone, (*sent, StopAnnouncing(), *actions)
    until_ns = now_ns + successor_wait_ns(config, last_sent_interval_ns=state.last_sent_interval_ns)
    return LeavingState(until_ns=until_ns, former=state.former), (*sent, StopAnnouncing())


def step_leaving(config: Config, state: LeavingState, event: Event, now_ns: int) -> Step:
    """One event while leaving; the end is INIT, unless Startup comes first."""
    match event:
        case Heard():
            if event.advertisement.priority == RELEASE_PRIORITY or state.handover is not None:
                return state, ()
            if event.former and state.former is None:
                return state, ()
            handover = hand_over(config, now_ns, successor=event.advertisement.source)
            return replace(state, handover=handover), (Silence(),)
        case AnnouncementSeen():
            if state.handover is None:
                return state, ()
            return replace(state, handover=announced(state.handover, event.address, now_ns)), ()
        case Reconfigured():
            if config.identity != event.previous.identity:
                state = replace(state, former=former_of(event.previous, now_ns))
            if state.handover is None:
                return state, ((AddAddresses(),) if config.addresses != event.previous.addresses else ())
            return replace(state, handover=narrowed(state.handover, config, now_ns)), ()
        case Tick():
            if state.handover is not None:
                served = now_ns >= state.handover.until_ns
                return _gone(Cause.SUCCEEDED, state.handover.successor) if served else (state, ())
            return _gone(Cause.NO_SUCCESSOR) if now_ns >= state.until_ns else (state, ())
        case Startup():
            return _stay(config, state, now_ns)
        case Shutdown():
            return _gone(Cause.SHUTDOWN) if event.at_once else (state, ())
        case Failed():
            return _gone(Cause.FAILED)
        case AddressesExpired():
            return _gone(Cause.ADDRESSES_EXPIRED)
        case FormerTaken():
            return replace(state, former=None), ()
        case OtherVersionHeard() | AddressServed() | Recovered():
            return state, ()
        case _:
            assert_never(event)


def _gone(cause: Cause, source: IPAddress | None = None) -> Step:
    transition = Transition(before=Role.MASTER, after=Role.INIT, cause=cause, source=source)
    return InitState(), (RemoveAddresses(), transition)


def _stay(config: Config, state: LeavingState, now_ns: int) -> Step:
    """Started again before it was gone: still master if nobody came, otherwise a BACKUP that finishes the handover."""
    if state.handover is None:
        master = enter_master(config, now_ns, former=state.former)
        return master, (*everywhere(advertise(config), state.former), Announce(takeover=False))
    backup = replace(enter_backup(config, now_ns, was_master=True, former=state.former), handover=state.handover)
    transition = Transition(before=Role.MASTER, after=Role.BACKUP, cause=Cause.STARTED, source=state.handover.successor)
    return backup, (transition,)


def offer(config: Config, previous: Config, state: MasterState, now_ns: int) -> Step:
    """Demoted from the priority of `previous`: give up by priority 0, and serve on until somebody answers."""
    until_ns = now_ns + successor_wait_ns(config, last_sent_interval_ns=state.last_sent_interval_ns)
    yielding = YieldingState(until_ns=until_ns, bucket=state.bucket, former=state.former)
    return yielding, farewell(config, priority=previous.priority, former=state.former)


def resume(config: Config, state: YieldingState, now_ns: int) -> tuple[MasterState, tuple[SendAdvertisement, ...]]:
    """Nobody came, or nobody is asked any more: advertise again. The addresses never left."""
    master = replace(enter_master(config, now_ns, former=state.former), bucket=state.bucket)
    return master, everywhere(advertise(config), state.former)


def step_yielding(config: Config, state: YieldingState, event: Event, now_ns: int) -> Step:
    """One event while a demoted master waits for an answer; Reconfigured is the caller's (it may ask again)."""
    match event:
        case Heard():
            return _answered(config, state, event, now_ns)
        case Tick():
            return _tick_yielding(config, state, now_ns)
        case OtherVersionHeard():
            return state, (Noted(note=Note.VERSION_MISMATCH, source=event.source),)
        case AddressServed():
            return state, (Noted(note=Note.ADDRESS_SERVED, source=event.source),)
        case FormerTaken():
            return replace(state, former=None), ()
        case Failed():
            return FaultState(reason=event.reason), (
                StopAnnouncing(),
                RemoveAddresses(),
                Transition(before=Role.MASTER, after=Role.FAULT, cause=Cause.FAILED),
            )
        case Shutdown():
            return leave(config, resume(config, state, now_ns)[0], now_ns, at_once=event.at_once)
        case AddressesExpired():
            return listen(config, now_ns, cause=Cause.ADDRESSES_EXPIRED, former=state.former)
        case Startup() | Recovered() | AnnouncementSeen() | Reconfigured():
            return state, ()
        case _:
            assert_never(event)


def _answered(config: Config, state: YieldingState, event: Heard, now_ns: int) -> Step:
    """Whoever answers is the master now, also a worse one: it is preempted in the usual way, not fought over."""
    if event.advertisement.priority == RELEASE_PRIORITY or (event.former and state.former is None):
        return state, ()
    backup = lose_to(config, event, now_ns, former=state.former)
    transition = Transition(
        before=Role.MASTER, after=Role.BACKUP, cause=Cause.DEMOTED, source=event.advertisement.source
    )
    return backup, (Silence(), transition)


def _tick_yielding(config: Config, state: YieldingState, now_ns: int) -> Step:
    state = replace(state, former=forget_former(state.former, now_ns))
    if now_ns < state.until_ns:
        return state, ()
    if now_ns - state.until_ns > own_master_down_interval_ns(config):
        return listen(config, now_ns, cause=Cause.STALLED, former=state.former)
    return resume(config, state, now_ns)
