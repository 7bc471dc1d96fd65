"""The guard with real processes, real addresses and real frames, in network namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import vip_speaker
from vip_speaker.executor import Executor
from vip_speaker.will import NETLINK_ROUTE, Entry, Frame, NetlinkRequest, Packet, encode

from tests.netns import Host, Network, wait_for

pytestmark = pytest.mark.netns

PACKAGES = Path(vip_speaker.__file__).parents[1]
PROGRAM = PACKAGES / "vip_speaker" / "guard_program.py"
FAKE_ROUTER = Path(__file__).with_name("fake_router.py")
VIP, VIP6 = "10.9.0.100", "fd00:9::100"
EXPERIMENTAL = 0x88B5  # IEEE 802 local experimental EtherType


def removal(ifindex: int, address: str, prefix: int) -> bytes:
    """An RTM_DELADDR request (linux/rtnetlink.h)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    body = struct.pack("=BBBBi", family, prefix, 0, 0, ifindex)
    body += struct.pack("=HH", 4 + len(packed), 2) + packed  # IFA_LOCAL
    return struct.pack("=IHHII", 16 + len(body), 21, 1, 1, 0) + body


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def host(network: Network) -> Host:
    return network.host("a", "10.9.0.1/24", "fd00:9::1/64")


@pytest.fixture
def peer(network: Network) -> Host:
    return network.host("b", "10.9.0.2/24", "fd00:9::2/64")


def ifindex(host: Host) -> int:
    return int(host.ip("-o", "link", "show", "eth0").split(":")[0])


class Guarded:
    """A guard with a fake router in a namespace."""

    def __init__(
        self,
        host: Host,
        directory: Path,
        *behaviours: str,
        grace: str = "10",
        log_format: str = "plain",
        stderr: int | None = None,
    ) -> None:
        self.directory = directory
        with (directory / "output").open("w") as output:
            self.process = host.start(
                sys.executable, "-I", "-S", str(PROGRAM), str(PACKAGES), grace, log_format,
                sys.executable, "-S", str(FAKE_ROUTER), str(PACKAGES), str(directory), *behaviours,
                stderr=output if stderr is None else stderr,
            )  # fmt: skip

    def log(self) -> list[str]:
        path = self.directory / "log"
        return path.read_text().splitlines() if path.exists() else []

    def said(self) -> str:
        return (self.directory / "output").read_text()

    def router(self, *, other_than: int = 0) -> int:
        """The pid of the running router."""
        found = 0

        def look() -> bool:
            nonlocal found
            path = self.directory / "pid"
            found = int(path.read_text()) if path.exists() else 0
            assert self.process.poll() is None, self.said()
            return found not in (0, other_than)

        wait_for(look, what="a router that runs")
        return found

    def status(self) -> int:
        return self.process.wait(20)


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def write_will(directory: Path, host: Host) -> str:
    """Give `host` a VIP of each family and write the will that undoes it; the behaviour that names it."""
    index = ifindex(host)
    host.ip("addr", "add", f"{VIP}/32", "dev", "eth0")
    host.ip("addr", "add", f"{VIP6}/128", "dev", "eth0", "nodad")
    frame = bytes.fromhex("ffffffffffff") + bytes.fromhex(host.mac().replace(":", "")) + struct.pack("!H", EXPERIMENTAL)
    entries: list[Entry] = [
        NetlinkRequest(protocol=NETLINK_ROUTE, data=removal(index, VIP, 32) + removal(index, VIP6, 128)),
        Frame(ifindex=index, data=frame + b"priority 0".ljust(46, b"\0")),
    ]
    (directory / "will").write_bytes(encode(entries))
    return f"will={directory / 'will'}"


def listener(peer: Host) -> socket.socket:
    """Hears the test's frames on the peer."""
    with peer.entered():
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EXPERIMENTAL))
    heard.settimeout(20)
    return heard


def test_kill_9_costs_no_second_holder(host, peer, tmp_path):
    will = write_will(tmp_path, host)
    guarded = Guarded(host, tmp_path, will)
    first = guarded.router()
    with listener(peer) as heard:
        begin = time.monotonic()
        os.kill(first, signal.SIGKILL)
        frame = heard.recv(2000)
        took = time.monotonic() - begin
    assert b"priority 0" in frame
    assert not host.has(VIP), "the address goes before priority 0 is sent"
    assert not host.has(VIP6)
    assert took < 2, "milliseconds on an idle machine; this limit only excludes a timer as the cause"
    second = guarded.router(other_than=first)
    assert alive(second)
    said = guarded.said()
    assert re.search(
        rf"router {first} was ended by SIGKILL; last will carried out in [\d.]+ ms, 2 of 2 entries", said
    ), said


