"""One leaver, one successor: three routers and more, seen by their logs and on the wire."""

from __future__ import annotations

import pytest

from tests.peers import Frr, Keepalived, Peer
from tests.scene import BUSY_MS
from tests.several import DERIVED, Move, several

OTHERS = pytest.mark.parametrize("other", [Keepalived, Frr], ids=["keepalived", "frr"])


def one_successor(moves: list[Move], *, name: str = "r1") -> None:
    """Always the best of those that stay, alone, by the log and on the wire."""
    assert [one.advertised for one in moves] == [(name,)] * len(moves)
    assert not any(one.two for one in moves), moves


@pytest.mark.parametrize("interval_ms", [1000, 100])
@pytest.mark.parametrize("what", ["SIGTERM", "demotion"])
def test_one_of_two_backups_succeeds(what: str, interval_ms: int) -> None:
    with several(DERIVED, interval_ms=interval_ms) as routers:
        moves = [routers.move(what) for _ in range(3)]
    one_successor(moves)
    assert [one.lost for one in moves] == [0] * len(moves)


def test_one_of_seven_backups_succeeds() -> None:
    with several(range(254, 238, -2), interval_ms=100) as routers:
        moves = [routers.move(what) for what in ("SIGTERM", "demotion", "SIGTERM", "demotion")]
    one_successor(moves)
    assert [one.lost for one in moves] == [0] * len(moves)


def test_the_last_will_of_a_killed_router_calls_one_successor() -> None:
    with several(DERIVED, interval_ms=100) as routers:
        one_successor([routers.move("kill -9") for _ in range(3)])


def test_a_backup_is_not_waited_for_longer_than_its_turn_when_it_is_dead() -> None:
    with several(DERIVED, interval_ms=1000) as routers:
        routers.peers["r1"].kill()
        moved = routers.move("SIGTERM")
    one_successor([moved], name="r2")
    assert moved.lost == 0
    assert moved.takeover_ms <= 13 + BUSY_MS, "its skew of 130 ms and 10 ms; no master-down interval"


@OTHERS
def test_another_implementation_below_ours_stays_backup(other: type[Peer]) -> None:
    """It knows nothing of a stand-off; the interval that the leaver asks for keeps it apart."""
    with several((254, 252, 200), interval_ms=100, others={2: other}) as routers:
        moves = [routers.move("SIGTERM") for _ in range(2)]
    one_successor(moves)
    assert [one.lost for one in moves] == [0, 0]


@OTHERS
def test_another_implementation_that_leaves_has_one_successor(other: type[Peer]) -> None:
    with several(DERIVED, interval_ms=100, others={0: other}) as routers:
        one_successor([routers.move("SIGTERM") for _ in range(2)])
