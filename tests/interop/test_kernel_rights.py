"""The router's rights in a pod: NET_ADMIN and NET_RAW and nothing else, with a read-only /proc/sys."""

from __future__ import annotations

import pytest

from tests.interop.kernel_lab import program
from tests.netns import Network

pytestmark = pytest.mark.netns

READ_ONLY = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
IN_A_POD = ("unshare", "--mount", "sh", "-c", READ_ONLY, "sh")


def with_rights(*names: str) -> tuple[str, ...]:
    rights = ",".join(("-all", *(f"+{name}" for name in names)))
    return ("setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}")


EVERYTHING = """
    status = Path("/proc/self/status").read_text()
    assert "CapEff:\\t0000000000003000" in status, status
    try:
        Path("/proc/sys/net/ipv4/conf/eth0/arp_ignore").write_text("1")
    except OSError:
        pass
    else:
        raise AssertionError("/proc/sys is writable")
    kernel = Kernel.open()
    kernel.sweep(Record(Path(sys.stdin.readline().strip())))
    link = kernel.link_named("eth0")
    assigned = plan(kernel, link, "10.9.0.100", "fd00:9::100")
    kernel.prepare(assigned, 30)
    for result in (kernel.add(assigned, 30), kernel.renew(assigned, 30)):
        assert result == [], result
    kernel.silence([one.ip for one in assigned])
    kernel.unsilence([one.ip for one in assigned])
    for version, ip in ((4, "10.9.0.101"), (6, "fd00:9::101")):
        virtual = kernel.create_virtual_mac(link, 51, version)
        extra = plan(kernel, virtual, ip)
        assert kernel.add(extra, 30) == []
        assert kernel.links[virtual.ifindex]
        assert kernel.remove(extra) == []
        kernel.remove_virtual_mac(virtual)
    assert kernel.remove(assigned) == []
    kernel.read_events()
    kernel.close()
    print("done")
"""


def test_everything_works_with_two_capabilities_and_no_proc_sys(tmp_path: object) -> None:
    with Network() as network:
        host = network.host("a", "10.9.0.1/24", "fd00:9::1/64")
        process = program(host, EVERYTHING, *IN_A_POD, *with_rights("net_admin", "net_raw"))
        output, _ = process.communicate(f"{tmp_path}/held\n", timeout=60)
        assert (process.returncode, output) == (0, "done\n")


def test_without_net_admin_the_sentence_says_so() -> None:
    with Network() as network:
        host = network.host("a", "10.9.0.1/24")
        process = program(host, "Kernel.open()", *with_rights("net_raw"))
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "KernelError: the router lacks the capability NET_ADMIN" in output
