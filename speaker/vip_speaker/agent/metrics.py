"""The node's metrics, made at the time of a scrape from what router and agent last said.

Label values are bounded by the VIPs assigned to this node, its links, and the constants of the router.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vip_speaker.agent.reflector import Reflector
from vip_speaker.agent.reporter import Reporter
from vip_speaker.statedirectory import NoStateDirectoryError, StateDirectory

STATES = ("INIT", "BACKUP", "MASTER", "FAULT")

COUNTERS = {
    "kube_vrrp_transitions": "Changes of the VirtualIP's state on this node.",
    "kube_vrrp_adverts_sent": "Advertisements of the virtual router that this node sent.",
    "kube_vrrp_adverts_failed": "Advertisements that the kernel refused to send.",
    "kube_vrrp_adverts_received": "Advertisements of the virtual router that this node heard and accepted.",
    "kube_vrrp_announcements_seen": "ARP and neighbour announcements of others that named an address of the VirtualIP.",
    "kube_vrrp_address_claims": "Answers of others to the question who else has an address of the VirtualIP.",
    "kube_vrrp_announced_again": "Rounds of announcements because somebody else advertised or claimed an address.",
    "kube_vrrp_addresses_restored": "Addresses put back after somebody else had removed them from the link.",
    "kube_vrrp_notes": "Oddities worth a look that change no state, by kind.",
    "kube_vrrp_link_packets_sent": "Packets that the router sent on the link.",
    "kube_vrrp_link_adverts_received": "VRRP packets that the router read from the link, whatever became of them.",
    "kube_vrrp_link_discarded": "VRRP packets discarded, by the rule of RFC 9568 section 7.1 that they break.",
    "kube_vrrp_link_remarks": "VRRP packets accepted although something about them is odd, by what it is.",
}
"""What each counter of the router means. One that is not here is shown under its name."""


class NodeCollector(Collector):
    """Everything about one node."""

    def __init__(
        self,
        directory: StateDirectory,
        reflector: Reflector,
        reporter: Reporter,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory, self._reflector, self._reporter, self._clock = directory, reflector, reporter, clock

    def collect(self) -> Iterable[Metric]:
        """One scrape."""
        yield from self._states()
        yield from self._router()
        age = GaugeMetricFamily(
            "kube_vrrp_api_answer_age_seconds",
            "Seconds since the API server last answered; +Inf before the first answer.",
        )
        age.add_metric((), max(0.0, self._clock() - self._reflector.answered_at))
        yield age

    def _states(self) -> Iterable[Metric]:
        state = GaugeMetricFamily(
            "kube_vrrp_state", "1 for the state that the VirtualIP has on this node, 0 for the others.",
            labels=("virtualip", "state"),
        )  # fmt: skip
        priority = GaugeMetricFamily(
            "kube_vrrp_effective_priority", "The priority in force, checks counted in.", labels=("virtualip",)
        )
        split = GaugeMetricFamily(
            "kube_vrrp_split_brain", "1 while another master keeps advertising.", labels=("virtualip",)
        )
        contribution = GaugeMetricFamily(
            "kube_vrrp_check_contribution", "What a check adds to the priority now.", labels=("virtualip", "check")
        )
        for name, document in sorted(self._reporter.states.items()):
            for one in STATES:
                state.add_metric((name, one), document.state == one)
            priority.add_metric((name,), document.effectivePriority)
            split.add_metric((name,), document.splitBrain is not None)
            for part in document.priorityParts.contributions if document.priorityParts else ():
                contribution.add_metric((name, part.name), part.value)
        return state, priority, split, contribution

    def _router(self) -> Iterable[Metric]:
        """The router's own counters, from its file."""
        try:
            document = self._directory.read_metrics() or {}
        except NoStateDirectoryError:
            document = {}
        up = GaugeMetricFamily("kube_vrrp_router_up", "1 while the router hands over its counters.")
        up.add_metric((), bool(document))
        yield up
        late = document.get("worst_lateness_seconds")
        if isinstance(late, int | float):
            gauge = GaugeMetricFamily(
                "kube_vrrp_worst_lateness_seconds", "How late a timer of the router was at worst since its start."
            )
            gauge.add_metric((), late)
            yield gauge
        yield from self._counters(
            _mapping(document.get("virtualips")), "virtualip", prefix="kube_vrrp", nested={"notes": "note"}
        )
        yield from self._counters(
            _mapping(document.get("links")),
            "interface",
            prefix="kube_vrrp_link",
            nested={"discarded": "reason", "remarks": "remark"},
        )

    @staticmethod
    def _counters(
        objects: Mapping[str, Any], label: str, *, prefix: str, nested: Mapping[str, str]
    ) -> Iterable[Metric]:
        """A counter for each number that an object has, and for each number in its `nested` mappings."""
        families: dict[str, CounterMetricFamily] = {}

        def add(key: str, labels: tuple[str, ...], values: tuple[str, ...], number: object) -> None:
            if isinstance(number, bool) or not isinstance(number, int | float):
                return
            name = f"{prefix}_{key}"
            if name not in families:
                meaning = COUNTERS.get(name, f"{key.replace('_', ' ').capitalize()}.")
                families[name] = CounterMetricFamily(name, meaning, labels=labels)
            families[name].add_metric(values, number)

        for name, fields in sorted(objects.items()):
            for key, value in sorted(_mapping(fields).items()):
                if key in nested:
                    for reason, number in sorted(_mapping(value).items()):
                        add(key, (label, nested[key]), (name, reason), number)
                elif key != "effectivePriority":
                    add(key, (label,), (name,), value)
        return families.values()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
