"""What the router says: the sentence of a transition, and complaints at a rate that no neighbour decides."""

import logging
from ipaddress import ip_address

import pytest
from vip_speaker.router.complaints import Complaints
from vip_speaker.router.explain import explain
from vip_speaker.vrrp.types import SECOND, Cause, Role, Transition

PEER = ip_address("192.168.137.201")


@pytest.mark.parametrize(
    ("transition", "sentence"),
    [
        (
            {"cause": Cause.MASTER_DOWN, "source": PEER, "silent_for_ns": 3_219_000_000},
            "nothing heard from 192.168.137.201 for 3.219 s",
        ),
        ({"cause": Cause.MASTER_DOWN}, "nothing heard from any master"),
        ({"cause": Cause.MASTER_RELEASED, "source": PEER}, "192.168.137.201 gave up"),
        ({"cause": Cause.PREEMPTED, "source": PEER}, "took over from 192.168.137.201, whose priority is lower"),
        ({"cause": Cause.HIGHER_PRIORITY, "source": PEER}, "192.168.137.201 has a higher priority"),
        ({"cause": Cause.HIGHER_ADDRESS, "source": PEER}, "192.168.137.201 has the same priority and a higher address"),
        ({"cause": Cause.SUCCEEDED, "source": PEER}, "192.168.137.201 took over"),
        ({"cause": Cause.FAILED, "detail": "eth0 has no carrier"}, "eth0 has no carrier"),
        ({"cause": Cause.STARTED}, "started"),
        ({"cause": Cause.STALLED}, "this process was stalled"),
    ],
)
def test_a_transition_is_one_clause(transition, sentence):
    assert explain(Transition(before=Role.BACKUP, after=Role.MASTER, **transition)) == sentence


def test_every_cause_has_words():
    for cause in Cause:
        assert explain(Transition(before=Role.INIT, after=Role.BACKUP, cause=cause))


def test_a_complaint_is_logged_once_a_minute_with_the_number_held_back(caplog):
    complaints = Complaints("eth0")
    with caplog.at_level(logging.WARNING):
        for at in range(100):
            complaints.add("advertisement discarded: ttl", f"from 10.0.0.{at}", at * SECOND // 10)
        assert len(caplog.records) == 1
        complaints.add("advertisement discarded: ttl", "from 10.0.0.9", 60 * SECOND)
        complaints.add("advertisement discarded: checksum", "from 10.0.0.9", 60 * SECOND)
    assert [record.getMessage() for record in caplog.records] == [
        "advertisement discarded: ttl from 10.0.0.0",
        "advertisement discarded: ttl from 10.0.0.9; 99 more since the last such line",
        "advertisement discarded: checksum from 10.0.0.9",
    ]
