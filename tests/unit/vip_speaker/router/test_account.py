"""What is told of one VIP: the reason of a transition, the reason without one, and oddities."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from vip_speaker.router import account as module
from vip_speaker.router.account import Account
from vip_speaker.router.complaints import Complaints
from vip_speaker.vrrp.types import MS, SECOND, Cause, Note, Noted, Role, Transition

PEER = ip_address("10.0.0.2")


@pytest.fixture(name="account")
def _account(caplog) -> Account:
    caplog.set_level("INFO")
    return Account("web", Complaints("web"))


def transition(after: Role, *, cause: Cause = Cause.STARTED, detail: str = "") -> Transition:
    return Transition(before=Role.BACKUP, after=after, cause=cause, detail=detail)


@pytest.mark.parametrize(
    ("after", "fault", "waiting", "reason"),
    [
        (Role.MASTER, None, None, "started"),
        (Role.FAULT, "eth0 is down", None, "eth0 is down"),
        (Role.FAULT, None, "waiting for a priority", "started"),
        (Role.INIT, None, "waiting for a priority", "waiting for a priority"),
        (Role.INIT, "eth0 is down", None, "started"),
        (Role.BACKUP, "eth0 is down", "waiting for a priority", "started"),
    ],
)
def test_what_is_in_the_way_says_more_than_the_election(account, after, fault, waiting, reason):
    account.transition(transition(after), 0, fault=fault, waiting=waiting)
    assert account.reason == reason


def test_a_transition_is_one_line_about_the_vip(account, caplog):
    account.transition(transition(Role.MASTER), 0, fault=None, waiting=None)
    assert caplog.messages == ["BACKUP → MASTER, started"]
    assert caplog.records[0].vip == "web"


def test_a_role_is_counted_from_its_transition_on_and_not_from_another_reason(account, monkeypatch):
    began = account.since
    monkeypatch.setattr(module.time, "time", lambda: began + 5)
    account.reason_is(Role.INIT, "waiting for a priority")
    assert account.since == began
    account.transition(transition(Role.MASTER), 0, fault=None, waiting=None)
    assert account.since == began + 5


def test_a_reason_is_said_once(account, caplog):
    assert account.reason == "starting"
    for reason in ("waiting for a priority", "waiting for a priority", "waiting for the password"):
        account.reason_is(Role.INIT, reason)
        assert account.reason == reason
    assert caplog.messages == ["INIT: waiting for a priority", "INIT: waiting for the password"]


def test_oddities_are_all_counted_and_said_at_a_bounded_rate(account, caplog):
    for _ in range(3):
        account.note(Noted(note=Note.ANOTHER_MASTER, source=PEER), 7 * SECOND)
    account.note(Noted(note=Note.ADVERT_LATE, late_ns=612 * MS + 1), 7 * SECOND)
    assert account.notes == {Note.ANOTHER_MASTER: 3, Note.ADVERT_LATE: 1}
    assert caplog.messages == ["another master advertises (10.0.0.2)", "an advertisement was late by 612 ms"]


def taken_over(account: Account, at_ns: int) -> None:
    """From PEER, which is worse."""
    took_over = Transition(before=Role.BACKUP, after=Role.MASTER, cause=Cause.PREEMPTED, source=PEER)
    account.transition(took_over, at_ns, fault=None, waiting=None)


def test_the_last_word_of_whom_we_took_over_from_is_no_warning(account, caplog):
    """Every planned take-back has one."""
    taken_over(account, 7 * SECOND)
    account.note(Noted(note=Note.ANOTHER_MASTER, source=PEER), 7 * SECOND + MS)
    (record,) = caplog.records[1:]
    assert (record.levelname, record.getMessage()) == ("INFO", "the former master still advertises (10.0.0.2)")
    assert account.notes == {Note.ANOTHER_MASTER: 1}


@pytest.mark.parametrize(("source", "after_ns"), [(PEER, SECOND), (ip_address("10.0.0.3"), MS)])
def test_one_that_goes_on_and_anybody_else_are_warned_of(account, caplog, source, after_ns):
    taken_over(account, 7 * SECOND)
    account.note(Noted(note=Note.ANOTHER_MASTER, source=PEER), 7 * SECOND)
    account.note(Noted(note=Note.ANOTHER_MASTER, source=source), 7 * SECOND + after_ns)
    assert caplog.records[-1].levelname == "WARNING"
    assert caplog.messages[-1] == f"another master advertises ({source})"


def test_nobody_was_taken_over_from_by_who_is_no_master(account, caplog):
    taken_over(account, 7 * SECOND)
    lost = Transition(before=Role.MASTER, after=Role.BACKUP, cause=Cause.HIGHER_PRIORITY, source=PEER)
    account.transition(lost, 7 * SECOND, fault=None, waiting=None)
    account.note(Noted(note=Note.ANOTHER_MASTER, source=PEER), 7 * SECOND)
    assert caplog.records[-1].levelname == "WARNING"
