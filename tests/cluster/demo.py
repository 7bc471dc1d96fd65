"""`make demo`: kube-vrrp on a three-node Kubernetes of this machine, and what a client sees when a node is cut off.

Leaves the cluster running, and starts from what runs already; `make demo-down` removes it.
"""

import argparse
import hashlib
import shutil
import sys
import time
from typing import Any

from tests.cluster.embedded import Cluster, builder, preflight
from tests.cluster.embedded.command import CACHE, REPOSITORY, CommandFailedError, say
from tests.netns import wait_for
from tests.probe import Probe

CHART = REPOSITORY / "charts" / "kube-vrrp"
NAMESPACE = "kube-vrrp"
ADDRESS = "192.168.137.200"
VIRTUAL_IP = {
    "apiVersion": "kube-vrrp.io/v1alpha1",
    "kind": "VirtualIP",
    "metadata": {"name": "web"},
    "spec": {"addresses": [ADDRESS]},
}
# The name is the checkout's own, so that two checkouts can both show theirs.
NAME = f"demo-{hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:4]}"


def up() -> None:
    """Cluster, images, chart, VirtualIP, cut."""
    preflight.check()
    product = CHART.is_dir()
    images = builder.build_all() if product else {}
    cluster = running_cluster(images)
    if not product:
        print(cluster.kubectl("get", "nodes", "-o", "wide"))
        say("this checkout has no charts/kube-vrrp to install")
    else:
        install(cluster, images)
        first_virtual_ip(cluster)
        cut_the_master(cluster)
    how_to_look_further(cluster)


def running_cluster(images: dict[str, builder.Image]) -> Cluster:
    """The demo's cluster with these images on its nodes: the one that runs, or a new one."""
    cluster = Cluster(NAME, outlives=True)
    archives = [image.archive for image in images.values()]
    if cluster.runs:
        say(f"{NAME} runs already; going on with it")
        for archive in archives:
            cluster.load_image(archive)
        return cluster
    cluster.down()  # what a restart of this machine has left of an earlier one
    return Cluster(NAME, outlives=True).up(archives=archives)


def install(cluster: Cluster, images: dict[str, builder.Image]) -> None:
    """`helm install`, with the images just built."""
    values = []
    for target, image in images.items():
        repository, _, tag = image.reference.rpartition(":")
        values += ["--set", f"{target}.image.repository={repository}", "--set-string", f"{target}.image.tag={tag}"]
    say("helm upgrade --install kube-vrrp charts/kube-vrrp -n kube-vrrp --create-namespace")
    cluster.helm(
        "upgrade", "--install", "kube-vrrp", str(CHART), "--namespace", NAMESPACE, "--create-namespace",
        "--wait", "--timeout", "3m", *values,
    )  # fmt: skip

    def speakers_ready() -> bool:
        pods = [pod for pod in cluster.get("pods", "--namespace", NAMESPACE)["items"] if pod["spec"].get("hostNetwork")]
        return sum(is_ready(pod) and runs(pod, images["speaker"]) for pod in pods) == len(cluster.nodes)

    wait_for(speakers_ready, what="a ready speaker of this version on every node", timeout=180, poll=0.5)
    print(cluster.kubectl("get", "pods", "--namespace", NAMESPACE, "-o", "wide"))


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether the pod's condition Ready is True."""
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


def runs(pod: dict[str, Any], image: builder.Image) -> bool:
    """Whether a container of the pod is of this image."""
    return any(container["image"] == image.reference for container in pod["spec"]["containers"])


def first_virtual_ip(cluster: Cluster) -> None:
    """Apply the VirtualIP of the README and show the table."""
    say(f"kubectl apply: a VirtualIP named web with the address {ADDRESS}")
    cluster.apply(VIRTUAL_IP)
    wait_for(lambda: settled(cluster), what="the best node is MASTER, the others BACKUP", timeout=90, poll=0.2)
    print(table(cluster))


