"""The images that users get: small, without installers, and what they name can be imported in them."""

import json
import tarfile

import pytest

from tests.cluster.embedded import Cluster
from tests.cluster.embedded.builder import Image
from tests.netns import wait_for

pytestmark = pytest.mark.cluster

SPEAKER_LIMIT_BYTES = 120_000_000
IMPORTS = {
    "speaker": (
        "vip_speaker.cli, vip_speaker.router, vip_speaker.agent, scapy.layers.vrrp, pyroute2, prometheus_client, "
        "kubernetes.config, kubernetes.watch"
    ),
    "operator": "vip_operator.cli, kopf, prometheus_client, kubernetes.config",
}


def test_the_speaker_is_small(product_images):
    assert 10_000_000 < product_images["speaker"].size_over_base <= SPEAKER_LIMIT_BYTES


@pytest.mark.parametrize("target", ["speaker", "operator"])
def test_an_image_says_what_it_is_and_holds_no_installer(product_images, target):
    with tarfile.open(product_images[target].archive) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))[0]
        configuration = json.load(outer.extractfile(manifest["Config"]))["config"]
        names: set[str] = set()
        for layer in manifest["Layers"][1:]:  # without the base's one
            with tarfile.open(fileobj=outer.extractfile(layer)) as ours:
                names.update(ours.getnames())
    assert configuration["User"] == "65532:65532"
    assert configuration["Entrypoint"] == [f"vip-{target}"]
    assert "PYTHONSAFEPATH=1" in configuration["Env"]
    assert configuration["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    site_packages = "opt/kube-vrrp/lib/python3.11/site-packages"
    assert f"{site_packages}/vip_{target}" in names
    assert f"{site_packages}/vip_{target}/__pycache__/cli.cpython-311.pyc" in names
    assert not [name for name in names if name.startswith(f"{site_packages}/kubernetes/aio")]
    assert not names & {f"{site_packages}/{each}" for each in ("pip", "setuptools", "wheel")}
    assert {name.rpartition("/")[2] for name in names if name.startswith("opt/kube-vrrp/bin/")} == {
        "python", "python3", "python3.11", f"vip-{target}",
    }  # fmt: skip
    assert not [name for name in names if name.startswith("run/secrets/")]


@pytest.mark.parametrize("target", ["speaker", "operator"])
def test_a_pod_of_the_image_imports_all_it_needs(cluster, product_images, target):
    output = run_pod(cluster, product_images[target], f"import {IMPORTS[target]}; print('imported')")
    assert "imported" in output


def test_the_speaker_s_client_can_do_what_the_agent_does(cluster, product_images):
    script = (
        "from kubernetes import client, config; config.load_incluster_config();"
        "api = client.CustomObjectsApi(client.ApiClient());"
        "from kubernetes.client.exceptions import ApiException\n"
        "try: api.list_cluster_custom_object('kube-vrrp.io', 'v1alpha1', 'virtualips')\n"
        "except ApiException as error: print('answered', error.status)"
    )
    assert "answered 403" in run_pod(cluster, product_images["speaker"], script)


def run_pod(cluster: Cluster, image: Image, script: str) -> str:
    """What Python prints for the script, under the rights that the restricted pod security profile leaves."""
    cluster.load_image(image.archive)
    container = {
        "name": "it",
        "image": image.reference,
        "imagePullPolicy": "Never",
        "command": ["/opt/kube-vrrp/bin/python", "-c", script],
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"try-{image.target}"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    cluster.apply(pod)
    try:
        name = pod["metadata"]["name"]

        def phase() -> str:
            return cluster.kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}")

        wait_for(lambda: phase() in ("Succeeded", "Failed"), what=f"{name} has ended", timeout=120, poll=0.3)
        return cluster.kubectl("logs", name)
    finally:
        cluster.kubectl("delete", "pod", f"try-{image.target}", "--now")
