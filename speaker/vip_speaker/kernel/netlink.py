"""Requests to the kernel over one netlink socket, without ever waiting.

The kernel works a request off inside `sendmsg`: when that returns, every answer lies in the socket (netlink(7); true of
rtnetlink and nf_tables alike), and each part of a dump is made by the `recvmsg` that fetches it. So a request is a
synchronous call of some microseconds, and a read that would block means that there is no more. What no caller can rule
out is that somebody else holds the kernel's lock on network configuration meanwhile: what must not be late is sent
first.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vip_speaker.kernel import codec
from vip_speaker.kernel.errors import KernelError

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ROOT, NLM_F_MATCH = 0x1, 0x4, 0x100, 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_DUMP_INTR = 0x10
NLM_F_ACK_TLVS = 0x200  # on an error answer
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800

SO_RCVBUFFORCE = 33  # beyond rmem_max, with NET_ADMIN
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11

# Errors come back for each message of a batch even unasked; at most this many bytes of them wait in the socket.
_RECEIVE_BUFFER = 4 << 20
_DATAGRAM = 1 << 16  # the kernel fills dumps in datagrams of at most 32 KiB
_SEND_LIMIT = 96 << 10  # below the smallest default of wmem_default, 208 KiB, that the kernel counts twice
_DUMP_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The kernel's answer to the message at `index` of a batch."""

    index: int
    code: int
    detail: str = ""


def open_socket(protocol: int, groups: Sequence[int] = ()) -> socket.socket:
    """A bound, non-blocking netlink socket that hears the multicast `groups`."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        try:
            opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        opened.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        opened.bind((0, 0))
        for group in groups:
            opened.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError:
        opened.close()
        raise
    return opened


class Requests:
    """The socket for requests. `port` is its address, by which events that it caused can be told."""

    def __init__(self, protocol: int) -> None:
        try:
            self._socket = open_socket(protocol)
        except OSError as error:
            raise KernelError("cannot open a netlink socket", error.errno or 0) from error
        self.port: int = self._socket.getsockname()[0]
        self._sequence = 1

    def close(self) -> None:
        """Close the socket; what the kernel keeps for its owner goes with it."""
        self._socket.close()

    def send(self, messages: Sequence[bytes]) -> list[Refusal]:
        """Hand over `messages` in one sendmsg (some 1,000 addresses each) and return those that were refused, in order.

        Raises KernelError when the batch as a whole could not be sent.
        """
        if not messages:
            return []
        first = self._take(len(messages))
        self._drain()
        for batch in _batches([codec.numbered(message, first + index) for index, message in enumerate(messages)]):
            self._send(batch)
        refusals = []
        for data, offset, kind, sequence in self._answers():
            if kind == NLMSG_ERROR and 0 <= sequence - first < len(messages):
                code = -codec.ERROR.unpack_from(data, offset + codec.HEADER.size)[0]
                if code:
                    refusals.append(Refusal(index=sequence - first, code=code, detail=_detail(data, offset)))
        return refusals

    def get(self, message: bytes) -> bytes:
        """The answer to a request for one object. Raises KernelError when there is none."""
        expected = self._take(1)
        self._drain()
        self._send(codec.numbered(message, expected))
        for data, offset, kind, sequence in self._answers():
            if sequence != expected:
                continue
            if kind != NLMSG_ERROR:
                return data[offset:]
            code = -codec.ERROR.unpack_from(data, offset + codec.HEADER.size)[0]
            raise KernelError("the kernel does not tell", code, _detail(data, offset))
        raise KernelError("the kernel gave no answer")

    def dump(self, message: bytes) -> list[tuple[bytes, int]]:
        """All answers to a dump request, each as a datagram and the offset in it. Raises KernelError."""
        for _ in range(_DUMP_ATTEMPTS):
            found, interrupted = self._dump_once(message)
            if not interrupted:
                return found
        return found  # it keeps changing under us; the events will tell the rest

    def _dump_once(self, message: bytes) -> tuple[list[tuple[bytes, int]], bool]:
        expected = self._take(1)
        self._drain()
        self._send(codec.numbered(message, expected))
        found: list[tuple[bytes, int]] = []
        interrupted = False
        while True:
            try:
                data = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                raise KernelError("the kernel's list ended early") from None
            for offset, kind, flags, sequence, _ in codec.split(data):
                if sequence != expected:
                    continue
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if kind == NLMSG_DONE:
                    return found, interrupted
                if kind == NLMSG_ERROR:
                    code = -codec.ERROR.unpack_from(data, offset + codec.HEADER.size)[0]
                    raise KernelError("the kernel refuses a list", code)
                found.append((data, offset))

    def _take(self, count: int) -> int:
        if self._sequence + count >= 1 << 31:
            self._sequence = 1
        first = self._sequence
        self._sequence += count
        return first

    def _send(self, batch: bytes) -> None:
        try:
            self._socket.send(batch)
        except OSError as error:
            raise KernelError("cannot send a netlink request", error.errno or 0) from error

    def _answers(self) -> Iterator[tuple[bytes, int, int, int]]:
        while True:
            try:
                data = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            for offset, kind, _, sequence, _ in codec.split(data):
                yield data, offset, kind, sequence

    def _drain(self) -> None:
        for _ in self._answers():
            pass


def _batches(messages: list[bytes]) -> Iterator[bytes]:
    """`messages` joined as far as one sendmsg takes them."""
    joined = bytearray()
    for message in messages:
        if joined and len(joined) + len(message) > _SEND_LIMIT:
            yield bytes(joined)
            joined.clear()
        joined += message
    yield bytes(joined)


def _detail(data: bytes, offset: int) -> str:
    """The kernel's own words in an error answer (NLMSGERR_ATTR_MSG), if it said any."""
    _, _, flags, _, _ = codec.HEADER.unpack_from(data, offset)
    if not flags & NLM_F_ACK_TLVS:
        return ""
    return codec.decode(codec.error_answer, data, offset).get_attr("NLMSGERR_ATTR_MSG") or ""
