"""The node's kernel over netlink: links, addresses, the silence table, virtual MAC links. pyroute2 encodes and decodes.

Nothing here blocks and nothing here knows VRRP: the router asks, and reads events from a descriptor that its loop
watches.
"""

from vip_speaker.kernel.addresses import Assigned, Failure, plan_addresses, removal_requests
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.kernel import Kernel
from vip_speaker.kernel.links import AddressChanged, Event, IPAddress, Link, LinkAddress, LinkChanged, Overflow
from vip_speaker.kernel.record import Record
from vip_speaker.kernel.virtual_mac import mac_of

__all__ = [
    "AddressChanged",
    "Assigned",
    "Event",
    "Failure",
    "IPAddress",
    "Kernel",
    "KernelError",
    "Link",
    "LinkAddress",
    "LinkChanged",
    "Overflow",
    "Record",
    "mac_of",
    "plan_addresses",
    "removal_requests",
]
