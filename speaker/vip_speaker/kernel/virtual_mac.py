"""Links that carry a virtual router's MAC address (RFC 9568 section 7.3): a macvlan on the link that it runs on.

Mode `bridge`, so that frames of another router with the same MAC still reach a socket on the parent. The link is made
down and goes up with mastership: an interface that comes up sends MLD reports, and from a BACKUP they would teach the
switches the wrong port. Everything is set through netlink, because /proc/sys is read-only in a pod.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from vip_speaker.kernel import codec
from vip_speaker.kernel.errors import KernelError
from vip_speaker.kernel.links import IFF_UP, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK, Link, decode_link
from vip_speaker.kernel.netlink import NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, Requests

_MACVLAN_MODE_BRIDGE = 4
_ADDRESS_GENERATION_NONE = 1
_NAME = re.compile(r"kv([46])-(\d+)-(\d+)")

# Numbers of the IPv4 settings of a link, linux/ip.h.
RP_FILTER, ARP_ANNOUNCE, ARP_IGNORE, PROMOTE_SECONDARIES = 8, 18, 19, 20
_FIELD_OF = {
    RP_FILTER: "rp_filter",
    ARP_ANNOUNCE: "arp_announce",
    ARP_IGNORE: "arp_ignore",
    PROMOTE_SECONDARIES: "promote_secondaries",
}

# The link that carries the MAC answers for its own addresses only. Loose reverse path filtering (2): the way back leads
# through the parent, and the kernel takes the larger of this and `all`, so 0 would not undo a strict `all`.
_ON_VIRTUAL = {ARP_IGNORE: 1, RP_FILTER: 2}
# The parent must not answer for the virtual addresses with its own MAC, nor name them as sender in its ARP requests.
_ON_PARENT = {ARP_IGNORE: 1, ARP_ANNOUNCE: 2}


class _link_settings(codec.netlink.nlmsg):  # type: ignore[name-defined]  # noqa: N801 - named like pyroute2's own
    """RTM_SETLINK with the settings of address families, which pyroute2 decodes but does not encode."""

    fields = (("family", "B"), ("__align", "x"), ("ifi_type", "H"), ("index", "i"), ("flags", "I"), ("change", "I"))
    nla_map = ((26, "IFLA_AF_SPEC", "families"),)

    class families(codec.netlink.nla):  # type: ignore[name-defined]  # noqa: N801
        nla_map = ((2, "AF_INET", "ipv4"), (10, "AF_INET6", "ipv6"))

        class ipv4(codec.netlink.nla):  # type: ignore[name-defined]  # noqa: N801
            nla_map = ((1, "IFLA_INET_CONF", "settings"),)

            class settings(codec.netlink.nla):  # type: ignore[name-defined]  # noqa: N801
                nla_map = tuple((number, name, "uint32") for number, name in _FIELD_OF.items())

        class ipv6(codec.netlink.nla):  # type: ignore[name-defined]  # noqa: N801
            nla_map = ((8, "IFLA_INET6_ADDR_GEN_MODE", "uint8"),)


def mac_of(vrid: int, version: int) -> str:
    """The virtual router MAC address of `vrid` for IP `version` 4 or 6."""
    return f"00:00:5e:00:0{1 if version == 4 else 2}:{vrid:02x}"


def name_of(parent: int, vrid: int, version: int) -> str:
    """The name of the link on parent `parent` (an ifindex)."""
    return f"kv{version}-{parent}-{vrid}"


def is_virtual(link: Link) -> bool:
    """Whether `link` is one that `create` made, in this process or an earlier one."""
    matched = _NAME.fullmatch(link.name)
    return matched is not None and link.kind == "macvlan" and link.mac == mac_of(int(matched[3]), int(matched[1]))


class VirtualMacs:
    """The virtual MAC links of this router, and what was changed on their parents."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._children: dict[int, dict[tuple[int, int], Link]] = {}  # parent: (vrid, version): the link on it
        self._before: dict[int, dict[int, int]] = {}  # parent: settings as they were

    @property
    def ifindexes(self) -> set[int]:
        """The links made here."""
        return {link.ifindex for children in self._children.values() for link in children.values()}

    def find(self, parent: Link, vrid: int, version: int) -> int | None:
        """The ifindex of the link that `create` made."""
        link = self._children.get(parent.ifindex, {}).get((vrid, version))
        return None if link is None else link.ifindex

    def create(self, parent: Link, vrid: int, version: int) -> Link:
        """The link for `vrid` and IP `version` on `parent`, down. KernelError; EEXIST when the name is another's."""
        name, mac = name_of(parent.ifindex, vrid, version), mac_of(vrid, version)
        mode = {"attrs": [("IFLA_MACVLAN_MODE", "bridge")]}
        info = {"attrs": [("IFLA_INFO_KIND", "macvlan"), ("IFLA_INFO_DATA", mode)]}
        attributes = [("IFLA_IFNAME", name), ("IFLA_LINK", parent.ifindex), ("IFLA_ADDRESS", mac)]
        attributes.append(("IFLA_LINKINFO", info))
        flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
        created = codec.encode(codec.ifinfmsg, RTM_NEWLINK, flags, {}, attributes)
        what = f"cannot create the virtual MAC link {name} on {parent.name}"
        try:
            self._do(what, created)
        except KernelError as error:
            if error.code != errno.EEXIST or not self._delete_leftover(name):
                raise
            self._do(what, created)
        data = self._requests.get(_get_link({}, [("IFLA_IFNAME", name)]))
        link = decode_link(data)
        if link is None:
            raise KernelError(f"the virtual MAC link {name} vanished at once", errno.ENODEV)
        try:
            self._set(link, _ON_VIRTUAL, ("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_GENERATION_NONE))
            self._prepare_parent(parent)
        except KernelError:
            self._delete(link.ifindex, link.name)
            raise
        self._children.setdefault(parent.ifindex, {})[vrid, version] = link
        # Router advertisements would give it addresses of its own. No netlink setting exists; a pod that cannot write
        # here leaves the node's default in force, which is off on a node that forwards IPv6.
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra").write_text("0", encoding="ascii")
        return link

    def _delete_leftover(self, name: str) -> bool:
        """Whether the link of that name was one of a creation that failed half-way, and could not be undone then."""
        left = next((link for link in self._list() if link.name == name), None)
        if left is None or not is_virtual(left) or left.ifindex in self.ifindexes:
            return False
        self._delete(left.ifindex, name)
        return True

    def put_up(self, ifindexes: AbstractSet[int]) -> None:
        """Put those of `ifindexes` up that were made here, before their addresses are added: IPv6 has none on a link
        that is down. One that is gone is left to those who add addresses.
        """
        self._put(ifindexes, IFF_UP)

    def put_down(self, ifindexes: AbstractSet[int]) -> None:
        """Put those of `ifindexes` down that were made here."""
        self._put(ifindexes, 0)

    def _put(self, ifindexes: AbstractSet[int], flags: int) -> None:
        for ifindex in ifindexes & self.ifindexes:
            fields = {"index": ifindex, "flags": flags, "change": IFF_UP}
            with contextlib.suppress(KernelError):
                self._requests.send([codec.encode(codec.ifinfmsg, RTM_SETLINK, NLM_F_REQUEST, fields)])

    def remove(self, link: Link) -> None:
        """Delete the link (some 15 ms: the kernel waits for its readers). One that is gone is a success."""
        self._delete(link.ifindex, link.name)
        self.forget(link.ifindex)

    def forget(self, ifindex: int) -> None:
        """A link is gone, whoever deleted it. With the last one on a parent the parent's settings are as before."""
        for parent, children in list(self._children.items()):
            for key, child in list(children.items()):
                if child.ifindex == ifindex:
                    del children[key]
            if not children:
                del self._children[parent]
                settings = self._before.pop(parent, {})
                with contextlib.suppress(KernelError):  # the parent may be gone as well
                    self._set(Link(ifindex=parent, name=str(parent)), settings)

    def close(self) -> None:
        """Delete all links. What the kernel refuses to delete keeps nobody from the others, nor from leaving."""
        for link in [link for children in self._children.values() for link in children.values()]:
            with contextlib.suppress(KernelError):
                self.remove(link)

    def removal_requests(self) -> list[bytes]:
        """The requests that delete all links and restore their parents, wanting no answer (last will)."""
        links = [_delete_link(ifindex) for ifindex in sorted(self.ifindexes)]
        return links + [settings_message(parent, settings) for parent, settings in self._before.items()]

    def sweep(self) -> list[str]:
        """Delete links that an earlier router left behind; their names. For a start with no other router in the
        namespace.
        """
        left = [link for link in self._list() if is_virtual(link) and link.ifindex not in self.ifindexes]
        for link in left:
            self._delete(link.ifindex, link.name)
        return [link.name for link in left]

    def _prepare_parent(self, parent: Link) -> None:
        found = self._settings(parent)
        self._set(parent, {number: max(value, found.get(number, 0)) for number, value in _ON_PARENT.items()})
        before = {number: found[number] for number in _ON_PARENT if number in found}
        self._before.setdefault(parent.ifindex, before)

    def _settings(self, link: Link) -> dict[int, int]:
        """The IPv4 settings of the link that we may change."""
        message = codec.decode(codec.ifinfmsg, self._requests.get(_get_link({"index": link.ifindex}, [])))
        families = message.get_attr("IFLA_AF_SPEC")
        values: Any = families.get_attr("AF_INET") if families is not None else None
        return {number: values[name] for number, name in _FIELD_OF.items()} if values is not None else {}

    def _set(self, link: Link, settings: dict[int, int], *ipv6: tuple[str, int]) -> None:
        self._do(f"cannot change the settings of {link.name}", settings_message(link.ifindex, settings, *ipv6))

    def _delete(self, ifindex: int, name: str) -> None:
        try:
            self._do(f"cannot delete the link {name}", _delete_link(ifindex))
        except KernelError as error:
            if error.code != errno.ENODEV:
                raise

    def _list(self) -> list[Link]:
        found = (decode_link(data, offset) for data, offset in self._requests.dump(_get_link({}, [], NLM_F_DUMP)))
        return [link for link in found if link is not None]

    def _do(self, what: str, message: bytes) -> None:
        if refusals := self._requests.send([message]):
            raise KernelError(what, refusals[0].code, refusals[0].detail)


def _delete_link(ifindex: int) -> bytes:
    return codec.encode(codec.ifinfmsg, RTM_DELLINK, NLM_F_REQUEST, {"index": ifindex})


def settings_message(ifindex: int, settings: dict[int, int], *ipv6: tuple[str, int]) -> bytes:
    """The request that gives a link these IPv4 settings, by number; and IPv6 attributes by name."""
    values = {"attrs": [(_FIELD_OF[number], value) for number, value in settings.items()]}
    families: list[tuple[str, Any]] = [("AF_INET", {"attrs": [("IFLA_INET_CONF", values)]})]
    if ipv6:
        families.append(("AF_INET6", {"attrs": list(ipv6)}))
    specification = [("IFLA_AF_SPEC", {"attrs": families})]
    return codec.encode(_link_settings, RTM_SETLINK, NLM_F_REQUEST, {"index": ifindex}, specification)


def _get_link(fields: dict[str, int], attributes: list[tuple[str, Any]], flags: int = 0) -> bytes:
    attributes = [*attributes, ("IFLA_EXT_MASK", 1 << 3)]  # RTEXT_FILTER_SKIP_STATS
    return codec.encode(codec.ifinfmsg, RTM_GETLINK, NLM_F_REQUEST | flags, fields, attributes)
