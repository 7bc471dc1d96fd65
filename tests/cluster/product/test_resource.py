"""The resource as a user meets it: what is refused and how, what `kubectl explain` says, what its end looks like."""

import json
import re
import ssl
import urllib.error
import urllib.request

import pytest
import yaml

from tests.capture import Capture
from tests.cluster.installation import NAMESPACE
from tests.documents import Bad, Good, bad, good
from tests.netns import wait_for
from tests.watch import Holders

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"
OURS = "kube-vrrp.io/v1alpha1"
# A document of another kind or version is not this resource's to judge.
# What the API server adds where the shape is wrong already.
NOT_CHECKED = "some validation rules were not checked"
BAD = [entry for entry in bad() if entry.document.get("apiVersion") == OURS]


class DryRun:
    """Requests as the administrator, with the strictness of kubectl."""

    def __init__(self, product, folder):
        config = yaml.safe_load(product.cluster.kubeconfig.read_text())
        self.server = config["clusters"][0]["cluster"]["server"]
        self.tls = ssl.create_default_context(cadata=_decoded(config["clusters"][0]["cluster"], folder, "authority"))
        user = config["users"][0]["user"]
        paths = []
        for kind in ("certificate", "key"):
            path = folder / kind
            path.write_text(_decoded(user, folder, f"client-{kind}"))
            paths.append(path)
        self.tls.load_cert_chain(*paths)

    def create(self, document):
        """The answer's status and body."""
        request = urllib.request.Request(
            f"{self.server}/apis/{OURS}/virtualips?dryRun=All&fieldValidation=Strict",
            data=json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, context=self.tls) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


def _decoded(mapping, _folder, kind):
    import base64

    name = "certificate-authority" if kind == "authority" else kind
    if f"{name}-data" in mapping:
        return base64.b64decode(mapping[f"{name}-data"]).decode()
    from pathlib import Path

    return Path(mapping[name]).read_text()


@pytest.fixture(scope="module")
def dry_run(installation, tmp_path_factory):
    installation.restore()
    return DryRun(installation, tmp_path_factory.mktemp("admin"))


@pytest.mark.parametrize("entry", BAD, ids=lambda entry: entry.name)
def test_a_bad_document_is_refused_with_one_message(dry_run, entry: Bad):
    code, answer = dry_run.create(entry.document)
    assert 400 <= code < 500
    assert entry.crd in answer["message"]
    causes = answer.get("details", {}).get("causes", [])
    said = [c for c in causes if NOT_CHECKED not in c.get("message", "")]
    assert len(said) <= 1, said


@pytest.mark.parametrize("entry", good(), ids=lambda entry: entry.name)
def test_a_good_document_is_taken(dry_run, entry: Good):
    code, answer = dry_run.create(entry.document)
    assert code == 201, answer


def test_explain_reads_well(product):
    told = product.cluster.kubectl("explain", "vip.spec")
    listed = re.findall(r"^  (\w+)\t<", told, re.MULTILINE)
    assert set(listed) >= {"addresses", "interfaces", "virtualRouterID", "track", "onCordon", "nodeSelector"}
    for field in listed:
        text = product.cluster.kubectl("explain", f"vip.spec.{field}")
        described = text.split("DESCRIPTION:", 1)[1].split("FIELDS:")[0].strip()
        assert len(described.split()) >= 3, field
        assert "<empty>" not in text, text


def test_a_deletion_is_priority_0_on_the_wire_and_gone_from_every_node_soon(product):
    product.serve("web", ADDRESS, virtualRouterID=51)
    cluster = product.cluster
    nodes = [cluster.host(n.name) for n in cluster.nodes]
    with Capture(cluster.host("client"), "ip proto 112") as capture, Holders(ADDRESS, nodes) as held:
        capture.wait_advert(vrid=51)
        assert held.changes[-1].holders
        cluster.kubectl("delete", "vip", "web", "--wait=false")
        wait_for(lambda: not held.changes[-1].holders, what="no node has the address", timeout=10)
        left_at = held.changes[-1].at_ns
        capture.wait_advert(vrid=51, priority=0, timeout=10)
    deleted_at = next(
        e["requestReceivedTimestamp"] for e in reversed(list(cluster.audit_events()))
        if e["verb"] == "delete" and (e.get("objectRef") or {}).get("name") == "web"
    )  # fmt: skip
    assert _seconds_between(deleted_at, left_at) < 1


