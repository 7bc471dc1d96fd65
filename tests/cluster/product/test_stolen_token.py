"""What a speaker's token can do in the wrong hands: report about its own node, and nothing else."""

import base64
import json
import ssl
import urllib.error
import urllib.request

import pytest
import yaml

from tests.cluster.installation import NAMESPACE

pytestmark = pytest.mark.cluster

ADDRESS = "192.168.137.220"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


class Thief:
    """Raw requests with the token of the speaker on a node."""

    def __init__(self, product, node, *, bound=True):
        self.product = product
        self.node = node
        pod = product.speakers()[node]["metadata"]
        options = ["--bound-object-kind=Pod", f"--bound-object-name={pod['name']}", f"--bound-object-uid={pod['uid']}"]
        create = ["create", "token", "kube-vrrp-speaker", "-n", NAMESPACE]
        self.token = product.cluster.kubectl(*create, *(options if bound else [])).strip()
        cluster = yaml.safe_load(product.cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
        self.server = cluster["server"]
        authority = cluster.get("certificate-authority-data")
        self.tls = ssl.create_default_context(
            cadata=base64.b64decode(authority).decode() if authority else None,
            cafile=cluster.get("certificate-authority"),
        )

    def patch(self, body, content_type, *, name="web", sub="/status", query=""):
        """The status of the answer."""
        request = urllib.request.Request(
            f"{self.server}/apis/kube-vrrp.io/v1alpha1/virtualips/{name}{sub}{query}",
            data=json.dumps(body).encode(),
            method="PATCH",
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": content_type},
        )
        try:
            with urllib.request.urlopen(request, context=self.tls) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def patch_entry(self, node, field, value, *, op="add"):
        entries = self.product.status("web")["nodes"]
        index = next(i for i, e in enumerate(entries) if e["node"] == node)
        return self.patch([{"op": op, "path": f"/status/nodes/{index}/{field}", "value": value}], JSON_PATCH)

    def apply(self, status, *, manager, name="web"):
        body = {
            "apiVersion": "kube-vrrp.io/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": name},
            "status": status,
        }
        return self.patch(body, APPLY, name=name, query=f"?fieldManager={manager}&force=true")


REFUSED = (403, 422)


def test_what_it_can_and_cannot_do(product):
    victim = product.serve("web", ADDRESS)
    own, other = sorted(node.name for node in product.cluster.nodes if node.name != victim)
    product.apply("elsewhere", "192.168.137.222", nodeSelector={"matchLabels": {"no": "node"}})
    thief = Thief(product, own)

    assert thief.patch_entry(own, "reason", "an honest report") == 200

    for field, value in (("priority", 255), ("reporting", "Unknown"), ("facts", [{"name": "a", "value": True}])):
        assert thief.patch_entry(own, field, value) in REFUSED, field
    for field, value in (("state", "BACKUP"), ("priority", 1), ("reason", "x")):
        assert thief.patch_entry(victim, field, value) in REFUSED, field

    for status in (
        {"master": own}, {"master": other}, {"master": None}, {"masterPriority": 1}, {"masterPriority": None},
        {"virtualRouterID": 9}, {"conditions": []}, {"nodes": []}, {"nodes": None},
        {"observedGeneration": 99}, {"backups": own},
    ):  # fmt: skip
        assert thief.patch({"status": status}, MERGE) in REFUSED, status
    assert thief.patch({"status": None}, MERGE) in REFUSED

    for manager in ("kube-vrrp-operator", f"kube-vrrp-speaker-{victim}", f"kube-vrrp-speaker-{own}", "anyone"):
        promoted = {"nodes": [{"node": own, "priority": 255, "state": "MASTER"}]}
        assert thief.apply(promoted, manager=manager) in REFUSED, manager
        assert thief.apply({"nodes": [{"node": victim, "state": "FAULT"}]}, manager=manager) in REFUSED, manager
        unassigned = {"nodes": [{"node": own, "state": "MASTER"}]}
        assert thief.apply(unassigned, manager=manager, name="elsewhere") in REFUSED, manager
    for manager in ("kube-vrrp-operator", f"kube-vrrp-speaker-{victim}"):
        assert thief.apply({}, manager=manager) in REFUSED, manager
    for lie in ({"master": other}, {"master": own, "masterPriority": 1}, {"masterPriority": 1}):
        claim = {**lie, "nodes": [{"node": own, "state": "MASTER", "effectivePriority": 250}]}
        assert thief.apply(claim, manager="anyone") in REFUSED, lie

    assert thief.patch({"spec": {"maxNodes": 1}}, MERGE, sub="") == 403
    assert thief.patch({"metadata": {"labels": {"a": "b"}}}, MERGE, sub="") == 403
    before = product.cluster.get("vip", "web")
    thief.patch({"metadata": {"labels": {"a": "b"}, "finalizers": ["a.b/c"]}, "spec": {"maxNodes": 1}}, MERGE)
    after = product.cluster.get("vip", "web")
    assert after["spec"] == before["spec"]
    assert after["metadata"].get("labels") == before["metadata"].get("labels")
    assert "finalizers" not in after["metadata"]

    unbound = Thief(product, own, bound=False)
    assert unbound.patch_entry(own, "reason", "not from a pod") in REFUSED

    assert product.ready("web")
