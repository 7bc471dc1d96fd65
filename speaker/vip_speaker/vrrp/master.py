"""MASTER: serve the addresses, advertise on a fixed grid (RFC 9568 section 6.4.3; SM-30 to SM-41).

Nothing that is received moves the grid. Replies that a neighbour provokes are extra and limited, and no announcement
hangs on them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from vip_speaker.vrrp.change import reconfigured_master
from vip_speaker.vrrp.entry import (
    Step,
    advertise,
    everywhere,
    forget_former,
    heard_former,
    listen,
    lose_to,
    notes_on,
    spoken_former,
)
from vip_speaker.vrrp.planned import leave
from vip_speaker.vrrp.timing import (
    SQUEEZE_END_NS,
    master_down_interval_ns,
    next_grid_instant_ns,
    own_master_down_interval_ns,
    take_token,
)
from vip_speaker.vrrp.types import (
    CENTISECOND,
    LOWEST_PRIORITY,
    RELEASE_PRIORITY,
    Action,
    AddressesExpired,
    AddressServed,
    Advertisement,
    AnnouncementSeen,
    Cause,
    Config,
    Event,
    Failed,
    FaultState,
    FormerIdentity,
    FormerTaken,
    Heard,
    Identity,
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
    Squeeze,
    Startup,
    StopAnnouncing,
    Tick,
    Transition,
)


def step_master(config: Config, state: MasterState, event: Event, now_ns: int) -> Step:
    """One event in MASTER."""
    match event:
        case Heard():
            return _heard(config, state, event, now_ns)
        case Tick():
            return _tick(config, state, now_ns)
        case OtherVersionHeard():
            return state, (Noted(note=Note.VERSION_MISMATCH, source=event.source),)
        case AddressServed():
            return state, (Noted(note=Note.ADDRESS_SERVED, source=event.source),)
        case FormerTaken():
            return replace(state, former=None), ()
        case Reconfigured():
            return reconfigured_master(config, state, event.previous, now_ns)
        case Failed():
            return FaultState(reason=event.reason), (
                *everywhere(advertise(config, priority=RELEASE_PRIORITY), state.former),
                StopAnnouncing(),
                RemoveAddresses(),
                Transition(before=Role.MASTER, after=Role.FAULT, cause=Cause.FAILED),
            )
        case Shutdown():
            return leave(config, state, now_ns, at_once=event.at_once)
        case AddressesExpired():
            return listen(config, now_ns, cause=Cause.ADDRESSES_EXPIRED, former=state.former)
        case Startup() | Recovered() | AnnouncementSeen():
            return state, ()
        case _:
            assert_never(event)


def _tick(config: Config, state: MasterState, now_ns: int) -> Step:
    if state.former is not None:
        state = replace(state, former=forget_former(state.former, now_ns))
    late_ns = now_ns - state.advert_at_ns
    if late_ns > own_master_down_interval_ns(config) or _silent_too_long(config, state.former, now_ns):
        # Somebody else may be master by now: hear who, before claiming anything.
        return listen(config, now_ns, cause=Cause.STALLED, former=state.former)
    former, former_sent = _tick_former(config, state.former, now_ns)
    state = replace(state, former=former)
    if late_ns < 0:
        return state, former_sent
    squeeze = state.squeeze
    if squeeze is not None and now_ns >= squeeze.until_ns + SQUEEZE_END_NS:
        squeeze = None
    slot_ns = config.advertisement_interval_ns if squeeze is None else CENTISECOND
    noted: tuple[Action, ...] = (Noted(note=Note.ADVERT_LATE, late_ns=late_ns),) if 2 * late_ns > slot_ns else ()
    interval_ns = _interval_said_ns(config, squeeze, now_ns)
    state = replace(
        state,
        advert_at_ns=next_grid_instant_ns(state.advert_at_ns, interval_ns=slot_ns, now_ns=now_ns),
        squeeze=squeeze,
        last_sent_interval_ns=interval_ns,
    )
    return state, (advertise(config, interval_ns=interval_ns), *former_sent, *noted)


def _silent_too_long(config: Config, former: FormerIdentity | None, now_ns: int) -> bool:
    """Whether one of our priority that was not told of the change may have taken us for dead."""
    if former is None:
        return False
    version, interval_ns = former.identity.version, former.interval_ns
    down_ns = master_down_interval_ns(version=version, priority=config.priority, interval_ns=interval_ns)
    return now_ns - former.advert_at_ns > down_ns


def _tick_former(
    config: Config, former: FormerIdentity | None, now_ns: int
) -> tuple[FormerIdentity | None, tuple[SendAdvertisement, ...]]:
    """The grid of the former identity: its own, because who was not told waits by the interval from before."""
    if former is None or now_ns < former.advert_at_ns:
        return former, ()
    at_ns = next_grid_instant_ns(former.advert_at_ns, interval_ns=former.interval_ns, now_ns=now_ns)
    sent = advertise(config, identity=former.identity, interval_ns=former.interval_ns)
    return replace(former, advert_at_ns=at_ns), (sent,)


def _interval_said_ns(config: Config, squeeze: Squeeze | None, now_ns: int) -> int:
    """In a squeeze a centisecond, whatever is configured; at its end the configured interval again."""
    squeezing = squeeze is not None and now_ns < squeeze.until_ns
    return CENTISECOND if squeezing else config.advertisement_interval_ns


def _heard(config: Config, state: MasterState, event: Heard, now_ns: int) -> Step:
    advertisement = event.advertisement
    if event.former:
        if state.former is None:
            return state, ()
        state = replace(state, former=spoken_former(heard_former(state.former, advertisement, now_ns), now_ns))
    if advertisement.priority == RELEASE_PRIORITY:
        return _reply(config, state, event, now_ns)
    notes = notes_on(config, advertisement, former=event.former)
    own_address = state.former.address if event.former and state.former is not None else config.primary_address
    ours = (config.priority, int(own_address))  # as the other one compares: by what it hears us from
    theirs = (advertisement.priority, int(advertisement.source))
    if theirs > ours:
        state_after, actions = _lose(config, state, event, now_ns)
    elif theirs == ours:
        # SM-40: neither greater nor less, and an answer would be answered for ever.
        return state, (*notes, Noted(note=Note.DUPLICATE_ADDRESS, source=advertisement.source))
    else:
        state_after, actions = _reply(config, state, event, now_ns)
        notes = (*notes, Noted(note=Note.ANOTHER_MASTER, source=advertisement.source))
    return state_after, (*actions, *notes)


def _reply(config: Config, state: MasterState, event: Heard, now_ns: int) -> Step:
    """SM-36, SM-38: say at once that we are master, in version 2 too; extra to the grid, and limited.

    It goes out under the identity that was heard, or the other router would not hear it.
    """
    bucket = take_token(state.bucket, now_ns)
    if bucket is None:
        return state, (Noted(note=Note.REPLY_SUPPRESSED, source=event.advertisement.source),)
    identity, interval_ns = _identity_of(config, state, event)
    if identity == config.identity:
        interval_ns = _interval_said_ns(config, state.squeeze, now_ns)
    return replace(state, bucket=bucket), (advertise(config, identity=identity, interval_ns=interval_ns),)


def _identity_of(config: Config, state: MasterState, event: Heard) -> tuple[Identity, int]:
    """The identity under which the sender of `event` hears us, and the interval that it knows."""
    if event.former and state.former is not None:
        return state.former.identity, state.former.interval_ns
    return config.identity, config.advertisement_interval_ns


def _lose(config: Config, state: MasterState, event: Heard, now_ns: int) -> Step:
    """SM-37: one last advertisement, so that a keepalived announces again; then silent until the winner has.

    It says the lowest priority: it claims nothing, so it cannot depose a winner that is demoted in the same instant.
    """
    advertisement = event.advertisement
    backup = lose_to(config, event, now_ns, former=state.former)
    identity, interval_ns = _identity_of(config, state, event)
    return backup, (
        Silence(),
        advertise(config, identity=identity, priority=LOWEST_PRIORITY, interval_ns=interval_ns),
        Transition(
            before=Role.MASTER,
            after=Role.BACKUP,
            cause=_superior(config, advertisement),
            source=advertisement.source,
        ),
    )


def _superior(config: Config, advertisement: Advertisement) -> Cause:
    return Cause.HIGHER_PRIORITY if advertisement.priority > config.priority else Cause.HIGHER_ADDRESS
