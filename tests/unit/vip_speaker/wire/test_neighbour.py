"""Gratuitous ARP and unsolicited neighbour advertisements, out and in."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_speaker.wire import Announced, decode_announcement, gratuitous_arp, unsolicited_advertisement
from vip_speaker.wire.neighbour import duplicate_question

from tests.packets import internet_checksum

MAC = "02:00:00:00:00:0a"
VIP4 = IPv4Address("10.9.0.254")
VIP6 = IPv6Address("2001:db8::7")


def test_gratuitous_arp_bytes():
    assert gratuitous_arp(VIP4, MAC).hex() == (
        "ffffffffffff02000000000a0806"  # broadcast
        "0001080006040001"  # a request
        "02000000000a0a0900fe"  # sender: MAC and VIP
        "ffffffffffff0a0900fe"  # target: VIP
    )


@pytest.mark.parametrize(("router", "flags"), [(True, 0xA0), (False, 0x20)])
def test_unsolicited_advertisement_bytes(router, flags):
    frame = unsolicited_advertisement(VIP6, MAC, router=router)
    assert len(frame) == 86
    assert frame[:14].hex() == "33330000000102000000000a86dd"
    assert frame[20:22] == bytes([58, 255])  # RFC 4861 section 7.1.2: hop limit 255
    assert frame[22:38] == VIP6.packed  # from the VIP itself
    assert frame[38:54] == ip_address("ff02::1").packed
    message = frame[54:]
    assert message[:2] == bytes([136, 0])
    assert message[4] == flags  # Router as asked, not Solicited, Override
    assert message[8:24] == VIP6.packed
    assert message[24:] == bytes.fromhex("020102000000000a")
    pseudo = frame[22:54] + struct.pack("!IHBB", len(message), 0, 0, 58)
    assert internet_checksum(pseudo + message) == 0


def test_question_bytes():
    """RFC 5227 section 2.1.1: sender address 0.0.0.0, so that nobody takes it up."""
    assert duplicate_question(VIP4, MAC).hex() == (
        "ffffffffffff02000000000a0806000108000604000102000000000a000000000000000000000a0900fe"
    )


def test_question_bytes_of_ipv6():
    """RFC 4862 section 5.4.2, RFC 4861 section 7.1.1."""
    frame = duplicate_question(VIP6, MAC)
    assert frame[:14].hex() == "3333ff00000702000000000a86dd"
    assert frame[20:22] == bytes([58, 255])
    assert frame[22:38] == bytes(16)  # nobody asks
    assert frame[38:54] == ip_address("ff02::1:ff00:7").packed
    message = frame[54:]
    assert message[:2] == bytes([135, 0])
    assert message[8:] == VIP6.packed  # no source link-layer address option
    pseudo = frame[22:54] + struct.pack("!IHBB", len(message), 0, 0, 58)
    assert internet_checksum(pseudo + message) == 0


def test_an_answer_to_the_question_is_understood():
    answer = arp(operation=2, target="0.0.0.0")
    assert decode_announcement(answer) == Announced(address=VIP4, mac=MAC, answers=True)
    assert decode_announcement(arp(operation=1, target="0.0.0.0")) is None


def test_announcements_are_understood():
    assert decode_announcement(gratuitous_arp(VIP4, MAC)) == Announced(address=VIP4, mac=MAC)
    assert decode_announcement(gratuitous_arp(VIP4, MAC) + bytes(18)) == Announced(address=VIP4, mac=MAC)
    frame = unsolicited_advertisement(VIP6, MAC, router=True)
    assert decode_announcement(frame) == Announced(address=VIP6, mac=MAC)


def arp(*, operation=1, sender="10.9.0.254", target="10.9.0.254", mac="02000000000a", hardware=1):
    return bytes.fromhex("ffffffffffff02000000000a0806") + (
        struct.pack("!HHBBH", hardware, 0x0800, 6, 4, operation)
        + bytes.fromhex(mac)
        + IPv4Address(sender).packed
        + bytes(6)
        + IPv4Address(target).packed
    )


def advertisement(*, hop_limit=255, flags=0x20, code=0, target=VIP6, option="020102000000000a", checksum=None):
    body = bytes([flags, 0, 0, 0]) + target.packed + bytes.fromhex(option)
    ends = VIP6.packed + ip_address("ff02::1").packed
    length = 4 + len(body)
    if checksum is None:
        pseudo = ends + struct.pack("!IHBB", length, 0, 0, 58)
        checksum = internet_checksum(pseudo + bytes([136, code, 0, 0]) + body)
    message = struct.pack("!BBH", 136, code, checksum) + body
    header = struct.pack("!IHBB", 6 << 28, length, 58, hop_limit) + ends
    return bytes.fromhex("33330000000102000000000a86dd") + header + message


def test_the_reply_form_counts_too():
    assert decode_announcement(arp(operation=2)) == Announced(address=VIP4, mac=MAC)
    assert decode_announcement(advertisement()) == Announced(address=VIP6, mac=MAC)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        arp(target="10.9.0.1"),  # an ordinary request by the holder of the address
        arp(operation=3),
        arp(mac="ffffffffffff"),
        arp(mac="000000000000"),
        arp(hardware=6),
        arp()[:-1],
        advertisement(hop_limit=254),
        advertisement(flags=0x60),  # Solicited
        advertisement(code=1),
        advertisement(option=""),  # without a link-layer address it says nothing about where the address is
        advertisement(option="0101020000000000"),  # source instead of target link-layer address
        advertisement(checksum=0xDEAD),
        advertisement(target=ip_address("ff02::7")),
        advertisement()[:-1],
        arp() + bytes(400),
    ],
)
def test_what_announces_nothing(frame):
    assert decode_announcement(frame) is None


@given(
    start=st.sampled_from([arp(), advertisement()]),
    mutations=st.lists(st.tuples(st.integers(0, 85), st.integers(0, 255)), max_size=6),
    cut=st.none() | st.integers(0, 86),
)
@settings(max_examples=400, deadline=None)
def test_any_frame_gets_an_answer(start, mutations, cut):
    changed = bytearray(start)
    for at, value in mutations:
        if at < len(changed):
            changed[at] = value
    answer = decode_announcement(bytes(changed[:cut]))
    assert answer is None or isinstance(answer, Announced)
