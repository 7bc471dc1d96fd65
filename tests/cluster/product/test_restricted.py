"""What of the chart a namespace takes that enforces the restricted profile, by the admission of the API server."""

import secrets

import pytest
import yaml

from tests.cluster.embedded.command import CommandFailedError
from tests.cluster.installation import CHART

pytestmark = pytest.mark.cluster

LEVEL = "pod-security.kubernetes.io/enforce"


@pytest.fixture
def strict_namespace(cluster):
    name = f"strict-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, f"{LEVEL}=restricted")
    cluster.kubectl("create", "serviceaccount", "ours", "-n", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def pods(cluster, namespace):
    """The pods that the chart makes by itself, and that of the speakers' template, by name."""
    values = ("--set", "vips[0].name=web", "--set", "vips[0].spec.addresses={192.168.137.220}")
    text = cluster.helm("template", "kube-vrrp", str(CHART), "--namespace", namespace, *values)
    objects = [each for each in yaml.safe_load_all(text) if each]
    objects += [yaml.safe_load(o["data"]["daemonset.yaml"]) for o in objects if "daemonset.yaml" in o.get("data", {})]
    found = {}
    for each in objects:
        spec = each["spec"] if each["kind"] == "Pod" else each.get("spec", {}).get("template", {}).get("spec")
        if spec:
            found[f"{each['kind']} {each['metadata']['name']}"] = {**spec, "serviceAccountName": "ours"}
    return found


def test_operator_and_jobs_are_taken_and_speakers_are_not(cluster, strict_namespace):
    found = pods(cluster, strict_namespace)
    assert set(found) == {
        "Deployment kube-vrrp-operator", "Job kube-vrrp-release", "Job kube-vrrp-vips", "Pod kube-vrrp-check",
        "DaemonSet kube-vrrp-speaker",
    }  # fmt: skip
    for name, spec in found.items():
        metadata = {"name": "tried", "namespace": strict_namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        create = ("create", "--dry-run=server", "-f", "-")
        if name.startswith("DaemonSet"):
            with pytest.raises(CommandFailedError, match="violates PodSecurity"):
                cluster.kubectl(*create, stdin=yaml.safe_dump(pod))
        else:
            assert "Warning" not in cluster.kubectl(*create, stdin=yaml.safe_dump(pod)), name
