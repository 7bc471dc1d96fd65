"""The product's images, built by the repository's Dockerfile as a user would build them, without a registry of images.

buildah keeps its storage in .cache; its base is a Debian with Python that debootstrap makes once.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.embedded import preflight
from tests.cluster.embedded.command import CACHE, REPOSITORY, locked, run, say

TARGETS = ("operator", "speaker")
# What the Dockerfile copies: an image is built anew when one of these files has changed.
SOURCES = {
    "operator": ("Dockerfile", "requirements", "scripts/prune-kubernetes", "crds", "operator"),
    "speaker": ("Dockerfile", "requirements", "scripts/prune-kubernetes", "crds", "speaker"),
}
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BASE = "localhost/kube-vrrp/base:bookworm"
FOLDER = CACHE / "images"
STORAGE = CACHE / "buildah"
PRUNED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "var/log")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built image: what pods name it, the docker-archive to load, and its uncompressed size without its base."""

    target: str
    reference: str
    archive: Path
    size_over_base: int


def build_all(source: Path = REPOSITORY, *, variant: str = "") -> dict[str, Image]:
    """Both images by target; built only where their sources have changed. See `build` for a changed copy."""
    return {target: build(target, source, variant=variant) for target in TARGETS}


def build(target: str, source: Path = REPOSITORY, *, variant: str = "") -> Image:
    """The image of one target. `source` may be a changed copy of the checkout, which `variant` then names: of each
    variant the last one built is kept.
    """
    assert bool(variant) == (source != REPOSITORY)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with locked("images"):
        return _build(target, source, f"{variant}-{target}" if variant else target)


def build_again(target: str) -> Image:
    """The same image under another tag and with another label: what the next release is to a cluster."""
    first = build_all()[target]
    reference = f"{first.reference}-again"
    archive = FOLDER / f"again-{first.archive.name}"
    with locked("images"):
        if not archive.exists():
            for old in FOLDER.glob(f"again-{target}-*.tar"):
                old.unlink()
            _make(target, REPOSITORY, reference, archive, "--build-arg=REVISION=again")
    return dataclasses.replace(first, reference=reference, archive=archive)


def _build(target: str, source: Path, name: str) -> Image:
    digest = hashlib.sha256()
    for path in _source_files(target, source):
        digest.update(f"{path.relative_to(source)}\0{path.stat().st_mode & 0o111}\0".encode())
        digest.update(path.read_bytes())
    tag = digest.hexdigest()[:12]
    archive = FOLDER / f"{name}-{tag}.tar"
    reference = f"localhost/kube-vrrp/{target}:{tag}"
    facts = archive.with_suffix(".json")
    if not facts.exists():
        _ensure_base()
        started = time.monotonic()
        say(f"building the image of the {target}")
        _make(target, source, reference, archive)
        size = _size_over_base(archive)
        facts.write_text(json.dumps({"size_over_base": size}))
        for old in [*FOLDER.glob(f"{name}-*.tar"), *FOLDER.glob(f"{name}-*.json")]:
            if old.stem != archive.stem:
                old.unlink()
        say(f"image of the {target}: {size / 1e6:.1f} MB over its base, built in {time.monotonic() - started:.0f} s")
    return Image(target=target, reference=reference, archive=archive, **json.loads(facts.read_text()))


def _make(target: str, source: Path, reference: str, archive: Path, *options: str) -> None:
    with _build_secrets() as secrets:
        _buildah(
            "bud", "--isolation=chroot", "--layers", "--pull-never", f"--signature-policy={_policy()}",
            f"--target={target}", f"--build-arg=BASE_IMAGE={BASE}", *options, *secrets, f"--tag={reference}",
            str(source),
        )  # fmt: skip
    part = archive.with_suffix(".part")
    part.unlink(missing_ok=True)
    _buildah("push", f"--signature-policy={_policy()}", reference, f"docker-archive:{part}:{reference}")
    part.rename(archive)


def _source_files(target: str, source: Path) -> list[Path]:
    files: list[Path] = []
    for name in SOURCES[target]:
        path = source / name
        files += [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sorted(each for each in files if "__pycache__" not in each.parts and ".egg-info" not in str(each))


def _buildah(*arguments: str) -> str:
    # a mount namespace of its own: whatever it mounts is gone when it ends
    STORAGE.mkdir(parents=True, exist_ok=True)
    return run(
        "unshare", "--mount", "nice", "buildah", f"--root={STORAGE / 'root'}", f"--runroot={STORAGE / 'run'}",
        f"--storage-driver={_storage_driver()}", *arguments, timeout_s=1800,
    )  # fmt: skip


def _storage_driver() -> str:
    """Overlay, except where the checkout's own file system is one already."""
    return "vfs" if run("stat", "--file-system", "--format=%T", str(CACHE)).strip() == "overlayfs" else "overlay"


def _policy() -> Path:
    """Local images carry no signatures, and Debian's buildah comes without a policy that says so."""
    path = STORAGE / "policy.json"
    path.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    return path


def _ensure_base() -> None:
    """Make the base image, unless buildah's storage has it."""
    if BASE in _buildah("images", "--format={{.Name}}:{{.Tag}}").split():
        return
    say("making a Debian with Python as the base of the images (about a minute, then kept)")
    with tempfile.TemporaryDirectory(dir=STORAGE) as scratch:
        root = Path(scratch) / "root"
        variant = ("--variant=minbase", f"--include={BASE_PACKAGES}")
        run("unshare", "--mount", "nice", "debootstrap", *variant, "bookworm", str(root), timeout_s=1800)
        for name in PRUNED:
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir(parents=True)
        context = Path(scratch) / "context"
        context.mkdir()
        run("tar", "--create", f"--directory={root}", f"--file={context / 'root.tar'}", "--exclude=./dev/*", ".")
        (context / "Dockerfile").write_text('FROM scratch\nADD root.tar /\nCMD ["python3"]\n')
        _buildah("bud", "--isolation=chroot", f"--signature-policy={_policy()}", f"--tag={BASE}", str(context))


@contextlib.contextmanager
def _build_secrets() -> Iterator[list[str]]:
    """Hand on how pip reaches its index on this machine, whatever that is: certificate authorities and settings."""
    settings: dict[str, str] = {}
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        found = re.match(r"^[\w:]+\.([\w-]+)='(.*)'$", line)
        if found:
            settings[found[1]] = found[2]
    certificates = settings.pop("cert", None) or os.environ.get("SSL_CERT_FILE")
    folder = settings.get("find-links", "")
    if folder.startswith("/"):
        del settings["find-links"]  # a folder of this machine is not there in the build
    with tempfile.TemporaryDirectory() as scratch:
        configuration = Path(scratch) / "pip.conf"
        configuration.write_text(
            "\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items())]) + "\n"
        )
        secrets = [f"--secret=id=pip,src={configuration}"]
        if certificates and Path(certificates).is_file():
            secrets.append(f"--secret=id=ca,src={certificates}")
        yield secrets


def _size_over_base(archive: Path) -> int:
    base = json.loads(_buildah("inspect", "--type=image", BASE))
    base_layers = len(base["OCIv1"]["rootfs"]["diff_ids"])
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        layers = json.load(manifest)[0]["Layers"]
        return sum(tar.getmember(os.path.normpath(name)).size for name in layers[base_layers:])


if __name__ == "__main__":
    preflight.check()
    for image in build_all().values():
        size = f"{image.size_over_base / 1e6:.1f} MB over its base"
        print(f"{image.reference}  {size}  {image.archive.relative_to(REPOSITORY)}")
