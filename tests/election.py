"""Drives the election by hand: a configuration, a clock that is set, and the rules that every step keeps."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from vip_speaker.vrrp.machine import deadline, holds_addresses, role, step
from vip_speaker.vrrp.types import (
    SECOND,
    Action,
    AddAddresses,
    Advertisement,
    BackupState,
    Config,
    Event,
    Heard,
    Identity,
    InitState,
    IPAddress,
    LeavingState,
    MasterState,
    Noted,
    Reconfigured,
    RemoveAddresses,
    SendAdvertisement,
    Silence,
    Startup,
    State,
    Tick,
    Transition,
    Unsilence,
)

OURS = IPv4Address("10.0.0.20")
LOWER_ADDRESS = IPv4Address("10.0.0.10")
HIGHER_ADDRESS = IPv4Address("10.0.0.30")
VIPS = (IPv4Address("10.0.0.100"), IPv4Address("10.0.0.101"))

V3 = Identity(version=3, vrid=7)
V2 = Identity(version=2, vrid=7, advertisement_interval_ns=SECOND)
V2_SLOW = Identity(version=2, vrid=7, advertisement_interval_ns=5 * SECOND)
OTHER_V3 = Identity(version=3, vrid=8)


def config_of(version: int = 3, **changes: object) -> Config:
    config = Config(
        identity=V2 if version == 2 else V3,
        priority=100,
        advertisement_interval_ns=SECOND,
        primary_address=OURS,
        addresses=VIPS,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


class Router:
    """One machine and its clock. `sent` and `done` are of the last step: advertisements, and everything but notes."""

    def __init__(self, config: Config | None = None, *, now_ns: int = 5 * SECOND) -> None:
        self.config = config or config_of()
        self.state: State = InitState()
        self.now_ns = now_ns
        self.actions: tuple[Action, ...] = ()

    def do(self, event: Event) -> tuple[Action, ...]:
        before = self.state
        self.state, self.actions = step(self.config, before, event, self.now_ns)
        assert (self.state, self.actions) == step(self.config, before, event, self.now_ns)
        check_step(before, self.state, self.actions)
        return self.actions

    def after(self, length_ns: int) -> Router:
        self.now_ns += length_ns
        return self

    def tick(self) -> tuple[Action, ...]:
        actions = self.do(Tick())
        due_ns = deadline(self.state)
        assert due_ns is None or due_ns > self.now_ns
        return actions

    def tick_when_due(self) -> tuple[Action, ...]:
        due_ns = deadline(self.state)
        assert due_ns is not None
        self.now_ns = due_ns
        return self.tick()

    def hear(
        self,
        priority: int,
        source: IPAddress = HIGHER_ADDRESS,
        *,
        interval_ns: int | None = None,
        former: bool = False,
        version: int | None = None,
    ) -> tuple[Action, ...]:
        advertisement = Advertisement(
            version=version or self.config.identity.version,
            vrid=self.config.identity.vrid,
            priority=priority,
            interval_ns=interval_ns or self.config.advertisement_interval_ns,
            source=source,
        )
        return self.do(Heard(advertisement=advertisement, former=former))

    def become(self, **changes: object) -> tuple[Action, ...]:
        previous, self.config = self.config, replace(self.config, **changes)  # type: ignore[arg-type]
        return self.do(Reconfigured(previous=previous))

    @property
    def sent(self) -> list[SendAdvertisement]:
        return [action for action in self.actions if isinstance(action, SendAdvertisement)]

    @property
    def said(self) -> list[tuple[int, int]]:
        """Priority and interval of what was sent."""
        return [(action.priority, action.interval_ns) for action in self.sent]

    @property
    def kinds(self) -> list[type]:
        return [type(action) for action in self.actions if not isinstance(action, Noted)]

    @property
    def notes(self) -> list[Noted]:
        return [action for action in self.actions if isinstance(action, Noted)]

    @property
    def transition(self) -> Transition:
        (transition,) = [action for action in self.actions if isinstance(action, Transition)]
        return transition

    @property
    def backup(self) -> BackupState:
        assert isinstance(self.state, BackupState)
        return self.state

    @property
    def master(self) -> MasterState:
        assert isinstance(self.state, MasterState)
        return self.state

    @property
    def leaving(self) -> LeavingState:
        assert isinstance(self.state, LeavingState)
        return self.state


def backup(config: Config | None = None) -> Router:
    router = Router(config)
    router.do(Startup())
    assert isinstance(router.state, BackupState)
    return router


def master(config: Config | None = None) -> Router:
    router = Router(config)
    router.do(Startup())
    if not isinstance(router.state, MasterState):
        router.tick_when_due()
    assert isinstance(router.state, MasterState)
    return router


def check_step(before: State, after: State, actions: tuple[Action, ...]) -> None:
    """What holds for every step: addresses and roles move exactly as the actions say."""
    held, silent = holds_addresses(before), is_silent(before)
    for action in actions:
        match action:
            case AddAddresses():
                held = True
            case RemoveAddresses():
                assert held, f"removes what it does not hold: {before} -> {actions}"
                held = silent = False
            case Silence():
                assert held and not silent, f"silences in vain: {before} -> {actions}"
                silent = True
            case Unsilence():
                assert silent, f"lifts no silence: {before} -> {actions}"
                silent = False
            case _:
                pass
    assert held == holds_addresses(after), f"{before} -> {after}: {actions}"
    assert silent == is_silent(after), f"{before} -> {after}: {actions}"
    transitions = [action for action in actions if isinstance(action, Transition)]
    told = [(transition.before, transition.after) for transition in transitions]
    assert told == ([(role(before), role(after))] if role(before) != role(after) else []), f"{before} -> {after}"


def is_silent(state: State) -> bool:
    return isinstance(state, BackupState | LeavingState) and state.handover is not None
