from __future__ import annotations

from ipaddress import ip_address

import pytest
from vip_api.model import Assignment, Peer, Track, VirtualAddress, VirtualIP, VirtualIPSpec
from vip_speaker.health.advice import weight_warnings


def vip(*tracks: Track, own: int = 210, others: tuple[int, ...] = (), lone: bool = False) -> VirtualIP:
    peers = tuple(Peer(node=f"node-{priority}", priority=priority) for priority in others)
    return VirtualIP(
        name="web",
        spec=VirtualIPSpec(
            addresses=(VirtualAddress(ip=ip_address("192.0.2.1")),), track=tracks, priority=own if lone else None
        ),
        assignment=None if lone else Assignment(priority=own, virtual_router_id=51, peers=peers),
    )


def process(weight: int, *, reverse: bool = False) -> Track:
    return Track(name="httpd", kind="process", check=(("name", "httpd"),), weight=weight, reverse=reverse)


def test_the_tutorials_numbers_move_nothing_and_it_says_so():
    assert weight_warnings(vip(process(10), others=(200, 150))) == [
        "spec.track: httpd: weight 10 brings this node from 220 to 210 when it fails, not below the 210 of node-200: "
        "nothing moves; it takes 11 or more"
    ]


@pytest.mark.parametrize("weight", [11, -11, 253])
def test_enough_is_not_warned_of(weight):
    assert weight_warnings(vip(process(weight), others=(200,))) == []


@pytest.mark.parametrize("reverse", [False, True])
def test_a_negative_weight_counts_alike(reverse):
    (warning,) = weight_warnings(vip(process(-10, reverse=reverse), others=(200,)))
    assert "not below" in warning


def test_the_last_node_and_a_lone_router_are_told_nothing():
    assert weight_warnings(vip(process(10), own=100, others=(200,))) == []
    assert weight_warnings(vip(process(10), others=())) == []
    assert weight_warnings(vip(process(10), lone=True)) == []


def test_faults_and_numbers_are_not_judged():
    exists = Track(name="f", kind="file", check=(("path", "/x"), ("exists", True)), weight=1)
    number = Track(name="f", kind="file", check=(("path", "/x"), ("exists", False)), weight=1)
    assert weight_warnings(vip(process(0), number, others=(200,))) == []
    assert len(weight_warnings(vip(exists, others=(200,)))) == 1


def test_an_owner_never_changes():
    (warning,) = weight_warnings(vip(process(10), own=255, lone=True))
    assert "255, never changes" in warning
