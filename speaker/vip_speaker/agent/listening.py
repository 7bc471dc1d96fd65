"""Who is heard on a link is reported once for all VirtualIPs that wait there for their virtual router IDs. Pure.

They all hear the same, and 200 new ones would otherwise be as many writes on each node before the first is served. The
report of one of them names the others. It is the youngest, which the operator gives its ID last: the report is gone as
soon as the router takes part in that one, and whoever still waits then would have to be reported anew. A node names
only what it does not run: an operator that finds a VirtualIP without status (a restore from a backup) learns from the
reports of those who run it that they do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from vip_api.seniority import seniority

from vip_speaker.agent.desired import Document, is_unicast, own_entry
from vip_speaker.agent.report import MAX_ALSO_FOR, entry, written
from vip_speaker.statefile import VirtualIPState

Waiting = Mapping[str, tuple[Document, VirtualIPState]]
"""By name what `waits`."""


def waits(body: Document, state: VirtualIPState, node: str) -> bool:
    """Whether nothing is known yet of this VirtualIP, assigned to `node`, but whom it hears."""
    return (
        state.state == "INIT"
        and bool(state.link.subnets)
        and state.observedGeneration == body["metadata"].get("generation")
        and "virtualRouterID" not in (body.get("status") or {})
        and "virtualRouterID" not in (body.get("spec") or {})
        and not is_unicast(body)  # its peers wait for our address
        and not written(own_entry(body, node))
    )


def reports(waiting: Waiting, bodies: Iterable[Document], node: str) -> dict[str, dict[str, Any]]:
    """What is to be reported, by VirtualIP: one for each link on which some wait of whom nothing was said yet."""
    said = {key for body in bodies for key in _said_for(own_entry(body, node))} if waiting else set()
    missing: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(waiting, key=lambda name: seniority(waiting[name][0]["metadata"])):
        body, state = waiting[name]
        if (state.interface, body["metadata"]["uid"]) not in said:
            missing[state.interface].append(name)
    result = {}
    for *others, youngest in missing.values():
        report = entry(waiting[youngest][1])
        uids = [waiting[name][0]["metadata"]["uid"] for name in others]
        result[youngest] = {**report, "link": with_others(report["link"], uids[:MAX_ALSO_FOR])}
    return result


def with_others(link: Mapping[str, Any], uids: Iterable[str]) -> dict[str, Any]:
    """The link's part of a report that also counts for the VirtualIPs with these uids."""
    named = list(uids)
    return {**link, "alsoFor": named} if named else dict(link)


def _said_for(own: Mapping[str, Any] | None) -> list[tuple[object, str]]:
    return [((own or {}).get("interface"), uid) for uid in ((own or {}).get("link") or {}).get("alsoFor") or ()]
