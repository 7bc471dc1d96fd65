"""Everything a plan is made from, as values: what the operator has seen of the cluster.

The objects in it are made by the `from_object` functions of `virtualip`, `node` and `daemonset`, which take API objects
as plain mappings. They never raise on content: what is not as it should be becomes a value or is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from vip_api.model import IPAddress, LabelSelector

from vip_operator.plan.daemonset import DaemonSet, SpeakerPod, Template
from vip_operator.plan.node import Node
from vip_operator.plan.selectors import matches
from vip_operator.plan.virtualip import Vip


@dataclass(frozen=True, slots=True, kw_only=True)
class PodQuery:
    """The pods that a check of the kind `pods` counts."""

    namespace: str
    selector: LabelSelector


@dataclass(frozen=True, kw_only=True)  # without slots: what a plan asks for again and again is kept
class World:
    """Everything a plan is made from. `now` is wall-clock time; `cluster_uid` tells two clusters on one LAN
    apart; `ready_pods` are numbers by node, missing where the pods could not be listed: `pod_problems` say why.
    `api_server` are the addresses that the API server gives as its own.
    """

    now: datetime
    cluster_uid: str
    vips: tuple[Vip, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    pods: tuple[SpeakerPod, ...] = ()
    template: Template | None = None
    daemon_set: DaemonSet | None = None
    ready_pods: Mapping[PodQuery, Mapping[str, int]] = field(default_factory=dict)
    pod_problems: Mapping[PodQuery, str] = field(default_factory=dict)
    api_server: frozenset[IPAddress] = frozenset()

    def reporting(self, node: str) -> bool:
        """Whether what `node` reported last can be believed: the node is Ready and its speaker runs."""
        return node in self.reporting_nodes

    @cached_property
    def reporting_nodes(self) -> frozenset[str]:
        """The nodes that are `reporting`."""
        served = {p.node for p in self.pods if p.ready and not p.deleting}
        return frozenset(name for name, node in self.nodes.items() if node.ready and name in served)

    @cached_property
    def ending(self) -> frozenset[str]:
        """The nodes whose speaker is ending, within the time that it has for that."""
        return frozenset(p.node for p in self.pods if p.deleting and (p.ends_by is None or self.now <= p.ends_by))

    @cached_property
    def heard(self) -> Mapping[str, Mapping[str, frozenset[int]]]:
        """By uid of a VirtualIP: the nodes that listened on its link without running it, and the VRIDs heard there."""
        result: dict[str, dict[str, frozenset[int]]] = {}
        for vip in self.vips:
            for node, entry in vip.entries.items():
                if entry.report is not None and (link := entry.report.link) is not None:
                    for uid in (vip.uid, *link.also_for):
                        nodes = result.setdefault(uid, {})
                        nodes[node] = nodes.get(node, frozenset()) | link.heard
        return result

    @cached_property
    def nodes_at(self) -> Mapping[IPAddress, frozenset[str]]:
        """By address: the nodes that say they are reached at it."""
        result: dict[IPAddress, frozenset[str]] = {}
        for name, node in self.nodes.items():
            for ip in node.addresses:
                result[ip] = result.get(ip, frozenset()) | {name}
        return result

    def admitted(self, selector: LabelSelector | None) -> frozenset[str]:
        """The nodes that both this selector and the DaemonSet's node selector choose."""
        known = self._admitted.get(selector)
        if known is None:
            known = frozenset(
                name
                for name in self._admitted[None]
                if selector is not None and matches(selector, self.nodes[name].labels)
            )
            self._admitted[selector] = known
        return known

    @cached_property
    def _admitted(self) -> dict[LabelSelector | None, frozenset[str]]:
        """By selector, each asked of every node once: most VirtualIPs share theirs, or have none."""
        chart = self.template.node_selector.items() if self.template else ()
        everywhere = (n for n, node in self.nodes.items() if all(node.labels.get(k) == v for k, v in chart))
        return {None: frozenset(everywhere)}
