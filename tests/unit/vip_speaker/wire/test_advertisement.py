"""Advertisements as they leave: the golden vectors, the frame around them, and tshark's opinion."""

from __future__ import annotations

import shutil
import struct
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest
from vip_speaker.vrrp.types import CENTISECOND, SECOND
from vip_speaker.wire import Content, Decoder, encode_frame, encode_message, encode_packet

from tests import packets

S = SECOND
CS = CENTISECOND

# What keepalived and FRR put on the wire, byte for byte (the two messages of 100 cs: scapy's, confirmed by tshark).
GOLDEN = {
    "v2": ({"version": 2, "interval_ns": S}, "2107640100016fef0a0900fe0000000000000000"),
    "v2 priority 0": ({"version": 2, "interval_ns": S, "priority": 0}, "210700010001d3ef0a0900fe0000000000000000"),
    "v2 PASS": (
        {"version": 2, "interval_ns": S, "password": b"secret"},
        "21076401010132a30a0900fe7365637265740000",
    ),
    "v2 PASS cut off": (
        {"version": 2, "interval_ns": S, "password": b"longpassword"},
        "210764010101b0430a0900fe6c6f6e6770617373",
    ),
    "v3": ({"version": 3, "interval_ns": 20 * CS}, "310764010014753a0a0900fe"),
    "v3 priority 0": ({"version": 3, "interval_ns": 20 * CS, "priority": 0}, "310700010014d93a0a0900fe"),
    "v3 100 cs": ({"version": 3, "interval_ns": 100 * CS, "source": "10.9.0.1"}, "31076401006474f30a0900fe"),
    "v3 IPv6": (
        {
            "version": 3,
            "interval_ns": 20 * CS,
            "source": "fe80::ff:fe00:a",
            "addresses": ("fe80::fe", "2001:db8:9::fe"),
        },
        "3107640200143f6bfe8000000000000000000000000000fe20010db80009000000000000000000fe",
    ),
    "v3 IPv6 100 cs": (
        {"version": 3, "interval_ns": 100 * CS, "source": "fe80::1", "addresses": ("fe80::7", "2001:db8::7")},
        "310764020064401bfe80000000000000000000000000000720010db8000000000000000000000007",
    ),
}


def arguments(fields):
    fields = {"vrid": 7, "priority": 100, "source": "10.9.0.10", "addresses": ("10.9.0.254",), **fields}
    fields["source"] = ip_address(fields["source"])
    fields["addresses"] = [ip_address(address) for address in fields["addresses"]]
    return fields


@pytest.mark.parametrize("name", GOLDEN)
def test_message_is_the_golden_one(name):
    fields, wanted = GOLDEN[name]
    assert encode_message(Content(**arguments(fields))).hex() == wanted


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_message_is_understood(name):
    fields, wanted = GOLDEN[name]
    fields = arguments(fields)
    message = bytes.fromhex(wanted)
    version = fields["source"].version
    wrap = packets.ipv4 if version == 4 else packets.ipv6
    heard = Decoder().decode(packets.received(wrap(message, source=str(fields["source"])), version=version))
    assert heard.version == fields["version"]
    assert heard.vrid == 7
    assert heard.priority == fields["priority"]
    assert heard.interval_ns == fields["interval_ns"]
    assert heard.source == fields["source"]
    assert list(heard.addresses) == fields["addresses"]
    password = fields.get("password")
    assert heard.auth_type == (1 if password else 0)
    assert heard.auth_data == (password[:8].ljust(8, b"\0") if password else b"")
    assert heard.destination is None


def test_frame_v4():
    frame = encode_frame(Content(**arguments(GOLDEN["v2"][0])), source_mac="02:00:00:00:00:0a")
    assert frame[:14].hex() == "01005e000012" + "02000000000a" + "0800"
    header = frame[14:34]
    assert header[0] == 0x45
    assert header[1] == 0xC0  # traffic class
    assert header[8] == 255  # TTL, RFC 9568 section 5.1.1.3
    assert header[9] == 112
    assert packets.internet_checksum(header) == 0
    assert header[12:20] == ip_address("10.9.0.10").packed + ip_address("224.0.0.18").packed
    assert frame[34:].hex() == GOLDEN["v2"][1]
    assert int.from_bytes(header[2:4], "big") == len(frame) - 14


def test_frame_v6():
    frame = encode_frame(Content(**arguments(GOLDEN["v3 IPv6"][0])), source_mac="02:00:00:00:00:0a")
    assert frame[:14].hex() == "333300000012" + "02000000000a" + "86dd"
    header = frame[14:54]
    assert int.from_bytes(header[:4], "big") >> 20 == 0x6C0  # version 6, traffic class 0xc0
    assert int.from_bytes(header[4:6], "big") == 40
    assert header[6:8] == bytes([112, 255])
    assert header[8:] == ip_address("fe80::ff:fe00:a").packed + ip_address("ff02::12").packed
    assert frame[54:].hex() == GOLDEN["v3 IPv6"][1]


