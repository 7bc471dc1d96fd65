"""Arithmetic of the election in integer nanoseconds (RFC 9568 section 6.1, RFC 3768 section 6.1). No state, no clock.

In whole centiseconds, as the RFCs write their timers, every skew at a 10 ms interval is zero; nanoseconds keep order.
"""

from __future__ import annotations

from vip_speaker.vrrp.types import MS, SECOND, Config, IPAddress, TokenBucket

# What a neighbour may provoke at most (A5, A6): this many replies in a row, then one per period. Two routers that
# settle who is master need one or two; a flood gets ten a second, whatever the interval.
REPLY_BURST = 5
REPLY_PERIOD_NS = 100 * MS

# How long a successor's announcements may take (DESIGN, Planned moves): it adds addresses and announces one by one.
HANDOVER_BASE_NS = 50 * MS
HANDOVER_PER_ADDRESS_NS = 5 * MS
# After its last announcement: what clients had sent before they heard it is still on the way, and a successor's kernel
# may be later than its announcement (keepalived does not wait for it, IPv6).
HANDOVER_LINGER_NS = 20 * MS

# A demoted master asks for a better peer this long, with adverts every 10 ms (DESIGN, Demotion asks): a peer that heard
# the first of them takes over within 30 ms + skew (at most 40 ms), so two thirds of them may be lost.
SQUEEZE_NS = 120 * MS
# At the end the configured interval is said in three slots of 10 ms: a peer that heard none of them would take us for
# dead 30 ms later, so one or two may be lost.
SQUEEZE_END_NS = 20 * MS

# The interval that a leaver says before priority 0. It serves on meanwhile, so skews need not be those of 10 ms; peers
# 10 apart (210, 200, 190 of the tutorials) that know nothing of each other are 5 ms apart by this one.
FAREWELL_NS = 130 * MS

# How long a BACKUP lets each better peer that it was told of go first, beyond its skew: the other one's scheduling, its
# addresses and the wire. At most so many of them, so that 254 nodes stay within a squeeze.
STANDOFF_NS = 10 * MS
STANDOFF_PEERS = 8

# On top of the longest skew of any peer: the 80 ms that it lets better ones go first at most, scheduling and the wire.
SUCCESSOR_MARGIN_NS = 200 * MS

# How long a master goes on to speak under the identity before a change: a node may learn of it late (its API server
# is not to be reached), and nobody says when all have. Bounded, because the VRID may be meant for somebody else.
FORMER_SPOKEN_NS = 600 * SECOND


def skew_time_ns(*, version: int, priority: int, interval_ns: int) -> int:
    """Skew_Time: of the interval in version 3, of one second in version 2."""
    base_ns = SECOND if version == 2 else interval_ns
    return (256 - priority) * base_ns // 256


def master_down_interval_ns(*, version: int, priority: int, interval_ns: int) -> int:
    """Active_Down_Interval: three intervals of the master and our own skew."""
    return 3 * interval_ns + skew_time_ns(version=version, priority=priority, interval_ns=interval_ns)


def own_master_down_interval_ns(config: Config) -> int:
    """The master-down interval by our own configuration: before any master was heard, and as the measure of a stall."""
    return master_down_interval_ns(
        version=config.identity.version,
        priority=config.priority,
        interval_ns=config.advertisement_interval_ns,
    )


def standoff_ns(config: Config, *masters: IPAddress | None) -> int:
    """What a BACKUP adds to its skew: the skews of two peers may differ by less than either takes to be scheduled.

    `masters` are those that give up or fall silent: nobody waits for them. Equal priorities go by address, as between
    two masters.
    """
    ours = (config.priority, int(config.primary_address))
    better = [
        peer
        for peer in config.peers
        if (peer.priority, -1 if peer.address is None else int(peer.address)) > ours
        and (peer.address is None or peer.address not in masters)
    ]
    return STANDOFF_NS * min(len(better), STANDOFF_PEERS)


def farewell_interval_ns(interval_ns: int) -> int:
    """The interval that a version 3 master says when it leaves, where `interval_ns` is the configured one."""
    return min(interval_ns, FAREWELL_NS)


def longest_skew_ns(*, version: int, interval_ns: int) -> int:
    """No peer's skew is longer, whatever its priority."""
    return SECOND if version == 2 else interval_ns


def next_grid_instant_ns(due_ns: int, *, interval_ns: int, now_ns: int) -> int:
    """The first instant after `now_ns` of the grid through `due_ns`: slots that passed are skipped, not made up for."""
    return due_ns + ((now_ns - due_ns) // interval_ns + 1) * interval_ns


def full_bucket(now_ns: int) -> TokenBucket:
    """A bucket that nobody took from yet."""
    return TokenBucket(tokens=REPLY_BURST, at_ns=now_ns)


def take_token(bucket: TokenBucket, now_ns: int) -> TokenBucket | None:
    """The bucket with one token less, or None if there is none to take."""
    earned = (now_ns - bucket.at_ns) // REPLY_PERIOD_NS
    if bucket.tokens + earned >= REPLY_BURST:
        bucket = full_bucket(now_ns)
    else:
        bucket = TokenBucket(tokens=bucket.tokens + earned, at_ns=bucket.at_ns + earned * REPLY_PERIOD_NS)
    if bucket.tokens == 0:
        return None
    return TokenBucket(tokens=bucket.tokens - 1, at_ns=bucket.at_ns)
