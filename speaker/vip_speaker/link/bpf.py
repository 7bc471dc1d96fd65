"""A classic BPF assembler, as small as our filters need it, and how a program gets onto a socket.

A program is a list of instructions and labels; a jump names the label it goes to, `None` goes on with the
next line.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

SO_ATTACH_FILTER = 26
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

# Offsets that read what the kernel knows about a packet instead of its bytes (linux/filter.h, SKF_AD_*).
ANCILLARY = 0xFFFFF000
PACKET_TYPE = ANCILLARY + 4
VLAN_TAG_PRESENT = ANCILLARY + 48

_LOAD = {4: 0x20, 2: 0x28, 1: 0x30}
_LOAD_INDEXED = {4: 0x40, 2: 0x48, 1: 0x50}


@dataclass(frozen=True, slots=True)
class Label:
    """A place to jump to."""

    name: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line; `then` and `otherwise` are labels."""

    code: int
    k: int = 0
    then: str | None = None
    otherwise: str | None = None


Line = Instruction | Label


def load(offset: int, size: int) -> Instruction:
    """A = the `size` bytes at `offset`. A packet that is too short ends the program: it is dropped."""
    return Instruction(_LOAD[size], offset)


def load_indexed(offset: int, size: int) -> Instruction:
    """A = the `size` bytes at X + `offset`."""
    return Instruction(_LOAD_INDEXED[size], offset)


def load_header_length(offset: int) -> Instruction:
    """X = 4 × the low nibble at `offset`: the length of an IPv4 header."""
    return Instruction(0xB1, offset)


def keep_in_x() -> Instruction:
    """X = A."""
    return Instruction(0x07)


def jump_if_equal(k: int, then: str | None = None, otherwise: str | None = None) -> Instruction:
    """By A == `k`."""
    return Instruction(0x15, k, then, otherwise)


def jump_if_equals_x(then: str | None = None, otherwise: str | None = None) -> Instruction:
    """By A == X."""
    return Instruction(0x1D, 0, then, otherwise)


def jump(to: str) -> Instruction:
    """Always; as far as need be."""
    return Instruction(0x05, 0, to)


def accept(length: int) -> Instruction:
    """Hand up the first `length` bytes; 0 drops the packet."""
    return Instruction(0x06, length)


def assemble(program: Sequence[Line]) -> bytes:
    """The program as an array of `struct sock_filter`. Jumps go forward only; AssertionError where one cannot
    reach.
    """
    places: dict[str, int] = {}
    instructions: list[Instruction] = []
    for line in program:
        if isinstance(line, Label):
            places[line.name] = len(instructions)
        else:
            instructions.append(line)
    assert len(instructions) <= MAX_INSTRUCTIONS
    return b"".join(_encode(one, at, places) for at, one in enumerate(instructions))


def attach(target: socket.socket, program: bytes) -> None:
    """Put an assembled program onto a socket, in one step in place of the one before."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HL", len(program) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    target.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)


def _encode(one: Instruction, at: int, places: dict[str, int]) -> bytes:
    def distance(label: str | None) -> int:
        steps = 0 if label is None else places[label] - at - 1
        assert steps >= 0
        return steps

    if one.code == 0x05:
        return struct.pack("HBBI", one.code, 0, 0, distance(one.then))
    then, otherwise = distance(one.then), distance(one.otherwise)
    assert then <= 255 and otherwise <= 255, "a conditional jump reaches 255 lines"
    return struct.pack("HBBI", one.code, then, otherwise, one.k)
