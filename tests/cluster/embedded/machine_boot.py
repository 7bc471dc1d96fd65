"""The first process of a machine of the test cluster; standard library only, started as a file.

    machine_boot.py HOSTNAME NETWORK_NAMESPACE FOLDER BINARIES

Joins the network namespace, makes PID, mount, IPC and host name namespaces of its own, prints the PID (as the
starting side counts) of what becomes PID 1 there, and leaves. That PID 1 only reaps. When it is killed the
kernel ends everything in the machine, containers and their shims included, and forgets its mounts:
that is the whole teardown, and the power cut of a test.

What Kubernetes and containerd write outside their configured folders is covered by mounts that only the
machine sees: /run, /var/lib and /var/log are its own, FOLDER appears as /run/machine and BINARIES as
/run/machine/bin. So nothing is left on the host, and two machines do not meet in /run/xtables.lock or
/var/lib/kubelet/device-plugins.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x20000000,
    0x40000000,
)
# The kubelet sets these to its liking; they belong to the whole kernel, so it gets files to write to instead.
KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def furnish(folder: Path, binaries: Path) -> None:
    """Cover what must be the machine's own. Runs as PID 1 of the new namespaces."""
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    persistent = {"kubelet": "/var/lib/kubelet", "containerd": "/var/lib/containerd", "log": "/var/log"}
    for name in [*persistent, "bin"]:
        (folder / name).mkdir(exist_ok=True)
    mount("--bind", str(binaries), str(folder / "bin"))
    # /run/machine first takes its place beside the folder, since /run is about to be covered
    mount("-t", "tmpfs", "tmpfs", "/mnt")
    Path("/mnt/machine").mkdir()
    mount("--rbind", str(folder), "/mnt/machine")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/lib")
    mount("--rbind", "/mnt", "/run")
    subprocess.run(["umount", "-l", "/mnt"], check=True)
    for name, place in persistent.items():
        Path(place).mkdir(exist_ok=True, parents=True)
        mount("--bind", f"/run/machine/{name}", place)
    for place in ("/run/tmp", "/run/settings"):
        Path(place).mkdir()
    for setting in KERNEL_SETTINGS:
        stand_in = Path("/run/settings") / setting.replace("/", ".")
        stand_in.write_text(Path("/proc/sys", setting).read_text())
        mount("--bind", str(stand_in), f"/proc/sys/{setting}")
    mount("--make-rshared", "/")  # as on a real host: containers may ask for propagation


def reap_forever() -> None:
    """Collect whatever ends; orphans of the machine become our children."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


def main(hostname: str, network_namespace: str, folder: str, binaries: str) -> None:
    with open(network_namespace, "rb") as namespace:  # noqa: PTH123 (its descriptor is what matters)
        check(libc.setns(namespace.fileno(), CLONE_NEWNET), f"setns {network_namespace}")
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID), "unshare")
    said, say = os.pipe()
    child = os.fork()
    if child:
        os.close(say)
        answer = os.read(said, 1000).decode()
        if answer != "ready":
            sys.exit(f"{hostname}: {answer or 'its first process died'}")
        print(child, flush=True)
        return
    os.close(said)
    os.setsid()
    try:
        socket.sethostname(hostname)
        furnish(Path(folder), Path(binaries))
    except (OSError, subprocess.SubprocessError) as error:
        os.write(say, str(error).encode()[:1000])
        os._exit(1)
    os.write(say, b"ready")
    os.close(say)
    devnull = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(devnull, descriptor)
    os.chdir("/")
    reap_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
