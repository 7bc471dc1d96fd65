"""What is lost in the API server's store, or comes back from a backup, while speakers run."""

import json

import pytest

from tests.cluster.faults.witness import holders, moves, priorities, serve_first, writes
from tests.cluster.installation import NAMESPACE
from tests.netns import wait_for

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"
OTHER = "192.168.137.221"


def since(status):
    return {e["node"]: e["since"] for e in status["nodes"]}


@pytest.mark.slow
def test_virtual_ips_are_applied_again_from_a_backup_without_status_and_nothing_moves(product):
    """etcd is set back to before the VirtualIP was there; it is applied anew as another object, before the agents
    believe the empty list.
    """
    name = "before"
    product.cluster.save_store(name)
    product.cluster.wait_ready()
    master = serve_first(product, "web", ADDRESS)
    before = product.status("web")
    document = product.cluster.get("vip", "web")
    with holders(product, ADDRESS) as held:
        product.cluster.restore_store(name)
        assert not product.cluster.get("vip")["items"]
        product.apply("web", ADDRESS)
        product.cluster.restart_clients()
        wait_for(lambda: product.status("web").get("virtualRouterID"), what="a VRID is decided", timeout=180, poll=0.3)
        wait_for(lambda: product.ready("web"), what="web is Ready", timeout=120, poll=0.3)
        product.settled("web")
    assert product.cluster.get("vip", "web")["metadata"]["uid"] != document["metadata"]["uid"]
    after = product.status("web")
    assert (after["virtualRouterID"], priorities(after)) == (before["virtualRouterID"], priorities(before))
    assert moves(held) == [{master}]
    assert since(after) == since(before)


@pytest.mark.slow
def test_etcd_is_set_back_and_what_was_there_then_stays_where_it_is(product):
    """An edit since is forgotten, and so is a VirtualIP; nobody writes again and again what the API has not."""
    master = serve_first(product, "web", ADDRESS)
    product.cluster.save_store("earlier")
    product.cluster.wait_ready()
    product.apply("web", ADDRESS, preemptDelay="9s")
    product.serve("late", OTHER)
    # versions go on, so that those of the backup are far below
    for turn in range(50):
        product.cluster.kubectl("annotate", "vip", "web", f"turn={turn}", "--overwrite")
    with holders(product, ADDRESS) as held:
        product.cluster.restore_store("earlier")
        product.cluster.restart_clients()
        wait_for(lambda: not product.holders(OTHER), what="the forgotten VIP is released", timeout=180, poll=0.2)
        before = len(writes(product))
        product.apply("web", ADDRESS, preemptDelay="3s")
        wait_for(
            lambda: all(e.get("observedGeneration") == 2 for e in product.status("web")["nodes"]),
            what="an edit is carried out again", timeout=200, poll=0.5,
        )  # fmt: skip
        product.settled("web")
    assert moves(held) == [{master}]
    assert len(writes(product)) - before < 60


def test_the_definition_is_deleted_and_made_again_and_its_virtual_ips_are_served_again(product):
    """A deletion is a deletion: every VIP is released. What is applied again is served again, with the VRID it had."""
    serve_first(product, "web", ADDRESS)
    vrid = product.status("web")["virtualRouterID"]
    definition = product.cluster.get("crd", "virtualips.kube-vrrp.io")
    crd = {
        "apiVersion": definition["apiVersion"],
        "kind": definition["kind"],
        "metadata": {k: definition["metadata"].get(k, {}) for k in ("name", "labels", "annotations")},
        "spec": definition["spec"],
    }
    with holders(product, ADDRESS) as held:
        product.cluster.kubectl("delete", "crd", "virtualips.kube-vrrp.io")
        wait_for(lambda: not product.all_holders(), what="every address is released", timeout=30)
        product.cluster.kubectl("create", "-f", "-", stdin=json.dumps(crd))
        product.cluster.kubectl("wait", "--for=condition=Established", "crd/virtualips.kube-vrrp.io", "--timeout=30s")
        product.serve("web", ADDRESS)
    assert product.status("web")["virtualRouterID"] == vrid
    assert held.longest(holders=2) < 100
    pods = product.cluster.get("pods", "-n", NAMESPACE)["items"]
    assert all(c["ready"] for p in pods for c in p["status"]["containerStatuses"])


def test_a_virtual_ip_is_deleted_and_made_anew_at_once_and_has_the_vrid_it_had(product):
    serve_first(product, "web", ADDRESS)
    vrid = product.status("web")["virtualRouterID"]
    for _ in range(3):
        product.cluster.kubectl("delete", "vip", "web")
        product.serve("web", ADDRESS)
        assert product.status("web")["virtualRouterID"] == vrid
