"""What the daemon does with checks that move while a VIP is going away."""

from types import SimpleNamespace

from vip_api.parse import parse_document
from vip_speaker.router.daemon import Daemon


def test_a_check_that_moves_in_the_turn_of_the_deletion_brings_nothing_back():
    document = {
        "apiVersion": "kube-vrrp.io/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"addresses": ["192.168.137.100"]},
        "assignment": {"priority": 254, "virtualRouterID": 51, "peers": [], "facts": []},
    }
    deleted = parse_document(document)
    applied = []
    daemon = SimpleNamespace(
        _moved={"web": None},
        _stopping=False,
        _documents=SimpleNamespace(snapshot=SimpleNamespace(manifests={"web": SimpleNamespace(vip=deleted)})),
        instances={"web": SimpleNamespace(health="before")},
        _health=SimpleNamespace(assess=lambda _vip: "now"),
        _resolve=lambda _vip, _health: None,
        _apply=lambda vip, *_: applied.append(vip.name),
    )
    Daemon._apply_moved(daemon)
    assert applied == []
