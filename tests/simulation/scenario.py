"""What a seed becomes: a LAN of routers, and what happens to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from vip_speaker.vrrp.machine import role
from vip_speaker.vrrp.timing import STANDOFF_NS
from vip_speaker.vrrp.types import (
    MS,
    OWNER_PRIORITY,
    SECOND,
    Config,
    Failed,
    Identity,
    Peer,
    Recovered,
    Role,
    Shutdown,
)

from tests.simulation.host import Host, serves
from tests.simulation.lan import Weather, World

# From an advertisement that leaves one host until the other one is silent: the slowest frame of a calm LAN (0.3 ms),
# and on either side the actions before it. Two BACKUPs that start within one frame's time need two such trips.
OVERLAP_NS = 5 * MS
# When two become master at once and the winner leaves within that time, the loser is silent already and waits for its
# skew, which after a squeeze is that of 10 ms.
GAP_NS = 10 * MS + OVERLAP_NS


@dataclass(frozen=True, slots=True)
class Shape:
    """What the hosts of one run have in common."""

    hosts: int
    version: int
    interval_ns: int
    preempt: bool
    preempt_delay_ns: int
    addresses: int
    named: bool = False
    """Whether the hosts are told of each other, as in a cluster."""

    @property
    def longest_master_down_ns(self) -> int:
        standoff_ns = (self.hosts - 1) * STANDOFF_NS if self.named else 0
        return 3 * self.interval_ns + (SECOND if self.version == 2 else self.interval_ns) + standoff_ns

    @property
    def settled_after_ns(self) -> int:
        """By then a healed LAN has a master, and no two that do not know of each other.

        Nobody waits longer than the longest master-down interval; a yielding master a skew and 200 ms; two masters hear
        each other within one interval; the clocks drift, and a handover takes 50 ms and 5 ms per address.
        """
        wait_ns = max(self.longest_master_down_ns, self.longest_master_down_ns - 2 * self.interval_ns + 200 * MS)
        return (wait_ns + self.interval_ns) * 1001 // 1000 + 50 * MS + 5 * MS * self.addresses + OVERLAP_NS

    @property
    def decided_after_ns(self) -> int:
        """By then the best has preempted the first: a delay and a timer more, and its handover is over."""
        return 3 * self.settled_after_ns + self.preempt_delay_ns


def draw_shape(world: World, *, fast: bool) -> Shape:
    rng = world.random
    version = rng.choice((2, 3, 3))
    interval_ns = SECOND if version == 2 else rng.choice((100 * MS, SECOND) if fast else (SECOND,))
    return Shape(
        hosts=rng.randint(2, 5),
        version=version,
        interval_ns=interval_ns,
        preempt=rng.random() < 0.7,
        preempt_delay_ns=rng.choice((0, 0, 2 * interval_ns)),
        addresses=rng.randint(1, 4),
        named=rng.random() < 0.7,
    )


def build(world: World, shape: Shape) -> None:
    rng = world.random
    priorities = [rng.choice((1, 50, 100, 100, 150, 200, 252, 253, 254)) for _ in range(shape.hosts)]
    if rng.random() < 0.1:
        priorities[0] = 255
    peers = [
        Peer(priority=priority, address=IPv4Address("10.0.0.10") + index) for index, priority in enumerate(priorities)
    ]
    for index, priority in enumerate(priorities):
        config = Config(
            identity=identity(shape, 0),
            priority=priority,
            advertisement_interval_ns=shape.interval_ns,
            primary_address=IPv4Address("10.0.0.10") + index,
            addresses=tuple(IPv4Address("10.0.0.100") + number for number in range(shape.addresses)),
            preempt=shape.preempt,
            preempt_delay_ns=shape.preempt_delay_ns,
            peers=tuple(peer for other, peer in enumerate(peers) if other != index) if shape.named else (),
        )
        host = Host(world, f"r{index}", config, drift_ppm=rng.randint(-500, 500))
        world.after(rng.randint(0, 2 * shape.interval_ns), host.start)


def identity(shape: Shape, number: int) -> Identity:
    v2_interval_ns = shape.interval_ns if shape.version == 2 else 0
    return Identity(
        version=shape.version, vrid=7 + number, advertisement_interval_ns=v2_interval_ns, channel=f"c{number}"
    )


def latest_config(host: Host) -> Config:
    """What the host runs with once it has read everything."""
    waiting = [what for what in host._inbox if isinstance(what, Config)]
    return waiting[-1] if waiting else host.config


def change_priority(host: Host, priority: int) -> None:
    """The others hear of it from the API server, a little later, where anybody tells them."""
    host.tell(replace(latest_config(host), priority=priority))
    host.world.after(host.world.random.randint(20 * MS, SECOND // 2), lambda: report_priorities(host.world))


def report_priorities(world: World) -> None:
    for host in world.hosts:
        config = latest_config(host)
        if config.peers:
            others = [latest_config(other) for other in world.hosts if other is not host]
            told = tuple(Peer(priority=other.priority, address=other.primary_address) for other in others)
            host.tell(replace(config, peers=told))


class Chaos:
    """Faults at random instants up to `heals_at_ns`; then everything is well, and every host takes part or is off."""

    def __init__(self, world: World, shape: Shape, *, faults: int) -> None:
        self.world, self.shape = world, shape
        self._identity, self._healed = identity(shape, 0), False
        self.heals_at_ns = (faults + 4) * 3 * shape.interval_ns // 2
        rng = world.random
        world.weather = Weather(
            loss=rng.choice((0.0, 0.05, 0.3)),
            duplication=rng.choice((0.0, 0.2)),
            delay_max_ns=rng.choice((1, 5, 50)) * MS,
            reordering=rng.random() < 0.5,
        )
        kinds = (
            self._cut,
            self._stall,
            self._crash,
            self._leave,
            self._fail,
            self._reprioritize,
            self._reidentify,
            self._blackout,
            self._repace,
        )
        for _ in range(faults):
            world.at(rng.randrange(self.heals_at_ns), rng.choice(kinds))
        world.at(self.heals_at_ns, self._heal)

    def _host(self) -> Host:
        """Mostly the one that matters."""
        in_charge = masters(self.world)
        return self.world.random.choice(
            in_charge if in_charge and self.world.random.random() < 0.5 else self.world.hosts
        )

    def _some_time_ns(self) -> int:
        return self.world.random.randint(
            MS, self.world.random.choice((MS, 50 * MS, 2 * self.shape.interval_ns, 7 * self.shape.interval_ns))
        )

    def _later(self, delay_ns: int, what: Callable[[], None]) -> None:
        """Unless all is well by then."""
        self.world.after(delay_ns, lambda: None if self._healed else what())

    def _cut(self) -> None:
        pair = (self._host().name, self._host().name)
        self.world.weather.cut.add(pair)
        self.world.record(self._host(), f"cut {pair}")
        self._later(self._some_time_ns(), lambda: self.world.weather.cut.discard(pair))

    def _stall(self) -> None:
        self._host().pause(self._some_time_ns())

    def _crash(self) -> None:
        host = self._host()
        host.crash(guarded=self.world.random.random() < 0.5)
        self._later(self._some_time_ns(), host.start)

    def _leave(self) -> None:
        host = self._host()
        host.tell(Shutdown(at_once=self.world.random.random() < 0.2))
        self._later(self._some_time_ns(), host.start)

    def _fail(self) -> None:
        host = self._host()
        host.tell(Failed(reason="link down"))
        self._later(self._some_time_ns(), lambda: host.tell(Recovered()))

    def _reprioritize(self) -> None:
        change_priority(self._host(), self.world.random.choice((1, 60, 100, 140, 200, 254)))

    def _repace(self) -> None:
        """One host alone: in version 3 intervals may differ, a BACKUP learns its master's."""
        host = self._host()
        config = latest_config(host)
        if config.identity.version == 3 and self.shape.interval_ns == SECOND:
            interval_ns = self.world.random.choice((100 * MS, SECOND))
            host.tell(replace(config, advertisement_interval_ns=interval_ns))

    def _reidentify(self) -> None:
        shape = self.shape
        if shape.interval_ns == SECOND and self.world.random.random() < 0.3:
            shape = replace(shape, version=self.world.random.choice((2, 3)))
        new = self._identity = identity(shape, self._identity.vrid - 6)
        for host in self.world.hosts:
            self._later(
                self._some_time_ns(),
                lambda host=host: host.tell(self._with_identity(host, new)),
            )

    def _with_identity(self, host: Host, new: Identity) -> Config:
        interval_ns = self.shape.interval_ns if new.version == 2 else latest_config(host).advertisement_interval_ns
        return replace(latest_config(host), identity=new, advertisement_interval_ns=interval_ns)

    def _blackout(self) -> None:
        before = self.world.weather.loss
        self.world.weather.loss = 1.0
        self._later(self._some_time_ns(), lambda: setattr(self.world.weather, "loss", min(before, 0.3)))

    def _heal(self) -> None:
        world, rng = self.world, self.world.random
        self._healed, world.weather = True, Weather()
        world.trace.append("healed")
        off = set(rng.sample(world.hosts, rng.randint(0, len(world.hosts) - 1))) if rng.random() < 0.3 else set()
        for host in world.hosts:
            host.wake()
            if host in off:
                host.power_off()
            else:
                host.start()
                host.tell(self._with_identity(host, self._identity))
                host.tell(Recovered())


