"""Can this machine run a test cluster? Says at once and in one sentence what is missing."""

import os
import platform
import secrets
import shutil
from pathlib import Path

from tests.cluster.embedded.command import REPOSITORY, CommandFailedError, run, say, succeeds

# program or file -> the Debian package that has it
NEEDED = {
    "ip": "iproute2", "nsenter": "util-linux", "openssl": "openssl", "iptables": "iptables", "conntrack": "conntrack",
    "containerd": "containerd", "ctr": "containerd", "runc": "runc", "sysctl": "procps",
    "/usr/lib/cni/bridge": "containernetworking-plugins", "/usr/lib/cni/portmap": "containernetworking-plugins",
    "buildah": "buildah", "debootstrap": "debootstrap", "busybox": "busybox-static", "nice": "coreutils",
}  # fmt: skip
LEAST_MEMORY_KIB = 2 * 1024 * 1024
HIDDEN = ("/run/", "/var/lib/", "/var/log/", "/mnt/")


class CannotRunError(RuntimeError):
    """This machine cannot run a test cluster; the text says why and what to do."""


def check() -> None:
    """Install the Debian packages that are missing; CannotRunError where that does not help."""
    if platform.system() != "Linux":
        raise CannotRunError(f"the test cluster needs Linux, this is {platform.system()}: use a Linux machine or VM")
    if os.geteuid() != 0:
        raise CannotRunError("the test cluster needs root, to make network namespaces and run containers: use sudo")
    _packages()
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists() and not Path("/sys/fs/cgroup/memory").is_dir():
        raise CannotRunError("no cgroup file system on /sys/fs/cgroup: the kubelet needs version 2 or 1 of it")
    if not os.access("/sys/fs/cgroup", os.W_OK) or not _cgroups_writable():
        raise CannotRunError("/sys/fs/cgroup cannot be written: in a container, start it with --privileged")
    if str(REPOSITORY).startswith(HIDDEN):
        raise CannotRunError(
            f"the checkout is in {REPOSITORY}, which the nodes cover with folders of their own: move it"
        )
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    if int(memory.split()[1]) < LEAST_MEMORY_KIB:
        raise CannotRunError(f"the test cluster needs 2 GiB of free memory ({memory})")
    _bridges()


def _packages() -> None:
    # Debian's root has the sbin folders on PATH; other shells may not
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = sorted(
        {
            package
            for name, package in NEEDED.items()
            if not (Path(name).exists() if "/" in name else shutil.which(name, path=path))
        }
    )
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise CannotRunError(f"missing (named as Debian does): {', '.join(missing)}; install them and try again")
    say(f"installing the Debian packages {', '.join(missing)} (no service of theirs is started)")
    run(str(REPOSITORY / "scripts" / "apt-install"), *missing, timeout_s=1200)


def _cgroups_writable() -> bool:
    trial = Path("/sys/fs/cgroup/memory" if Path("/sys/fs/cgroup/memory").is_dir() else "/sys/fs/cgroup")
    trial /= f"kube-vrrp-trial-{secrets.token_hex(4)}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return False
    return True


def _bridges() -> None:
    netns = f"kube-vrrp-trial-{secrets.token_hex(4)}"
    try:
        run("ip", "netns", "add", netns)
        run("ip", "-n", netns, "link", "add", "lan", "type", "bridge")
        run("ip", "-n", netns, "link", "add", "port", "type", "veth", "peer", "name", "eth0")
    except CommandFailedError as error:
        raise CannotRunError(f"no network namespace with a bridge and a veth pair can be made here: {error}") from error
    finally:
        succeeds("ip", "netns", "del", netns)
