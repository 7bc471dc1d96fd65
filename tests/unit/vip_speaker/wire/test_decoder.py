"""The decoder answers whatever comes, and its cache is bounded and right. (The rules: tests/conformance.)"""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_speaker.vrrp.types import CENTISECOND, SECOND, Advertisement
from vip_speaker.wire import Content, Decoder, Discard, DiscardReason, encode_frame, encode_packet

from tests import packets

RIGHT = [
    packets.ipv4(packets.message()),
    packets.ipv4(packets.message(version=2, interval=1, auth_type=1, auth_data=b"secret\0\0")),
    packets.ipv6(packets.message6()),
]
MUTATED_AT = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6)


@given(
    packet=st.binary(max_size=200),
    ethertype=st.sampled_from([0x0800, 0x86DD, 0x0806, 0]),
    packet_type=st.integers(0, 7),
    vlan=st.none() | st.integers(0, 4095),
    truncated=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_get_an_answer(packet, ethertype, packet_type, vlan, truncated):
    answer = Decoder().decode(
        packets.received(packet, ethertype=ethertype, packet_type=packet_type, vlan=vlan, truncated=truncated)
    )
    assert isinstance(answer, Discard)


@given(
    which=st.sampled_from(RIGHT), mutations=MUTATED_AT, cut=st.none() | st.integers(0, 120), more=st.binary(max_size=20)
)
@settings(max_examples=600, deadline=None)
def test_any_mutation_of_a_right_packet_gets_an_answer(which, mutations, cut, more):
    version = which[0] >> 4
    changed = bytearray(which)
    for at, value in mutations:
        if at < len(changed):
            changed[at] = value
    packet = bytes(changed[:cut]) + more
    answer = Decoder().decode(packets.received(packet, version=version))
    assert isinstance(answer, Advertisement | Discard)
    if isinstance(answer, Advertisement):
        assert 1 <= len(answer.addresses) <= 255
        assert answer.interval_ns > 0


@given(
    version=st.sampled_from([2, 3]),
    family=st.sampled_from([4, 6]),
    vrid=st.integers(1, 255),
    priority=st.integers(0, 255),
    interval=st.integers(1, 255),
    count=st.integers(1, 64),
    unicast=st.booleans(),
    password=st.none() | st.binary(min_size=1, max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_what_we_send_comes_back(  # noqa: PLR0917
    version, family, vrid, priority, interval, count, unicast, password
):
    if version == 2:
        family = 4
    else:
        password = None
    source, peer, base = ("10.9.0.10", "10.9.0.11", "10.9.1.0") if family == 4 else ("fe80::a", "fe80::b", "fe80::1:0")
    fields = {
        "version": version,
        "vrid": vrid,
        "priority": priority,
        "interval_ns": interval * (SECOND if version == 2 else CENTISECOND),
        "source": ip_address(source),
        "addresses": tuple(ip_address(base) + n for n in range(count)),
        "password": password,
    }
    if not unicast:
        packet = encode_frame(Content(**fields), source_mac="02:00:00:00:00:0a")[14:]
    else:
        packet = encode_packet(Content(**fields), destination=ip_address(peer))
        if family == 6:  # the header is the kernel's
            packet = packets.ipv6(packet, source=source, destination=peer)
    answer = Decoder().decode(packets.received(packet, version=family, packet_type=0 if unicast else 2))
    auth_data = b"" if password is None else password.ljust(8, b"\0")
    del fields["password"]
    assert answer == Advertisement(
        **fields,
        auth_type=0 if password is None else 1,
        auth_data=auth_data,
        destination=ip_address(peer) if unicast else None,
    )


def test_the_next_packet_of_a_master_is_looked_up():
    """Another identification and with it another header checksum, as keepalived counts them."""
    decoder = Decoder()
    answers = [
        decoder.decode(packets.received(packets.ipv4(packets.message(), identification=number)))
        for number in range(1, 50)
    ]
    assert decoder.misses == 1
    assert all(answer == answers[0] for answer in answers)
    assert isinstance(answers[0], Advertisement)


def test_padding_does_not_keep_a_packet_from_being_looked_up():
    decoder = Decoder()
    for padding in (b"", bytes(14), b"\xff" * 14):
        assert isinstance(decoder.decode(packets.received(packets.ipv4(packets.message()) + padding)), Advertisement)
    assert decoder.misses == 1


def test_a_wrong_header_checksum_is_not_hidden_by_the_cache():
    decoder = Decoder()
    right = packets.ipv4(packets.message())
    assert isinstance(decoder.decode(packets.received(right)), Advertisement)
    wrong = packets.ipv4(packets.message(), checksum=0x1234)
    assert decoder.decode(packets.received(wrong)).reason is DiscardReason.MALFORMED


@pytest.mark.parametrize(
    "other",
    [
        {"ttl": 254},
        {"fragment": 0x2000},
        {"source": "10.9.0.11"},
        {"destination": "224.0.0.19"},
        {"protocol": 51},
    ],
)
def test_what_the_verdict_depends_on_is_part_of_the_key(other):
    decoder = Decoder()
    right = decoder.decode(packets.received(packets.ipv4(packets.message(pseudo=False))))
    changed = decoder.decode(packets.received(packets.ipv4(packets.message(pseudo=False), **other)))
    assert isinstance(right, Advertisement)
    assert changed != right
    assert decoder.misses == 2


def test_group_and_unicast_are_kept_apart():
    decoder = Decoder()
    packet = packets.ipv4(packets.message(destination="10.9.0.11"), destination="10.9.0.11")
    assert isinstance(decoder.decode(packets.received(packet, packet_type=0)), Advertisement)
    assert decoder.decode(packets.received(packet, packet_type=2)).reason is DiscardReason.DESTINATION


def test_the_cache_is_bounded_and_keeps_what_is_heard():
    decoder = Decoder(cache_size=8)
    master = packets.received(packets.ipv4(packets.message()))
    decoder.decode(master)
    for number in range(200):
        junk = packets.ipv4(packets.message(priority=number, vrid=9))
        decoder.decode(packets.received(junk))
        if number % 5 == 0:
            decoder.decode(master)
    assert len(decoder._cache) == 8
    assert decoder.misses == 201


def test_repeated_junk_is_looked_up_too():
    decoder = Decoder()
    junk = packets.received(packets.ipv4(packets.message(checksum=0xDEAD)))
    for _ in range(10):
        assert decoder.decode(junk).reason is DiscardReason.CHECKSUM
    assert decoder.misses == 1