def best_hosts(world: World) -> list[Host]:
    running = [host for host in world.hosts if host.running]
    highest = max(host.config.priority for host in running)
    return [host for host in running if host.config.priority == highest]


def masters(world: World) -> list[Host]:
    return [host for host in world.hosts if serves(host)]


class PlannedMoves:
    """Nothing fails on a calm LAN: hosts leave and return, priorities and the identity change, also several at a time.

    One host always stays, so there is always somebody to move to.
    """

    def __init__(self, world: World, shape: Shape, *, moves: int, identities: bool) -> None:
        self.world, self.shape = world, shape
        self._identity = identity(shape, 0)
        self.begins_at_ns = shape.settled_after_ns + 3 * shape.interval_ns
        kinds = [self._leave, self._reprioritize, self._readdress]
        if shape.version == 3:
            kinds.append(self._repace)
        when_ns = self.begins_at_ns
        for _ in range(moves):
            kind = world.random.choice(kinds)
            world.at(when_ns, kind)
            when_ns += world.random.randint(0, world.random.choice((20 * MS, shape.interval_ns, 6 * shape.interval_ns)))
        # An owner that starts under the new identity is master at once and cannot know the old one.
        if identities and all(host.config.priority != OWNER_PRIORITY for host in world.hosts):
            world.at(world.random.randint(self.begins_at_ns, when_ns), self._reidentify)
        self.ends_at_ns = when_ns + replace(shape, interval_ns=SECOND).decided_after_ns

    def _leave(self) -> None:
        in_charge = masters(self.world)
        host = self.world.random.choice(in_charge or self.world.hosts)
        listening = [other for other in self.world.hosts if role(other.state) is Role.BACKUP and other is not host]
        if not listening:
            return
        host.tell(Shutdown())
        self.world.after(self.world.random.randint(MS, 8 * self.shape.interval_ns), lambda: self._return(host))

    def _return(self, host: Host) -> None:
        """Not while an identity changes: a router that starts under the new one cannot know the old one."""
        if len({other.config.identity for other in self.world.hosts}) > 1:
            self.world.after(self.shape.interval_ns, lambda: self._return(host))
        else:
            host.start()

    def _reprioritize(self) -> None:
        host = self.world.random.choice(masters(self.world) or self.world.hosts)
        change_priority(host, self.world.random.choice((1, 60, 100, 140, 200, 254)))

    def _readdress(self) -> None:
        addresses = tuple(IPv4Address("10.0.0.100") + number for number in range(self.world.random.randint(1, 4)))
        for host in self.world.hosts:
            host.tell(replace(latest_config(host), addresses=addresses))

    def _repace(self) -> None:
        interval_ns = self.world.random.choice((100 * MS, SECOND))
        for host in self.world.hosts:
            self.world.after(
                self.world.random.randint(0, self.shape.interval_ns),
                lambda host=host: host.tell(replace(latest_config(host), advertisement_interval_ns=interval_ns)),
            )

    def _reidentify(self) -> None:
        new = identity(self.shape, 1)
        late = self.world.random.choice((2, 12))  # within a master-down interval, or long after it
        for host in self.world.hosts:
            self.world.after(
                self.world.random.randint(0, late * self.shape.interval_ns),
                lambda host=host: host.tell(replace(latest_config(host), identity=new)),
            )
