"""An instance as the document that `vip-speaker status` and the agent read."""

from __future__ import annotations

from collections.abc import Iterable

from vip_api.model import VirtualAddress

from vip_speaker import statefile
from vip_speaker.router.activelink import ActiveLink
from vip_speaker.router.instance import Instance
from vip_speaker.router.loop import Loop
from vip_speaker.router.resolution import base_priority
from vip_speaker.vrrp.types import SECOND, BackupState, MasterState, Role

# Who is heard counts after a link was listened to for this long (an interval of 1 s, three times).
LISTEN_NS = 3 * SECOND


def state_document(
    instance: Instance, link: statefile.Link | None, problems: tuple[str, ...], now_ns: int
) -> statefile.VirtualIPState:
    """What is to be known of `instance` now; `link` while it is in INIT and has listened long enough."""
    if instance.holding.problem:
        problems = (*problems, instance.holding.problem)
    config = instance.config
    master, peer_priority = _master(instance)
    return statefile.VirtualIPState(
        name=instance.name,
        state=instance.role.value,
        uid=instance.vip.uid or "",
        observedGeneration=instance.vip.generation or 0,
        effectivePriority=config.priority if config else 0,
        priorityParts=_priority_parts(instance),
        interface=instance.link.name if instance.link else "",
        primaryAddress=str(config.primary_address) if config else "",
        virtualRouterID=config.identity.vrid if config else 0,
        version=config.identity.version if config else instance.vip.spec.version,
        addresses=tuple(map(str, _addresses(instance))),
        since=statefile.timestamp(instance.account.since),
        reason=instance.account.reason,
        master=master,
        peerPriority=peer_priority,
        problems=problems + instance.defence.rivals.problems(now_ns),
        splitBrain=_split_brain(instance, now_ns),
        link=link or statefile.Link(),
    )


def _addresses(instance: Instance) -> tuple[VirtualAddress, ...]:
    """Those in force: the document's, and the link-local one that an IPv6 router is given."""
    return instance.resolved.addresses if instance.resolved is not None else instance.vip.spec.addresses


def _priority_parts(instance: Instance) -> statefile.PriorityParts | None:
    base = base_priority(instance.vip)
    if base is None or instance.config is None:
        return None
    return statefile.PriorityParts(base=base, contributions=instance.health.parts)


def link_document(link: ActiveLink, subnets: tuple[str, ...], now_ns: int) -> statefile.Link:
    """The link's subnets and whom we hear there."""
    heard = tuple(
        statefile.HeardRouter(
            vrid=key.vrid, version=key.version, family=key.source.version, source=str(key.source), priority=priority
        )
        for key, priority in link.neighbours.present(now_ns)
    )
    return statefile.Link(subnets=subnets, heard=heard)


def _master(instance: Instance) -> tuple[str, int | None]:
    state = instance.state
    if isinstance(state, MasterState) and instance.config is not None:
        return str(instance.config.primary_address), None
    if isinstance(state, BackupState) and state.master is not None:
        return str(state.master.address), state.master.priority
    return "", None


def _split_brain(instance: Instance, now_ns: int) -> statefile.SplitBrain | None:
    other = instance.defence.rivals.split_brain(now_ns) if instance.role is Role.MASTER else None
    return statefile.SplitBrain(source=other.who, since=statefile.timestamp(other.since)) if other else None


def metrics_document(
    instances: Iterable[Instance], links: Iterable[ActiveLink], loop: Loop
) -> dict[str, dict[str, object] | float]:
    """Counters since start, per VIP and per link, for the agent to serve."""
    return {
        "virtualips": {
            one.name: {
                "state": one.role.value,
                "effectivePriority": one.config.priority if one.config else 0,
                **one.counters,
                "notes": {note.name.lower(): count for note, count in one.account.notes.items()},
            }
            for one in instances
        },
        "links": {
            link.name: {
                "packets_sent": link.sent,
                "adverts_received": link.received,
                "discarded": dict(link.discarded),
                "remarks": dict(link.remarks),
            }
            for link in links
        },
        "worst_lateness_seconds": loop.worst_lateness_ns / SECOND,
    }
