"""Which virtual router ID each VirtualIP has: given, adopted or allocated; never the same twice on one link.

A VirtualIP without one waits until speakers have listened, because routers that are not ours use VRIDs too.
Once used, a VRID is kept: changing it would be a new virtual router for everyone on the link.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from vip_api.model import VirtualIPSpec

from vip_operator.plan.participation import lacks_link
from vip_operator.plan.virtualip import Vip
from vip_operator.plan.world import World

VRIDS = 255
"""1..255 (RFC 9568 section 5.2.3)."""

LISTENING_LIMIT = timedelta(seconds=15)
"""How long a speaker that has not reported what it hears can hold up the others, from the VirtualIP's
creation; and how long it may wait for its own first choice to fall silent.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The VRID, or why there is none. `conflict_with` names the VirtualIP that has the one this one asks
    for.
    """

    vrid: int | None
    conflict_with: str | None = None
    listening: bool = False
    exhausted: bool = False


def decide(
    world: World, accepted: Mapping[str, VirtualIPSpec], assigned: Mapping[str, frozenset[str]]
) -> dict[str, Decision]:
    """A decision for every accepted VirtualIP; `assigned` are the nodes that take part in each.

    Who has a VRID in use keeps it; then explicit goes before allocated, older before younger, then the name
    decides.
    """
    vips = [v for v in world.vips if v.name in accepted]
    refused = [v for v in world.vips if v.name not in accepted and v.virtual_router_id is not None]
    result: dict[str, Decision] = {}
    holders: dict[str, int] = {}
    by_vrid: defaultdict[int, dict[str, Vip]] = defaultdict(dict)

    def hold(vip: Vip, vrid: int) -> None:
        if vip.name in holders:
            del by_vrid[holders[vip.name]][vip.name]
        holders[vip.name] = vrid
        by_vrid[vrid][vip.name] = vip

    def rival(vip: Vip, vrid: int, *, in_doubt: bool = True) -> str | None:
        others = [o for o in by_vrid[vrid].values() if o.name != vip.name]
        return min((o.name for o in others if _share_link(vip, o, accepted, in_doubt=in_doubt)), default=None)

    for vip in refused:  # the document before is still carried out
        assert vip.virtual_router_id is not None
        hold(vip, vip.virtual_router_id)

    wants = {v.name: accepted[v.name].virtual_router_id for v in vips}
    in_use = [v for v in vips if v.virtual_router_id is not None]
    in_use.sort(key=lambda v: (wants[v.name] is None, wants[v.name] not in (None, v.virtual_router_id), *v.seniority))
    for vip in in_use:
        assert vip.virtual_router_id is not None
        # what runs under it is taken nothing for a mere doubt: nodes may only have moved on
        other = rival(vip, vip.virtual_router_id, in_doubt=reported(vip) != vip.virtual_router_id)
        if other is None:
            hold(vip, vip.virtual_router_id)
            result[vip.name] = Decision(vrid=vip.virtual_router_id)
        else:
            result[vip.name] = Decision(vrid=None, conflict_with=other)

    asking = [v for v in vips if wants[v.name] is not None and holders.get(v.name) != wants[v.name]]
    for vip in sorted(asking, key=lambda v: v.seniority):
        vrid = wants[vip.name]
        assert vrid is not None
        other = rival(vip, vrid)
        if other is None:
            hold(vip, vrid)
            result[vip.name] = Decision(vrid=vrid)
        else:
            result[vip.name] = Decision(vrid=holders.get(vip.name), conflict_with=other)

    for vip in sorted(vips, key=lambda v: v.seniority):
        if wants[vip.name] is not None or vip.name in holders:
            continue
        result[vip.name] = _allocate(vip, world, assigned.get(vip.name, frozenset()), rival)
        vrid = result[vip.name].vrid
        if vrid is not None:
            hold(vip, vrid)
    return result


def _allocate(vip: Vip, world: World, nodes: frozenset[str], rival: object) -> Decision:
    assert callable(rival)
    running = reported(vip)
    if running is not None and not is_adoptable(vip, world):
        return Decision(vrid=None, listening=True)
    if running is not None and rival(vip, running) is None:
        return Decision(vrid=running)
    if not has_listened(vip, world, nodes):
        return Decision(vrid=None, listening=True)
    heard = frozenset[int]().union(*world.heard.get(vip.uid, {}).values())
    start = search_start(world.cluster_uid, vip.name)
    if start in heard and rival(vip, start) is None and world.now - vip.created_at < LISTENING_LIMIT:
        # perhaps a node that has not yet let go of the VIP of this name that was deleted just now
        return Decision(vrid=None, listening=True)
    for offset in range(VRIDS):
        vrid = (start - 1 + offset) % VRIDS + 1
        if vrid not in heard and rival(vip, vrid) is None:
            return Decision(vrid=vrid)
    return Decision(vrid=None, exhausted=True)


def search_start(cluster_uid: str, name: str) -> int:
    """Where the search for a free VRID begins, so that two clusters on one LAN differ even before they hear
    each other.
    """
    digest = hashlib.sha256(f"{cluster_uid}/{name}".encode()).digest()
    return int.from_bytes(digest[:4]) % VRIDS + 1


def reported(vip: Vip) -> int | None:
    """The VRID that speakers already run this VIP under (its status was lost: a restore from backup)."""
    votes = Counter(
        e.report.virtual_router_id
        for e in vip.entries.values()
        if e.report is not None and e.report.takes_part and e.report.virtual_router_id is not None
    )
    return min(votes, key=lambda vrid: (-votes[vrid], vrid)) if votes else None


def is_adoptable(vip: Vip, world: World) -> bool:
    """Whether this VIP lost its status and its speakers have said what they run: all that can, or long enough."""
    if vip.virtual_router_id is not None or vip.spec is None or vip.spec.virtual_router_id is not None:
        return False
    if reported(vip) is None:
        return False
    listened = world.heard.get(vip.uid, {})
    serving = [n for n, e in vip.entries.items() if e.priority is not None and world.reporting(n)]
    said = all(vip.entries[n].report is not None or n in listened for n in serving)
    return said or world.now - vip.created_at >= LISTENING_LIMIT


def has_listened(vip: Vip, world: World, nodes: frozenset[str]) -> bool:
    """Whether the speakers have reported what they hear: all that can, or some when the others take too
    long.
    """
    serving = [n for n in nodes if world.reporting(n) and not lacks_link(vip.entries.get(n))]
    heard = world.heard.get(vip.uid, {})
    listened = [n for n in serving if n in heard]
    if not listened:
        return False
    return len(listened) == len(serving) or world.now - vip.created_at >= LISTENING_LIMIT


def _share_link(a: Vip, b: Vip, specs: Mapping[str, VirtualIPSpec], *, in_doubt: bool) -> bool:
    """Whether two virtual routers may meet: `in_doubt` where nobody knows; other families never (RFC 9568 section
    5.2.3). Of one without a document in `specs` the document before counts.
    """
    one, two = specs.get(a.name), specs.get(b.name)
    versions = _version(a, one), _version(b, two)
    if None not in versions and versions[0] != versions[1]:
        return False
    pairs = [
        (a.entries[n].report, b.entries[n].report)
        for n in a.entries.keys() & b.entries.keys()
        if a.entries[n].report and b.entries[n].report
    ]
    known = [(x.interface, y.interface) for x, y in pairs if x and y and x.interface and y.interface]
    if known:
        return any(x == y for x, y in known)
    if one is None or two is None:
        return in_doubt
    literal = not any(c in name for name in (*one.interfaces, *two.interfaces) for c in "*?[")
    if literal and one.interfaces and two.interfaces and not set(one.interfaces) & set(two.interfaces):
        return False
    return in_doubt


def _version(vip: Vip, spec: VirtualIPSpec | None) -> int | None:
    """The IP version of its virtual router, that of the first address; None where that is not known."""
    addresses = vip.accepted_addresses if spec is None else [address.ip for address in spec.addresses]
    return next((ip.version for ip in addresses), None)
