"""The assembler: encoding, jumps, and what it refuses."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from vip_speaker.link import filters
from vip_speaker.link.bpf import (
    Label,
    accept,
    assemble,
    jump,
    jump_if_equal,
    keep_in_x,
    load,
    load_header_length,
    load_indexed,
)


def lines(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("HBBI", program))


def test_instructions_are_encoded_as_the_kernel_reads_them():
    program = assemble(
        [load(12, 2), load(26, 4), load(23, 1), load_header_length(14), load_indexed(14, 1), keep_in_x(), accept(64)]
    )
    assert lines(program) == [
        (0x28, 0, 0, 12),
        (0x20, 0, 0, 26),
        (0x30, 0, 0, 23),
        (0xB1, 0, 0, 14),
        (0x50, 0, 0, 14),
        (0x07, 0, 0, 0),
        (0x06, 0, 0, 64),
    ]


def test_jumps_count_the_lines_between():
    program = assemble([jump_if_equal(7, "yes", "no"), jump("no"), Label("yes"), accept(1), Label("no"), accept(0)])
    assert lines(program) == [(0x15, 1, 2, 7), (0x05, 0, 0, 1), (0x06, 0, 0, 1), (0x06, 0, 0, 0)]


def test_a_jump_goes_forward_and_not_too_far():
    with pytest.raises(AssertionError):
        assemble([Label("back"), load(0, 1), jump_if_equal(1, "back")])
    with pytest.raises(AssertionError):
        assemble([jump_if_equal(1, "far"), *[load(0, 1)] * 256, Label("far"), accept(0)])


def test_a_filter_for_any_number_of_addresses_is_small_enough_for_the_kernel():
    ipv4 = [IPv4Address("10.0.0.0") + n for n in range(3000)]
    ipv6 = [IPv6Address("2001:db8::") + n for n in range(3000)]
    for addresses in ([], ipv4[:1], ipv4[:128] + ipv6[:128], ipv4, ipv6, ipv4 + ipv6):
        assert len(lines(filters.announcements(addresses))) <= 2 * 256 + 32
