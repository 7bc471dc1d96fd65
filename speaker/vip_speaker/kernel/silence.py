"""Holding an address without answering for it: an nftables table that drops our own ARP and ND about it.

While a planned move is under way the leaving master still accepts packets for the addresses, and new askers must be
answered by the successor alone (DESIGN, Planned moves). Neighbours that know the address keep reaching it.
What packet sockets send (advertisements, announcements) does not pass these chains.

The table belongs to our netlink socket (NFT_TABLE_F_OWNER): when the process ends, the kernel takes it away. Kernels
before 5.12 do not know that; there `removal_requests` are for the last will, and `sweep` finds what was left behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vip_speaker.kernel import codec
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.netlink import NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, Refusal, Requests

IPAddress = IPv4Address | IPv6Address

TABLE_PREFIX = "kube-vrrp-"
_SET, _CHAIN = "silent", "output"
_NFPROTO_UNSPEC, _NFPROTO_ARP, _NFPROTO_IPV6 = 0, 3, 10
NETLINK_NETFILTER = 12  # not in socket
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _NEWSET, _NEWSETELEM, _DELSETELEM = 0, 1, 2, 3, 6, 9, 12, 14
_TABLE_F_OWNER = 0x2
_HOOK_ARP_OUT, _HOOK_INET_LOCAL_OUT = 1, 3
_NF_DROP, _NF_ACCEPT = 0, 1
_REGISTER_VERDICT, _REGISTER_1 = 0, 1
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_META_L4PROTO = 16
_IPPROTO_ICMPV6 = b"\x3a"
_SOLICITATION, _ADVERTISEMENT = b"\x87", b"\x88"
_ELEMENTS_PER_BATCH = 512  # a transaction must fit into one sendmsg
_TYPE_IPV4_ADDRESS, _TYPE_IPV6_ADDRESS = 7, 8  # how `nft` shows the elements


class Silence:
    """The set of addresses that are held silently in this network namespace."""

    def __init__(self) -> None:
        self._requests = Requests(NETLINK_NETFILTER)
        self._silent: set[IPAddress] = set()
        self._prepared = False
        self._owned = False
        # A port number belongs to one netlink socket in the namespace: so routers that share it do not share tables.
        self.table = f"{TABLE_PREFIX}{self._requests.port}"

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """The addresses that are silent now."""
        return frozenset(self._silent)

    @property
    def owned(self) -> bool:
        """Whether the kernel removes the table together with this process."""
        return self._owned

    def prepare(self, addresses: Iterable[IPAddress] = ()) -> None:
        """Make tables, chains and empty sets, so that `silence` of `addresses` only adds elements, encoded already.

        KernelError without nf_tables.
        """
        for one in addresses:
            _element(_NEWSETELEM, NLM_F_CREATE, self.table, one)
            _element(_DELSETELEM, 0, self.table, one)
        if self._prepared:
            return
        refusals = self._batch(_tables(self.table, _TABLE_F_OWNER))
        self._owned = not refusals
        if refusals:  # before 5.12 the flag is unknown
            refusals = self._batch(_tables(self.table, 0))
        if refusals:
            raise KernelError("cannot make the nftables table", refusals[0].code, refusals[0].detail)
        self._prepared = True

    def silence(self, addresses: Iterable[IPAddress]) -> None:
        """Answer no ARP or ND for `addresses` from here on, and ask none from them. KernelError."""
        self.prepare()
        new = set(addresses) - self._silent
        self._change(_NEWSETELEM, NLM_F_CREATE, new)
        self._silent |= new

    def unsilence(self, addresses: Iterable[IPAddress]) -> None:
        """Answer for `addresses` again; those that are not silent are left alone. KernelError."""
        known = set(addresses) & self._silent
        self._change(_DELSETELEM, 0, known)
        self._silent -= known

    def removal_requests(self) -> list[bytes]:
        """The netfilter requests that remove the table, for the last will; none where the kernel does it itself."""
        if self._owned or not self._prepared:
            return []
        return _in_batch(_message(_DELTABLE, family, 0, [("NFTA_TABLE_NAME", self.table)]) for family in _FAMILIES)

    def sweep(self) -> list[str]:
        """Remove tables of ours that no process owns; their names. For a start with no other router in the
        namespace.
        """
        dump = _message(_GETTABLE, _NFPROTO_UNSPEC, NLM_F_DUMP, [])
        left = []
        for data, offset in self._requests.dump(dump):
            found = codec.decode(codec.nftsocket.nft_table_msg, data, offset)
            name = found.get_attr("NFTA_TABLE_NAME")
            owned = (found.get_attr("NFTA_TABLE_FLAGS") or 0) & _TABLE_F_OWNER
            if name.startswith(TABLE_PREFIX) and name != self.table and not owned:
                left.append((found["nfgen_family"], name))
        for family, name in left:
            self._batch([_message(_DELTABLE, family, 0, [("NFTA_TABLE_NAME", name)])])
        return sorted({name for _, name in left})

    def close(self) -> None:
        """Give the socket back, and with it the tables."""
        if removal := self.removal_requests():
            self._requests.send(removal)
        self._requests.close()

    def _change(self, kind: int, flags: int, addresses: set[IPAddress]) -> None:
        messages = [_element(kind, flags, self.table, one) for one in addresses]
        for start in range(0, len(messages), _ELEMENTS_PER_BATCH):
            if refusals := self._batch(messages[start : start + _ELEMENTS_PER_BATCH]):
                what = ", ".join(sorted(map(str, addresses)))
                raise KernelError(f"cannot change the silence of {what}", refusals[0].code, refusals[0].detail)

    def _batch(self, messages: Iterable[bytes]) -> list[Refusal]:
        return self._requests.send(_in_batch(messages))


_FAMILIES = (_NFPROTO_ARP, _NFPROTO_IPV6)


def _in_batch(messages: Iterable[bytes]) -> list[bytes]:
    """One transaction: all of it happens or nothing."""
    return [_batch_frame(_BATCH_BEGIN), *messages, _batch_frame(_BATCH_END)]


@cache
def _batch_frame(kind: int) -> bytes:
    frame = {"nfgen_family": _NFPROTO_UNSPEC, "res_id": _SUBSYSTEM}
    return codec.encode(codec.nfnetlink.nfgen_msg, kind, NLM_F_REQUEST, frame)


def _message(kind: int, family: int, flags: int, attributes: list[tuple[str, Any]]) -> bytes:
    message_class = codec.nftsocket.AsyncNFTSocket.policy[kind]
    return codec.encode(
        message_class, _SUBSYSTEM << 8 | kind, NLM_F_REQUEST | flags, {"nfgen_family": family}, attributes
    )


def _tables(name: str, table_flags: int) -> list[bytes]:
    """The tables with a chain, its rules and an empty set each."""
    address_of_sender = _payload(_NETWORK_HEADER, 14, 4)  # behind Ethernet's fixed part and the sender's MAC
    source, target = _payload(_NETWORK_HEADER, 8, 16), _payload(_TRANSPORT_HEADER, 8, 16)
    rules = [(_NFPROTO_ARP, [address_of_sender])]
    # A host answers from the address that was asked for, and asks from an address of its own; the third rule is for
    # answers that name the address but come from another one.
    for kind, address in ((_ADVERTISEMENT, source), (_SOLICITATION, source), (_ADVERTISEMENT, target)):
        icmpv6 = _expression("meta", ("NFTA_META_KEY", _META_L4PROTO), ("NFTA_META_DREG", _REGISTER_1))
        rules.append(
            (
                _NFPROTO_IPV6,
                [icmpv6, _equals(_IPPROTO_ICMPV6), _payload(_TRANSPORT_HEADER, 0, 1), _equals(kind), address],
            )
        )
    messages = []
    for family, hook, key_type, key_length in (
        (_NFPROTO_ARP, _HOOK_ARP_OUT, _TYPE_IPV4_ADDRESS, 4),
        (_NFPROTO_IPV6, _HOOK_INET_LOCAL_OUT, _TYPE_IPV6_ADDRESS, 16),
    ):
        table = [("NFTA_TABLE_NAME", name), ("NFTA_TABLE_FLAGS", table_flags)]
        hooked = {"attrs": [("NFTA_HOOK_HOOKNUM", hook), ("NFTA_HOOK_PRIORITY", 0)]}
        chain = [
            ("NFTA_CHAIN_TABLE", name),
            ("NFTA_CHAIN_NAME", _CHAIN),
            ("NFTA_CHAIN_HOOK", hooked),
            ("NFTA_CHAIN_POLICY", _NF_ACCEPT),
            ("NFTA_CHAIN_TYPE", "filter"),
        ]
        addresses = [
            ("NFTA_SET_TABLE", name),
            ("NFTA_SET_NAME", _SET),
            ("NFTA_SET_KEY_TYPE", key_type),
            ("NFTA_SET_KEY_LEN", key_length),
            ("NFTA_SET_ID", 1),
        ]
        messages.append(_message(_NEWTABLE, family, NLM_F_CREATE, table))
        messages.append(_message(_NEWSET, family, NLM_F_CREATE, addresses))
        messages.append(_message(_NEWCHAIN, family, NLM_F_CREATE, chain))
    messages.extend(_rule(family, name, expressions) for family, expressions in rules)
    return messages


def _rule(family: int, table: str, expressions: list[Any]) -> bytes:
    """Drop what `expressions` match and whose address, loaded last, is in the set."""
    lookup = _expression("lookup", ("NFTA_LOOKUP_SET", _SET), ("NFTA_LOOKUP_SREG", _REGISTER_1))
    verdict = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": [("NFTA_VERDICT_CODE", _NF_DROP)]})]}
    drop = _expression("immediate", ("NFTA_IMMEDIATE_DREG", _REGISTER_VERDICT), ("NFTA_IMMEDIATE_DATA", verdict))
    attributes = [
        ("NFTA_RULE_TABLE", table),
        ("NFTA_RULE_CHAIN", _CHAIN),
        ("NFTA_RULE_EXPRESSIONS", [*expressions, lookup, drop]),
    ]
    return _message(_NEWRULE, family, NLM_F_CREATE | 0x800, attributes)  # NLM_F_APPEND


def _expression(name: str, *attributes: tuple[str, Any]) -> Any:
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": list(attributes)})]}


def _payload(base: int, offset: int, length: int) -> Any:
    return _expression(
        "payload",
        ("NFTA_PAYLOAD_DREG", _REGISTER_1),
        ("NFTA_PAYLOAD_BASE", base),
        ("NFTA_PAYLOAD_OFFSET", offset),
        ("NFTA_PAYLOAD_LEN", length),
    )


def _equals(value: bytes) -> Any:
    data = {"attrs": [("NFTA_DATA_VALUE", value)]}
    return _expression("cmp", ("NFTA_CMP_SREG", _REGISTER_1), ("NFTA_CMP_OP", 0), ("NFTA_CMP_DATA", data))


@lru_cache(maxsize=1 << 12)
def _element(kind: int, flags: int, table: str, address: IPAddress) -> bytes:
    """The request that puts `address` into the set or takes it out. Encoding takes 0.1 ms, hence the cache."""
    element = {"attrs": [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", address.packed)]})]}
    attributes = [
        ("NFTA_SET_ELEM_LIST_TABLE", table),
        ("NFTA_SET_ELEM_LIST_SET", _SET),
        ("NFTA_SET_ELEM_LIST_ELEMENTS", [element]),
    ]
    return _message(kind, _NFPROTO_ARP if address.version == 4 else _NFPROTO_IPV6, flags, attributes)
