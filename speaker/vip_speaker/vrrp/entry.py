"""How BACKUP and MASTER are entered, and the advertisement itself: what more than one state needs.

The handlers of the states import this module, never each other's.
"""

from __future__ import annotations

from dataclasses import replace

from vip_speaker.vrrp.timing import (
    FAREWELL_NS,
    FORMER_SPOKEN_NS,
    HANDOVER_BASE_NS,
    HANDOVER_LINGER_NS,
    HANDOVER_PER_ADDRESS_NS,
    SUCCESSOR_MARGIN_NS,
    full_bucket,
    longest_skew_ns,
    master_down_interval_ns,
    own_master_down_interval_ns,
    standoff_ns,
)
from vip_speaker.vrrp.types import (
    CENTISECOND,
    Action,
    AddAddresses,
    Advertisement,
    Announce,
    BackupState,
    Cause,
    Config,
    FormerIdentity,
    Handover,
    Heard,
    Identity,
    IPAddress,
    Master,
    MasterState,
    Note,
    Noted,
    RemoveAddresses,
    Role,
    SendAdvertisement,
    State,
    StopAnnouncing,
    Transition,
)

Step = tuple[State, tuple[Action, ...]]


def advertise(
    config: Config,
    *,
    identity: Identity | None = None,
    priority: int | None = None,
    interval_ns: int | None = None,
) -> SendAdvertisement:
    """An advertisement by `config`, except for what is named. Under a former v2 identity it says its interval."""
    identity = identity or config.identity
    if interval_ns is None:
        interval_ns = identity.advertisement_interval_ns or config.advertisement_interval_ns
    return SendAdvertisement(
        identity=identity,
        priority=config.priority if priority is None else priority,
        interval_ns=interval_ns,
    )


def everywhere(sent: SendAdvertisement, former: FormerIdentity | None) -> tuple[SendAdvertisement, ...]:
    """`sent`, and once more under the former identity: what peers must hear that do not know of the change yet."""
    if former is None:
        return (sent,)
    return sent, replace(sent, identity=former.identity, interval_ns=former.interval_ns)


def enter_backup(
    config: Config, now_ns: int, *, was_master: bool = False, former: FormerIdentity | None = None
) -> BackupState:
    """BACKUP that knows no master: a full timer by our own interval (SM-11)."""
    return BackupState(
        master_down_at_ns=now_ns + own_master_down_interval_ns(config) + standoff_ns(config),
        master_adver_interval_ns=config.advertisement_interval_ns,
        was_master=was_master,
        former=former,
    )


def accept(
    config: Config, state: BackupState, advertisement: Advertisement, now_ns: int, *, former: bool
) -> BackupState:
    """BACKUP under the master that sent `advertisement` (SM-26): its interval, and a full timer by it.

    Version 2 never learns: an advertisement with another interval was discarded on receipt (RV-15), except that a
    former identity may have had another one.
    """
    learns = advertisement.version == 3 or former
    interval_ns = advertisement.interval_ns if learns else config.advertisement_interval_ns
    timer_ns = master_down_interval_ns(version=advertisement.version, priority=config.priority, interval_ns=interval_ns)
    return replace(
        state,
        master_down_at_ns=now_ns + timer_ns + standoff_ns(config, advertisement.source),
        master_adver_interval_ns=interval_ns,
        master=heard_master(advertisement, now_ns),
        released_by=None,
    )


def heard_master(advertisement: Advertisement, now_ns: int) -> Master:
    """What is remembered of the sender of an advertisement."""
    return Master(
        address=advertisement.source,
        priority=advertisement.priority,
        heard_at_ns=now_ns,
        interval_ns=advertisement.interval_ns,
    )


def enter_master(config: Config, now_ns: int, *, former: FormerIdentity | None = None) -> MasterState:
    """MASTER whose grid starts now; the advertisement of this instant is the caller's to send."""
    return MasterState(
        advert_at_ns=now_ns + config.advertisement_interval_ns,
        bucket=full_bucket(now_ns),
        former=spoken_former(former, now_ns),
        last_sent_interval_ns=config.advertisement_interval_ns,
    )


def take_over(config: Config, *, living: bool, former: FormerIdentity | None) -> tuple[Action, ...]:
    """What a new master does (SM-10, SM-24).

    Where nobody lives the advertisement comes first, so that no other BACKUP starts too. From a living master the
    addresses come first, unannounced, because it may drop them at the advertisement (keepalived does).
    """
    sent = everywhere(advertise(config), former)
    if living:
        return AddAddresses(), *sent, Announce(takeover=True)
    return *sent, AddAddresses(), Announce(takeover=False)


def start(config: Config, now_ns: int, *, before: Role, cause: Cause) -> Step:
    """Startup and recovery (SM-10, SM-11): an owner is MASTER at once, anybody else listens first.

    An owner does not ask whether somebody serves its addresses meanwhile; it is likely, so it takes over as from a
    living master.
    """
    if config.priority == 255:
        transition = Transition(before=before, after=Role.MASTER, cause=Cause.OWNER)
        return enter_master(config, now_ns), (*take_over(config, living=True, former=None), transition)
    return enter_backup(config, now_ns), (Transition(before=before, after=Role.BACKUP, cause=cause),)