def test_a_frozen_router_is_ended_and_its_will_carried_out(host, peer, tmp_path):
    will = write_will(tmp_path, host)
    guarded = Guarded(host, tmp_path, will)
    first = guarded.router()
    with listener(peer) as heard:
        os.kill(first, signal.SIGSTOP)
        assert b"priority 0" in heard.recv(2000)
    assert not host.has(VIP)
    guarded.router(other_than=first)
    assert not alive(first)
    assert re.search(r"had frozen for \d+ ms and was killed; last will carried out", guarded.said())


def test_a_router_that_holds_nothing_and_stands_still_for_a_second_goes_on(host, tmp_path):
    """A BACKUP that got no processor time: killed, it could not take over for as long as a start lasts."""
    guarded = Guarded(host, tmp_path)
    first = guarded.router()
    os.kill(first, signal.SIGSTOP)
    time.sleep(1)  # 0.6 s would be the end of one that holds an address
    os.kill(first, signal.SIGCONT)
    time.sleep(0.5)
    assert guarded.router() == first
    assert alive(first)


def test_a_stop_of_both_ends_nothing(host, tmp_path):
    """The guard goes on first and finds a heartbeat from long ago: its own lateness tells it why."""
    guarded = Guarded(host, tmp_path, write_will(tmp_path, host))
    first = guarded.router()
    for _ in range(3):
        os.kill(guarded.process.pid, signal.SIGSTOP)
        os.kill(first, signal.SIGSTOP)
        time.sleep(1)
        os.kill(guarded.process.pid, signal.SIGCONT)
        time.sleep(0.15)
        os.kill(first, signal.SIGCONT)
        time.sleep(0.3)
    assert guarded.router() == first
    assert alive(first)
    assert guarded.said() == ""


@pytest.mark.parametrize("status", [0, 2])
def test_a_router_that_ends_by_itself_with_0_or_2_ends_the_guard(host, tmp_path, status):
    guarded = Guarded(host, tmp_path, f"exit={status}")
    assert guarded.status() == status
    assert guarded.log() == [f"exit {status}"]


def test_any_other_status_means_a_new_router_sooner_then_later(host, tmp_path):
    """And the end, where no router ever came as far as a heartbeat."""
    begin = time.monotonic()
    guarded = Guarded(host, tmp_path, "exit=1")
    assert guarded.status() == 1
    assert time.monotonic() - begin >= 1.4, "0, 0.2, 0.4 and 0.8 s between the starts"
    assert guarded.log() == ["exit 1"] * 5
    assert "ended with status 1; starting a new one" in guarded.said()
    assert "the router cannot start here: it ended with status 1" in guarded.said()


def test_a_router_that_ran_once_is_never_given_up(host, tmp_path):
    guarded = Guarded(host, tmp_path)
    first = guarded.router()
    (tmp_path / "fail").touch()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: guarded.log().count("exit 1") >= 5, what="five starts that fail")
    (tmp_path / "fail").unlink()
    guarded.router(other_than=first)


def test_sigterm_is_passed_on_and_the_routers_status_returned(host, tmp_path):
    guarded = Guarded(host, tmp_path)
    first = guarded.router()
    guarded.process.terminate()
    assert guarded.status() == 0
    assert guarded.log()[1:] == ["SIGTERM", "left"]
    assert not alive(first)
    assert guarded.said() == ""


