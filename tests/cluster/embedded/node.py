"""One node: containerd, kubelet and kube-proxy on a machine of the link."""

import json
from pathlib import Path

from tests.cluster.embedded import cgroups, containerd
from tests.cluster.embedded.certificates import Authority
from tests.cluster.embedded.command import run
from tests.cluster.embedded.machine import INSIDE, Machine
from tests.cluster.embedded.network import Lan


def pod_range(index: int) -> str:
    """The pod addresses of the node with this index, counted from 0."""
    return f"10.244.{index + 1}.0/24"


class Node:
    """`name` is its name in Kubernetes; `address` and `address6` are on eth0 in the namespace `netns`."""

    def __init__(self, *, name: str, index: int, number: int, lan: Lan, machine: Machine) -> None:
        self.name = name
        self.index = index
        self.address = lan.address(number)
        self.address6 = lan.address6(number)
        self.netns = lan.netns_of(name)
        self.machine = machine
        self.cgroup = machine.cgroup
        self._number = number
        self._lan = lan

    def exec(self, *argv: str, timeout_s: float = 120) -> str:
        """Run a program on the node, as its root; what it printed."""
        return self.machine.exec(*argv, timeout_s=timeout_s)

    def boot(self, routes: dict[str, str], *, images: Path | None = None) -> None:
        """Plug the node in, give it power and start containerd.

        `routes` are the pod ranges of the others; `images`, for a new node, is what `containerd.store` gave.
        """
        if images is not None:
            containerd.adopt(images, self.machine)
        self._lan.plug_in(self.name, self._number, forward=True)
        for destination, via in routes.items():
            run("ip", "-n", self.netns, "route", "add", destination, "via", via)
        cgroups.create(self.cgroup)
        self.machine.power_on()
        containerd.start(self.machine, pods=pod_range(self.index))

    def shut_down(self) -> None:
        """Cut the power: every process dies at once and the link loses the host with its addresses."""
        self._lan.unplug(self.name)
        self.machine.power_off()
        self._lan.remove(self.name)
        cgroups.remove(self.cgroup)

    def load_image(self, archive: Path) -> None:
        """Import a docker-archive, unless this very file has been imported before."""
        containerd.load(self.machine, archive)

    def unload_image(self, archive: Path, reference: str) -> None:
        """Forget an image, where it was imported."""
        containerd.unload(self.machine, archive, reference)

    def configure(self, authority: Authority, *, server: str) -> None:
        """Write what the kubelet and kube-proxy need to reach the API server."""
        names = (f"DNS:{self.name}", f"IP:{self.address}")
        folder = self.machine.folder
        folder.mkdir(parents=True, exist_ok=True)
        identity = {"user": f"system:node:{self.name}", "group": "system:nodes"}
        authority.kubeconfig(folder / "kubelet.kubeconfig", server=server, **identity)
        authority.kubeconfig(folder / "kube-proxy.kubeconfig", server=server, user="system:kube-proxy")
        certificate, key = authority.issue(f"{self.name}-serving", names=names, **identity)
        for source, target in ((certificate, "kubelet.crt"), (key, "kubelet.key"), (authority.certificate, "ca.crt")):
            (folder / target).write_bytes(source.read_bytes())
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (folder / "kubelet.json").write_text(json.dumps(self._kubelet_configuration()))
        (folder / "kube-proxy.json").write_text(json.dumps(self._proxy_configuration()))

    def start(self) -> None:
        """Start the kubelet and kube-proxy."""
        self.machine.start(
            "kubelet", "kubelet", f"--config={INSIDE}/kubelet.json", f"--kubeconfig={INSIDE}/kubelet.kubeconfig",
            "--root-dir=/var/lib/kubelet", "--cert-dir=/var/lib/kubelet/pki",
            f"--hostname-override={self.name}", f"--node-ip={self.address}",
        )  # fmt: skip
        self.machine.start(
            "kube-proxy", "kube-proxy", f"--config={INSIDE}/kube-proxy.json", f"--hostname-override={self.name}"
        )

    def restart(self) -> None:
        """End kubelet and kube-proxy, and start them with nothing remembered; containers run on."""
        for program in ("kubelet", "kube-proxy"):
            self.machine.stop(program)
        self.start()

    def _kubelet_configuration(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "failSwapOn": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "resolvConf": f"{INSIDE}/resolv.conf",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{INSIDE}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{INSIDE}/kubelet.crt",
            "tlsPrivateKeyFile": f"{INSIDE}/kubelet.key",
            # no name service runs here: nothing answers there, so lookups fail at once instead of timing out
            "clusterDNS": ["127.0.0.1"],
            "clusterDomain": "cluster.local",
            "healthzPort": 10248,
            "oomScoreAdj": 0,
            "serializeImagePulls": False,
            # a dead node is noticed in 20 s instead of 40, so that tests need not wait longer than they must
            "nodeStatusUpdateFrequency": "4s",
            "nodeLeaseDurationSeconds": 20,
            # the disk and the memory are this machine's, and so are their shortages
            "evictionHard": {
                "memory.available": "50Mi", "nodefs.available": "1%",
                "imagefs.available": "1%", "nodefs.inodesFree": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "maxPods": 60,
        }  # fmt: skip

    @staticmethod
    def _proxy_configuration() -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{INSIDE}/kube-proxy.kubeconfig"},
            "mode": "iptables",
            "clusterCIDR": "10.244.0.0/16",
            "oomScoreAdj": 0,
            # 0 leaves these sysctls alone: they are not writable in a network namespace
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
