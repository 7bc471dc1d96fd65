"""The shared memory between router and guard: a heartbeat, and the router's last will (DESIGN, Last will).

The guard creates it and hands its descriptor to the router in `WILL_FD_VARIABLE`. The router beats, and before it adds
an address it writes what undoes that: the netlink requests that remove its addresses, then the priority-0 adverts
(RFC 9568 section 6.4.3). When the router has died or frozen, the guard carries out the newest whole will.

This module is part of the guard: standard library only, and none of it that costs the guard a megabyte (`typing`,
`dataclasses`), hence the plain value classes.

Layout, native byte order (both sides run on one machine, from one package):

    0      magic (8 bytes), layout version u32, slot size u32
    64     heartbeat u64: CLOCK_MONOTONIC in ns at the router's last sign of life; 0: not yet started
    72     fastest advertisement interval u64, in ns; 0: no virtual router yet
    4096   slot A, slot B, each: sequence u64, length u32, crc32 u32 (over sequence, length and payload), payload

The writer overwrites the older slot, header last, so a writer that dies half-way leaves the newer one whole.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib

TYPE_CHECKING = False  # mypy takes it for typing's, which would cost the guard a megabyte
if TYPE_CHECKING:
    from collections.abc import Iterable

WILL_FD_VARIABLE = "VIP_SPEAKER_WILL_FD"

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

MAGIC = b"VIPWILL\0"
LAYOUT_VERSION = 1

MAXIMUM_SLOT = 1024 * 1024
"""Bytes of a slot. 64 VIPs of 64 IPv6 addresses need 0.4 MB by multicast (64 bytes a removal, 1,098 an advertisement),
0.9 MB with 7 unicast peers each, the default of maxNodes; 255 VIPs of one address 0.05 MB. Not more, because a router
with locked memory has all of it resident."""

FREEZE_INTERVALS = 2
MINIMUM_FREEZE_LIMIT_NS = 100_000_000
"""A router counts as frozen when its heartbeat stands still for two of its fastest intervals: peers wait three since
its last advertisement, which may be one older than its last heartbeat, and the address is to be gone before they act.
But never before 100 ms: garbage collection, a reload and a busy neighbour stop a healthy process for tens of
milliseconds (docs/decisions/guard.md)."""

_PREAMBLE = struct.Struct("@8sII")
_SLOT = struct.Struct("@QII")
_ENTRY = struct.Struct("@BBBBiI")
_HEARTBEAT_INDEX = 64 // 8
_INTERVAL_INDEX = 72 // 8
_FIRST_SLOT = 4096
_SIZE = _FIRST_SLOT + 2 * MAXIMUM_SLOT
CAPACITY = MAXIMUM_SLOT - _SLOT.size

_NETLINK, _FRAME, _PACKET = 1, 2, 3


class WillTooLargeError(ValueError):
    """The entries do not fit into a slot; the will written before stays in force."""


class _Value:
    """A frozen value: equal to one of its own class with the same fields."""

    __slots__: tuple[str, ...] = ()

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, _Value) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._fields()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self.__slots__)})"


class NetlinkRequest(_Value):
    """One message to the kernel: ready-made requests, each with its nlmsghdr (an nftables batch is one entry).

    `protocol` is NETLINK_ROUTE or NETLINK_NETFILTER. NLM_F_ACK is not needed: the kernel reports errors without it.
    """

    __slots__ = ("data", "protocol")
    protocol: int
    data: bytes

    def __init__(self, *, protocol: int, data: bytes) -> None:
        object.__setattr__(self, "protocol", protocol)
        object.__setattr__(self, "data", data)


class Frame(_Value):
    """A whole Ethernet frame, sent on the link `ifindex`."""

    __slots__ = ("data", "ifindex")
    ifindex: int
    data: bytes

    def __init__(self, *, ifindex: int, data: bytes) -> None:
        object.__setattr__(self, "ifindex", ifindex)
        object.__setattr__(self, "data", data)


class Packet(_Value):
    """A unicast advertisement to `destination`, protocol 112, TTL or hop limit 255. `family` is AF_INET or AF_INET6.

    IPv4: `data` is the whole packet, its header included. IPv6: `data` is the VRRP message, and `source` the address
    its checksum was made with (empty: the kernel chooses). `ifindex` 0 leaves the link to the routing table.
    """

    __slots__ = ("data", "destination", "family", "ifindex", "source")
    ifindex: int
    family: int
    destination: str
    source: str
    data: bytes

    def __init__(self, *, ifindex: int, family: int, destination: str, data: bytes, source: str = "") -> None:
        object.__setattr__(self, "ifindex", ifindex)
        object.__setattr__(self, "family", family)
        object.__setattr__(self, "destination", destination)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "data", data)


Entry = NetlinkRequest | Frame | Packet


def encode(entries: Iterable[Entry]) -> bytes:
    """Entries as the payload of a slot."""
    parts: list[bytes] = []
    for entry in entries:
        match entry:
            case NetlinkRequest():
                parts.append(_ENTRY.pack(_NETLINK, 0, 0, 0, entry.protocol, len(entry.data)))
            case Frame():
                parts.append(_ENTRY.pack(_FRAME, 0, 0, 0, entry.ifindex, len(entry.data)))
            case Packet():
                destination, source = entry.destination.encode("ascii"), entry.source.encode("ascii")
                head = (_PACKET, entry.family, len(destination), len(source), entry.ifindex, len(entry.data))
                parts += (_ENTRY.pack(*head), destination, source)
        parts.append(entry.data)
    return b"".join(parts)


def decode(payload: bytes) -> list[Entry]:
    """The entries of a payload, total: what follows an entry that cannot be is left out, and never an exception."""
    entries: list[Entry] = []
    at = 0
    while at + _ENTRY.size <= len(payload):
        kind, family, destination_size, source_size, number, size = _ENTRY.unpack_from(payload, at)
        at += _ENTRY.size
        texts = payload[at : at + destination_size + source_size]
        at += destination_size + source_size
        data = payload[at : at + size]
        at += size
        if at > len(payload) or not texts.isascii():
            break
        if kind == _NETLINK:
            entries.append(NetlinkRequest(protocol=number, data=data))
        elif kind == _FRAME:
            entries.append(Frame(ifindex=number, data=data))
        elif kind == _PACKET:
            destination, source = texts[:destination_size].decode("ascii"), texts[destination_size:].decode("ascii")
            entries.append(Packet(ifindex=number, family=family, destination=destination, source=source, data=data))
        else:
            break
    return entries


def freeze_limit_ns(fastest_interval_ns: int) -> int:
    """How long the heartbeat may stand still, in ns, before the guard ends the router. 2 s without a VIP."""
    return max(FREEZE_INTERVALS * (fastest_interval_ns or 1_000_000_000), MINIMUM_FREEZE_LIMIT_NS)


class Will:
    """One mapping of the shared memory. The guard creates it; the router is its only writer while it lives."""

    def __init__(self, fd: int) -> None:
        """Map an existing will; ValueError if the descriptor is not one of this layout. The descriptor stays open."""
        if os.fstat(fd).st_size != _SIZE:
            raise ValueError("not a will: wrong size")
        self.fd = fd
        self._memory = mmap.mmap(fd, _SIZE)
        if _PREAMBLE.unpack_from(self._memory, 0) != (MAGIC, LAYOUT_VERSION, MAXIMUM_SLOT):
            self._memory.close()
            raise ValueError("not a will of this version: router and guard come from different installations")
        # A view of machine words: struct writes a 64-bit value byte by byte, this in one store.
        self._words = memoryview(self._memory).cast("Q")

    @classmethod
    def create(cls) -> Will:
        """A new, empty will in anonymous memory, not inherited by default and of a size that nobody can change.

        Without the seal a broken router could shrink the file, and the guard would die of SIGBUS while reading it.
        """
        fd = os.memfd_create("vip-speaker-will", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, _SIZE)
        os.pwrite(fd, _PREAMBLE.pack(MAGIC, LAYOUT_VERSION, MAXIMUM_SLOT), 0)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(fd)

    @classmethod
    def open(cls, fd: int) -> Will:
        """The will behind an inherited descriptor, which is not handed on to processes that the router starts."""
        os.set_inheritable(fd, False)
        return cls(fd)

    @classmethod
    def from_environment(cls) -> Will | None:
        """The will that a guard handed to this process; None where there is no guard."""
        number = os.environ.get(WILL_FD_VARIABLE)
        return cls.open(int(number)) if number else None

    def close(self) -> None:
        """Unmap and close the descriptor."""
        self._words.release()
        self._memory.close()
        os.close(self.fd)

    # --- the heartbeat ----------------------------------------------------------------------------------------------

    @property
    def heartbeat_ns(self) -> int:
        """CLOCK_MONOTONIC of the last beat; 0 before the first."""
        return self._words[_HEARTBEAT_INDEX]

    def beat(self, now_ns: int) -> None:
        """Say that the router's loop runs. To be called at least every `beat_period_ns`, and after every long step."""
        self._words[_HEARTBEAT_INDEX] = now_ns

    @property
    def fastest_interval_ns(self) -> int:
        """The shortest advertisement interval of the router's VIPs; 0 without any. The router keeps it current."""
        return self._words[_INTERVAL_INDEX]

    @fastest_interval_ns.setter
    def fastest_interval_ns(self, interval_ns: int) -> None:
        self._words[_INTERVAL_INDEX] = interval_ns

    @property
    def beat_period_ns(self) -> int:
        """How often the router should beat: a quarter of what the guard waits, so that one late turn is no alarm."""
        return freeze_limit_ns(self.fastest_interval_ns) // 4

    # --- the will ---------------------------------------------------------------------------------------------------

    def write(self, entries: Iterable[Entry]) -> None:
        """Replace the will as a whole; an empty one withdraws it. WillTooLargeError leaves the former in force.

        Entries are carried out in the order given: for each VIP its removals first, then its priority-0 advertisements.
        """
        self.write_payload(encode(entries))

    def write_payload(self, payload: bytes) -> None:
        """`write` of entries that `encode` made bytes of before: those of several VIPs one after the other."""
        if len(payload) > CAPACITY:
            raise WillTooLargeError(f"the last will has {len(payload)} bytes, at most {CAPACITY} fit")
        first, second = self._sequence(0), self._sequence(1)
        slot = 0 if first <= second else 1
        sequence = max(first, second) + 1
        start = _FIRST_SLOT + slot * MAXIMUM_SLOT
        _SLOT.pack_into(self._memory, start, 0, 0, 0)
        self._memory[start + _SLOT.size : start + _SLOT.size + len(payload)] = payload
        _SLOT.pack_into(self._memory, start, sequence, len(payload), _checksum(sequence, payload))

    def read(self) -> list[Entry]:
        """The newest whole will; empty if there is none. Never raises, whatever the memory holds."""
        for slot in sorted((0, 1), key=self._sequence, reverse=True):
            payload = self._payload(slot)
            if payload is not None:
                return decode(payload)
        return []

    @property
    def is_empty(self) -> bool:
        """Whether `read` has nothing, by the headers alone: to be asked often, however large the will is."""
        heads = [_SLOT.unpack_from(self._memory, _FIRST_SLOT + slot * MAXIMUM_SLOT) for slot in (0, 1)]
        _, length, _ = max(heads)  # one that is being written, or was left half-way, has sequence 0
        return bool(length == 0)

    def _payload(self, slot: int) -> bytes | None:
        """What a slot holds; None if it was never written or is torn."""
        start = _FIRST_SLOT + slot * MAXIMUM_SLOT
        sequence, length, checksum = _SLOT.unpack_from(self._memory, start)
        if sequence == 0 or length > CAPACITY:
            return None
        payload = self._memory[start + _SLOT.size : start + _SLOT.size + length]
        return payload if _checksum(sequence, payload) == checksum else None

    def _sequence(self, slot: int) -> int:
        """The sequence of a whole slot; 0 for one that is not, which is the one to overwrite."""
        sequence: int = _SLOT.unpack_from(self._memory, _FIRST_SLOT + slot * MAXIMUM_SLOT)[0]
        return sequence if self._payload(slot) is not None else 0


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("@QI", sequence, len(payload))))
