"""What a VIP does about others that serve or claim its addresses, on a clock of the test's own."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from vip_speaker.router.complaints import Complaints
from vip_speaker.router.defence import Defence
from vip_speaker.router.rivals import Pacing
from vip_speaker.router.timers import TimerQueue
from vip_speaker.vrrp.types import LOWEST_PRIORITY, MS, SECOND, Advertisement, IPAddress
from vip_speaker.wire.neighbour import Announced

VIP, OTHER = ip_address("10.0.0.100"), ip_address("10.0.0.9")
OUR_MAC, THEIR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:09"


class Clock:
    """Stands for the loop: deadlines run when `wait` passes them."""

    def __init__(self) -> None:
        self.others = TimerQueue()
        self.at_ns = 100 * SECOND

    def now_ns(self) -> int:
        return self.at_ns

    def wait(self, ns: int) -> None:
        end_ns = self.at_ns + ns
        while (at_ns := self.others.next_at_ns()) is not None and at_ns <= end_ns:
            self.at_ns = max(self.at_ns, at_ns)
            self.others.run_due(self.at_ns)
        self.at_ns = end_ns


class Scene:
    """A defence, and what it led to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.announced_at: list[int] = []
        services = SimpleNamespace(
            loop=self.clock,
            kernel=SimpleNamespace(links={2: SimpleNamespace(mac=OUR_MAC)}),
            state_changed=self.told.append,
        )
        self.defence = Defence(
            "web",
            services,  # type: ignore[arg-type]
            Complaints("web"),
            lambda: self.announced_at.append(self.clock.at_ns),
        )

    def problems(self) -> tuple[str, ...]:
        return self.defence.rivals.problems(self.clock.at_ns)


@pytest.fixture(name="scene")
def _scene() -> Scene:
    return Scene()


def advertisement(*, vrid: int = 7, version: int = 3, priority: int = 100, source: IPAddress = OTHER) -> Advertisement:
    return Advertisement(
        version=version,
        vrid=vrid,
        priority=priority,
        interval_ns=SECOND,
        source=source,
        addresses=(ip_address("10.0.0.50"),),
    )


def claim(mac: str) -> Announced:
    return Announced(address=VIP, mac=mac, answers=True)


def test_another_master_is_told_and_answered_once_a_little_later(scene: Scene) -> None:
    start_ns = scene.clock.at_ns
    scene.defence.other_master(advertisement())
    scene.defence.other_master(advertisement())
    assert scene.told == ["web", "web"]
    assert scene.announced_at == []
    scene.clock.wait(SECOND)
    assert scene.announced_at == [start_ns + 100 * MS]


def test_each_that_gives_way_is_followed_by_an_announcement_at_once(scene: Scene) -> None:
    """The demoted master first, as it should; then a second successor, which clients had believed."""
    start_ns, second = scene.clock.at_ns, ip_address("10.0.0.2")
    scene.defence.other_master(advertisement(priority=LOWEST_PRIORITY))
    scene.clock.wait(20 * MS)
    scene.defence.other_master(advertisement(source=second, priority=90))
    scene.clock.wait(5 * MS)
    scene.defence.other_master(advertisement(source=second, priority=LOWEST_PRIORITY))
    assert scene.announced_at == [start_ns, start_ns + 25 * MS]
    scene.clock.wait(SECOND)
    assert scene.announced_at[2:] == [start_ns + Pacing.FIRST_NS], "and once more, as after any contest"


def test_one_that_says_so_without_end_makes_no_storm(scene: Scene) -> None:
    for _ in range(1000):
        scene.defence.other_master(advertisement(priority=LOWEST_PRIORITY))
        scene.clock.wait(10 * MS)
    assert len(scene.announced_at) == Pacing.AT_ONCE + 4, "at once, and after 0.1, 1.1, 3.1 and 7.1 s"


def test_its_end_is_told_too(scene: Scene) -> None:
    scene.defence.other_version(advertisement(version=2))
    assert scene.problems() == ("10.0.0.9 speaks VRRP version 2 with our VRID",)
    scene.told.clear()
    scene.clock.wait(60 * SECOND)
    assert scene.told == ["web"]
    assert scene.problems() == ()
    assert scene.announced_at == []


@pytest.mark.parametrize(
    ("our_vrid", "how"),
    [
        (7, "with our VRID, in a way that is not ours (password, interval or transport)"),
        (8, "as VRID 7"),
        (None, "as VRID 7"),
    ],
)
def test_who_serves_our_address_is_said_with_the_vrid(scene: Scene, our_vrid: int | None, how: str) -> None:
    scene.defence.address_served(advertisement(), VIP, our_vrid)
    assert scene.problems() == (f"10.0.0.9 serves 10.0.0.100 {how}",)


def test_another_virtual_router_of_our_vrid_is_named_with_what_it_serves(scene: Scene) -> None:
    scene.defence.other_addresses(advertisement())
    assert scene.problems() == ("10.0.0.9 serves other addresses (10.0.0.50) with our VRID",)


def test_a_claim_counts_once_our_taking_over_must_be_known(scene: Scene) -> None:
    scene.clock.wait(10 * SECOND)
    scene.defence.role_changed()
    scene.clock.wait(3 * SECOND - 1)
    scene.defence.claimed(claim(THEIR_MAC))
    assert scene.problems() == ()
    scene.clock.wait(1)
    scene.defence.claimed(claim(THEIR_MAC))
    assert scene.problems() == (f"{THEIR_MAC} claims 10.0.0.100",)
    scene.clock.wait(SECOND)
    assert len(scene.announced_at) == 1


def test_what_this_host_says_itself_is_no_claim(scene: Scene) -> None:
    scene.clock.wait(10 * SECOND)
    scene.defence.claimed(claim(OUR_MAC))
    assert scene.problems() == ()
    assert scene.told == []


def test_a_change_of_role_forgets_who_was_beside_us(scene: Scene) -> None:
    scene.clock.wait(10 * SECOND)
    for _ in range(4):
        scene.defence.other_master(advertisement())
        scene.clock.wait(SECOND)
    assert scene.defence.rivals.split_brain(scene.clock.at_ns) is not None
    scene.defence.role_changed()
    assert scene.defence.rivals.split_brain(scene.clock.at_ns) is None


def test_nothing_is_due_once_closed(scene: Scene) -> None:
    scene.defence.other_master(advertisement())
    scene.defence.close()
    assert scene.clock.others.next_at_ns() is None
