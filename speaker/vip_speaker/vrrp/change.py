"""A new configuration while running (DESIGN, Change while running; Demotion asks).

Who does what: the shell calls step() with the new configuration and Reconfigured(previous). It takes addresses that are
configured no more off the link itself, and listens under the former identity as long as the state has one; everything
else is an action. Local fields apply at once. A changed identity (VRID, version, channel, v2 interval) is switched in
place: a MASTER says one advertisement under the old one and one under the new, re-adds and announces its addresses,
because they may be on another link or MAC now, and speaks under both for ten minutes: nobody says when all are told.
"""

from __future__ import annotations

from dataclasses import replace

from vip_speaker.vrrp.entry import Step, advertise, everywhere, former_of, narrowed, spoken_former
from vip_speaker.vrrp.planned import offer, resume
from vip_speaker.vrrp.timing import SQUEEZE_NS, own_master_down_interval_ns, skew_time_ns, standoff_ns
from vip_speaker.vrrp.types import (
    CENTISECOND,
    Action,
    AddAddresses,
    Announce,
    BackupState,
    Config,
    MasterState,
    Squeeze,
    YieldingState,
)


def reconfigured_backup(config: Config, state: BackupState, previous: Config, now_ns: int) -> Step:
    """BACKUP: timers follow, nothing is sent."""
    state = _shifted(config, state, previous, now_ns)
    state = replace(state, preempt_at_ns=_preempt_at_ns(config, state, previous))
    if config.identity != previous.identity:
        # The master may have switched before us, and its last interval under the new identity be all we missed.
        full_ns = now_ns + own_master_down_interval_ns(config)
        later_ns = state.master_down_at_ns if state.released_by else max(state.master_down_at_ns, full_ns)
        former = former_of(previous, now_ns, heard_interval_ns=state.master_adver_interval_ns)
        state = replace(state, former=former, master_down_at_ns=later_ns)
    if state.handover is not None and config.addresses != previous.addresses:
        state = replace(state, handover=narrowed(state.handover, config, now_ns))
    return state, ()


def _shifted(config: Config, state: BackupState, previous: Config, now_ns: int) -> BackupState:
    """The pending timer moves by the difference of the skews; before a first master a shorter interval shortens it."""
    version, interval_ns = previous.identity.version, state.master_adver_interval_ns
    master = None if state.master is None else state.master.address
    before_ns, after_ns = (
        skew_time_ns(version=version, priority=one.priority, interval_ns=interval_ns) + standoff_ns(one, master)
        for one in (previous, config)
    )
    state = replace(state, master_down_at_ns=state.master_down_at_ns + after_ns - before_ns)
    if state.master is None and state.rival is None:
        full_ns = now_ns + own_master_down_interval_ns(config) + standoff_ns(config)
        state = replace(
            state,
            master_down_at_ns=min(state.master_down_at_ns, full_ns),
            master_adver_interval_ns=config.advertisement_interval_ns,
        )
    return state


def _preempt_at_ns(config: Config, state: BackupState, previous: Config) -> int | None:
    """A running preempt delay follows the new length; without preemption there is none."""
    if state.preempt_at_ns is None or not config.preempt:
        return None
    return state.preempt_at_ns + config.preempt_delay_ns - previous.preempt_delay_ns


def reconfigured_master(config: Config, state: MasterState, previous: Config, now_ns: int) -> Step:
    """MASTER: stays it. At most a demotion makes it ask whether there is somebody better."""
    actions: tuple[Action, ...] = ()
    # A demotion is told by the asking alone: a lower priority that is heard before it would not be accepted.
    said = advertise(config, priority=max(config.priority, previous.priority))
    everybody_told = everywhere(said, state.former)
    if config.identity != previous.identity:
        state = replace(
            state,
            advert_at_ns=now_ns + config.advertisement_interval_ns,
            squeeze=None,
            former=spoken_former(former_of(previous, now_ns), now_ns),
        )
        actions = (advertise(previous), AddAddresses(), said, Announce(takeover=False))
    elif config.addresses != previous.addresses:
        actions = (AddAddresses(), *everybody_told, Announce(takeover=False))
    elif config.priority > previous.priority:
        # At once: a BACKUP whose priority lies between would otherwise take over before the next slot.
        actions = everybody_told
    # A shorter interval counts from now; a longer one from the next slot, which the peers still expect.
    if state.squeeze is None:
        next_ns = min(state.advert_at_ns, now_ns + config.advertisement_interval_ns)
        state = replace(state, advert_at_ns=next_ns)
    if config.priority < previous.priority:
        after, asked = _ask(config, state, previous, now_ns)
        return after, (*actions, *asked)
    return state, actions


def _ask(config: Config, state: MasterState, previous: Config, now_ns: int) -> Step:
    """Is there a better peer? v3: short adverts make it take over quickly, a worse one hears us go on (a squeeze).

    In version 2, or among peers that do not preempt, only priority 0 moves the addresses, and it moves them to whoever
    is there: so only when a better one is named.
    """
    if config.identity.version == 3 and config.preempt:
        opener = advertise(config, priority=previous.priority, interval_ns=CENTISECOND)
        squeeze = Squeeze(until_ns=now_ns + SQUEEZE_NS)
        return replace(state, squeeze=squeeze, advert_at_ns=now_ns + CENTISECOND), (opener,)
    if config.better_peer_named:
        return offer(config, previous, state, now_ns)
    return state, ()


def reconfigured_yielding(config: Config, state: YieldingState, previous: Config, now_ns: int) -> Step:
    """YIELDING goes on unless the reason for it is gone, or the identity under which it asks."""
    if config.identity == previous.identity and config.better_peer_named and config.priority <= previous.priority:
        if config.addresses == previous.addresses:
            return state, ()
        added = set(config.addresses) - set(previous.addresses)  # we serve on: neighbours are to hear of them
        return state, (AddAddresses(), *((Announce(takeover=False),) if added else ()))
    master, sent = resume(config, state, now_ns)
    if config.identity == previous.identity and config.addresses == previous.addresses:
        return master, sent
    return reconfigured_master(config, master, previous, now_ns)
