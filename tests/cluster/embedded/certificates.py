"""Who is who in a test cluster: one authority, one certificate per component, kubeconfig files that carry them."""

import base64
import json
import secrets
from pathlib import Path

from tests.cluster.embedded.command import run

DAYS = "3650"


class Authority:
    """A certificate authority in a folder, made with openssl when the folder is empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        if not self.certificate.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._new_key(self._key)
            run(
                "openssl", "req", "-x509", "-new", "-key", str(self._key), "-out", str(self.certificate), "-days", DAYS,
                "-subj", "/CN=kube-vrrp test cluster",
            )  # fmt: skip

    def issue(
        self, file_name: str, *, user: str, group: str | None = None, names: tuple[str, ...] = ()
    ) -> tuple[Path, Path]:
        """Certificate and key for a user of a group; `names` are what it may serve as, such as IP:10.0.0.1."""
        certificate, key = self.folder / f"{file_name}.crt", self.folder / f"{file_name}.key"
        self._new_key(key)
        subject = f"/O={group}/CN={user}" if group else f"/CN={user}"
        request = run("openssl", "req", "-new", "-key", str(key), "-subj", subject)
        extensions = self.folder / f"{file_name}.ext"
        extensions.write_text(f"subjectAltName={','.join(names)}\n" if names else "basicConstraints=CA:FALSE\n")
        run(
            "openssl", "x509", "-req", "-CA", str(self.certificate), "-CAkey", str(self._key), "-days", DAYS,
            "-set_serial", f"0x{secrets.token_hex(12)}", "-extfile", str(extensions), "-out", str(certificate),
            stdin=request,
        )  # fmt: skip
        return certificate, key

    def kubeconfig(
        self, path: Path, *, server: str, user: str, group: str | None = None, namespace: str = "default"
    ) -> Path:
        """Write a kubeconfig file (JSON is YAML) with which `user` talks to the API server."""
        certificate, key = self.issue(f"{path.parent.name}-{path.stem}", user=user, group=group)
        cluster = {
            "server": server,
            "certificate-authority-data": _base64(self.certificate),
            "tls-server-name": "kubernetes",
        }
        identity = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "kube-vrrp", "cluster": cluster}],
                    "users": [{"name": user, "user": identity}],
                    "contexts": [
                        {"name": "kube-vrrp", "context": {"cluster": "kube-vrrp", "user": user, "namespace": namespace}}
                    ],
                    "current-context": "kube-vrrp",
                },
                indent=1,
            )
        )
        path.chmod(0o600)
        return path

    @staticmethod
    def _new_key(path: Path) -> None:
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
