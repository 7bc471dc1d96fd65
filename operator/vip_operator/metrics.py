"""The operator's metrics. Names follow the conventions of Prometheus; labels are bounded by the objects that
exist.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

PLANS = Histogram(
    "kube_vrrp_operator_plan_duration_seconds",
    "How long one plan took to make.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
CHANGES = Counter("kube_vrrp_operator_changes_total", "Changes carried out, by kind.", ("kind",))
FAILURES = Counter("kube_vrrp_operator_failures_total", "Changes that failed and are tried again.", ("kind",))
CONDITION = Gauge(
    "kube_vrrp_virtualip_condition",
    "1 for the status that a condition of a VirtualIP has, 0 for the others.",
    ("virtualip", "condition", "status"),
)
STATUSES = ("True", "False", "Unknown")
LAST_PLAN = Gauge("kube_vrrp_operator_last_plan_timestamp_seconds", "When the operator planned last.")


class ConditionGauge:
    """Keeps `CONDITION` in step with the VirtualIPs that exist. What did not change is left alone: plans are many."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], str] = {}

    def show(self, conditions: dict[tuple[str, str], str]) -> None:
        """`conditions`: (VirtualIP, type) to status."""
        for vip, kind in self._shown.keys() - conditions.keys():
            for status in STATUSES:
                CONDITION.remove(vip, kind, status)
        for (vip, kind), now in conditions.items():
            if self._shown.get((vip, kind)) != now:
                for status in STATUSES:
                    CONDITION.labels(vip, kind, status).set(status == now)
        self._shown = dict(conditions)
