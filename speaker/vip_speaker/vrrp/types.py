"""The values that go into and come out of the election: configuration, states, events, actions.

One machine for VRRPv2 and VRRPv3, IPv4 and IPv6: they differ by data only. Times are integer nanoseconds of one
monotonic clock; `_ns` durations are lengths, `_at_ns` are instants.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address

MS = 1_000_000
CENTISECOND = 10 * MS
SECOND = 1_000 * MS

OWNER_PRIORITY = 255
LOWEST_PRIORITY = 1
RELEASE_PRIORITY = 0


class Role(StrEnum):
    """What a user sees as `state`. (RFC 9568 calls MASTER Active and INIT Initialize.)"""

    INIT = "INIT"
    BACKUP = "BACKUP"
    MASTER = "MASTER"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What two routers must share to hear each other; a change of it is carried out without a gap.

    `channel` stands for what the core need not understand: interface, IP version, transport and peers, password,
    virtual MAC. `advertisement_interval_ns` is part of it in version 2 only (0 in version 3).
    """

    version: int
    vrid: int
    advertisement_interval_ns: int = 0
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another router that takes part, as far as we were told: `priority` is its effective one, by its last report.

    `address` is the source of its advertisements, None while it is not known.
    """

    priority: int
    address: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One virtual router on one link. `priority` is the effective one, 1..255, trackers already counted in.

    `peers` decide how long a BACKUP lets better ones go first, and whether a demoted master offers its place by
    priority 0; empty where nobody tells of them. `addresses` are those that the router holds as master, advertised or
    not.
    """

    identity: Identity
    priority: int
    advertisement_interval_ns: int
    primary_address: IPAddress
    addresses: tuple[IPAddress, ...]
    preempt: bool = True
    preempt_delay_ns: int = 0
    peers: tuple[Peer, ...] = ()

    @property
    def better_peer_named(self) -> bool:
        """Whether somebody is known to be above us: without, a demoted master that cannot squeeze just stays."""
        return any(peer.priority > self.priority for peer in self.peers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """An ADVERTISEMENT that passed every rule of RFC 9568 section 7.1 (RFC 3768 section 7.1) for our virtual router.

    `destination` is the address that a unicast one was sent to, None for the group.
    """

    version: int
    vrid: int
    priority: int
    interval_ns: int
    source: IPAddress
    addresses: tuple[IPAddress, ...] = ()
    auth_type: int = 0
    auth_data: bytes = b""
    destination: IPAddress | None = None


# --- states ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Addresses still on the link, silently, until `until_ns`: soon once `successor` has announced them all."""

    until_ns: int
    unannounced: frozenset[IPAddress]
    successor: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerIdentity:
    """The identity before a change, still listened under until nothing was heard under it up to `forget_at_ns`.

    A MASTER speaks under it as well, every `interval_ns`, next at `advert_at_ns`: for peers that were not told yet,
    from `address`: another than ours now where the IP version changed.
    """

    identity: Identity
    interval_ns: int
    address: IPAddress
    forget_at_ns: int
    advert_at_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """A master as a BACKUP last heard it: address, priority and the interval it said."""

    address: IPAddress
    priority: int
    heard_at_ns: int
    interval_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Squeeze:
    """A master that asks whether a better peer exists: short adverts until `until_ns`, and a few more that end it."""

    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """Limits replies that a neighbour can provoke (docs/rfc-coverage.md A5, A6): `tokens` at `at_ns`."""

    tokens: int
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InitState:
    """Not started, or stopped. Ignores everything but Startup. (SM-10..12)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultState:
    """Held out of the election by `reason` (link down, a failed check of weight 0)."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupState:
    """Listens; becomes master at `master_down_at_ns` (SM-20..28).

    `master_adver_interval_ns` is the learned interval (v3). `preempt_at_ns` is when a running preempt delay ends.
    `master` is the one that was accepted last, `rival` one of lower priority that is being preempted: it is heard, and
    moves no timer. `released_by` is who gave up with priority 0 since. `handover` while addresses of a mastership that
    was just lost are still held silently.
    """

    master_down_at_ns: int
    master_adver_interval_ns: int
    master: Master | None = None
    rival: Master | None = None
    released_by: IPAddress | None = None
    preempt_at_ns: int | None = None
    handover: Handover | None = None
    former: FormerIdentity | None = None
    was_master: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterState:
    """Holds the addresses and advertises on the grid; the next advertisement is due at `advert_at_ns` (SM-30..41)."""

    advert_at_ns: int
    bucket: TokenBucket
    squeeze: Squeeze | None = None
    former: FormerIdentity | None = None
    last_sent_interval_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeavingState:
    """Gave up with priority 0 and holds the addresses for a successor, at the latest until `until_ns`; then INIT.

    `handover` once the successor's first advertisement was heard, under the former identity too: silent from there.
    """

    until_ns: int
    handover: Handover | None = None
    former: FormerIdentity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldingState:
    """A demoted master that offered its place with priority 0 (v2, nopreempt) and still serves; role MASTER.

    The first advertisement of anybody makes it BACKUP; if there is none up to `until_ns` it advertises again.
    """

    until_ns: int
    bucket: TokenBucket
    former: FormerIdentity | None = None


State = InitState | FaultState | BackupState | MasterState | LeavingState | YieldingState


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """Begin to take part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """Stop taking part; `at_once`: without waiting for a successor (second signal, FAULT on the way out)."""

    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A deadline may have passed. In BACKUP the packets that waited were read first (DESIGN, Timing)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An accepted advertisement; `former`: it came under the identity before a change."""

    advertisement: Advertisement
    former: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherVersionHeard:
    """An advertisement of the other VRRP version for our VRID (VersionMismatch)."""

    source: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressServed:
    """An advertisement that is not for us (another VRID, password, interval, transport) names our first address."""

    source: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerTaken:
    """The VRID of the former identity is that of another virtual router by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementSeen:
    """Another station announced `address` (gratuitous ARP, unsolicited NA)."""

    address: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconfigured:
    """The configuration handed to step() is new; `previous` was in force until now."""

    previous: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Something that this router cannot work without is gone (link, source address, a weight-0 check)."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Whatever `Failed` named is back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressesExpired:
    """The kernel removed an address because its lifetime ran out: this process was stalled (DESIGN, Timing)."""


Event = (
    Startup
    | Shutdown
    | Tick
    | Heard
    | OtherVersionHeard
    | AddressServed
    | FormerTaken
    | AnnouncementSeen
    | Reconfigured
    | Failed
    | Recovered
    | AddressesExpired
)


# --- actions, to be carried out in the order given --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAdvertisement:
    """Send one advertisement under `identity`; `interval_ns` is what it says (v3: centiseconds, v2: seconds)."""

    identity: Identity
    priority: int
    interval_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddAddresses:
    """Put all addresses on the link (those already there stay)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAddresses:
    """Take all addresses off the link, and lift any silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Keep the addresses but answer no ARP or ND for them, and stop announcing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsilence:
    """Answer for the addresses again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Start the announcements from the beginning; `takeover`: from a living master, so again after 100 ms and 1 s."""

    takeover: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAnnouncing:
    """No announcement from here on."""


class Cause(StrEnum):
    """Why the role changed, for the log line and `reason`; the shell adds names and durations."""

    STARTED = "started"
    OWNER = "owner of the addresses"
    MASTER_DOWN = "nothing heard from the master"
    MASTER_RELEASED = "the master gave up"
    PREEMPTED = "preempting a lower priority"
    HIGHER_PRIORITY = "a higher priority was heard"
    HIGHER_ADDRESS = "the same priority from a higher address was heard"
    STALLED = "this process was stalled"
    ADDRESSES_EXPIRED = "the addresses expired"
    FAILED = "failed"
    RECOVERED = "recovered"
    SHUTDOWN = "shutting down"
    SUCCEEDED = "a successor took over"
    NO_SUCCESSOR = "no successor showed up"
    DEMOTED = "a better peer is named"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The role changed. `source` is the other router concerned, `silent_for_ns` how long it was not heard."""

    before: Role
    after: Role
    cause: Cause
    source: IPAddress | None = None
    silent_for_ns: int | None = None
    detail: str = ""


class Note(StrEnum):
    """Something worth a counter and a rate-limited log line; it changes no state by itself."""

    ANOTHER_MASTER = "another master advertises"
    DUPLICATE_ADDRESS = "our own address advertises"
    MULTIPLE_OWNERS = "another owner (priority 255) advertises"
    EQUAL_PRIORITY = "another router has our priority"
    INTERVAL_DIFFERS = "the interval differs"
    VERSION_MISMATCH = "the other VRRP version is spoken"
    ADDRESS_SERVED = "another virtual router serves the address"
    REPLY_SUPPRESSED = "a reply was held back"
    ADVERT_LATE = "an advertisement was late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """`note` happened; `source` is who caused it, `late_ns` by how much something was late."""

    note: Note
    source: IPAddress | None = None
    late_ns: int | None = None


Action = (
    SendAdvertisement
    | AddAddresses
    | RemoveAddresses
    | Silence
    | Unsilence
    | Announce
    | StopAnnouncing
    | Transition
    | Noted
)
