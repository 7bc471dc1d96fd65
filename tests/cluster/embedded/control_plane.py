"""etcd, API server, controller manager and scheduler on one machine of the link."""

import contextlib
import http
import http.client
import ipaddress
import json
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.embedded.certificates import Authority
from tests.cluster.embedded.command import run
from tests.cluster.embedded.machine import INSIDE, Machine
from tests.netns import wait_for

SERVICE_RANGE = "10.96.0.0/16"
SECURE_PORT = 6443
# Reads are not recorded; of our own resource the whole exchange is, of the rest who wrote what.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "RequestResponse", "resources": [{"group": "kube-vrrp.io"}]},
        {"level": "Metadata"},
    ],
}


class ControlPlane:
    """The control plane at `address`, reached from this side at 127.0.0.1:`port`."""

    def __init__(self, machine: Machine, authority: Authority, *, address: str, port: int) -> None:
        self.machine = machine
        self.address = address
        self.port = port
        self.authority = authority

    @property
    def server(self) -> str:
        """The API server's address for machines on the link."""
        return f"https://{self.address}:{SECURE_PORT}"

    @property
    def audit_log(self) -> Path:
        return self.machine.folder / "log" / "audit.log"

    def prepare(self) -> None:
        """Write certificates and configuration."""
        pki = self.authority.folder
        service = ipaddress.ip_network(SERVICE_RANGE)[1]
        names = ("DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", "DNS:localhost",
                 "IP:127.0.0.1", f"IP:{self.address}", f"IP:{service}")  # fmt: skip
        self.authority.issue("apiserver", user="kube-apiserver", names=names)
        self.authority.issue("apiserver-kubelet", user="kube-apiserver-kubelet", group="system:masters")
        run("openssl", "genrsa", "-out", str(pki / "service-accounts.key"), "2048")
        for component in ("kube-controller-manager", "kube-scheduler"):
            self.authority.kubeconfig(pki / f"{component}.kubeconfig", server=self.server, user=f"system:{component}")
        (self.machine.folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))

    def start_api(self) -> None:
        """Start etcd, if it does not run, and the API server, and wait until it is ready."""
        pki = f"{INSIDE}/pki"
        if not self.machine.running("etcd"):
            self.machine.start(
                "etcd", "etcd", f"--data-dir={INSIDE}/etcd", "--unsafe-no-fsync", "--log-level=warn",
                "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "--initial-cluster=default=http://127.0.0.1:2380",
            )  # fmt: skip
        self.machine.start(
            "kube-apiserver", "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0", f"--advertise-address={self.address}", f"--secure-port={SECURE_PORT}",
            f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/service-accounts.key",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            f"--service-cluster-ip-range={SERVICE_RANGE}", "--allow-privileged=true",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            f"--kubelet-certificate-authority={pki}/ca.crt", "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={INSIDE}/audit-policy.json", "--audit-log-path=/var/log/audit.log",
            "--audit-log-mode=blocking",
        )  # fmt: skip
        wait_for(self._ready, what="the API server is ready", timeout=120)

    @contextlib.contextmanager
    def store_at_rest(self) -> Iterator[Path]:
        """The folder of etcd's data, inside the block without API server and etcd; both run again after it."""
        self.machine.stop("kube-apiserver")
        self.machine.stop("etcd", how="TERM")
        yield self.machine.folder / "etcd"
        self.start_api()

    def restart_controllers(self) -> None:
        """End controller manager and scheduler, and start them with nothing remembered."""
        for program in ("kube-controller-manager", "kube-scheduler"):
            self.machine.stop(program)
        self.start_controllers()

    def start_controllers(self) -> None:
        """Start controller manager and scheduler; the API server must be ready."""
        pki = f"{INSIDE}/pki"
        self.machine.start(
            "kube-controller-manager", "kube-controller-manager",
            f"--kubeconfig={pki}/kube-controller-manager.kubeconfig", "--use-service-account-credentials",
            f"--service-account-private-key-file={pki}/service-accounts.key", f"--root-ca-file={pki}/ca.crt",
            "--leader-elect=false", "--node-monitor-period=2s", "--node-monitor-grace-period=20s",
        )  # fmt: skip
        self.machine.start(
            "kube-scheduler", "kube-scheduler",
            f"--kubeconfig={pki}/kube-scheduler.kubeconfig", "--leader-elect=false",
        )  # fmt: skip

    def start_forwarder(self) -> None:
        """Open 127.0.0.1:`port` of this side towards the API server."""
        script = Path(__file__).with_name("forwarder.py")
        self.machine.start(
            "forwarder", sys.executable, "-I", "-S", str(script), str(self.port), "127.0.0.1", str(SECURE_PORT),
            network=False,
        )  # fmt: skip

    def _ready(self) -> bool:
        for name in ("etcd", "kube-apiserver"):
            if not self.machine.running(name):
                raise RuntimeError(f"{name} ended:\n{self.machine.log(name)[-3000:]}")
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
