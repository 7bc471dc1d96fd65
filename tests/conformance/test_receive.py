"""Receive validation, one test per row RV-… of docs/rfc-coverage.md (RFC 9568 section 7.1, RFC 3768 section 7.1)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from vip_speaker.vrrp.types import SECOND, Advertisement
from vip_speaker.wire import Decoder, Discard, DiscardReason, Expectation, PacketType, Remark, admit, remarks

from tests.packets import SOURCE4, VIP4, ipv4, ipv6, message, message6, received

MINE = Expectation(version=3, vrid=7, interval_ns=0)
MINE_V2 = Expectation(version=2, vrid=7, interval_ns=SECOND)
SECRET = Expectation(version=2, vrid=7, interval_ns=SECOND, password=b"secret")


def judge(packet: bytes, *, version: int = 4, expectation: Expectation = MINE, **reception):
    """What decoder and admission together say: the advertisement, or why it is discarded."""
    decoded = Decoder().decode(received(packet, version=version, **reception))
    if isinstance(decoded, Discard):
        return decoded
    return admit(decoded, expectation) or decoded


def reason(*arguments, **keywords) -> DiscardReason:
    verdict = judge(*arguments, **keywords)
    assert isinstance(verdict, Discard), verdict
    return verdict.reason


def accepted(*arguments, **keywords) -> Advertisement:
    verdict = judge(*arguments, **keywords)
    assert isinstance(verdict, Advertisement), verdict
    return verdict


def v2(**fields) -> bytes:
    fields = {"interval": 1, **fields}
    return ipv4(message(version=2, **fields))


def test_the_packets_that_the_tests_start_from_are_right():
    assert accepted(ipv4(message())).source == ip_address(SOURCE4)
    assert accepted(ipv6(message6()), version=6).version == 3
    assert accepted(v2(), expectation=MINE_V2).version == 2


def test_rv01_our_own_transmission():
    assert reason(ipv4(message()), packet_type=PacketType.OUTGOING) is DiscardReason.OWN_TRANSMISSION
    own = Expectation(version=3, vrid=7, interval_ns=0, own_addresses=frozenset({ip_address(SOURCE4)}))
    assert reason(ipv4(message()), expectation=own) is DiscardReason.OWN_TRANSMISSION


def test_rv02_link_layer():
    assert reason(ipv4(message()), vlan=100) is DiscardReason.VLAN_TAGGED
    accepted(ipv4(message()), vlan=0)  # a priority tag is no VLAN
    for packet_type in (PacketType.OTHERHOST, PacketType.BROADCAST, 7):
        assert reason(ipv4(message()), packet_type=packet_type) is DiscardReason.OTHER_STATION


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x2001, 0x1FFF])
def test_rv02_fragments(fragment):
    assert reason(ipv4(message(), fragment=fragment)) is DiscardReason.FRAGMENT


def test_rv03_ip_header():
    accepted(ipv4(message(), options=b"\x94\x04\x00\x00"))  # router alert: options are skipped
    accepted(ipv4(message()) + bytes(14))  # Ethernet padding is ignored
    accepted(ipv6(message6()) + bytes(14), version=6)
    assert reason(ipv4(message(), total_length=200)) is DiscardReason.PACKET_LENGTH
    assert reason(ipv6(message6(), payload_length=200), version=6) is DiscardReason.PACKET_LENGTH
    assert reason(ipv4(message(), total_length=19)) is DiscardReason.PACKET_LENGTH
    assert reason(ipv4(message()), truncated=True) is DiscardReason.PACKET_LENGTH
    assert reason(ipv4(message(), checksum=0xDEAD)) is DiscardReason.MALFORMED
    assert reason(ipv4(message(), checksum=0xDEAD, options=b"\x94\x04\x00\x00")) is DiscardReason.MALFORMED
    short_header = bytearray(ipv4(message()))
    short_header[0] = 0x44
    assert isinstance(judge(bytes(short_header)), Discard)


def test_rv03_the_ip_version_is_the_one_that_the_frame_says():
    assert reason(ipv6(message6()), version=4) is DiscardReason.MALFORMED
    assert reason(ipv4(message()), version=6) is DiscardReason.MALFORMED


@pytest.mark.parametrize("destination", ["224.0.0.1", "224.0.0.19", "255.255.255.255", "0.0.0.0"])
def test_rv04_destination(destination):
    packet = ipv4(message(destination=destination), destination=destination)
    for packet_type in (PacketType.MULTICAST, PacketType.HOST):
        assert reason(packet, packet_type=packet_type) is DiscardReason.DESTINATION


def test_rv04_destination_v6():
    packet = ipv6(message6(destination="ff02::1"), destination="ff02::1")
    assert reason(packet, version=6) is DiscardReason.DESTINATION


def test_rv04_unicast_only_between_peers():
    me, peer = ip_address("10.9.0.11"), ip_address(SOURCE4)
    packet = ipv4(message(destination=str(me)), destination=str(me))
    unicast = Expectation(version=3, vrid=7, interval_ns=0, peers=frozenset({peer}), own_addresses=frozenset({me}))
    assert reason(packet, packet_type=PacketType.HOST) is DiscardReason.DESTINATION  # we speak multicast
    assert accepted(packet, packet_type=PacketType.HOST, expectation=unicast).destination == me
    assert reason(packet, packet_type=PacketType.MULTICAST, expectation=unicast) is DiscardReason.DESTINATION
    assert reason(ipv4(message()), expectation=unicast) is DiscardReason.DESTINATION  # to the group
    stranger = ipv4(message(source="10.9.0.99", destination=str(me)), source="10.9.0.99", destination=str(me))
    assert reason(stranger, packet_type=PacketType.HOST, expectation=unicast) is DiscardReason.UNLISTED_SOURCE
    elsewhere = ipv4(message(destination="10.9.0.77"), destination="10.9.0.77")
    assert reason(elsewhere, packet_type=PacketType.HOST, expectation=unicast) is DiscardReason.DESTINATION


@pytest.mark.parametrize("ttl", [0, 1, 64, 254])
def test_rv05_ttl(ttl):
    assert reason(ipv4(message(), ttl=ttl)) is DiscardReason.TTL
    assert reason(ipv6(message6(), hop_limit=ttl), version=6) is DiscardReason.TTL
    unicast = ipv4(message(destination="10.9.0.11"), destination="10.9.0.11", ttl=ttl)
    assert reason(unicast, packet_type=PacketType.HOST) is DiscardReason.TTL


@pytest.mark.parametrize("length", range(8))
def test_rv06_shorter_than_a_header(length):
    assert reason(ipv4(message()[:length])) is DiscardReason.PACKET_LENGTH
    assert reason(ipv6(message6()[:length]), version=6) is DiscardReason.PACKET_LENGTH


def test_rv07_vrid():
    assert reason(ipv4(message(vrid=8))) is DiscardReason.UNKNOWN_VRID


@pytest.mark.parametrize("version", [0, 1, 4, 7, 15])
def test_rv08_unknown_version(version):
    assert reason(ipv4(message(version=version))) is DiscardReason.VERSION
    assert reason(ipv6(message6(version=version)), version=6) is DiscardReason.VERSION


def test_rv08_the_other_version():
    assert reason(v2()) is DiscardReason.VERSION
    assert reason(ipv4(message()), expectation=MINE_V2) is DiscardReason.VERSION
    assert reason(ipv6(message6(version=2)), version=6) is DiscardReason.VERSION  # VRRPv2 is IPv4 only


@pytest.mark.parametrize("kind", [0, 2, 9, 10, 15])
def test_rv09_type(kind):
    assert reason(ipv4(message(kind=kind))) is DiscardReason.PACKET_TYPE
    assert reason(ipv6(message6(kind=kind)), version=6) is DiscardReason.PACKET_TYPE
    assert reason(v2(kind=kind), expectation=MINE_V2) is DiscardReason.PACKET_TYPE


def test_rv10_incomplete():
    assert reason(ipv4(message(count=2))) is DiscardReason.PACKET_LENGTH
    assert reason(ipv4(message(count=255))) is DiscardReason.PACKET_LENGTH
    assert reason(ipv4(message(addresses=(), count=1))) is DiscardReason.PACKET_LENGTH  # 8 bytes
    assert reason(ipv6(message6(count=3)), version=6) is DiscardReason.PACKET_LENGTH
    # Version 2 always has 8 bytes of authentication data.
    assert reason(ipv4(message(version=2, interval=1)[:-1])) is DiscardReason.PACKET_LENGTH
    assert reason(ipv4(message(version=2, interval=1)[:-8])) is DiscardReason.PACKET_LENGTH


def test_rv10_more_than_declared_is_not_read():
    assert accepted(ipv4(message() + b"trailer!")).addresses == (ip_address(VIP4),)
    assert accepted(ipv6(message6() + b"trailer!"), version=6).priority == 100
    longer = message(version=2, interval=1, auth_type=1, auth_data=b"secret\0\0") + b"othersec"
    assert accepted(ipv4(longer), expectation=SECRET).auth_data == b"secret\0\0"


def test_rv11_no_address():
    assert reason(ipv4(message(addresses=()))) is DiscardReason.ADDRESS_COUNT
    assert reason(ipv4(message(count=0))) is DiscardReason.ADDRESS_COUNT
    assert reason(v2(addresses=()), expectation=MINE_V2) is DiscardReason.ADDRESS_COUNT
    assert reason(ipv6(message6(addresses=())), version=6) is DiscardReason.ADDRESS_COUNT


@pytest.mark.parametrize("checksum", [0, 0xDEAD, 0xFFFF])
def test_rv12_checksum(checksum):
    assert reason(ipv4(message(checksum=checksum, priority=250))) is DiscardReason.CHECKSUM
    assert reason(v2(checksum=checksum), expectation=MINE_V2) is DiscardReason.CHECKSUM
    assert reason(ipv6(message6(checksum=checksum)), version=6) is DiscardReason.CHECKSUM


def test_rv12_both_forms_over_ipv4_in_version_3_alone():
    accepted(ipv4(message(pseudo=True)))
    accepted(ipv4(message(pseudo=False)))
    assert reason(v2(pseudo=True), expectation=MINE_V2) is DiscardReason.CHECKSUM
    assert reason(ipv6(message6(pseudo=False)), version=6) is DiscardReason.CHECKSUM
    # The pseudo-header has the real ends: neither can be changed on the way.
    assert reason(ipv4(message(source="10.9.0.1"))) is DiscardReason.CHECKSUM
    assert reason(ipv6(message6(source="fe80::99")), version=6) is DiscardReason.CHECKSUM


def test_rv12_v2_covers_the_authentication_data():
    right = message(version=2, interval=1, auth_type=1, auth_data=b"secret\0\0")
    assert reason(ipv4(right[:-8] + b"Secret\0\0"), expectation=SECRET) is DiscardReason.CHECKSUM


def test_rv13_interval_zero():
    assert reason(ipv4(message(interval=0))) is DiscardReason.INTERVAL
    assert reason(v2(interval=0), expectation=MINE_V2) is DiscardReason.INTERVAL
    assert reason(ipv4(message(interval=0, reserved=15))) is DiscardReason.INTERVAL


def test_rv14_authentication_type():
    assert reason(v2(), expectation=SECRET) is DiscardReason.AUTHENTICATION_TYPE
    for auth_type in (1, 2, 3, 254):
        assert reason(v2(auth_type=auth_type), expectation=MINE_V2) is DiscardReason.AUTHENTICATION_TYPE
    assert reason(v2(auth_type=2), expectation=SECRET) is DiscardReason.AUTHENTICATION_TYPE


@pytest.mark.parametrize(
    ("auth_data", "right"),
    [
        (b"secret\0\0", True),
        (b"secret  ", False),
        (b"Secret\0\0", False),
        (b"secret1\0", False),
        (b"secre\0\0\0", False),
        (bytes(8), False),
    ],
)
def test_rv14_password_is_all_eight_bytes(auth_data, right):
    verdict = judge(v2(auth_type=1, auth_data=auth_data), expectation=SECRET)
    if right:
        assert isinstance(verdict, Advertisement)
    else:
        assert verdict.reason is DiscardReason.AUTHENTICATION_FAILED


def test_rv14_a_password_beyond_eight_bytes_is_cut_off():
    long = Expectation(version=2, vrid=7, interval_ns=SECOND, password=b"longpassword")
    accepted(v2(auth_type=1, auth_data=b"longpass"), expectation=long)


def test_rv14_authentication_header_is_not_offered():
    """The packet that keepalived sends with authentication type AH."""
    header = "700400000a09000a000000010707e3ac3a21000641b817ec"
    inner = "2107640102016def0a0900fe0000000000000000"
    packet = ipv4(bytes.fromhex(header + inner), protocol=51)
    assert reason(packet, expectation=SECRET) is DiscardReason.AUTHENTICATION_HEADER
    assert reason(ipv6(bytes(24) + message6(), next_header=51), version=6) is DiscardReason.AUTHENTICATION_HEADER


def test_rv15_interval_differs():
    assert reason(v2(interval=2), expectation=MINE_V2) is DiscardReason.INTERVAL
    expectation = Expectation(version=3, vrid=7, interval_ns=SECOND)
    heard = accepted(ipv4(message(interval=50)), expectation=expectation)  # version 3 MUST NOT drop it
    assert list(remarks(heard, expectation)) == [Remark.INTERVAL_DIFFERS]


def test_rv16_another_owner_is_processed_and_remarked_upon():
    """Erratum 8298: verify and log only. What follows from it is the election's."""
    heard = accepted(ipv4(message(priority=255)))
    assert list(remarks(heard, MINE)) == [Remark.MULTIPLE_OWNERS]


