"""scapy's layers, imported so that a router can afford them: the one place that imports scapy.

Left alone, the import reads every link, address and route of the node, writes a cache of its own under the
home directory, and loads the vendor names of all link-layer addresses (together about 20 MB and 0.3 s). We
need none of it.
"""

from __future__ import annotations

import logging
import os
import sys
from itertools import pairwise
from types import ModuleType
from typing import Any

# Tables that we never look anything up in; scapy.data loads them on import unless modules of that name are
# there.
for _name, _empty in (("manuf", ""), ("bluetoothids", {})):
    _module = ModuleType(f"scapy.libs.{_name}")
    _module.DATA = _empty  # type: ignore[attr-defined]
    sys.modules.setdefault(_module.__name__, _module)

# scapy.main probes for its folders on import and creates them; a file in their place makes it do without. The
# names are put back: processes that we start inherit the environment.
_FOLDERS = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")
_before = {name: os.environ.get(name) for name in _FOLDERS}
os.environ.update(dict.fromkeys(_FOLDERS, os.devnull))
try:
    import scapy.data
    from scapy.config import conf

    conf.route_autoload = False
    conf.route6_autoload = False
    logging.getLogger("scapy").setLevel(logging.CRITICAL)

    from scapy.layers.inet import IP, checksum, in4_chksum
    from scapy.layers.inet6 import (
        ICMPv6ND_NA,
        ICMPv6ND_NS,
        ICMPv6NDOptDstLLAddr,
        IPv6,
        in6_chksum,
    )
    from scapy.layers.l2 import ARP, Ether
    from scapy.layers.vrrp import VRRP, VRRPv3

    # Where Wireshark is installed the vendor names come from its file all the same: 13 MB.
    scapy.data.MANUFDB.d.clear()
finally:
    for _name, _value in _before.items():
        if _value is None:
            os.environ.pop(_name, None)
        else:
            os.environ[_name] = _value

__all__ = [
    "ARP",
    "IP",
    "VRRP",
    "Ether",
    "ICMPv6NDOptDstLLAddr",
    "ICMPv6ND_NA",
    "ICMPv6ND_NS",
    "IPv6",
    "VRRPv3",
    "checksum",
    "in4_chksum",
    "in6_chksum",
    "packed",
]


def packed(*layers: Any) -> bytes:
    """The bytes of these layers, the outermost first: `bytes(one / another)` in half the time or less.

    `/` copies both sides, and a layer that is not `explicit` is copied with all that it carries, in case a field stood
    for many values.
    """
    for outer, inner in pairwise(layers):
        outer.add_payload(inner)
    for layer in layers:
        layer.explicit = 1
    return bytes(layers[0])
