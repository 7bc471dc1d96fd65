"""One host: the shell around the election as the router has it, and the little of a kernel that matters.

The shell is one thread: while it carries out actions, each of which takes time, it reads nothing. A master sends what
is due before it reads; a BACKUP reads what waits before it believes that its timer expired. The kernel holds the
addresses with a lifetime that the shell renews, and takes them away when nobody does.
"""

from __future__ import annotations

from collections import deque

from vip_speaker.vrrp.machine import deadline, role, step
from vip_speaker.vrrp.types import (
    MS,
    SECOND,
    Action,
    AddAddresses,
    AddressesExpired,
    Advertisement,
    Announce,
    AnnouncementSeen,
    Config,
    Event,
    Heard,
    InitState,
    MasterState,
    Noted,
    OtherVersionHeard,
    Reconfigured,
    RemoveAddresses,
    Role,
    SendAdvertisement,
    Silence,
    Startup,
    State,
    StopAnnouncing,
    Tick,
    Unsilence,
    YieldingState,
)

from tests.election import check_step
from tests.simulation.lan import US, AdvertFrame, AnnouncementFrame, Frame, World

WAITING_FRAMES = 256  # a socket's buffer


class Host:
    def __init__(self, world: World, name: str, config: Config, *, drift_ppm: int) -> None:
        self.world, self.name, self.config = world, name, config
        self._drift_ppm, self._clock_offset_ns = drift_ppm, world.random.randrange(1000 * SECOND)
        self.state: State = InitState()
        self.running = False
        self.life = 0  # counts process starts: what an earlier process had planned is void
        self.paused_until_ns = 0
        self._busy_until_ns = 0
        self._inbox: deque[Frame | Event | Config] = deque()
        self.held = self.silent = False
        self._expires_at_ns = 0
        self._renewing = 0
        self._armed_for_ns: int | None = None
        self._announcing = 0
        world.hosts.append(self)

    # --- what happens to the host ---

    def start(self) -> None:
        """A new process: sweeps what an earlier one left, then takes part. Or the end of a shutdown under way."""
        if self.running:
            self.tell(Startup())
            return
        self.running, self.life, self.state = True, self.life + 1, InitState()
        self.paused_until_ns = self._busy_until_ns = 0
        self._inbox.clear()
        self.held = self.silent = False
        self._announcing += 1
        self._armed_for_ns = None
        self.world.note_holders()
        self.world.record(self, "starts")
        self.tell(Startup())

    def crash(self, *, guarded: bool) -> None:
        """The process is gone. A guard undoes what it did a little later; otherwise the kernel does, by expiry."""
        if not self.running:
            return
        self.running, self.life = False, self.life + 1
        self._announcing += 1
        self._inbox.clear()
        self.world.record(self, "crashes")
        if guarded and self.held:
            life = self.life
            self.world.after(20 * MS, lambda: self._last_will(life))

    def power_off(self) -> None:
        """Gone for good, with all it had."""
        self.crash(guarded=False)
        self.held = self.silent = False
        self.world.note_holders()

    def _last_will(self, life: int) -> None:
        if life == self.life:
            self.held = self.silent = False
            self.world.note_holders()
            self._transmit(SendAdvertisement(identity=self.config.identity, priority=0, interval_ns=SECOND))

    def pause(self, length_ns: int) -> None:
        self.paused_until_ns = max(self.paused_until_ns, self.world.now_ns + length_ns)
        self.world.record(self, f"stalls for {length_ns / MS:.1f} ms")
        self.world.at(self.paused_until_ns, self._run)

    def wake(self) -> None:
        self.paused_until_ns = 0
        self._run()

    def receive(self, frame: Frame) -> None:
        if self.running and len(self._inbox) < WAITING_FRAMES:
            self._inbox.append(frame)
            if self.world.reader_late_ns:
                self.world.after(self.world.random.randint(0, self.world.reader_late_ns), self._run)
            else:
                self._run()

    def tell(self, what: Event | Config) -> None:
        """An event of the host itself, or a new configuration."""
        if self.running:
            self._inbox.append(what)
            self._run()
        elif isinstance(what, Config):
            self.config = what

    # --- the shell ---

    def local_ns(self) -> int:
        return self.world.now_ns * (1_000_000 + self._drift_ppm) // 1_000_000 + self._clock_offset_ns

    def _true_ns(self, local_ns: int) -> int:
        return (local_ns - self._clock_offset_ns) * 1_000_000 // (1_000_000 + self._drift_ppm) + 2

    def _run(self) -> None:
        while self.running:
            busy_ns = max(self.paused_until_ns, self._busy_until_ns)
            if self.world.now_ns < busy_ns:
                return  # whoever made it busy calls again
            due_ns = deadline(self.state)
            due = due_ns is not None and due_ns <= self.local_ns()
            if self._inbox and not (due and isinstance(self.state, MasterState | YieldingState)):
                self._read(self._inbox.popleft())
            elif due:
                self._apply(Tick())
            else:
                self._arm(due_ns)
                return

    def _arm(self, due_ns: int | None) -> None:
        """One timer, for the deadline; it fires a little late."""
        if due_ns is None or due_ns == self._armed_for_ns:
            return
        self._armed_for_ns = due_ns
        self.world.at(
            self._true_ns(due_ns) + self.world.random.randint(0, self.world.timer_late_ns), lambda: self._fire(due_ns)
        )

    def _fire(self, due_ns: int) -> None:
        if self._armed_for_ns == due_ns:
            self._armed_for_ns = None
            self._run()

    def _read(self, what: Frame | Event | Config) -> None:
        match what:
            case AdvertFrame(identity=identity, advertisement=advertisement):
                former = getattr(self.state, "former", None)
                if identity == self.config.identity:
                    self._apply(Heard(advertisement=advertisement))
                elif former is not None and identity == former.identity:
                    self._apply(Heard(advertisement=advertisement, former=True))
                elif identity.version != self.config.identity.version and identity.vrid == self.config.identity.vrid:
                    self._apply(OtherVersionHeard(source=advertisement.source))
            case AnnouncementFrame(address=address):
                self._apply(AnnouncementSeen(address=address))
            case Config():
                previous, self.config = self.config, what
                self.world.record(self, f"priority {what.priority} identity {what.identity.vrid} {len(what.addresses)}")
                self._apply(Reconfigured(previous=previous))
            case _:
                self._apply(what)

    def _apply(self, event: Event) -> None:
        before = self.state
        again = step(self.config, before, event, self.local_ns())
        self.state, actions = step(self.config, before, event, self.local_ns())
        assert again == (self.state, actions)
        check_step(before, self.state, actions)
        if isinstance(event, Tick):
            due_ns = deadline(self.state)
            assert due_ns is None or due_ns > self.local_ns(), f"due again at once: {self.state}"
        when_ns, life = self.world.now_ns, self.life
        for action in actions:
            if isinstance(action, Noted):
                continue
            when_ns += self.world.random.randint(20 * US, 200 * US)
            self.world.at(when_ns, lambda action=action: self._carry_out(action, life))
        if when_ns > self.world.now_ns:
            self._busy_until_ns = when_ns
            self.world.at(when_ns, self._run)

    def _carry_out(self, action: Action, life: int) -> None:
        if life != self.life:
            return
        self.world.record(self, repr(action))
        match action:
            case SendAdvertisement():
                self._transmit(action)
            case AddAddresses():
                self.held = True
                self._renewing += 1
                self._renew(self._renewing)
            case RemoveAddresses():
                self.held = self.silent = False
            case Silence():
                self.silent = True
                self._announcing += 1
            case Unsilence():
                self.silent = False
            case Announce():
                self._announcing += 1
                self._announce(self._announcing)
                for later_ns in (100 * MS, SECOND) if action.takeover else ():
                    self.world.after(later_ns, lambda run=self._announcing: self._announce(run))
            case StopAnnouncing():
                self._announcing += 1
        self.world.note_holders()

    def _transmit(self, action: SendAdvertisement) -> None:
        advertisement = Advertisement(
            version=action.identity.version,
            vrid=action.identity.vrid,
            priority=action.priority,
            interval_ns=action.interval_ns,
            source=self.config.primary_address,
        )
        self.world.transmit(self, AdvertFrame(action.identity, advertisement))

    def _announce(self, run: int) -> None:
        if run == self._announcing and self.running and self.world.now_ns >= self.paused_until_ns:
            for address in self.config.addresses:
                self.world.transmit(self, AnnouncementFrame(address))

    # --- the kernel ---

    def _lifetime_ns(self) -> int:
        down_ns = 4 * max(self.config.advertisement_interval_ns, SECOND if self.config.identity.version == 2 else 0)
        return max(2, -(-down_ns // SECOND)) * SECOND

    def _renew(self, run: int) -> None:
        if not self.held or not self.running or run != self._renewing:
            return
        if self.world.now_ns >= self.paused_until_ns:
            lateness_ns = self.world.random.randint(0, 800 * MS)
            self._expires_at_ns = self.world.now_ns + self._lifetime_ns() + lateness_ns
            self.world.at(self._expires_at_ns, self._expire)
        self.world.after(self._lifetime_ns() // 3, lambda: self._renew(run))

    def _expire(self) -> None:
        if self.held and self.world.now_ns >= self._expires_at_ns:
            self.held = self.silent = False
            self.world.record(self, "addresses expire")
            self.world.note_holders()
            self.tell(AddressesExpired())


def serves(host: Host) -> bool:
    return host.running and role(host.state) is Role.MASTER
