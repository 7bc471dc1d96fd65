"""What we hold, until when, and which removals are still to be told."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from vip_speaker.kernel import Assigned
from vip_speaker.kernel.ledger import Ledger

S = 1_000_000_000


def assigned(number: int, *, ifindex: int = 7) -> Assigned:
    return Assigned(ifindex=ifindex, ip=ip_address(f"10.0.0.{number}"), prefix_length=32)


A, B, ELSEWHERE = assigned(1), assigned(2), assigned(1, ifindex=8)


@pytest.fixture(name="ledger")
def _ledger() -> Ledger:
    ledger = Ledger()
    for one in (A, B, ELSEWHERE):
        ledger.put(one, 4, 10 * S)
    return ledger


def test_what_is_put_is_held_until_it_is_dropped(ledger: Ledger) -> None:
    assert A.key in ledger.held
    assert ledger.ips == {A.ip, B.ip}
    assert ledger.ifindexes == {7, 8}
    ledger.drop(A.key, to_be_told=True)
    assert A.key not in ledger.held
    assert ledger.ips == {A.ip, B.ip}  # the same address on another link is another one
    ledger.drop(ELSEWHERE.key, to_be_told=True)
    assert ledger.ips == {B.ip}
    assert ledger.ifindexes == {7}
    assert [held.assigned for held in ledger.held.values()] == [B]
    assert ledger.ips is ledger.ips  # asked for at every look at a link, so collected once


def test_a_lifetime_runs_from_the_last_renewal(ledger: Ledger) -> None:
    held = ledger.held.get(A.key)
    assert held is not None
    assert held.until_ns is not None
    assert 13.8 * S < held.until_ns < 13.98 * S  # before the kernel's rounding can have taken it
    assert not held.ran_out(held.until_ns - 1)
    assert held.ran_out(held.until_ns)
    ledger.renewed(A, 6, 12 * S)
    assert held.lifetime_s == 6
    assert held.renewed_at_ns == 12 * S
    assert not held.ran_out(17 * S)


def test_a_renewal_told_late_does_not_shorten_what_was_put_since(ledger: Ledger) -> None:
    ledger.renewed(A, 4, 9 * S)
    held = ledger.held.get(A.key)
    assert held is not None
    assert held.renewed_at_ns == 10 * S


def test_a_renewal_brings_back_nothing(ledger: Ledger) -> None:
    ledger.drop(A.key, to_be_told=True)
    ledger.renewed(A, 4, 11 * S)
    assert ledger.held.get(A.key) is None


def test_what_is_held_for_ever_never_runs_out(ledger: Ledger) -> None:
    ledger.put(A, None, 10 * S)
    held = ledger.held.get(A.key)
    assert held is not None
    assert held.until_ns is None
    assert not held.ran_out(10**6 * S)


def test_each_removal_is_told_once(ledger: Ledger) -> None:
    assert not ledger.removal_told(A.key)
    for _ in range(2):
        ledger.drop(A.key, to_be_told=True)
    ledger.drop(B.key, to_be_told=False)
    assert not ledger.awaits_removal(B.key)
    assert [ledger.removal_told(A.key) for _ in range(3)] == [True, True, False]
    assert not ledger.awaits_removal(A.key)


def test_a_leftover_that_we_never_held_can_be_taken_off(ledger: Ledger) -> None:
    leftover = assigned(9)
    ledger.drop(leftover.key, to_be_told=True)
    assert ledger.ips == {A.ip, B.ip}
    assert ledger.removal_told(leftover.key)


def test_lost_events_are_not_waited_for(ledger: Ledger) -> None:
    ledger.drop(A.key, to_be_told=True)
    assert ledger.awaits_removal(A.key)
    ledger.removals_missed()
    assert not ledger.awaits_removal(A.key)
    assert B.key in ledger.held


def test_a_link_takes_what_was_on_it_along(ledger: Ledger) -> None:
    ledger.drop(B.key, to_be_told=True)
    ledger.forget_links([7])
    assert A.key not in ledger.held
    assert not ledger.awaits_removal(B.key)
    assert ledger.ips == {ELSEWHERE.ip}
    assert ledger.ifindexes == {8}
