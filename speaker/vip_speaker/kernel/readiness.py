"""When an IPv6 address that was just added takes packets.

The kernel accepts RTM_NEWADDR at once, but a worker of its own puts the address into the local table and joins its
solicited-node group a moment later, or much later when a real-time process keeps the processor. Whoever announces the
address before that draws packets that nobody takes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address

from vip_speaker.kernel import codec
from vip_speaker.kernel.addresses import Assigned
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.netlink import NLM_F_REQUEST, Requests

_RTM_GETROUTE = 26
_RTN_LOCAL = 2
_TYPE_AT = codec.HEADER.size + 7  # struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type
_NAP_S = 0.0001  # sleeping, not asking again, is what lets the kernel's worker run


def wait_until_local(requests: Requests, assigned: Iterable[Assigned], limit_ns: int) -> bool:
    """Wait, at most `limit_ns`, until the local table has every IPv6 address of `assigned`; whether it has."""
    deadline_ns = time.monotonic_ns() + limit_ns
    for one in assigned:
        if not isinstance(one.ip, IPv6Address):
            continue
        while not _is_local(requests, one):
            if time.monotonic_ns() >= deadline_ns:
                return False
            time.sleep(_NAP_S)
    return True


def _is_local(requests: Requests, assigned: Assigned) -> bool:
    try:
        return requests.get(lookup(assigned))[_TYPE_AT] == _RTN_LOCAL
    except KernelError:
        return False  # no route at all


@lru_cache(maxsize=4096)
def lookup(assigned: Assigned) -> bytes:
    """The request for the route to the address, out of its own link (a link-local address has one per link)."""
    fields = {"family": socket.AF_INET6, "dst_len": 128}
    attributes = [("RTA_DST", str(assigned.ip)), ("RTA_OIF", assigned.ifindex)]
    return codec.encode(codec.rtmsg, _RTM_GETROUTE, NLM_F_REQUEST, fields, attributes)
