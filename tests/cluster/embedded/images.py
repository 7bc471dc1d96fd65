"""Images for the test cluster's nodes."""

import hashlib
import io
import json
import platform
import shutil
import tarfile
from pathlib import Path

from tests.cluster.embedded.command import CACHE

BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "sleep", "httpd", "wget", "nc", "cat", "echo", "ls", "ip", "hostname", "true", "kill", "id", "ping")


def tools_archive() -> Path:
    """The pause image, which is also a small toolbox (localhost/busybox:1): the static busybox and its names."""
    program = Path(shutil.which("busybox") or BUSYBOX).read_bytes()
    digest = hashlib.sha256(program + repr((APPLETS, "2")).encode()).hexdigest()
    archive = CACHE / "images" / f"busybox-{digest[:12]}.tar"
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    links = {f"bin/{name}": "busybox" for name in APPLETS}
    layer = _tar({"bin/busybox": program}, links=links, folders={"bin": 0o755, "tmp": 0o1777})
    configuration = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": ["/bin/sleep"], "Cmd": ["2147483647"], "Env": ["PATH=/bin"], "User": "65534"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    tags = ["localhost/pause:1", "localhost/busybox:1"]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": tags, "Layers": ["layer.tar"]}]).encode()
    part = archive.with_suffix(".part")
    part.write_bytes(_tar({"layer.tar": layer, "config.json": configuration, "manifest.json": manifest}))
    part.rename(archive)
    return archive


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _tar(
    files: dict[str, bytes], *, links: dict[str, str] | None = None, folders: dict[str, int] | None = None
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in (folders or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
    return buffer.getvalue()
