"""The gauge of conditions: one of three statuses is 1, and a VirtualIP that is gone has none."""

from prometheus_client import REGISTRY
from vip_operator.metrics import ConditionGauge


def shown(vip: str) -> dict[str, float | None]:
    return {
        status: REGISTRY.get_sample_value(
            "kube_vrrp_virtualip_condition", {"virtualip": vip, "condition": "Ready", "status": status}
        )
        for status in ("True", "False", "Unknown")
    }


def test_the_status_moves_and_goes_with_its_virtual_ip():
    gauge = ConditionGauge()
    gauge.show({("gauge-a", "Ready"): "False", ("gauge-b", "Ready"): "True"})
    gauge.show({("gauge-a", "Ready"): "True", ("gauge-b", "Ready"): "True"})
    assert shown("gauge-a") == {"True": 1, "False": 0, "Unknown": 0}
    assert shown("gauge-b") == {"True": 1, "False": 0, "Unknown": 0}
    gauge.show({("gauge-b", "Ready"): "Unknown"})
    assert shown("gauge-a") == {"True": None, "False": None, "Unknown": None}
    assert shown("gauge-b") == {"True": 0, "False": 0, "Unknown": 1}
    gauge.show({})
