"""What is said of an address that is on the link already. Holding as a whole is tried on real kernels in interop."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from vip_api.model import Announcements, VirtualAddress
from vip_speaker.kernel import Assigned, KernelError, Link
from vip_speaker.kernel.addresses import Failure
from vip_speaker.router.holding import Holding
from vip_speaker.router.places import Place
from vip_speaker.router.timers import TimerQueue

THEIRS, OURS = ip_address("192.168.137.203"), ip_address("192.168.137.200")
MAC = "02:00:00:00:00:01"


class FakeKernel:
    """Refuses `refused`, with the error number for each; real refusals: tests/interop/test_kernel_addresses.py."""

    def __init__(self, refused: dict[object, int]) -> None:
        self.refused = refused
        self.links = {2: Link(ifindex=2, name="eth0", mac=MAC)}

    def plan_addresses(self, link, addresses, *, parent):
        return tuple(Assigned(ifindex=link.ifindex, ip=ip, prefix_length=32) for ip, _ in addresses)

    def add(self, assigned, lifetime_s):
        return [
            Failure(assigned=one, error=KernelError(f"{one} is refused", code))
            for one in assigned
            if (code := self.refused.get(one.ip)) is not None
        ]

    def holds(self, assigned):
        return assigned.ip not in self.refused

    def unsilence(self, addresses):
        pass

    def wait_until_usable(self, assigned, limit_ns):
        return True


class FakeLink:
    """Keeps what is announced, by schedule."""

    def __init__(self) -> None:
        self.announced: dict[str, list[bytes]] = {}

    def announce(self, name, frames, **_):
        self.announced[name] = frames


def held(refused: dict[object, int], *, owner: bool) -> tuple[Holding, FakeLink, TimerQueue]:
    timers, link = TimerQueue(), FakeLink()
    services = SimpleNamespace(
        kernel=FakeKernel(refused),
        loop=SimpleNamespace(others=timers, now_ns=lambda: 0),
        holding_changed=lambda: None,
        plan_changed=lambda: None,
    )
    holding = Holding("web", services, SimpleNamespace(), Announcements())
    addresses = tuple(VirtualAddress(ip=ip) for ip in (THEIRS, OURS))
    holding.place(link, {4: Place(ifindex=2, mac=MAC)}, addresses)
    holding.owner = owner
    holding.add()
    holding.announce(takeover=False)
    return holding, link, timers


@pytest.mark.parametrize(
    ("owner", "code", "problem"),
    [
        (True, errno.EEXIST, ""),
        (False, errno.EEXIST, "192.168.137.203/32 is refused"),
        (True, errno.EACCES, "192.168.137.203/32 is refused"),
    ],
)
def test_an_owner_has_its_addresses_already(caplog, owner, code, problem):
    holding, link, timers = held({THEIRS: code}, owner=owner)
    assert problem in holding.problem
    assert bool(holding.problem) is bool(problem)
    assert len(caplog.records) == bool(problem)
    assert (timers.next_at_ns() is not None) is bool(problem), "tried again only where something is wrong"
    assert [one.ip for one in holding.assigned] == [OURS], "neither we nor the guard may take it off"
    assert len(link.announced["web"]) == (2 if code == errno.EEXIST else 1)