def test_sighup_and_a_second_signal_are_passed_on(host, tmp_path):
    guarded = Guarded(host, tmp_path, "deaf")
    first = guarded.router()
    for number, name in ((signal.SIGHUP, "SIGHUP"), (signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")):
        before = len(guarded.log())
        guarded.process.send_signal(number)
        wait_for(lambda before=before: len(guarded.log()) > before, what=name)
        assert guarded.log()[-1] == name
    assert alive(first)
    os.kill(first, signal.SIGKILL)
    assert guarded.status() == 128 + signal.SIGKILL


def test_a_router_that_does_not_leave_within_the_grace_is_ended_with_its_will(host, tmp_path):
    will = write_will(tmp_path, host)
    guarded = Guarded(host, tmp_path, will, "deaf", grace="0.3")
    first = guarded.router()
    guarded.process.terminate()
    assert guarded.status() == 128 + signal.SIGKILL
    assert not alive(first)
    assert not host.has(VIP)
    assert "had not ended 0.3 s after the signal and was killed; last will carried out" in guarded.said()


def test_a_router_whose_guard_is_killed_leaves_by_itself(host, tmp_path):
    guarded = Guarded(host, tmp_path)
    first = guarded.router()
    guarded.process.kill()
    wait_for(lambda: not alive(first), what="the router has left")
    assert guarded.log()[1:] == ["SIGTERM", "left"]


def test_ctrl_c_reaches_the_router_once(host, tmp_path):
    guarded = Guarded(host, tmp_path)
    first = guarded.router()
    assert os.getpgid(first) == first != os.getpgid(guarded.process.pid)


def test_a_will_is_carried_out_once(host, peer, tmp_path):
    """The next router, killed before it wrote a will, must not send priority 0 into another's mastership."""
    will = write_will(tmp_path, host)
    guarded = Guarded(host, tmp_path, will, "slow")
    first = guarded.router()
    with listener(peer) as heard:
        os.kill(first, signal.SIGKILL)
        heard.recv(2000)
        children = Path(f"/proc/{guarded.process.pid}/task/{guarded.process.pid}/children")
        wait_for(lambda: children.read_text().split() not in ([], [str(first)]), what="the next router")
        second = int(children.read_text().split()[0])
        os.kill(second, signal.SIGKILL)
        wait_for(lambda: f"router {second} was ended by SIGKILL; starting" in guarded.said(), what="its death is seen")
        heard.settimeout(0.2)
        with pytest.raises(TimeoutError):
            heard.recv(2000)


def test_it_is_small(host, tmp_path):
    guarded = Guarded(host, tmp_path, write_will(tmp_path, host))
    first = guarded.router()
    os.kill(first, signal.SIGKILL)
    guarded.router(other_than=first)
    status = Path(f"/proc/{guarded.process.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])
    assert resident < 12 * 1024


def test_what_it_says_as_json(host, tmp_path):
    guarded = Guarded(host, tmp_path, log_format="json")
    first = guarded.router()
    os.kill(first, signal.SIGKILL)
    guarded.router(other_than=first)
    line = json.loads(guarded.said().splitlines()[0])
    assert set(line) == {"time", "level", "message"}
    assert re.fullmatch(r"[-0-9]{10}T[:0-9]{8}\.[0-9]{3}Z", line["time"])
    assert line["message"] == f"guard: router {first} was ended by SIGKILL; starting a new one"


def test_a_full_log_pipe_does_not_stop_it(host, tmp_path):
    """Nobody reads standard error, and the pipe is full: the router is replaced all the same."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    guarded = Guarded(host, tmp_path, stderr=writing)
    first = guarded.router()
    os.kill(first, signal.SIGKILL)
    assert guarded.router(other_than=first)
    os.close(writing)
    os.close(reading)


def test_without_rights_it_says_so(tmp_path):
    command = [sys.executable, "-I", "-S", str(PROGRAM), str(PACKAGES), "1", "plain", "true"]
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", *command],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "NET_ADMIN and NET_RAW" in done.stderr


def test_unicast_goodbyes_arrive_with_ttl_255(host, peer):
    with peer.entered():
        heard4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
        heard6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 112)
    heard6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    for heard in (heard4, heard6):
        heard.settimeout(20)
    source, destination = socket.inet_aton("10.9.0.1"), socket.inet_aton("10.9.0.2")
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, 28, 0, 0, 255, 112, 0, source, destination)
    host.ip("addr", "add", "fd00:9::77/64", "dev", "eth0", "nodad")
    with host.entered():
        executor = Executor()
    entries: list[Entry] = [
        Packet(ifindex=ifindex(host), family=socket.AF_INET, destination="10.9.0.2", data=header + b"goodbye4"),
        Packet(
            ifindex=ifindex(host),
            family=socket.AF_INET6,
            destination="fd00:9::2",
            source="fd00:9::77",
            data=b"goodbye6",
        ),
    ]
    assert executor.carry_out(entries) == []
    executor.close()
    packet = heard4.recv(2000)
    assert (packet[8], packet[12:16], packet[20:]) == (255, source, b"goodbye4")
    data, ancillary, _, sender = heard6.recvmsg(2000, 200)
    assert (data, sender[0]) == (b"goodbye6", "fd00:9::77")
    assert struct.unpack("@i", ancillary[0][2])[0] == 255
    heard4.close()
    heard6.close()


def test_one_entry_that_fails_does_not_stop_the_others(host):
    index = ifindex(host)
    host.ip("addr", "add", f"{VIP}/32", "dev", "eth0")
    with host.entered():
        executor = Executor()
    failures = executor.carry_out([
        Frame(ifindex=9999, data=b"x" * 60),
        NetlinkRequest(protocol=3, data=b""),
        NetlinkRequest(protocol=NETLINK_ROUTE, data=struct.pack("=IHHII", 24, 21, 1, 1, 0) + bytes(8)),
        Packet(ifindex=index, family=socket.AF_INET, destination="nonsense name", data=b""),
        NetlinkRequest(protocol=NETLINK_ROUTE, data=removal(index, "10.9.0.200", 32)),
        NetlinkRequest(protocol=NETLINK_ROUTE, data=removal(index, VIP, 32)),
    ])  # fmt: skip
    executor.close()
    assert not host.has(VIP)
    assert len(failures) == 4, failures
    assert failures[1] == "no netlink socket of protocol 3"
    assert "the kernel refused a request" in failures[2]
