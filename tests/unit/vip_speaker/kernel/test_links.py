"""The picture of links and addresses that events keep current."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from vip_speaker.kernel import Assigned, Link, LinkAddress, LinkChanged, codec
from vip_speaker.kernel.addresses import renewal
from vip_speaker.kernel.links import LinkTable, decode_address, decode_link, key_of, peek_key

ADDRESS = LinkAddress(ip=ip_address("10.0.0.1"), prefix_length=24)
KEY = key_of(7, ADDRESS.ip, 24)
ETH0 = Link(ifindex=7, name="eth0")


def link_message(family: int, **fields: int) -> bytes:
    return codec.encode(codec.ifinfmsg, 16, 0, {"family": family, "index": 7, **fields}, [("IFLA_IFNAME", "eth0")])


@pytest.mark.parametrize(("ip", "size"), [("10.0.0.100", 4), ("fd00::100", 16)])
def test_a_peek_finds_what_decoding_finds(ip: str, size: int) -> None:
    one = Assigned(ifindex=7, ip=ip_address(ip), prefix_length=size * 8)
    sent = renewal(one, 4)
    decoded = decode_address(sent)
    assert decoded is not None
    assert decoded[0] == 7
    assert decoded[1].ip == one.ip
    # the kernel puts IFA_ADDRESS in front, we IFA_LOCAL: it must not be taken for the other
    assert peek_key(sent, 0) is None
    front = codec.HEADER.size + 8
    echoed = sent[:front] + sent[front + 4 + size :]
    assert peek_key(echoed, 0) == key_of(7, one.ip, one.prefix_length)


def test_messages_about_bridge_ports_are_not_about_links() -> None:
    assert decode_link(link_message(7)) is None  # AF_BRIDGE
    link = decode_link(link_message(0, flags=0x41))
    assert link is not None
    assert (link.name, link.up, link.running) == ("eth0", True, True)


def test_addresses_follow_their_link() -> None:
    table = LinkTable()
    assert not table.put_address(7, ADDRESS)  # a link that is not known
    assert table.put_link(ETH0) == LinkChanged(ifindex=7, before=None, after=ETH0)
    assert table.put_link(ETH0) is None
    assert table.put_address(7, ADDRESS)
    assert not table.put_address(7, ADDRESS)
    assert table[7].addresses == (ADDRESS,)
    assert table[7].address(ADDRESS.ip) == ADDRESS
    up = Link(ifindex=7, name="eth0", up=True)
    changed = table.put_link(up)
    assert changed is not None
    assert changed.after is not None
    assert changed.after.addresses == (ADDRESS,)
    assert table.drop_address(KEY) == ADDRESS
    assert table.drop_address(KEY) is None
    assert table[7].addresses == ()
    gone = table.drop_link(7)
    assert gone is not None
    assert gone.after is None
    assert table.drop_link(7) is None
    assert not table.has_address(KEY)
    assert list(table) == []


def test_a_full_list_replaces_everything() -> None:
    table = LinkTable()
    table.put_link(Link(ifindex=3, name="old"))
    table.replace([ETH0], [(7, ADDRESS), (3, ADDRESS)])
    assert {index: link.addresses for index, link in table.items()} == {7: (ADDRESS,)}
