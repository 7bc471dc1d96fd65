"""What is lost in the API server's store, and made again, while speakers run."""

import json

import pytest

from tests.cluster.faults.witness import holders, serve_first
from tests.cluster.installation import NAMESPACE
from tests.netns import wait_for

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"


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