def _seconds_between(api_time, monotonic_ns):
    import time
    from datetime import datetime

    wall = time.time() - (time.monotonic_ns() - monotonic_ns) / 1e9
    return wall - datetime.fromisoformat(api_time.replace("Z", "+00:00")).timestamp()


def test_the_chart_brings_vips_and_its_test_judges_them(product):
    vips = [{"name": "web", "spec": {"addresses": [ADDRESS], "virtualRouterID": 51}}]
    product.install("--set-json", f"vips={json.dumps(vips)}")
    product.settled("web")
    uid = product.cluster.get("vip", "web")["metadata"]["uid"]
    assert "Succeeded" in product.cluster.helm("test", "kube-vrrp", "--namespace", NAMESPACE)
    product.install("--set-json", f"vips={json.dumps(vips)}")
    assert product.cluster.get("vip", "web")["metadata"]["uid"] == uid
    assert product.ready("web")
    vips[0]["spec"]["preempt"] = False
    product.install("--set-json", f"vips={json.dumps(vips)}")
    assert product.cluster.get("vip", "web")["spec"]["preempt"] is False
    product.rollback()
    assert product.cluster.get("vip", "web")["spec"].get("preempt", True) is True
    assert product.cluster.get("vip", "web")["metadata"]["uid"] == uid


def test_facts_about_cordon_conditions_and_pods_reach_the_nodes(product):
    product.install("--set", "rbac.podNamespaces={default}")
    pods = {"namespace": "default", "selector": {"matchLabels": {"app": "served"}}}
    track = [
        {"name": "served", "weight": -50, "pods": pods},
        {"name": "elsewhere", "weight": -1, "pods": {**pods, "namespace": "kube-public"}},
        {"name": "disk", "weight": -50, "reverse": True, "node": {"condition": "DiskPressure"}},
    ]
    product.apply("web", ADDRESS, virtualRouterID=51, track=track, onCordon="Demote")
    wait_for(lambda: product.ready("web"), what="web is Ready", timeout=60)

    def fact(node, name):
        entry = next(e for e in product.status("web")["nodes"] if e["node"] == node)
        return next((f["value"] for f in entry.get("facts", ()) if f["name"] == name), None)

    wait_for(lambda: fact("node1", "served") is False, what="no pod is ready", timeout=30, poll=0.1)
    assert fact("node1", "disk") is False
    assert fact("node1", "elsewhere") is None
    wait_for(lambda: product.condition("web", "Degraded")[1] == "PodsUnknown", what="it is said", timeout=30, poll=0.1)
    container = {"name": "it", "image": "localhost/busybox:1"}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "served", "labels": {"app": "served"}},
        "spec": {"nodeName": "node3", "terminationGracePeriodSeconds": 0, "containers": [container]},
    }  # fmt: skip
    try:
        product.cluster.apply(pod)
        wait_for(lambda: fact("node3", "served"), what="the pod is ready", timeout=60, poll=0.1)
        wait_for(lambda: product.holders(ADDRESS) == ["node3"], what="the VIP goes to the pod's node", timeout=30)
        product.cluster.kubectl("cordon", "node3")
        wait_for(lambda: fact("node3", "onCordon"), what="the cordon is known", timeout=30, poll=0.1)
        wait_for(lambda: product.holders(ADDRESS) != ["node3"], what="the VIP leaves the cordoned node", timeout=30)
    finally:
        product.cluster.kubectl("uncordon", "node3")
        product.cluster.kubectl("delete", "pod", "served", "--now", "--ignore-not-found")