def test_rv17_first_ipv6_address_not_link_local():
    """FRR sends such lists: remarked upon, and a discard only where that is asked for."""
    packet = ipv6(message6(addresses=("2001:db8:9::fe", "fe80::20")))
    heard = accepted(packet, version=6)
    assert list(remarks(heard, MINE)) == [Remark.FIRST_NOT_LINK_LOCAL]
    strict = Decoder(strict_link_local=True)
    assert strict.decode(received(packet, version=6)).reason is DiscardReason.FIRST_NOT_LINK_LOCAL
    assert isinstance(strict.decode(received(ipv6(message6()), version=6)), Advertisement)
    assert isinstance(strict.decode(received(ipv4(message()))), Advertisement)


def test_rv18_another_list_is_never_a_reason_to_drop():
    ours = frozenset({ip_address(VIP4), ip_address("10.9.0.253")})
    for version, packet in ((3, ipv4(message())), (2, v2())):
        expectation = Expectation(version=version, vrid=7, interval_ns=SECOND if version == 2 else 0, addresses=ours)
        heard = accepted(packet, expectation=expectation)
        assert list(remarks(heard, expectation)) == [Remark.ADDRESSES_DIFFER]
    other_order = ipv4(message(addresses=("10.9.0.253", VIP4)))
    expectation = Expectation(version=3, vrid=7, interval_ns=0, addresses=ours)
    assert list(remarks(accepted(other_order, expectation=expectation), expectation)) == []