def settled(cluster: Cluster) -> bool:
    """Whether the node of the highest priority is MASTER, all others are BACKUP, and the table says so."""
    status = cluster.get("vip", "web").get("status", {})
    nodes = sorted(status.get("nodes", []), key=lambda node: -int(node.get("priority", 0)))
    states = [node.get("state") for node in nodes]
    expected = ["MASTER"] + ["BACKUP"] * (len(cluster.nodes) - 1)
    return states == expected and status.get("master") == nodes[0]["node"]


def move_the_operator(cluster: Cluster, away_from: str) -> None:
    """Have the operator, which writes the column MASTER, run on another node: a cut would silence it too."""
    operator = ("pods", "--namespace", NAMESPACE, "--selector", "app.kubernetes.io/component=operator")
    if away_from not in {pod["spec"]["nodeName"] for pod in cluster.get(*operator)["items"]}:
        return
    say(f"the operator runs on {away_from} too: moving it, so that somebody can tell what happens next")
    cluster.kubectl("cordon", away_from)
    cluster.kubectl("delete", *operator)
    cluster.kubectl("wait", "--for=condition=Ready", *operator, "--timeout=120s")
    cluster.kubectl("uncordon", away_from)
    wait_for(lambda: settled(cluster), what="all is as it was", timeout=90, poll=0.2)


def cut_the_master(cluster: Cluster) -> None:
    """Pull the master's cable and put it back while a client asks 1000 times a second."""
    cut = master(cluster)
    move_the_operator(cluster, cut)
    say(f"a client pings {ADDRESS} every millisecond; pulling the cable of {cut}")
    with Probe(cluster.host("client"), ADDRESS) as failover:
        time.sleep(0.5)
        cluster.cut_link(cut)
        try:
            wait_for(lambda: master(cluster) not in ("", cut), what="another node is MASTER", timeout=30, poll=0.1)
            time.sleep(0.5)
            print(table(cluster))
        except BaseException:
            cluster.restore_link(cut)
            raise
    say(f"the longest silence the client saw: {seen(failover)}")
    say(f"putting the cable of {cut} back")
    with Probe(cluster.host("client"), ADDRESS) as way_back:
        cluster.restore_link(cut)
        wait_for(lambda: settled(cluster), what=f"{cut} is MASTER again", timeout=60, poll=0.2)
        time.sleep(1)
        print(table(cluster))
    say(f"the longest silence on the way back: {seen(way_back)}")


def seen(probe: Probe) -> str:
    """What a client noticed, in words."""
    return f"{probe.silence_ms:.0f} ms ({probe.lost} of {probe.sent} requests had no answer)"


def master(cluster: Cluster) -> str:
    """The node that the API names as master; empty when there is none."""
    return cluster.kubectl("get", "vip", "web", "-o", "jsonpath={.status.master}")


def table(cluster: Cluster) -> str:
    return cluster.kubectl("get", "vip")


def how_to_look_further(cluster: Cluster) -> None:
    """What a person can do with the cluster that was left running."""
    node = cluster.nodes[0]
    print(
        f"""
The cluster goes on running. To look further:

  export KUBECONFIG={cluster.kubeconfig} PATH={cluster.binaries}:$PATH
  kubectl get vip -o wide --watch
  kubectl describe vip web
  ip netns exec {cluster.client_namespace} ping {ADDRESS}    # from a client on the nodes' link
  ip netns exec {node.netns} ip address show eth0    # what {node.name} ({node.address}) holds
  ip netns exec {cluster.lan.netns} tcpdump -nvi lan vrrp    # every advertisement
  ip -n {cluster.lan.netns} link set {node.name} down    # pull {node.name}'s cable; `up` puts it back

Logs of kubelet, containerd and the API server: {cluster.folder}/*/log
make demo-down removes everything.
"""
    )


def down() -> None:
    """Remove the demo's cluster."""
    Cluster(NAME).down()
    shutil.rmtree(CACHE / "logs" / NAME, ignore_errors=True)
    say(f"{NAME} is gone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    try:
        {"up": up, "down": down}[parser.parse_args().command]()
    except (preflight.CannotRunError, CommandFailedError) as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
