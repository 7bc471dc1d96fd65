"""The shared memory between router and guard: what was written is read, and what is torn is never believed."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vip_speaker.will import (
    CAPACITY,
    MAXIMUM_SLOT,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    WILL_FD_VARIABLE,
    Entry,
    Frame,
    NetlinkRequest,
    Packet,
    Will,
    WillTooLargeError,
    decode,
    encode,
    freeze_limit_ns,
)

# The machine may be busy: no test here is about its speed.
unhurried = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

FIRST_SLOT = 4096
HEAD = 16

requests = st.builds(
    NetlinkRequest, protocol=st.sampled_from([NETLINK_ROUTE, NETLINK_NETFILTER]), data=st.binary(max_size=200)
)
frames = st.builds(Frame, ifindex=st.integers(1, 2**31 - 1), data=st.binary(max_size=200))
packets = st.builds(
    Packet,
    ifindex=st.integers(0, 2**31 - 1),
    family=st.sampled_from([socket.AF_INET, socket.AF_INET6]).map(int),
    destination=st.ip_addresses().map(str),
    source=st.one_of(st.just(""), st.ip_addresses().map(str)),
    data=st.binary(max_size=200),
)
wills: st.SearchStrategy[list[Entry]] = st.lists(st.one_of(requests, frames, packets), max_size=8)

OLD: list[Entry] = [NetlinkRequest(protocol=NETLINK_ROUTE, data=b"old" * 20), Frame(ifindex=1, data=b"old frame")]
NEW: list[Entry] = [NetlinkRequest(protocol=NETLINK_ROUTE, data=b"new" * 25), Frame(ifindex=2, data=b"new frame")]


@pytest.fixture
def will():
    will = Will.create()
    yield will
    will.close()


def test_a_new_will_is_empty_and_its_heart_does_not_beat_yet(will):
    assert will.read() == []
    assert (will.heartbeat_ns, will.fastest_interval_ns) == (0, 0)


@unhurried
@given(st.lists(wills, min_size=1, max_size=4))
def test_the_other_side_reads_the_last_one_written(history):
    will = Will.create()
    other = Will(os.dup(will.fd))
    try:
        for entries in history:
            will.write(entries)
            assert other.read() == entries
    finally:
        will.close()
        other.close()


@unhurried
@given(st.binary(max_size=400))
def test_decoding_is_total(payload):
    decode(payload)


@unhurried
@given(wills, st.data())
def test_a_shortened_payload_yields_a_beginning_of_its_entries(entries, data):
    payload = encode(entries)
    cut = data.draw(st.integers(0, len(payload)))
    decoded = decode(payload[:cut])
    assert decoded == entries[: len(decoded)]


def test_a_writer_that_dies_at_any_byte_leaves_the_will_before(will):
    """Whatever part of the bytes a new will consists of is there: the old one, or the new one whole."""
    will.write(OLD)
    before = os.pread(will.fd, FIRST_SLOT + 2 * MAXIMUM_SLOT, 0)
    will.write(NEW)
    after = os.pread(will.fd, FIRST_SLOT + 2 * MAXIMUM_SLOT, 0)
    changed = [at for at in range(len(before)) if before[at] != after[at]] if before != after else []
    assert changed
    size = max(changed) + 1
    for cut in changed[1:]:
        os.pwrite(will.fd, after[:cut] + before[cut:size], 0)
        assert will.read() == OLD
        os.pwrite(will.fd, before[:cut] + after[cut:size], 0)
        assert will.read() == OLD
    os.pwrite(will.fd, after[:size], 0)
    assert will.read() == NEW


def test_a_flipped_bit_in_the_newest_slot_gives_the_one_before(will):
    will.write(OLD)
    will.write(NEW)
    start = FIRST_SLOT + MAXIMUM_SLOT
    used = HEAD + len(encode(NEW))
    original = os.pread(will.fd, used, start)
    assert len(original) == used
    for at in range(used):
        broken = bytearray(original)
        broken[at] ^= 0x10
        os.pwrite(will.fd, broken, start)
        assert will.read() == OLD, f"byte {at}"
    os.pwrite(will.fd, original, start)
    assert will.read() == NEW


def test_with_both_slots_torn_there_is_no_will_and_the_next_one_counts(will):
    will.write(OLD)
    will.write(NEW)
    for slot in (0, 1):
        os.pwrite(will.fd, b"\xff" * HEAD, FIRST_SLOT + slot * MAXIMUM_SLOT)
    assert will.read() == []
    will.write(NEW)
    assert will.read() == NEW


def test_withdrawing_leaves_nothing_to_carry_out(will):
    will.write(OLD)
    will.write([])
    assert will.read() == []


def test_a_will_that_does_not_fit_is_refused_and_the_former_stays(will):
    will.write(OLD)
    with pytest.raises(WillTooLargeError, match=f"at most {CAPACITY}"):
        will.write([Frame(ifindex=1, data=bytes(CAPACITY))])
    assert will.read() == OLD
    fitting: list[Entry] = [Frame(ifindex=1, data=bytes(CAPACITY - 12))]
    will.write(fitting)
    assert will.read() == fitting


@pytest.mark.parametrize(("vips", "addresses", "peers"), [(64, 64, 0), (64, 64, 7), (255, 1, 0), (255, 1, 7)])
def test_what_a_router_may_have_fits(will, vips, addresses, peers):
    entries: list[Entry] = []
    for _ in range(vips):
        entries += [NetlinkRequest(protocol=NETLINK_ROUTE, data=bytes(64))] * addresses
        message = bytes(8 + 16 * addresses)
        entries.append(Frame(ifindex=2, data=bytes(14 + 40) + message))
        entries += [
            Packet(
                ifindex=2,
                family=socket.AF_INET6,
                destination="fe80::1234:5678:9abc:def0",
                source="fe80::1",
                data=message,
            )
        ] * peers
    will.write(entries)
    assert will.read() == entries


def test_whether_it_is_empty_is_seen_without_reading_it(will):
    assert will.is_empty
    for entries in (OLD, [], NEW, OLD, [], []):
        will.write(entries)
        assert will.is_empty == (not will.read()) == (not entries)


def test_heartbeat_and_interval_are_seen_by_the_other_side(will):
    other = Will(os.dup(will.fd))
    other.beat(2**63 + 5)
    other.fastest_interval_ns = 10_000_000
    assert (will.heartbeat_ns, will.fastest_interval_ns) == (2**63 + 5, 10_000_000)
    assert other.beat_period_ns == 25_000_000
    other.close()


@pytest.mark.parametrize(
    ("interval_ms", "limit_ms"), [(0, 2000), (1000, 2000), (10, 100), (30, 100), (100, 200), (255_000, 510_000)]
)
def test_the_limit_is_two_intervals_with_a_floor(interval_ms, limit_ms):
    assert freeze_limit_ns(interval_ms * 1_000_000) == limit_ms * 1_000_000


def test_nobody_can_shrink_it_under_the_guard(will):
    with pytest.raises(PermissionError):
        os.ftruncate(will.fd, 0)


def test_a_descriptor_that_is_no_will_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"something else")
    with path.open("r+b") as file, pytest.raises(ValueError, match="wrong size"):
        Will(file.fileno())
    with path.open("r+b") as file:
        file.truncate(FIRST_SLOT + 2 * MAXIMUM_SLOT)
        with pytest.raises(ValueError, match="different installations"):
            Will(file.fileno())


def test_the_environment_names_it_and_without_a_guard_there_is_none(will, monkeypatch):
    monkeypatch.delenv(WILL_FD_VARIABLE, raising=False)
    assert Will.from_environment() is None
    inherited = os.dup(will.fd)
    os.set_inheritable(inherited, True)
    monkeypatch.setenv(WILL_FD_VARIABLE, str(inherited))
    opened = Will.from_environment()
    assert opened is not None
    assert not os.get_inheritable(inherited)
    opened.close()


def test_entries_are_frozen_values():
    frame = Frame(ifindex=1, data=b"x")
    with pytest.raises(AttributeError, match="frozen"):
        frame.ifindex = 2
    assert frame == Frame(ifindex=1, data=b"x") != Frame(ifindex=2, data=b"x")
    assert len({frame, Frame(ifindex=1, data=b"x")}) == 1
    assert repr(frame) == "Frame(data=b'x', ifindex=1)"
    assert NetlinkRequest(protocol=1, data=b"x") != frame
