"""containerd on a machine, and its images: unpacked once per set of images, then shared by hard links.

A node's images are read-only to it: containers write to layers of their own. So every node gets links to one store
in .cache instead of a copy, which is what makes a start quick and a teardown cheap.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.embedded.command import CACHE, CommandFailedError, locked, run, say
from tests.cluster.embedded.machine import INSIDE, Machine
from tests.netns import wait_for

CNI_PLUGINS = "/usr/lib/cni"
PAUSE_IMAGE = "localhost/pause:1"
STORES = CACHE / "containerd"
KEPT_STORES = 3  # such as those of two branches and the cluster's own tests


def start(machine: Machine, *, pods: str) -> None:
    """Start containerd and wait until it answers; pods get addresses of the range `pods`."""
    (machine.folder / "containerd.toml").write_text(_configuration(machine))
    (machine.folder / "cni").mkdir(exist_ok=True)
    (machine.folder / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network(pods)))
    machine.start("containerd", "containerd", f"--config={INSIDE}/containerd.toml")

    def ready() -> bool:
        if not machine.running("containerd"):
            raise RuntimeError(f"containerd on {machine.hostname} ended:\n{machine.log('containerd')[-3000:]}")
        try:
            _ctr(machine, "version")
        except CommandFailedError:
            return False
        return True

    wait_for(ready, what=f"containerd on {machine.hostname} is ready", timeout=60, poll=0.1)


def load(machine: Machine, archive: Path) -> None:
    """Import a docker-archive, unless this very file was imported before."""
    mark = _mark(machine, archive)
    if mark.exists():
        return
    _ctr(machine, "--namespace=k8s.io", "images", "import", "-", stdin=archive)
    mark.parent.mkdir(exist_ok=True)
    mark.touch()


def unload(machine: Machine, archive: Path, reference: str) -> None:
    """Forget the image that `load` imported from there; containers that run keep what they have of it."""
    mark = _mark(machine, archive)
    if mark.exists():
        _ctr(machine, "--namespace=k8s.io", "images", "rm", "--sync", reference)
        mark.unlink()


def store(archives: Sequence[Path], machine: Machine) -> Path:
    """The folder of a containerd that holds these images and nothing else.

    `machine` is one to work on, off and with a network namespace; it is off again afterwards.
    """
    names = sorted(map(_identity, archives))
    folder = STORES / hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
    with locked("containerd"):
        if folder.exists():
            folder.touch()  # the least recently used goes first
            return folder
        say(f"unpacking {len(archives)} images (once for all nodes)")
        shutil.rmtree(machine.folder, ignore_errors=True)
        machine.power_on()
        try:
            start(machine, pods="10.244.0.0/24")
            for archive in archives:
                load(machine, archive)
            machine.stop("containerd", how="TERM")
        finally:
            machine.power_off()
        STORES.mkdir(exist_ok=True)
        (machine.folder / "containerd").rename(folder)
        shutil.rmtree(machine.folder)
        for old in sorted(STORES.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT_STORES]:
            shutil.rmtree(old)
        return folder


def adopt(images: Path, machine: Machine) -> None:
    """Give a new machine the images of a store."""
    machine.folder.mkdir(parents=True, exist_ok=True)
    run("cp", "--archive", "--link", str(images), str(machine.folder / "containerd"))
    for database in (machine.folder / "containerd").glob("*/*.db"):
        # what containerd writes in place must not be shared
        own = database.with_suffix(".own")
        shutil.copy2(database, own)
        own.rename(database)


def _ctr(machine: Machine, *arguments: str, stdin: Path | str = "") -> str:
    return run(*machine.command("ctr", *arguments), stdin=stdin)


def _mark(machine: Machine, archive: Path) -> Path:
    return machine.folder / "containerd" / "loaded" / _identity(archive)


def _identity(archive: Path) -> str:
    return f"{archive.stem}-{archive.stat().st_mtime_ns}"


def _snapshotter(folder: Path) -> str:
    """overlayfs cannot be stacked on overlayfs, where the checkout itself lives in a container's file system."""
    file_system = run("stat", "--file-system", "--format=%T", str(folder)).strip()
    return "native" if file_system == "overlayfs" else "overlayfs"


def _configuration(machine: Machine) -> str:
    return f"""version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true      # a sandbox asks for -998, which takes a right that root may lack here
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{_snapshotter(machine.folder)}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{INSIDE}/cni"
"""


def _pod_network(pods: str) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]}