def listen(config: Config, now_ns: int, *, cause: Cause, former: FormerIdentity | None) -> Step:
    """A master that cannot believe itself any more (stalled, addresses expired): gone from the link, a full timer."""
    return enter_backup(config, now_ns, was_master=True, former=former), (
        RemoveAddresses(),
        StopAnnouncing(),
        Transition(before=Role.MASTER, after=Role.BACKUP, cause=cause),
    )


def lose_to(config: Config, event: Heard, now_ns: int, *, former: FormerIdentity | None) -> BackupState:
    """BACKUP under the sender of `event`, for a master that still holds the addresses: a handover begins (SM-37)."""
    if former is not None and event.former:
        former = heard_former(former, event.advertisement, now_ns)
    fresh = enter_backup(config, now_ns, was_master=True, former=former)
    backup = accept(config, fresh, event.advertisement, now_ns, former=event.former)
    return replace(backup, handover=hand_over(config, now_ns, successor=event.advertisement.source))


def hand_over(config: Config, now_ns: int, *, successor: IPAddress) -> Handover:
    """The silent overlap that begins when the successor's first advertisement is heard."""
    length_ns = HANDOVER_BASE_NS + HANDOVER_PER_ADDRESS_NS * len(config.addresses)
    return Handover(until_ns=now_ns + length_ns, unannounced=frozenset(config.addresses), successor=successor)


def announced(handover: Handover, address: IPAddress, now_ns: int) -> Handover:
    """`handover` after the successor announced `address`."""
    return _awaiting(handover, handover.unannounced - {address}, now_ns)


def narrowed(handover: Handover, config: Config, now_ns: int) -> Handover:
    """`handover` after the address list changed: nobody waits for an address that is configured no more."""
    return _awaiting(handover, handover.unannounced & frozenset(config.addresses), now_ns)


def _awaiting(handover: Handover, unannounced: frozenset[IPAddress], now_ns: int) -> Handover:
    until_ns = handover.until_ns if unannounced else min(handover.until_ns, now_ns + HANDOVER_LINGER_NS)
    return replace(handover, unannounced=unannounced, until_ns=until_ns)


def former_of(previous: Config, now_ns: int, *, heard_interval_ns: int = 0) -> FormerIdentity:
    """The identity of `previous`, remembered until a peer that was not told of the change would have spoken under it.

    That is the master-down interval of the lowest priority: a silent BACKUP of it, counted from our last advertisement,
    and the margin. `heard_interval_ns`: a master under it may be slower than we were (version 3).
    """
    interval_ns = previous.advertisement_interval_ns
    silence_ns = former_silence_ns(previous.identity, max(interval_ns, heard_interval_ns))
    return FormerIdentity(
        identity=previous.identity,
        interval_ns=interval_ns,
        address=previous.primary_address,
        forget_at_ns=now_ns + silence_ns,
    )


def former_silence_ns(identity: Identity, interval_ns: int) -> int:
    """Silence after which nobody is left under an identity: three intervals, the longest skew, a fifth of a second."""
    return 3 * interval_ns + longest_skew_ns(version=identity.version, interval_ns=interval_ns) + SUCCESSOR_MARGIN_NS


def heard_former(former: FormerIdentity, advertisement: Advertisement, now_ns: int) -> FormerIdentity:
    """Somebody still speaks under the former identity: keep listening, at least until it was silent for long enough."""
    silence_ns = former_silence_ns(former.identity, max(former.interval_ns, advertisement.interval_ns))
    return replace(former, forget_at_ns=max(former.forget_at_ns, now_ns + silence_ns))


def spoken_former(former: FormerIdentity | None, now_ns: int) -> FormerIdentity | None:
    """The former identity of a master that has just spoken under it, or was told that it is needed: the full time."""
    if former is None:
        return None
    return replace(former, forget_at_ns=now_ns + FORMER_SPOKEN_NS, advert_at_ns=now_ns + former.interval_ns)


def forget_former(former: FormerIdentity | None, now_ns: int) -> FormerIdentity | None:
    """The former identity, or None once its time is over."""
    return None if former is None or now_ns >= former.forget_at_ns else former


def notes_on(config: Config, advertisement: Advertisement, *, former: bool) -> tuple[Noted, ...]:
    """What RFC 9568 asks to log about an advertisement that is otherwise in order (sections 7.1, 8.3.2)."""
    notes: list[Noted] = []
    if advertisement.priority == config.priority:
        note = Note.MULTIPLE_OWNERS if config.priority == 255 else Note.EQUAL_PRIORITY
        notes.append(Noted(note=note, source=advertisement.source))
    # What a squeeze and a leaver say is no configuration that differs.
    expected = (config.advertisement_interval_ns, CENTISECOND, FAREWELL_NS)
    if not former and advertisement.interval_ns not in expected:
        notes.append(Noted(note=Note.INTERVAL_DIFFERS, source=advertisement.source))
    return tuple(notes)