@pytest.mark.parametrize("source", ["0.0.0.0", "127.0.0.1", "224.0.0.18", "239.1.2.3", "255.255.255.255"])
def test_rv19_source(source):
    assert reason(ipv4(message(source=source), source=source)) is DiscardReason.SOURCE


@pytest.mark.parametrize("source", ["::", "::1", "ff02::12", "2001:db8::1"])
def test_rv19_source_v6(source):
    assert reason(ipv6(message6(source=source), source=source), version=6) is DiscardReason.SOURCE


def test_rv19_unicast_peers_may_use_global_addresses():
    ends = {"source": "2001:db8::1", "destination": "2001:db8::2"}
    expectation = Expectation(version=3, vrid=7, interval_ns=0, peers=frozenset({ip_address("2001:db8::1")}))
    packet = ipv6(message6(**ends), **ends)
    accepted(packet, version=6, packet_type=PacketType.HOST, expectation=expectation)


@pytest.mark.parametrize("reserved", [1, 15])
def test_rv20_reserved_bits_are_ignored(reserved):
    assert accepted(ipv4(message(reserved=reserved, interval=20))).interval_ns == 200_000_000


def test_rv20_what_else_is_ignored():
    heard = accepted(v2(auth_data=b"anything"), expectation=MINE_V2)
    assert heard.auth_data == b""
    for tos, fragment, identification in ((0, 0x4000, 0), (0xC0, 0, 77), (0xFF, 0x8000, 65535)):
        accepted(ipv4(message(), tos=tos, fragment=fragment, identification=identification))


def test_another_protocol_is_no_vrrp():
    assert reason(ipv4(message(), protocol=17)) is DiscardReason.NOT_VRRP
    assert reason(ipv4(message()), ethertype=0x0806) is DiscardReason.NOT_VRRP