def test_the_virtual_mac_is_only_the_source():
    frame = encode_frame(Content(**arguments(GOLDEN["v3"][0])), source_mac="00:00:5e:00:01:07")
    assert frame[6:12].hex() == "00005e000107"


def test_unicast_v4_is_a_whole_packet_with_the_peer_in_the_checksum():
    packet = encode_packet(Content(**arguments(GOLDEN["v3"][0])), destination=ip_address("10.9.0.11"))
    assert packet[16:20] == ip_address("10.9.0.11").packed
    assert packet[8] == 255
    pseudo = packets.pseudo_header("10.9.0.10", "10.9.0.11", len(packet) - 20)
    assert packets.internet_checksum(pseudo + packet[20:]) == 0


def test_unicast_v6_is_the_message_with_the_peer_in_the_checksum():
    message = encode_packet(Content(**arguments(GOLDEN["v3 IPv6"][0])), destination=ip_address("fe80::b"))
    assert message[0] == 0x31
    pseudo = packets.pseudo_header("fe80::ff:fe00:a", "fe80::b", len(message))
    assert packets.internet_checksum(pseudo + message) == 0


def test_link_local_goes_first_and_the_rest_keeps_its_order():
    fields = arguments(
        {
            "version": 3,
            "interval_ns": CS,
            "source": "fe80::1",
            "addresses": ("2001:db8::2", "fe80::7", "2001:db8::1", "10.9.0.254"),
        }
    )
    message = encode_message(Content(**fields))
    listed = [str(ip_address(message[8 + at : 24 + at])) for at in range(0, 48, 16)]
    assert listed == ["fe80::7", "2001:db8::2", "2001:db8::1"]
    assert message[3] == 3  # the IPv4 address moves along unadvertised


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 2, "interval_ns": S // 2},
        {"version": 2, "interval_ns": 256 * S},
        {"version": 3, "interval_ns": CS // 2},
        {"version": 3, "interval_ns": 4096 * CS},
        {"version": 3, "interval_ns": CS, "password": b"x"},
        {"version": 2, "interval_ns": S, "source": "fe80::1", "addresses": ("fe80::7",)},
        {"version": 3, "interval_ns": CS, "addresses": ("2001:db8::1",)},
        {"version": 4, "interval_ns": CS},
    ],
)
def test_what_does_not_fit_is_our_own_bug(wrong):
    with pytest.raises(AssertionError):
        encode_message(Content(**arguments(wrong)))


def tshark(frames: list[bytes], directory: Path, *, as_in_v2: bool) -> str:
    """What tshark says about the VRRP in `frames`."""
    capture = directory / "frames.pcap"
    with capture.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for frame in frames:
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    preference = f"vrrp.v3_checksum_as_in_v2:{'TRUE' if as_in_v2 else 'FALSE'}"
    command = ["tshark", "-r", str(capture), "-o", preference, "-O", "vrrp,arp,icmpv6", "-V"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


@needs_tshark
def test_tshark_finds_every_checksum_right(tmp_path):
    frames = [
        encode_frame(Content(**arguments(fields)), source_mac="02:00:00:00:00:0a") for fields, _ in GOLDEN.values()
    ]
    many = arguments({"version": 3, "interval_ns": CS, "addresses": [f"10.9.1.{n}" for n in range(1, 65)]})
    frames.append(encode_frame(Content(**many), source_mac="02:00:00:00:00:0a"))
    said = tshark(frames, tmp_path, as_in_v2=False)
    assert said.count("[correct]") == len(frames)
    assert "incorrect" not in said
    assert "Malformed" not in said
    assert "Authentication String: longpass\n" in said


@needs_tshark
def test_tshark_and_we_agree_on_both_forms_of_the_v3_checksum(tmp_path):
    with_pseudo = packets.ethernet(packets.ipv4(packets.message(pseudo=True)))
    without = packets.ethernet(packets.ipv4(packets.message(pseudo=False)))
    assert "[correct]" in tshark([with_pseudo], tmp_path, as_in_v2=False)
    assert "incorrect" in tshark([with_pseudo], tmp_path, as_in_v2=True)
    assert "[correct]" in tshark([without], tmp_path, as_in_v2=True)
    assert "incorrect" in tshark([without], tmp_path, as_in_v2=False)
    for frame in (with_pseudo, without):
        assert Decoder().decode(packets.received(frame[14:])).priority == 100
