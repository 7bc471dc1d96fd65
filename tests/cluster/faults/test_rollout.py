"""New speakers: a new image and the way back, and a field that only a newer version knows."""

import json

import pytest

from tests.cluster.embedded import builder
from tests.cluster.faults.witness import holders, moves, serve_first
from tests.cluster.installation import NAMESPACE
from tests.netns import wait_for
from tests.probe import Probe

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"
DEFINITION = "virtualips.kube-vrrp.io"


def image_of(pod):
    return next(c["image"] for c in pod["spec"]["containers"] if c["name"] == "router")


@pytest.mark.slow
def test_a_new_image_and_the_way_back_lose_no_packet(product):
    again = builder.build_again("speaker")
    product.cluster.load_image(again.archive)
    master = serve_first(product, "web", ADDRESS)
    before = {image_of(pod) for pod in product.speakers().values()}
    new = ["--set-string", f"speaker.image.tag={again.reference.rpartition(':')[2]}"]
    for values, wanted in ((new, {again.reference}), ([], before)):
        with Probe(product.cluster.host("client"), ADDRESS) as probe:
            product.install(*values)
            product.wait_for_speakers()
            wait_for(lambda: product.master("web") == master, what="the master takes it back", timeout=60)
            product.settled("web")
        assert {image_of(pod) for pod in product.speakers().values()} == wanted
        assert probe.lost == 0, f"{probe.lost} of {probe.sent} lost, silence {probe.silence_ms:.0f} ms"


def test_a_field_that_only_a_newer_definition_has_changes_nothing_until_the_operator_knows_it(product):
    master = serve_first(product, "web", ADDRESS)
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/colour"
    newer = [{"op": "add", "path": path, "value": {"type": "string"}}]
    product.cluster.kubectl("patch", "crd", DEFINITION, "--type=json", f"--patch={json.dumps(newer)}")
    try:
        with holders(product, ADDRESS) as held:
            # a watch from before the change is not shown the field for as long as it lasts
            product.cluster.kubectl("rollout", "restart", "deployment/kube-vrrp-operator", "-n", NAMESPACE)
            product.cluster.kubectl(
                "rollout", "status", "deployment/kube-vrrp-operator", "-n", NAMESPACE, "--timeout=2m"
            )
            wait_for(lambda: refused(product), what="the field is there and said to be unknown", timeout=60, poll=1)
            assert {e["state"] for e in product.status("web")["nodes"]} == {"MASTER", "BACKUP"}
            product.cluster.kubectl("patch", "vip", "web", "--type=merge", '--patch={"spec": {"colour": null}}')
            wait_for(lambda: product.condition("web", "Accepted")[0] == "True", what="it is well again", timeout=30)
            product.settled("web")
        assert moves(held) == [{master}]
    finally:
        older = [{"op": "remove", "path": path}]
        product.cluster.kubectl("patch", "crd", DEFINITION, "--type=json", f"--patch={json.dumps(older)}")


def refused(product):
    """Whether the operator names the field."""
    product.cluster.kubectl("patch", "vip", "web", "--type=merge", '--patch={"spec": {"colour": "red"}}')
    status, _, message = product.condition("web", "Accepted")
    return status == "False" and "colour" in message
