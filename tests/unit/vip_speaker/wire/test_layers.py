"""Layers put together without copies."""

import pytest
from vip_speaker.wire.layers import ARP, IP, VRRP, Ether, ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6, VRRPv3, packed

ETHER = {"src": "02:00:00:00:00:01", "dst": "01:00:5e:00:00:12"}
HEADER = {"src": "10.0.0.1", "dst": "224.0.0.18", "proto": 112, "flags": "DF", "id": 0}
HEADER6 = {"src": "fe80::1", "dst": "ff02::12", "nh": 112}
SAYS = {"vrid": 7, "priority": 100, "addrlist": ["10.0.0.2", "10.0.0.3"]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: (Ether(**ETHER), IP(**HEADER), VRRPv3(**SAYS)),
        lambda: (Ether(**ETHER), IP(**HEADER), VRRP(**SAYS, authtype=1, auth1=1, auth2=2)),
        lambda: (Ether(**ETHER), IPv6(**HEADER6), VRRPv3(vrid=7, addrlist=["fe80::7", "fd00::7"])),
        lambda: (Ether(**ETHER), ARP(op=1, hwsrc=ETHER["src"], psrc="10.0.0.2", pdst="10.0.0.2")),
        lambda: (IPv6(**HEADER6), ICMPv6ND_NA(tgt="fe80::2"), ICMPv6NDOptDstLLAddr(lladdr=ETHER["src"])),
    ],
)  # fmt: skip
def test_the_bytes_are_those_of_layers_put_together_by_scapy(make):
    first, *others = make()
    for layer in others:
        first /= layer
    assert packed(*make()) == bytes(first)
